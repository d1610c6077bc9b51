// The bit-sliced kernel for Advanced SIMD: a plane is four registers, a full adder three instructions.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

namespace tally {
namespace {

struct V {
  uint8x16_t v;
  static V Load(const uint8_t* p) { return {vld1q_u8(p)}; }
  static V Zero() { return {vdupq_n_u8(0)}; }
  void Store(uint8_t* p) const { vst1q_u8(p, v); }
  V operator^(V o) const { return {veorq_u8(v, o.v)}; }
  V operator~() const { return {vmvnq_u8(v)}; }
};

inline V FullAdd(V* sum, V a, V b) {
  const V either = a ^ b;
  // Where a and b differ, the majority is the third; where they agree, it is either of them.
  const V carry = {vbslq_u8(either.v, sum->v, a.v)};
  *sum = *sum ^ either;
  return carry;
}

inline V HalfAdd(V* sum, V a) {
  const V carry = {vandq_u8(sum->v, a.v)};
  *sum = *sum ^ a;
  return carry;
}

inline void SumWhereSet(const uint8_t* planes, const uint32_t* weights, size_t count, uint32_t* sums) {
  constexpr uint32_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint32x4_t low = vld1q_u32(kBits), high = vld1q_u32(kBits + 4);
  for (size_t i = 0; i < 64; i += 4) {
    uint32x4_t sum[8] = {};
    for (size_t p = 0; p < count; ++p) {
      const uint32x4_t weight = vdupq_n_u32(weights[p]);
      for (size_t j = 0; j < 4; ++j) {
        const uint32x4_t byte = vdupq_n_u32(planes[64 * p + i + j]);
        sum[2 * j] = vaddq_u32(sum[2 * j], vandq_u32(vtstq_u32(byte, low), weight));
        sum[2 * j + 1] = vaddq_u32(sum[2 * j + 1], vandq_u32(vtstq_u32(byte, high), weight));
      }
    }
    for (size_t j = 0; j < 8; ++j) vst1q_u32(sums + 8 * i + 4 * j, sum[j]);
  }
}

}  // namespace
}  // namespace tally

#include "backends/exponent/kernels/bitsliced/bitsliced_loops.h"

namespace tally {

extern const BitslicedKernel kBitslicedNeon;
const BitslicedKernel kBitslicedNeon = {Count};

}  // namespace tally
