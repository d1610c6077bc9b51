// tally convert: ONNX and calibration data in, a .tally file and a report out.
#include "converter/convert.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/all/all.h"
#include "converter/onnx/import.h"
#include "converter/passes/passes.h"
#include "format/error.h"
#include "format/model_file.h"
#include "runtime/ops/shape_inputs.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/evaluation.h"
#include "tools/progress.h"
#include "tools/report_html.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

// As typed; ToConvertOptions translates.
struct Options {
  std::string model, output, calibration, eval;
  std::string strategy = "joint", levels = "exponential", rounding, encode = "nearest", grid = "auto",
              granularity = "channel";
  std::string shared_base;
  std::optional<int> bits, weight_bits, activation_bits;
  std::optional<double> max_drop, target_bits, activation_target_bits;
  std::string target_size;
  bool best_effort = false, equalize = false;
  int front = 0;
  std::vector<std::string> keep = {"none"};
  std::string report, resume, float_backend = "xnnpack";
  int64_t calibration_samples = 0;  // 0: all
  uint64_t seed = 1;
  int num_threads = 0;
};

absl::Status Usage(const std::string& detail) { return MakeError(ErrorId::kUsage, detail); }

absl::StatusOr<ConvertOptions> ToConvertOptions(const Options& o) {
  if (o.bits && (o.weight_bits || o.activation_bits)) {
    return Usage("--bits sets both: expected it without --weight-bits and --activation-bits");
  }
  const int goals = (o.bits || o.weight_bits ? 1 : 0) + (o.max_drop ? 1 : 0) + (o.target_bits ? 1 : 0) +
                    (o.target_size.empty() ? 0 : 1);
  if (goals > 1) {
    return Usage(
        "expected one goal of --bits (or --weight-bits), --max-drop, --target-bits, --target-size, found several");
  }
  if (o.activation_target_bits && (o.bits || o.activation_bits)) {
    return Usage("--activation-target-bits: expected without --bits and --activation-bits");
  }
  if (o.best_effort && !o.max_drop) return Usage("--best-effort: expected with --max-drop only");

  ConvertOptions c;
  c.strategy = o.strategy == "joint" ? Strategy::kJoint : Strategy::kDnateq;
  c.levels = o.levels == "uniform" ? Levels::kUniform : Levels::kExponential;
  c.grid = o.grid == "auto"  ? GridChoice::kAuto
           : o.grid == "q7"  ? GridChoice::kQ7
           : o.grid == "q14" ? GridChoice::kQ14
                             : GridChoice::kReal;
  if (!o.rounding.empty()) c.rounding = o.rounding == "compensated" ? Rounding::kCompensated : Rounding::kNearest;
  c.encode_rule = o.encode == "nearest" ? EncodeRule::kNearest : EncodeRule::kLog;
  c.granularity = o.granularity == "channel" ? Granularity::kChannel : Granularity::kTensor;
  if (!o.shared_base.empty()) c.shared_base = o.shared_base == "on";
  c.weight_bits = o.bits ? o.bits : o.weight_bits;
  c.activation_bits = o.bits ? o.bits : o.activation_bits;
  c.max_drop = o.max_drop;
  c.target_bits = o.target_bits;
  c.activation_target_bits = o.activation_target_bits;
  if (!o.target_size.empty()) {
    TALLY_ASSIGN_OR_RETURN(c.target_size, ParseBytes(o.target_size));
  }
  bool none = false;
  for (const std::string& form : o.keep) {
    none |= form == "none";
    c.keep_int8 |= form == "int8";
    c.keep_float |= form == "float";
  }
  if (none && (c.keep_int8 || c.keep_float)) return Usage("--keep: expected none alone, found it with others");
  if (o.front > 0 && o.report.empty()) return Usage("--front: expected with --report only");
  c.front_points = o.front;
  c.equalize = o.equalize;
  c.seed = o.seed;
  c.resume = o.resume;
  c.num_threads = o.num_threads;
  c.float_backend = o.float_backend;
  c.tool_version = absl::StrCat("tally ", Version());
  TALLY_RETURN_IF_ERROR(CheckOptions(c));
  return c;
}

// What would fail at the end of a long search fails here.
absl::Status CheckFiles(const Options& o, const std::vector<std::string>& inputs) {
  std::vector<OutputPath> outputs = {{"-o", o.output, OutputPath::Kind::kFile},
                                     {"--resume", o.resume, OutputPath::Kind::kFolder},
                                     {"--report", o.report, OutputPath::Kind::kFolder}};
  struct stat info;
  if (!o.report.empty() && stat(o.report.c_str(), &info) == 0) {
    for (const char* file : {"report.json", "report.html"}) {
      outputs.push_back({"--report", absl::StrCat(o.report, "/", file), OutputPath::Kind::kFile});
    }
  }
  return CheckOutputs(outputs, inputs);
}

