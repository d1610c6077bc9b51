// tally inspect: what a file holds.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "converter/convert.h"
#include "format/bit_packing.h"
#include "format/error.h"
#include "format/model_file.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

struct Options {
  std::string model;
  bool json = false;
  std::string html;
};

// What the reports show of a tensor that carries a codebook.
struct CodedTensor {
  const Tensor* tensor = nullptr;
  const Codebook* codebook = nullptr;
  bool is_weight = false;
  uint64_t bytes = 0;               // codes and channel scales
  std::vector<uint64_t> occupancy;  // weights: elements per code
};

std::vector<uint64_t> CountCodes(const CodeForm& form, size_t elements) {
  constexpr size_t kChunk = 65536;
  std::vector<uint64_t> counts(static_cast<size_t>(form.codebook.code_count()), 0);
  std::vector<uint8_t> codes(std::min(elements, kChunk));
  for (size_t first = 0; first < elements; first += kChunk) {
    const size_t n = std::min(kChunk, elements - first);
    UnpackBits(form.packed.data(), form.codebook.stored_bits(), first, n, codes.data());
    for (size_t i = 0; i < n; ++i) ++counts[codes[i]];
  }
  return counts;
}

std::vector<CodedTensor> FindCoded(const Graph& graph) {
  std::vector<CodedTensor> coded;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.codes) {
      coded.push_back({&tensor, &tensor.codes->codebook, true,
                       tensor.codes->packed.size() + tensor.codes->channel_scales.size() * sizeof(float),
                       CountCodes(*tensor.codes, tensor.elements())});
    } else if (tensor.codebook) {
      coded.push_back({&tensor, &*tensor.codebook, false, 0, {}});
    }
  }
  return coded;
}

Json CodebookJson(const Codebook& codebook) {
  Json json = {{"exponent_bits", codebook.exponent_bits},
               {"stored_bits", codebook.stored_bits()},
               {"signed", codebook.is_signed},
               {"grid", GridName(codebook.grid)},
               {"encode", EncodeRuleName(codebook.encode_rule)},
               {"base", codebook.base},
               {"alpha", codebook.alpha},
               {"beta", codebook.beta}};
  if (codebook.grid == Grid::kReal) {
    json["magnitudes"] = codebook.RealMagnitudes();
    json["thresholds"] = codebook.thresholds;
  } else {
    json["scale"] = codebook.scale;
    json["mantissas"] = codebook.mantissas;
  }
  return json;
}

Json FitJson(const Tensor& tensor) {
  if (!tensor.fit) return nullptr;
  return {{"rmae", Number(tensor.fit->rmae)},
          {"rmae_uniform_max", Number(tensor.fit->rmae_uniform_max)},
          {"rmae_uniform_clipped", Number(tensor.fit->rmae_uniform_clipped)}};
}

Json TensorJson(const Tensor& tensor, const CodedTensor* coded) {
  Json json = {{"name", tensor.name},
               {"kind", tensor.is_constant() ? (coded != nullptr ? "weight" : "constant") : "activation"},
               {"dtype", DTypeName(tensor.dtype)}};
  if (tensor.is_constant()) {
    json["shape"] = tensor.shape;
    json["elements"] = tensor.elements();
    json["bytes"] = {
        {"codes", tensor.codes ? tensor.codes->packed.size() : 0},
        {"channel_scales", tensor.codes ? tensor.codes->channel_scales.size() * sizeof(float) : 0},
        {"int8", tensor.int8 ? tensor.int8->values.size() + tensor.int8->scales.size() * sizeof(float) : 0},
        {"plain", tensor.data.size()}};
  }
  if (tensor.range) json["range"] = {{"min", Number(tensor.range->min)}, {"max", Number(tensor.range->max)}};
  if (coded == nullptr) return json;
  json.update(CodebookJson(*coded->codebook));
  json["rmae"] = tensor.fit ? Number(tensor.fit->rmae) : Json(nullptr);
  json["fit"] = FitJson(tensor);
  if (coded->is_weight) json["occupancy"] = coded->occupancy;
  return json;
}

// "w 12 %": how much of a weight is the zero code, and how many of its codes occur at all.
std::string OccupancyText(const CodedTensor& coded) {
  if (!coded.is_weight || coded.tensor->elements() == 0) return "-";
  const auto used = std::count_if(coded.occupancy.begin(), coded.occupancy.end(), [](uint64_t n) { return n > 0; });
  const double zeros = static_cast<double>(coded.occupancy[0]) / static_cast<double>(coded.tensor->elements());
  return absl::StrCat(used, "/", coded.codebook->code_count() - (coded.codebook->is_signed ? 1 : 0), ", ",
                      Fixed(100 * zeros, 1), "% zero");
}

