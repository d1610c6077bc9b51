// Types of every tensor of a graph for concrete values of its symbols, and the values that follow from shapes alone.
//
// Without the values of shape inputs (runtime/ops/shape_inputs.h) types behind them stay unknown.
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
  // Per tensor: its type needs values of shape inputs that were not given. Nowhere when they were.
  std::vector<bool> untyped;
  // Per tensor: the value of an activation that is known before the run (empty blob and false otherwise). Constants are
  // not repeated here.
  std::vector<Blob> values;
  std::vector<bool> known;
  std::vector<bool> folded;        // per node: all outputs are known, nothing is left to run
  std::vector<bool> shape_inputs;  // per input of the model
  bool complete = true;            // there are no shape inputs, or their values were given: every type is known
};

// Checks every node against its operator and every tensor against the limits. `symbol_values` has one extent per symbol
// of the graph; `shape_values` one value per input of the model (looked at where it is a shape input, and then of its
// type), or none at all. REQUIRES: ValidateGraph(graph) is OK. Errors: kUnknownOp (naming all of them), those of
// InferNode, kLimitTensor; each names the node.
absl::StatusOr<InferredGraph> InferGraph(const Graph& graph, const std::vector<int64_t>& symbol_values,
                                         const Limits& limits = {}, const std::vector<Blob>& shape_values = {});

// One extent per symbol: that of the calibration data, where the converter recorded it ("extent.N" in the metadata), or
// 1, as of every batch.
std::vector<int64_t> RecordedExtents(const Graph& graph);

// The types alone, all of them. Error, beside those of InferGraph: kShapeInput when there are shape inputs.
absl::StatusOr<std::vector<TensorType>> InferTensorTypes(const Graph& graph, const std::vector<int64_t>& symbol_values);

}  // namespace tally

#endif  // TALLY_RUNTIME_EXEC_INFER_H_
