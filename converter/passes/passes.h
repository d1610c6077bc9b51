// Graph rewrites between import and search. Each keeps the float function (up to float rounding) and names of the
// model's outputs; nodes stay in topological order.
#ifndef TALLY_CONVERTER_PASSES_PASSES_H_
#define TALLY_CONVERTER_PASSES_PASSES_H_

#include "absl/status/status.h"
#include "format/graph.h"

namespace tally {

// Nodes whose inputs are all plain constants are computed and replaced by their value (1 GiB in all; nodes beyond that,
// or that would take very long, stay nodes).
absl::Status FoldConstants(Graph* graph);
// Identity and Dropout disappear.
absl::Status RemoveIdentities(Graph* graph);
// BatchNormalization after Conv or Gemm folds into weight and bias (float64); any other becomes Mul and Add with
// per-channel constants (where the rank is unknown it stays). Errors: kNonFiniteWeight.
absl::Status FoldBatchNormalization(Graph* graph);
// MatMul whose right operand is a plain float32 matrix (or one behind leading extents of 1 that do not change the
// result's rank) becomes Gemm with weight [N, K].
absl::Status CanonicalizeGemm(Graph* graph);
// The forms of HardSigmoid and HardSwish that exporters spell out, x * Clip(x + 3, 0, 6) / 6 and relatives, become one
// node.
absl::Status FuseHardActivations(Graph* graph);
// LayerNormalization and Gelu that exporters spell out become one node.
absl::Status FusePatterns(Graph* graph);
// Mul or Div by a per-output constant after Conv or Gemm goes into weight and bias (float64).
absl::Status FuseScale(Graph* graph);
// Add or Sub of a per-output constant after Conv or Gemm becomes its bias.
absl::Status FuseBias(Graph* graph);
// Conv or Gemm whose only consumer is Add with a tensor of the same shape takes it as residual (input 3); then a
// following activation function as attribute "activation".
absl::Status FuseResidualAndActivation(Graph* graph);
// Nodes and tensors that no output needs go; tensor indices are compacted.
absl::Status RemoveDeadCode(Graph* graph);

// All of the above in the right order.
absl::Status RunPasses(Graph* graph);

}  // namespace tally

#endif  // TALLY_CONVERTER_PASSES_PASSES_H_
