// Depthwise convolution on look-up kernels: one input channel per convolution group.
#ifndef TALLY_BACKENDS_EXPONENT_LOOKUP_DEPTHWISE_H_
#define TALLY_BACKENDS_EXPONENT_LOOKUP_DEPTHWISE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "backends/exponent/exponent.h"
#include "runtime/dot/problem.h"

namespace tally {

// One input channel and few outputs per group, and sums that fit int32.
bool FitsDepthwise(const Problem& problem);

// REQUIRES: FitsDepthwise(problem). Error: kLimitArena when padding makes a plane absurdly large.
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupDepthwise(Problem problem, const NodeContext& context,
                                                                     const ExponentOptions& options);

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_LOOKUP_DEPTHWISE_H_
