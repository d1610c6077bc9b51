// Nodes that count exponent pairs: the oracle, and all nodes with a real grid.
#ifndef TALLY_BACKENDS_EXPONENT_HISTOGRAM_NODE_H_
#define TALLY_BACKENDS_EXPONENT_HISTOGRAM_NODE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "runtime/dot/problem.h"

namespace tally {

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileHistogram(Problem problem, const NodeContext& context);

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_HISTOGRAM_NODE_H_
