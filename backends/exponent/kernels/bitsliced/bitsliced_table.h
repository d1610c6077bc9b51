// The bit-sliced kernels of this build and the planes that they read.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_TABLE_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_TABLE_H_

#include <vector>

#include "backends/exponent/kernels/bitsliced/bitsliced.h"
#include "format/codebook.h"
#include "runtime/core/isa_table.h"

namespace tally {

const IsaTable<BitslicedKernel>& BitslicedKernels();

// G: entry u is the sum over e of M[e] (-1)^parity(e & u), M[0] = 0.
std::vector<int32_t> WalshTransform(const Codebook& book);

// Sets the bits of one code, of output `o` < 512, in a row of n + 1 planes that is zero there.
inline void SetPlanes(unsigned code, int n, size_t o, uint8_t* row) {
  const unsigned sign_first = (code >> n) | (code << 1);
  for (int plane = 0; plane <= n; ++plane) {
    const unsigned bit = (sign_first >> plane) & 1u;
    row[static_cast<size_t>(plane) * kBitslicedPlane + o / 8] |= static_cast<uint8_t>(bit << (o % 8));
  }
}

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_TABLE_H_