absl::Status WriteReport(const Options& o, const ConvertReport& report, const ConvertOptions& convert) {
  if (mkdir(o.report.c_str(), 0777) != 0 && errno != EEXIST) {
    return MakeError(ErrorId::kWriteFailed, absl::StrCat("cannot make the folder: ", std::strerror(errno)),
                     {o.report, "", -1, ""});
  }
  Json json = Json::parse(ReportJson(report, convert));
  json["environment"] = EnvironmentJson(o.num_threads);
  TALLY_RETURN_IF_ERROR(WriteJson(o.report + "/report.json", json));
  return WriteOutput(o.report + "/report.html",
                     ReportHtml(report, absl::StrCat("convert ", o.model), EnvironmentHtml(o.num_threads)));
}

std::string Summary(const ConvertReport& report, const std::optional<double>& max_drop) {
  Table table({"tensor", "kind", ">elements", ">n", ">bits", "grid", ">base", ">RMAE", ">uniform RMAE"});
  for (const TensorReport& t : report.tensors) {
    const bool coded = t.codebook.exponent_bits > 0;
    table.Add({Shown(t.tensor, 40), t.is_weight ? "weight" : "activation", absl::StrCat(t.elements),
               coded ? absl::StrCat(t.codebook.exponent_bits) : "-",
               coded ? absl::StrCat(t.codebook.stored_bits()) : "32", coded ? GridName(t.codebook.grid) : "float32",
               coded ? Fixed(t.codebook.base, 4) : "-", coded ? Fixed(t.rmae, 4) : "-",
               coded ? Fixed(t.rmae_uniform_clipped, 4) : "-"});
  }
  std::string text = table.Text();
  for (const TensorReport& t : report.tensors) {
    if (t.is_weight && t.codebook.exponent_bits == 0) absl::StrAppend(&text, Shown(t.tensor, 40), " ", t.reason, "\n");
  }
  absl::StrAppend(&text, "\nweights      mean ", Fixed(report.weight_bits_mean, 3), " stored bits (",
                  Fixed(report.weight_exponent_bits_mean, 3), " exponent bits)\n", "activations  mean ",
                  Fixed(report.activation_bits_mean, 3), " stored bits\n");
  if (report.selection_samples > 0) {
    absl::StrAppend(&text, report.metric, "  float ", ValueText(report.metric, report.float_value), ", quantized ",
                    ValueText(report.metric, report.quantized_value), " on ", report.selection_samples,
                    " samples: drop ", DropText(report.drop),
                    report.expected_drop ? absl::StrCat(", expected ", DropText(report.expected_drop)) : "", "\n");
    if (max_drop && report.drop.drop > *max_drop) {
      absl::StrAppend(&text, "more samples were lost than --max-drop ", *max_drop,
                      report.goal_reached ? ", within what so few can tell; more of them, by --eval, tell more\n"
                                          : ": it is out of reach\n");
    }
  }
  return text;
}

absl::Status Run(const Options& options) {
  TALLY_ASSIGN_OR_RETURN(ConvertOptions convert, ToConvertOptions(options));
  std::vector<std::string> files = {options.model, options.calibration, options.eval};
  TALLY_RETURN_IF_ERROR(CheckFiles(options, files));
  TALLY_ASSIGN_OR_RETURN(Graph graph, ImportOnnx(options.model, {}, &files));
  TALLY_RETURN_IF_ERROR(AddWhere(RunPasses(&graph), {options.model, "", -1, ""}));
  std::vector<TensorInfo> inputs;
  const std::vector<bool> shape_inputs = FindShapeInputs(graph);
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Tensor& tensor = graph.tensors[static_cast<size_t>(graph.inputs[i])];
    inputs.push_back({tensor.name, tensor.dtype, tensor.shape, shape_inputs[i]});
  }
  TALLY_ASSIGN_OR_RETURN(Dataset calibration, Dataset::Open(options.calibration, inputs));
  if (options.calibration_samples > 0) calibration.Draw(options.calibration_samples, options.seed);
  std::optional<Dataset> eval;
  if (!options.eval.empty()) {
    TALLY_ASSIGN_OR_RETURN(eval, Dataset::Open(options.eval, inputs));
  }
  for (const Dataset* data : {&calibration, eval ? &*eval : &calibration}) {
    const std::vector<std::string> of_data = data->files();
    files.insert(files.end(), of_data.begin(), of_data.end());
  }
  TALLY_RETURN_IF_ERROR(CheckFiles(options, files));
  Progress progress;
  convert.progress = [&](const std::string& phase, double done) { progress.Update(phase, done); };
  TALLY_ASSIGN_OR_RETURN(const ConvertResult result,
                         Convert(graph, calibration, eval ? &*eval : nullptr, convert, DefaultRegistry()));
  progress.Clear();
  const ConvertReport& report = result.report;
  if (!options.report.empty()) TALLY_RETURN_IF_ERROR(WriteReport(options, report, convert));
  if (!result.report.goal_reached && !options.best_effort) {
    return MakeError(ErrorId::kComparisonFailed,
                     absl::StrCat("--max-drop ", *options.max_drop, " is out of reach; the best point has a drop of ",
                                  Fixed(report.drop.drop, 2), " (", report.metric, " ",
                                  ValueText(report.metric, report.quantized_value), ", float ",
                                  ValueText(report.metric, report.float_value), ") at ",
                                  Fixed(report.weight_bits_mean, 2), " weight and ",
                                  Fixed(report.activation_bits_mean, 2), " activation bits; --best-effort writes it"));
  }
  TALLY_ASSIGN_OR_RETURN(const uint64_t bytes, WriteModelFile(result.graph, options.output));
  Print(absl::StrCat(Summary(report, options.max_drop), options.output, ": ", bytes, " bytes\n"));
  return absl::OkStatus();
}

