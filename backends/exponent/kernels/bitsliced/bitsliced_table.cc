#include "backends/exponent/kernels/bitsliced/bitsliced_table.h"

namespace tally {

#define TALLY_BITSLICED_KERNEL(object, isa) extern const BitslicedKernel object;
#include "backends/exponent/kernels/bitsliced/kernels.inc"
#undef TALLY_BITSLICED_KERNEL

const IsaTable<BitslicedKernel>& BitslicedKernels() {
  static const IsaTable<BitslicedKernel> kernels = {
#define TALLY_BITSLICED_KERNEL(object, isa) {&object, isa},
#include "backends/exponent/kernels/bitsliced/kernels.inc"
#undef TALLY_BITSLICED_KERNEL
  };
  return kernels;
}

std::vector<int32_t> WalshTransform(const Codebook& book) {
  std::vector<int32_t> g(size_t{1} << book.exponent_bits, 0);
  for (size_t u = 0; u < g.size(); ++u) {
    for (size_t e = 1; e < g.size(); ++e) {
      const bool odd = __builtin_parityll(e & u);
      g[u] += odd ? -book.mantissas[e - 1] : book.mantissas[e - 1];
    }
  }
  return g;
}

}  // namespace tally
