// tally run: one run on given inputs.
#include <algorithm>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "converter/calibration/dataset.h"
#include "converter/calibration/evaluate.h"
#include "format/error.h"
#include "format/graph.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/model_input.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> backends;
  std::vector<std::string> inputs;   // "name=path"
  std::vector<std::string> outputs;  // "name=path"
  int num_threads = 1;
  bool explain = false;
  bool require_backend = false;
  TuningFlags tuning;
  std::string json;
};

struct Binding {
  std::string name;
  std::string path;
};

// "name=path", where a name may hold '=' itself: the longest prefix that is a name of the model wins. A path alone
// means the model's only input or output.
absl::StatusOr<Binding> ParseBinding(const std::string& argument, const std::vector<TensorInfo>& infos) {
  for (size_t i = argument.rfind('='); i != std::string::npos && i > 0; i = argument.rfind('=', i - 1)) {
    for (const TensorInfo& info : infos) {
      if (info.name == argument.substr(0, i)) return Binding{info.name, argument.substr(i + 1)};
    }
  }
  if (infos.size() == 1 && argument.find('=') == std::string::npos) return Binding{infos[0].name, argument};
  const std::string names = absl::StrJoin(
      infos, ", ", [](std::string* out, const TensorInfo& info) { absl::StrAppend(out, Quoted(info.name)); });
  return MakeError(ErrorId::kUnknownTensorName,
                   absl::StrCat("expected name=file.npy with one of ", names, ", found ", Quoted(argument)));
}

struct Array {
  std::string name;
  TensorType type;
  std::vector<uint8_t> data;
};

absl::StatusOr<std::vector<Array>> ReadInputs(const Options& options, const std::vector<TensorInfo>& infos) {
  std::vector<Array> arrays;
  for (const std::string& argument : options.inputs) {
    TALLY_ASSIGN_OR_RETURN(const Binding binding, ParseBinding(argument, infos));
    if (std::any_of(arrays.begin(), arrays.end(), [&](const Array& a) { return a.name == binding.name; })) {
      return MakeError(ErrorId::kUsage,
                       absl::StrCat("--input: expected each input once, found ", Quoted(binding.name), " twice"));
    }
    TALLY_ASSIGN_OR_RETURN(const NpyArray npy, ReadNpy(binding.path));
    Array array;
    array.name = binding.name;
    array.type.shape = npy.shape;
    for (const TensorInfo& info : infos) {
      if (info.name == binding.name) array.type.dtype = info.dtype;
    }
    TALLY_ASSIGN_OR_RETURN(array.data, ConvertNpy(npy, array.type.dtype, binding.path));
    arrays.push_back(std::move(array));
  }
  return arrays;
}

// What the inputs say about dynamic dimensions, so that a session begins with them: not every network runs at others.
Dimensions DimensionsOf(const Graph& graph, const std::vector<Array>& inputs) {
  Dimensions dimensions;
  for (const Array& input : inputs) {
    const Shape& declared = graph.tensors[static_cast<size_t>(graph.FindTensor(input.name))].shape;
    const Shape& shape = input.type.shape;
    for (size_t d = 0; d < declared.size() && declared.size() == shape.size(); ++d) {
      if (declared[d] < 0) dimensions.emplace_back(graph.symbols[static_cast<size_t>(-(declared[d] + 1))], shape[d]);
    }
  }
  return dimensions;
}

// The largest element of each sample, where the first extent counts samples: "3, 7".
std::string ArgMaxima(const Array& output) {
  constexpr int64_t kShown = 8;
  const Shape& shape = output.type.shape;
  const int64_t samples = shape.size() > 1 ? shape[0] : 1;
  const int64_t each = output.type.elements() / samples;
  const float* values = reinterpret_cast<const float*>(output.data.data());
  std::vector<std::string> texts;
  for (int64_t i = 0; i < std::min(samples, kShown); ++i) {
    const int64_t best = ArgMax(values + i * each, each);
    texts.push_back(best < 0 ? "-" : absl::StrCat(best));
  }
  if (samples > kShown) texts.push_back("...");
  return absl::StrJoin(texts, ", ");
}

std::string Summary(const std::vector<Array>& outputs) {
  Table table({"output", "type", "shape", ">min", ">max", ">argmax"});
  for (const Array& output : outputs) {
    double min = std::numeric_limits<double>::infinity();
    double max = -min;
    const bool is_float = output.type.dtype == DType::kFloat32 && !output.data.empty();
    if (is_float) {
      const TensorView view{output.data.data(), output.type.dtype, output.type.shape};
      for (int64_t i = 0; i < output.type.elements(); ++i) {
        const double x = view.as<float>()[i];
        min = std::min(min, x);
        max = std::max(max, x);
      }
    }
    table.Add({Shown(output.name), DTypeName(output.type.dtype), ShapeString(output.type.shape),
               is_float ? absl::StrCat(min) : "-", is_float ? absl::StrCat(max) : "-",
               is_float ? ArgMaxima(output) : "-"});
  }
  return table.Text();
}

