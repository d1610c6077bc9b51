// Builds a Graph from an onnx::GraphProto. The state of one import; NodeImport (node_import.h) is the view of it that
// the importer of one operator works with.
#ifndef TALLY_CONVERTER_ONNX_GRAPH_IMPORTER_H_
#define TALLY_CONVERTER_ONNX_GRAPH_IMPORTER_H_

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/onnx/constants.h"
#include "converter/onnx/offenders.h"
#include "converter/passes/graph_util.h"
#include "converter/passes/type_inference.h"
#include "format/graph.h"
#include "onnx/onnx_pb.h"

namespace tally {

class NodeImport;

class GraphImporter {
 public:
  // `opset` is the version of the ai.onnx operators; `folder` that of the model file, for external data.
  GraphImporter(int64_t opset, const std::string& folder, const Limits& limits)
      : opset_(opset), constants_(folder, limits) {}

  Offenders& offenders() { return offenders_; }
  const std::set<std::string>& external_files() const { return constants_.external_files(); }

  // Consumes the weights of `proto` as it goes, so that they are not in memory twice. Unsupported things end up in
  // offenders(). Errors: kBadOnnx and what ConstantReader reports.
  absl::StatusOr<Graph> Import(onnx::GraphProto* proto);

 private:
  friend class NodeImport;

  absl::Status CountUses(const onnx::GraphProto& proto);
  absl::Status AddInitializers(onnx::GraphProto* proto);
  absl::Status AddInputs(const onnx::GraphProto& proto);
  absl::Status AddNodes(onnx::GraphProto* proto);
  absl::Status AddNode(onnx::NodeProto* proto);
  // The branch that a constant condition takes; any other is unsupported.
  absl::Status AddIf(onnx::NodeProto* proto, NodeImport* node);
  absl::Status AddOutputs(const onnx::GraphProto& proto);
  absl::Status CheckWeightsAreFinite() const;
  // A new named value; kBadOnnx when the name exists.
  absl::StatusOr<int> Define(const std::string& name, Tensor tensor);
  // Reads a constant and defines it under `name`.
  absl::Status DefineConstant(const std::string& name, const onnx::TensorProto& proto, const std::string& what);
  absl::Status AddConstantNode(const onnx::NodeProto& proto);
  int64_t SymbolExtent(const std::string& name);
  size_t Uses(const std::string& name) const {
    const auto found = uses_.find(name);
    return found == uses_.end() ? 0 : found->second;
  }
  int AddTensor(Tensor tensor, bool known) {
    known_.push_back(known);
    return graph_.AddTensor(std::move(tensor));
  }

  const int64_t opset_;
  ConstantReader constants_;
  Offenders offenders_;
  Graph graph_;
  int64_t num_nodes_ = 0;  // in the file, branches included
  NameSet node_names_;
  std::unordered_set<std::string> given_names_;  // of nodes, as far as they are imported
  NameSet tensor_names_;
  std::unordered_map<std::string, int> values_;       // ONNX name -> tensor
  std::unordered_map<std::string, size_t> uses_;      // ONNX name -> readers, graph outputs included
  std::unordered_map<std::string, int64_t> symbols_;  // name -> extent (negative)
  std::map<std::pair<int, double>, int> transposed_;  // (matrix, factor) -> transposed copy
  std::map<std::pair<int, double>, int> scaled_;      // (tensor, factor) -> scaled copy
  std::vector<bool> known_;                           // per tensor: its value may be known before the run
  std::unordered_map<int, int> declared_;             // inputs and constants: ONNX's element type
  std::unordered_map<int, std::string> unread_;       // inputs of the model that are not supported: why
  // Types of what is imported so far, under two bindings of the symbols; made when the inputs are known.
  std::optional<TypeInference> types_;
  std::optional<TypeInference> other_types_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_GRAPH_IMPORTER_H_
