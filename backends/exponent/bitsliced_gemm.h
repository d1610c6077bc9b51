// Gemm on bit-sliced kernels.
#ifndef TALLY_BACKENDS_EXPONENT_BITSLICED_GEMM_H_
#define TALLY_BACKENDS_EXPONENT_BITSLICED_GEMM_H_

#include <memory>

#include "absl/status/statusor.h"
#include "backends/exponent/exponent.h"
#include "runtime/dot/problem.h"

namespace tally {

// kUnsupportedNode with the reason, or OK: a Gemm with signed q7 weights of 2 to 4 exponent bits.
absl::Status SupportsBitsliced(const Problem& problem);

// REQUIRES: SupportsBitsliced(problem) is OK and the output is not empty.
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileBitslicedGemm(Problem problem, const NodeContext& context,
                                                                   const ExponentOptions& options);

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_BITSLICED_GEMM_H_
