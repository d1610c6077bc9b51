// The bit-sliced kernel for AVX2: a plane is two registers, a full adder five instructions.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace tally {
namespace {

struct V {
  __m256i v;
  static V Load(const uint8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  static V Zero() { return {_mm256_setzero_si256()}; }
  void Store(uint8_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  V operator^(V o) const { return {_mm256_xor_si256(v, o.v)}; }
  V operator~() const { return {_mm256_xor_si256(v, _mm256_set1_epi32(-1))}; }
};

inline V FullAdd(V* sum, V a, V b) {
  const V either = a ^ b;
  const V carry = {_mm256_or_si256(_mm256_and_si256(a.v, b.v), _mm256_and_si256(either.v, sum->v))};
  *sum = *sum ^ either;
  return carry;
}

inline V HalfAdd(V* sum, V a) {
  const V carry = {_mm256_and_si256(sum->v, a.v)};
  *sum = *sum ^ a;
  return carry;
}

inline void SumWhereSet(const uint8_t* planes, const uint32_t* weights, size_t count, uint32_t* sums) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  for (size_t i = 0; i < 64; ++i) {
    __m256i sum = _mm256_setzero_si256();
    for (size_t p = 0; p < count; ++p) {
      const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(planes[64 * p + i]), bit), bit);
      sum = _mm256_add_epi32(sum, _mm256_and_si256(set, _mm256_set1_epi32(static_cast<int32_t>(weights[p]))));
    }
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8 * i), sum);
  }
}

}  // namespace
}  // namespace tally

#include "backends/exponent/kernels/bitsliced/bitsliced_loops.h"

namespace tally {

extern const BitslicedKernel kBitslicedAvx2;
const BitslicedKernel kBitslicedAvx2 = {Count};

}  // namespace tally
