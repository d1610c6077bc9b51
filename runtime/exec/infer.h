// Types of every tensor of a graph for concrete values of its symbols, and the values that follow from shapes alone.
#ifndef TALLY_RUNTIME_EXEC_INFER_H_
#define TALLY_RUNTIME_EXEC_INFER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "format/limits.h"
#include "tally/types.h"

namespace tally {

struct InferredGraph {
  std::vector<TensorType> types;  // per tensor
  // Per tensor: the value of an activation that is known before the run (empty blob and false otherwise). Constants are
  // not repeated here.
  std::vector<Blob> values;
  std::vector<bool> known;
  std::vector<bool> folded;  // per node: all outputs are known, nothing is left to run
};

// Checks every node against its operator and every tensor against the limits. `symbol_values` has one extent per symbol
// of the graph. REQUIRES: ValidateGraph(graph) is OK. Errors: kUnknownOp (naming all of them), those of InferNode,
// kLimitTensor; each names the node.
absl::StatusOr<InferredGraph> InferGraph(const Graph& graph, const std::vector<int64_t>& symbol_values,
                                         const Limits& limits = {});

// One extent per symbol: that of the calibration data, where the converter recorded it ("extent.N" in the metadata), or
// 1, as of every batch.
std::vector<int64_t> RecordedExtents(const Graph& graph);

// The types alone.
absl::StatusOr<std::vector<TensorType>> InferTensorTypes(const Graph& graph, const std::vector<int64_t>& symbol_values);

}  // namespace tally

#endif  // TALLY_RUNTIME_EXEC_INFER_H_