Table CodebookTable(const std::vector<CodedTensor>& coded) {
  Table table({"tensor", "kind", ">elements", ">bytes", ">n", ">bits", "grid", ">base", ">alpha", ">beta", ">RMAE",
               ">uniform", "codes used"});
  for (const CodedTensor& c : coded) {
    const Tensor& t = *c.tensor;
    table.Add({Shown(t.name, 40), c.is_weight ? "weight" : "activation", c.is_weight ? absl::StrCat(t.elements()) : "-",
               c.is_weight ? absl::StrCat(c.bytes) : "-", absl::StrCat(c.codebook->exponent_bits),
               absl::StrCat(c.codebook->stored_bits()), GridName(c.codebook->grid), Fixed(c.codebook->base, 4),
               absl::StrCat(c.codebook->alpha), absl::StrCat(c.codebook->beta), t.fit ? Fixed(t.fit->rmae, 4) : "-",
               t.fit ? Fixed(t.fit->rmae_uniform_clipped, 4) : "-", OccupancyText(c)});
  }
  return table;
}

Table SectionTable(const FileLayout& layout) {
  Table table({"section", ">offset", ">bytes"});
  for (const FileLayout::Section& s : layout.sections) {
    table.Add({s.name, absl::StrCat(s.offset), absl::StrCat(s.bytes)});
  }
  return table;
}

struct Totals {
  BitStatistics bits;
  double compression_vs_int8 = 0;  // 0 where nothing is a quantizable weight
};

std::string TotalsText(const FileLayout& layout, const Graph& graph, const Totals& totals) {
  return absl::StrCat("file         ", layout.file_bytes, " bytes, version ", layout.version, ", ", graph.nodes.size(),
                      " nodes, ", graph.tensors.size(), " tensors, ", graph.golden.size(), " golden cases\n",
                      "weights      ", totals.bits.weight_elements, " elements, ", totals.bits.weight_bytes,
                      " bytes, mean ", Fixed(totals.bits.weight_stored_bits, 3), " stored bits (",
                      Fixed(totals.bits.weight_exponent_bits, 3), " exponent bits), ",
                      Fixed(totals.compression_vs_int8, 2), "x smaller than int8\n", "activations  mean ",
                      Fixed(totals.bits.activation_stored_bits, 3), " stored bits\n");
}

// The magnitudes of a codebook on a line from 0 to the largest, each as high as the share of elements that has it.
std::string LevelsSvg(const CodedTensor& coded) {
  constexpr double kWidth = 640, kHeight = 90, kMargin = 8;
  const Codebook& codebook = *coded.codebook;
  const std::vector<double> values = codebook.Values();
  const double largest = values[static_cast<size_t>(codebook.magnitudes())];
  std::vector<double> counts(static_cast<size_t>(codebook.magnitudes()) + 1, 1);
  if (coded.is_weight) {
    for (size_t i = 0; i < counts.size(); ++i) {
      counts[i] = static_cast<double>(coded.occupancy[i]);
      if (codebook.is_signed && i > 0) counts[i] += static_cast<double>(coded.occupancy[i | codebook.sign_bit()]);
    }
  }
  const double most = std::max(1.0, *std::max_element(counts.begin(), counts.end()));
  std::string svg = absl::StrCat("<svg width=\"", kWidth, "\" height=\"", kHeight, "\" role=\"img\">");
  for (size_t i = 0; i < counts.size(); ++i) {
    const double x = kMargin + (kWidth - 2 * kMargin) * values[i] / largest;
    const double height = 2 + (kHeight - 2 * kMargin - 2) * counts[i] / most;
    absl::StrAppend(&svg, "<line x1=\"", Fixed(x, 1), "\" x2=\"", Fixed(x, 1), "\" y1=\"", Fixed(kHeight - kMargin, 1),
                    "\" y2=\"", Fixed(kHeight - kMargin - height, 1), "\" stroke=\"", i == 0 ? "#c33" : "#36c",
                    "\" stroke-width=\"2\"><title>", values[i],
                    coded.is_weight ? absl::StrCat(": ", counts[i], " elements") : "", "</title></line>");
  }
  return svg + "</svg>\n";
}