void AddChoice(CLI::App* app, const std::string& name, std::string* value, const std::vector<std::string>& choices,
               const std::string& help) {
  app->add_option(name, *value, help)->check(CLI::IsMember(choices))->capture_default_str();
}

}  // namespace

void AddConvert(CLI::App* app, Action* action) {
  CLI::App* sub = app->add_subcommand("convert", "Quantize an ONNX model to exponents");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "An .onnx file")->required();
  sub->add_option("-o,--output", o->output, "The .tally file to write")->required();
  sub->add_option("--calibration", o->calibration, "Calibration data (DATA.json, docs/data.md)")->required();
  sub->add_option("--eval", o->eval, "Labelled data that --max-drop is measured on [the calibration labels]");
  sub->add_option("--calibration-samples", o->calibration_samples, "Draw at most so many of them, by --seed [all]")
      ->check(InRange(int64_t{1}, INT64_MAX));
  AddChoice(sub, "--strategy", &o->strategy, {"joint", "dnateq"}, "Codebook search");
  sub->add_option(
         "--rounding", o->rounding,
         "Of weights: by what the layer's output loses (compensated), or each by itself (nearest) [compensated; "
         "nearest for dnateq]")
      ->check(CLI::IsMember({"compensated", "nearest"}));
  AddChoice(sub, "--levels", &o->levels, {"exponential", "uniform"}, "Uniform ones are for comparison");
  AddChoice(sub, "--encode", &o->encode, {"nearest", "log"}, "Boundaries between magnitudes");
  AddChoice(sub, "--grid", &o->grid, {"auto", "q7", "q14", "real"}, "What magnitudes are rounded to");
  AddChoice(sub, "--granularity", &o->granularity, {"channel", "tensor"},
            "One weight scale per output channel, or one in all");
  AddChoice(sub, "--shared-base", &o->shared_base, {"on", "off"},
            "One base for a layer's weights and input [on for real]");
  sub->add_flag("--equalize", o->equalize, "Scale channels across layers where that pays on the calibration data");
  sub->add_option("--bits", o->bits, "Stored bits of all weights and activations; signed tensors take 3 or more")
      ->check(InRange(2, 8));
  sub->add_option("--weight-bits", o->weight_bits, "Stored bits of all weights")->check(InRange(2, 8));
  sub->add_option("--activation-bits", o->activation_bits, "Stored bits of all activations")->check(InRange(2, 8));
  sub->add_option("--max-drop", o->max_drop,
                  "The smallest weights that are expected to lose at most this many points (of a correlation: 100 r)")
      ->check(InRange(0.0, 100.0));
  sub->add_option("--target-bits", o->target_bits, "Mean stored bits of the weights that can be quantized, at most [4]")
      ->check(InRange(2.0, 8.0));
  sub->add_option("--activation-target-bits", o->activation_target_bits,
                  "Mean stored bits of the activations, at most [weight bits + 2; 6 with --max-drop and --target-size]")
      ->check(InRange(2.0, 8.0));
  sub->add_option("--target-size", o->target_size, "Bytes of the file, at most: 3000000, 3MB, 2.5MiB");
  sub->add_flag("--best-effort", o->best_effort, "Write the best point when --max-drop is out of reach");
  AddList(sub, "--keep", &o->keep, "Baseline weights to keep beside the codes")
      ->check(CLI::IsMember({"none", "int8", "float"}))
      ->capture_default_str();
  sub->add_option("--report", o->report, "Folder for report.html and report.json: why each tensor got its codebook");
  sub->add_option("--front", o->front, "Points of the front of size against accuracy to measure for --report [0]")
      ->check(InRange(0, 64));
  sub->add_option("--seed", o->seed, "Of the search and of --calibration-samples")
      ->check(InRange(int64_t{0}, INT64_MAX))
      ->capture_default_str();
  sub->add_option(
      "--resume", o->resume,
      "Folder for finished steps: a search that was stopped, or one for another goal, takes up what is there");
  AddChoice(sub, "--float-backend", &o->float_backend, {"xnnpack", "reference"}, "Runs the float model");
  AddThreads(sub, &o->num_threads);
  sub->footer(
      "Bits are stored bits, sign included. One goal at most; without one: --target-bits 4.\n"
      "Exit status 1 when --max-drop is out of reach: then no file is written (but --report) and the best point is "
      "named.\n"
      "\n"
      "Examples:\n"
      "  tally convert net.onnx -o net.tally --calibration calibration.json\n"
      "  tally convert net.onnx -o net.tally --calibration calibration.json --eval dev.json --max-drop 1\n"
      "  tally convert net.onnx -o net.tally --calibration calibration.json --weight-bits 4 --activation-bits 6 \\\n"
      "      --keep int8,float --report report");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