// Runs, writes what was asked for, and adds the outputs' shapes to the report.
absl::Status RunOnce(const Options& options, const std::vector<std::string>& model_files,
                     const std::vector<Array>& inputs, Session* session, Json* report) {
  std::vector<std::string> files = model_files;
  for (const std::string& argument : options.inputs) {
    TALLY_ASSIGN_OR_RETURN(const Binding binding, ParseBinding(argument, session->inputs()));
    files.push_back(binding.path);
  }
  std::vector<Binding> wanted;
  std::vector<OutputPath> written = {{"--json", options.json}};
  for (const std::string& argument : options.outputs) {
    TALLY_ASSIGN_OR_RETURN(Binding binding, ParseBinding(argument, session->outputs()));
    written.push_back({"--output", binding.path, OutputPath::Kind::kFile});
    wanted.push_back(std::move(binding));
  }
  TALLY_RETURN_IF_ERROR(CheckOutputs(written, files));
  std::vector<NamedView> views;
  for (const Array& input : inputs) {
    views.push_back({input.name, {input.data.data(), input.type.dtype, input.type.shape}});
  }
  TALLY_RETURN_IF_ERROR(session->Prepare(views));
  std::vector<Array> outputs;
  std::vector<NamedMutableView> output_views;
  for (const TensorInfo& info : session->outputs()) {
    Array array{info.name, {info.dtype, info.shape}, {}};
    array.data.resize(array.type.bytes());
    outputs.push_back(std::move(array));
    output_views.push_back({info.name, {outputs.back().data.data(), info.dtype, info.shape}});
  }
  TALLY_RETURN_IF_ERROR(session->Run(views, output_views));
  for (const Binding& binding : wanted) {
    for (const Array& output : outputs) {
      if (output.name != binding.name) continue;
      TALLY_RETURN_IF_ERROR(WriteNpy(binding.path, {output.data.data(), output.type.dtype, output.type.shape}));
    }
  }
  (*report)["outputs"] = Json::array();
  for (const Array& output : outputs) {
    Json shape = output.type.shape;
    (*report)["outputs"].push_back({{"name", output.name}, {"dtype", DTypeName(output.type.dtype)}, {"shape", shape}});
  }
  if (options.json != "-") Print(Summary(outputs));
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  TALLY_ASSIGN_OR_RETURN(const ModelInput input, OpenModel(options.model));
  TALLY_ASSIGN_OR_RETURN(const std::vector<SessionSpec> specs, ParseBackendsFor(input, options.backends));
  if (specs.size() != 1) {
    return MakeError(ErrorId::kUsage,
                     absl::StrCat("--backend: expected one session (a, or a+b), found ", specs.size()));
  }
  SessionOptions session_options;
  session_options.backends = specs[0].backends;
  session_options.num_threads = options.num_threads;
  session_options.require_backend = options.require_backend;
  SetTuning(options.tuning, &session_options);
  TALLY_ASSIGN_OR_RETURN(const std::vector<Array> inputs, ReadInputs(options, input.model.inputs()));
  session_options.dimensions = DimensionsOf(input.model.graph(), inputs);
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(input.model, session_options));
  TALLY_RETURN_IF_ERROR(CheckOutputs({{"--json", options.json}}, input.files));
  Json report = ReportHeader("run", options.model, options.num_threads);
  report["backend"] = specs[0].label;
  // --explain alone needs no data, unless shapes follow from it.
  const bool is_planned = std::none_of(session.inputs().begin(), session.inputs().end(),
                                       [](const TensorInfo& info) { return info.is_shape_input; });
  if (!options.explain || !is_planned || !options.inputs.empty() || !options.outputs.empty()) {
    TALLY_RETURN_IF_ERROR(RunOnce(options, input.files, inputs, &session, &report));
  }
  report["placement"] = PlacementJson(session.placement());
  if (options.explain && options.json != "-") Print(PlacementText(session.placement()));
  return options.json.empty() ? absl::OkStatus() : WriteJson(options.json, report);
}

}  // namespace

void AddRun(CLI::App* app, Action* action) {
  CLI::App* sub = app->add_subcommand("run", "Run a model once on .npy inputs");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally or .onnx file")->required();
  AddList(sub, "--backend", &o->backends,
          "One session: a, or a+b in order of preference [exponent; xnnpack for .onnx]");
  AddList(sub, "--input", &o->inputs, "NAME=FILE.npy, or FILE.npy for the only input; any batch where it is dynamic");
  AddList(sub, "--output", &o->outputs,
          "NAME=FILE.npy, or FILE.npy for the only output; without it a summary is printed");
  AddThreads(sub, &o->num_threads);
  sub->add_flag(
      "--explain", o->explain,
      "Print where each node runs, and why not elsewhere; needs no input where no shape follows from its value");
  sub->add_flag("--require_backend", o->require_backend,
                "A node that no listed backend takes is an error instead of running on the shared operators");
  AddTuning(sub, &o->tuning);
  sub->add_option("--json", o->json, "Write placement and output shapes as JSON; - is stdout");
  sub->footer(
      "Examples:\n"
      "  tally run net.tally --backend exponent --input input=x.npy --output logits=y.npy\n"
      "  tally run net.tally --backend onednn-codebook+exponent --explain\n"
      "  tally run net.onnx --backend xnnpack --input x.npy");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