std::string Html(const Options& options, const FileLayout& layout, const Graph& graph,
                 const std::vector<CodedTensor>& coded, const Totals& totals) {
  std::string body = absl::StrCat("<pre>", EscapeHtml(TotalsText(layout, graph, totals)), "</pre>\n",
                                  SectionTable(layout).Html(), CodebookTable(coded).Html(),
                                  "<h2>Levels</h2><p>Magnitudes from 0 to the largest; red: zero. Height: share of "
                                  "the weight's elements.</p>\n");
  for (const CodedTensor& c : coded) {
    absl::StrAppend(&body, "<h3>", EscapeHtml(Shown(c.tensor->name, 80)), "</h3>", LevelsSvg(c));
  }
  return HtmlPage(options.model, body + EnvironmentHtml(1));
}

Json Report(const Options& options, const FileLayout& layout, const Graph& graph, const std::vector<CodedTensor>& coded,
            const Totals& totals) {
  Json report = ReportHeader("inspect", options.model, 1);
  report["file_bytes"] = layout.file_bytes;
  report["version"] = layout.version;
  report["required_features"] = layout.required_features;
  report["sections"] = Json::array();
  for (const FileLayout::Section& s : layout.sections) {
    report["sections"].push_back({{"name", s.name}, {"offset", s.offset}, {"bytes", s.bytes}});
  }
  report["metadata"] = graph.metadata;
  report["golden_cases"] = graph.golden.size();
  std::map<std::string, int> operators;
  for (const Node& node : graph.nodes) ++operators[node.op];
  report["operators"] = operators;
  report["weights"] = {{"stored_bits_mean", Number(totals.bits.weight_stored_bits)},
                       {"exponent_bits_mean", Number(totals.bits.weight_exponent_bits)},
                       {"elements", totals.bits.weight_elements},
                       {"bytes", totals.bits.weight_bytes},
                       {"compression_vs_int8", Number(totals.compression_vs_int8)}};
  report["activations"] = Json::object();
  report["activations"]["stored_bits_mean"] = Number(totals.bits.activation_stored_bits);
  report["tensors"] = Json::array();
  size_t next = 0;
  for (const Tensor& tensor : graph.tensors) {
    const bool is_coded = next < coded.size() && coded[next].tensor == &tensor;
    if (is_coded || tensor.is_constant())
      report["tensors"].push_back(TensorJson(tensor, is_coded ? &coded[next] : nullptr));
    if (is_coded) ++next;
  }
  return report;
}

absl::Status Run(const Options& options) {
  TALLY_RETURN_IF_ERROR(CheckOutputs({{"--html", options.html}, {"--json", options.json ? "-" : ""}}, {options.model}));
  TALLY_ASSIGN_OR_RETURN(const Model model, LoadTally(options.model));
  TALLY_ASSIGN_OR_RETURN(const FileLayout layout, ReadFileLayout(options.model));
  const Graph& graph = model.graph();
  const std::vector<CodedTensor> coded = FindCoded(graph);
  Totals totals;
  TALLY_ASSIGN_OR_RETURN(totals.bits, ComputeBitStatistics(graph));
  if (totals.bits.weight_stored_bits > 0) totals.compression_vs_int8 = 8 / totals.bits.weight_stored_bits;

  if (!options.html.empty()) {
    TALLY_RETURN_IF_ERROR(WriteOutput(options.html, Html(options, layout, graph, coded, totals)));
  }
  if (options.json) return WriteJson("-", Report(options, layout, graph, coded, totals));
  if (options.html == "-") return absl::OkStatus();
  Print(absl::StrCat(TotalsText(layout, graph, totals), "\n", SectionTable(layout).Text(), "\n"));
  if (!coded.empty()) Print(CodebookTable(coded).Text());
  for (const auto& [key, value] : graph.metadata) Print(absl::StrCat(Shown(key), ": ", Shown(value, 100), "\n"));
  return absl::OkStatus();
}

}  // namespace

void AddInspect(CLI::App* app, Action* action) {
  CLI::App* sub = app->add_subcommand("inspect", "Show sections, sizes and the codebook of every tensor");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally file")->required();
  sub->add_flag("--json", o->json, "Print JSON (with mantissas and code counts) instead of tables");
  sub->add_option("--html", o->html, "Write a self-contained page with the levels of every codebook; - is stdout");
  sub->footer(
      "n: exponent bits; bits: stored bits (with the sign); RMAE: sum |x - x^| / sum |x| of the codebook; uniform: of\n"
      "uniform levels at equal stored bits, clipped at their best range.\n"
      "\n"
      "Examples:\n"
      "  tally inspect net.tally\n"
      "  tally inspect net.tally --json\n"
      "  tally inspect net.tally --html net.html");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
