#include "tools/model_input.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "converter/onnx/import.h"
#include "converter/passes/passes.h"
#include "format/error.h"

namespace tally::tools {
namespace {

const char* const kFloatBackends[] = {"xnnpack", "reference"};

bool IsFloatBackend(const std::string& name) {
  return std::find(std::begin(kFloatBackends), std::end(kFloatBackends), name) != std::end(kFloatBackends);
}

}  // namespace

absl::StatusOr<ModelInput> OpenModel(const std::string& path) {
  struct stat info;
  const uint64_t file_bytes = stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  absl::StatusOr<Model> model = Model::Load(path);
  if (model.ok()) return ModelInput{path, *std::move(model), false, file_bytes, {path}};
  // A .tally file under an ONNX name keeps its own error; anything else of that name is taken for ONNX.
  if (!IsOnnxFile(path, model.status())) return model.status();
  std::vector<std::string> files = {path};
  TALLY_ASSIGN_OR_RETURN(Graph graph, ImportOnnx(path, {}, &files));
  TALLY_RETURN_IF_ERROR(RunPasses(&graph));
  TALLY_ASSIGN_OR_RETURN(Model imported, Model::FromGraph(std::move(graph)));
  return ModelInput{path, std::move(imported), true, file_bytes, std::move(files)};
}

absl::StatusOr<std::vector<SessionSpec>> ParseBackendsFor(const ModelInput& input,
                                                          const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    if (!input.is_onnx) return ParseBackends({"exponent"});
    TALLY_ASSIGN_OR_RETURN(SessionSpec spec, FloatSpec(input));
    return std::vector<SessionSpec>{std::move(spec)};
  }
  TALLY_ASSIGN_OR_RETURN(std::vector<SessionSpec> specs, ParseBackends(arguments));
  if (!input.is_onnx) return specs;
  const auto quantized = [](const SessionSpec& spec) {
    return !std::all_of(spec.backends.begin(), spec.backends.end(), IsFloatBackend);
  };
  for (const SessionSpec& spec : specs) {
    if (quantized(spec) && !spec.optional) {
      return MakeError(ErrorId::kMissingForm,
                       absl::StrCat("an ONNX file has float32 weights: expected xnnpack or reference, found ",
                                    Quoted(spec.label), "; convert it for the others"),
                       {input.path, "", -1, ""});
    }
  }
  specs.erase(std::remove_if(specs.begin(), specs.end(), quantized), specs.end());
  return specs;
}

absl::StatusOr<SessionSpec> FloatSpec(const ModelInput& input, const Dimensions& dimensions) {
  const std::vector<std::string> built = AvailableBackends();
  absl::Status error = MakeError(ErrorId::kMissingForm, "no float backend is built in");
  for (const std::string name : kFloatBackends) {
    if (std::find(built.begin(), built.end(), name) == built.end()) continue;
    if (input.is_onnx) return SessionSpec{name, {name}, false};  // holds its weights
    SessionOptions options;
    options.dimensions = dimensions;
    options.backends = {name};
    const absl::StatusOr<Session> session = Session::Create(input.model, options);
    if (session.ok()) return SessionSpec{name, {name}, false};
    error = session.status();
  }
  return AddWhere(error, {input.path, "", -1, ""});
}

}  // namespace tally::tools
