// Row kernels for AVX2. A q7 table is eight shuffles of 16 entries, chosen among by the upper bits.
#include <immintrin.h>

#include "runtime/ops/row_loops.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 8")

// Look-up of values below 128.
struct Bytes128 {
  __m256i tables[8];
  explicit Bytes128(const uint8_t* table) {
    UNROLL for (int i = 0; i < 8; ++i) {
      tables[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
    }
  }
  __m256i operator()(__m256i index) const {
    __m256i v[8];
    UNROLL for (int i = 0; i < 8; ++i) v[i] = _mm256_shuffle_epi8(tables[i], index);
    // The top bit of each byte chooses: index bit 4, 5, 6.
    const __m256i bit6 = _mm256_add_epi8(index, index), bit5 = _mm256_add_epi8(bit6, bit6);
    const __m256i bit4 = _mm256_add_epi8(bit5, bit5);
    UNROLL for (int i = 0; i < 4; ++i) v[i] = _mm256_blendv_epi8(v[2 * i], v[2 * i + 1], bit4);
    UNROLL for (int i = 0; i < 2; ++i) v[i] = _mm256_blendv_epi8(v[2 * i], v[2 * i + 1], bit5);
    return _mm256_blendv_epi8(v[0], v[1], bit6);
  }
};

void EncodeQ7(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  const Bytes128 look_up(loop.table);
  const __m256 inverse_scale = _mm256_set1_ps(loop.inverse_scale), limit = _mm256_set1_ps(loop.limit);
  const __m256 zero = _mm256_setzero_ps();
  const __m256 magnitude_bits = _mm256_castsi256_ps(_mm256_set1_epi32(loop.sign_bit != 0 ? 0x7FFFFFFF : -1));
  const __m256i sign_bit = _mm256_set1_epi8(static_cast<char>(loop.sign_bit));
  // Packing takes 128-bit lanes in turns; this puts the quarters back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  uint32_t nan = 0, negative = 0;
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m256i magnitudes[4], negatives[4];
    UNROLL for (int j = 0; j < 4; ++j) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * j);
      nan += static_cast<uint32_t>(
          __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)))));
      const __m256 below = _mm256_cmp_ps(v, zero, _CMP_LT_OQ);
      negative += static_cast<uint32_t>(__builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(below))));
      negatives[j] = _mm256_castps_si256(below);
      // max gives its second operand for NaN.
      const __m256 magnitude = _mm256_max_ps(_mm256_and_ps(v, magnitude_bits), zero);
      magnitudes[j] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(magnitude, inverse_scale), limit));
    }
    const auto pack = [&](const __m256i* q) {
      return _mm256_permutevar8x32_epi32(
          _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])), order);
    };
    const __m256i code = look_up(pack(magnitudes));
    const __m256i is_zero = _mm256_cmpeq_epi8(code, _mm256_setzero_si256());
    const __m256i sign = _mm256_andnot_si256(is_zero, _mm256_and_si256(pack(negatives), sign_bit));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), _mm256_or_si256(code, sign));
  }
  counts->nan += nan;
  counts->negative += negative;
  EncodeBlocks(loop, x + i, count - i, codes + i, counts);
}

void Encode(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  loop.limit == 127.0f ? EncodeQ7(loop, x, count, codes, counts) : EncodeBlocks(loop, x, count, codes, counts);
}

}  // namespace

extern const RowKernels kRowAvx2;
const RowKernels kRowAvx2 = {Finish, Encode, EncodeUniformRow, Max};

}  // namespace tally
