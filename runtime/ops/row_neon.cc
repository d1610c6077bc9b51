// Row kernels for Advanced SIMD. A q7 table is two look-ups of 64 entries; the compiler vectorises the other loops.
#include <arm_neon.h>

#include "runtime/ops/row_loops.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 8")

// The low byte of each of 16 words.
inline uint8x16_t Pack(const uint32x4_t* words) {
  const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(words[0]), vreinterpretq_u16_u32(words[1]));
  const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(words[2]), vreinterpretq_u16_u32(words[3]));
  return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

void EncodeQ7(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  const uint8x16x4_t table_low = vld1q_u8_x4(loop.table), table_high = vld1q_u8_x4(loop.table + 64);
  const float32x4_t limit = vdupq_n_f32(loop.limit);
  const uint32x4_t magnitude_bits = vdupq_n_u32(loop.sign_bit != 0 ? 0x7FFFFFFFu : ~0u);
  const uint8x16_t sign_bit = vdupq_n_u8(loop.sign_bit);
  uint32x4_t numbers = vdupq_n_u32(0), negative = numbers;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    uint32x4_t magnitudes[4], negatives[4];
    UNROLL for (int j = 0; j < 4; ++j) {
      const float32x4_t v = vld1q_f32(x + i + 4 * j);
      // Comparisons give all ones, which is -1.
      numbers = vsubq_u32(numbers, vceqq_f32(v, v));
      negatives[j] = vcltzq_f32(v);
      negative = vsubq_u32(negative, negatives[j]);
      const uint32x4_t magnitude = vandq_u32(vreinterpretq_u32_f32(v), magnitude_bits);
      // NaN is above nothing, so it becomes 0.
      const uint32x4_t above = vcgtzq_f32(vreinterpretq_f32_u32(magnitude));
      const float32x4_t product = vmulq_n_f32(vreinterpretq_f32_u32(vandq_u32(magnitude, above)), loop.inverse_scale);
      magnitudes[j] = vcvtnq_u32_f32(vminnmq_f32(product, limit));
    }
    const uint8x16_t index = Pack(magnitudes);
    const uint8x16_t code = vqtbx4q_u8(vqtbl4q_u8(table_low, index), table_high, vsubq_u8(index, vdupq_n_u8(64)));
    const uint8x16_t sign = vandq_u8(vandq_u8(Pack(negatives), sign_bit), vtstq_u8(code, code));
    vst1q_u8(codes + i, vorrq_u8(code, sign));
  }
  counts->nan += static_cast<uint32_t>(i) - vaddvq_u32(numbers);
  counts->negative += vaddvq_u32(negative);
  EncodeBlocks(loop, x + i, count - i, codes + i, counts);
}

void Encode(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  loop.limit == 127.0f ? EncodeQ7(loop, x, count, codes, counts) : EncodeBlocks(loop, x, count, codes, counts);
}

}  // namespace

extern const RowKernels kRowNeon;
const RowKernels kRowNeon = {Finish, Encode, EncodeUniformRow, Max};

}  // namespace tally
