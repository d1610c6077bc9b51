// The exponent backend: Conv, Gemm and MatMul on codes, and Gather from codes.
//
// It takes Conv and Gemm whose weight has codes and whose input has a codebook, MatMul whose inputs both have
// codebooks, and Gather from a table that has codes; any exponent bits on each side, signed or not, grids q7 and q14 in
// any mix, and the real grid. Integer grids run on look-up kernels (kernels/lookup) or bit-sliced ones
// (kernels/bitsliced), when asked for or found to be faster, the real grid on histograms (kernels/histogram). Results
// follow the exactness contract: the same bits on every instruction set and at any thread count.
//
// Immutable; safe to share between threads.
#ifndef TALLY_BACKENDS_EXPONENT_EXPONENT_H_
#define TALLY_BACKENDS_EXPONENT_EXPONENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/backend/backend.h"

namespace tally {

// Families of kernels on integer grids. All give the same bits.
enum class ExponentKernel : uint8_t {
  kAuto,       // "auto": look-up, or where a session measures the fastest that is plausible
  kLookup,     // "lookup"
  kBitsliced,  // "bitsliced"; refuses nodes that it cannot take
  kHistogram,  // "histogram"
};
// In the order of the enum.
TALLY_API std::vector<std::string> ExponentKernelNames();
// Error: kUsage, which lists the names.
TALLY_API absl::StatusOr<ExponentKernel> ParseExponentKernel(const std::string& name);

struct ExponentOptions {
  ExponentKernel kernel = ExponentKernel::kAuto;
  // Each thread gets at least so many products; a node with fewer than twice as many runs on one. Waking the others
  // takes some ten microseconds, several times per node, and so many products take about as long.
  double products_per_thread = 4e6;
  // How far ahead of what is multiplied a stream of weights is asked for, in bytes; 0 leaves it to the hardware, which
  // on Zen 4 reads as fast from memory, and a tenth faster from the cache.
  size_t stream_ahead = 0;
};

// "exponent".
TALLY_API std::shared_ptr<const Backend> MakeExponentBackend(const ExponentOptions& options = {});

// "histogram": the same nodes, every dot product by literal counting of exponent pairs. Slow; it defines what is
// correct.
TALLY_API std::shared_ptr<const Backend> MakeHistogramBackend();

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_EXPONENT_H_
