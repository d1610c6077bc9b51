// The portable bit-sliced kernel: a plane is eight words.
#include <stddef.h>
#include <stdint.h>

namespace tally {
namespace {

struct V {
  uint64_t v;
  static V Load(const uint8_t* p) {
    V word;
    __builtin_memcpy(&word.v, p, sizeof(word.v));
    return word;
  }
  static V Zero() { return {0}; }
  void Store(uint8_t* p) const { __builtin_memcpy(p, &v, sizeof(v)); }
  V operator^(V o) const { return {v ^ o.v}; }
  V operator~() const { return {~v}; }
};

inline V FullAdd(V* sum, V a, V b) {
  const V carry = {(a.v & b.v) | ((a.v ^ b.v) & sum->v)};
  sum->v ^= a.v ^ b.v;
  return carry;
}

inline V HalfAdd(V* sum, V a) {
  const V carry = {sum->v & a.v};
  sum->v ^= a.v;
  return carry;
}

inline void SumWhereSet(const uint8_t* planes, const uint32_t* weights, size_t count, uint32_t* sums) {
  for (size_t o = 0; o < 512; ++o) sums[o] = 0;
  for (size_t p = 0; p < count; ++p) {
    for (size_t o = 0; o < 512; ++o) sums[o] += (0u - ((planes[64 * p + o / 8] >> (o % 8)) & 1u)) & weights[p];
  }
}

}  // namespace
}  // namespace tally

#include "backends/exponent/kernels/bitsliced/bitsliced_loops.h"

namespace tally {

extern const BitslicedKernel kBitslicedScalar;
const BitslicedKernel kBitslicedScalar = {Count};

}  // namespace tally
