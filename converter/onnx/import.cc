#include "converter/onnx/import.h"

#include <google/protobuf/stubs/logging.h>

#include <limits>
#include <new>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "converter/onnx/graph_importer.h"
#include "converter/onnx/operators.h"
#include "converter/onnx/protobuf_scan.h"
#include "converter/passes/passes.h"
#include "format/error.h"
#include "format/model_file.h"
#include "onnx/onnx_pb.h"

namespace tally {
namespace {

constexpr size_t kMaxMetadataText = 256;

// "folder/model.onnx" -> {"folder", "model.onnx"}.
std::pair<std::string, std::string> SplitPath(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return {"", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

std::string MetadataText(const std::string& text) { return absl::CHexEscape(text.substr(0, kMaxMetadataText)); }

absl::Status Parse(const std::string& path, const ImportOptions& options, onnx::ModelProto* model) {
  TALLY_ASSIGN_OR_RETURN(const Blob file, ReadWholeFile(path, options.limits.file_bytes));
  if (file.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return MakeError(ErrorId::kLimitFile,
                     "a protobuf ends at 2 GiB, found " + std::to_string(file.size()) + " bytes; use external data");
  }
  const google::protobuf::LogSilencer silence;  // libraries print nothing
  uint64_t structure = 0;
  // A quarter of the limit, because parsed structure takes up to 70 times its size.
  const uint64_t limit = options.limits.metadata_bytes / 4;
  const bool valid = StructureBytes(file.data(), file.size(), &structure);
  if (valid && structure > limit) {
    return MakeError(ErrorId::kLimitMetadata, "expected at most " + std::to_string(limit) +
                                                  " bytes besides weights, found " + std::to_string(structure));
  }
  if (!valid || !model->ParseFromArray(file.data(), static_cast<int>(file.size()))) {
    return MakeError(ErrorId::kBadOnnx,
                     "not a valid protobuf of an ONNX model (" + std::to_string(file.size()) + " bytes)");
  }
  if (!model->has_graph()) return MakeError(ErrorId::kBadOnnx, "expected a model with a graph, found none");
  return absl::OkStatus();
}

// The version of the ai.onnx operators; an unsupported one is an offender.
absl::StatusOr<int64_t> ReadOpset(const onnx::ModelProto& model, Offenders* offenders) {
  int64_t opset = -1;
  for (const onnx::OperatorSetIdProto& import : model.opset_import()) {
    if (!import.domain().empty() && import.domain() != "ai.onnx") continue;  // its nodes, if any, are offenders
    if (opset >= 0 && opset != import.version()) {
      return MakeError(ErrorId::kBadOnnx, "two versions of the ai.onnx opset: " + std::to_string(opset) + " and " +
                                              std::to_string(import.version()));
    }
    opset = import.version();
  }
  // An operator of an old one is refused by name.
  if (opset < 1 || opset > kMaxOpset) {
    offenders->Add("ai.onnx opset " + (opset < 0 ? "(none)" : std::to_string(opset)),
                   "supported are " + std::to_string(kMinOpset) + " to " + std::to_string(kMaxOpset), "");
  }
  return opset;
}

absl::StatusOr<Graph> Import(const std::string& path, const ImportOptions& options, std::vector<std::string>* files) {
  onnx::ModelProto model;
  TALLY_RETURN_IF_ERROR(Parse(path, options, &model));
  Offenders opset_offenders;
  TALLY_ASSIGN_OR_RETURN(const int64_t opset, ReadOpset(model, &opset_offenders));
  const auto [folder, base_name] = SplitPath(path);
  GraphImporter importer(opset, folder, options.limits);
  importer.offenders() = std::move(opset_offenders);
  TALLY_ASSIGN_OR_RETURN(Graph graph, importer.Import(model.mutable_graph()));
  TALLY_RETURN_IF_ERROR(importer.offenders().ToStatus());
  if (files != nullptr) {
    for (const std::string& location : importer.external_files()) {
      files->push_back(folder.empty() ? location : absl::StrCat(folder, "/", location));
    }
  }

  graph.metadata["source"] = MetadataText(base_name);
  graph.metadata["opset"] = std::to_string(opset);
  std::string producer = model.producer_name();
  if (!model.producer_version().empty()) producer += " " + model.producer_version();
  if (!producer.empty()) graph.metadata["producer"] = MetadataText(producer);

  TALLY_RETURN_IF_ERROR(CanonicalizeGemm(&graph));
  TALLY_RETURN_IF_ERROR(RemoveDeadCode(&graph));  // weights that nothing uses
  TALLY_RETURN_IF_ERROR(ValidateGraph(graph));
  return graph;
}

}  // namespace

absl::StatusOr<Graph> ImportOnnx(const std::string& path, const ImportOptions& options,
                                 std::vector<std::string>* files) {
  try {
    absl::StatusOr<Graph> graph = Import(path, options, files);
    if (!graph.ok()) return AddWhere(graph.status(), {path, "", -1, ""});
    return graph;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "while importing", {path, "", -1, ""});
  }
}

}  // namespace tally
