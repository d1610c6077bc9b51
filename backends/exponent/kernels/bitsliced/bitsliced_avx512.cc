// The bit-sliced kernel for AVX-512: a plane is one register, a full adder two instructions.
#include <stddef.h>
#include <stdint.h>

#include "runtime/core/x86_intrinsics.h"

namespace tally {
namespace {

struct V {
  __m512i v;
  static V Load(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
  static V Zero() { return {_mm512_setzero_si512()}; }
  void Store(uint8_t* p) const { _mm512_storeu_si512(p, v); }
  V operator^(V o) const { return {_mm512_xor_si512(v, o.v)}; }
  V operator~() const { return {_mm512_ternarylogic_epi64(v, v, v, 0x55)}; }
};

inline V FullAdd(V* sum, V a, V b) {
  const V carry = {_mm512_ternarylogic_epi64(sum->v, a.v, b.v, 0xE8)};
  sum->v = _mm512_ternarylogic_epi64(sum->v, a.v, b.v, 0x96);
  return carry;
}

inline V HalfAdd(V* sum, V a) {
  const V carry = {_mm512_and_si512(sum->v, a.v)};
  sum->v = _mm512_xor_si512(sum->v, a.v);
  return carry;
}

inline void SumWhereSet(const uint8_t* planes, const uint32_t* weights, size_t count, uint32_t* sums) {
  for (size_t i = 0; i < 16; ++i) {
    __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    for (size_t p = 0; p < count; ++p) {
      uint32_t bits;
      __builtin_memcpy(&bits, planes + 64 * p + 4 * i, sizeof(bits));
      const __m512i weight = _mm512_set1_epi32(static_cast<int32_t>(weights[p]));
      const __mmask32 mask = bits;
      low = _mm512_mask_add_epi32(low, static_cast<__mmask16>(mask), low, weight);
      high = _mm512_mask_add_epi32(high, static_cast<__mmask16>(mask >> 16), high, weight);
    }
    _mm512_store_si512(sums + 32 * i, low);
    _mm512_store_si512(sums + 32 * i + 16, high);
  }
}

}  // namespace
}  // namespace tally

#include "backends/exponent/kernels/bitsliced/bitsliced_loops.h"

namespace tally {

extern const BitslicedKernel kBitslicedAvx512;
const BitslicedKernel kBitslicedAvx512 = {Count};

}  // namespace tally
