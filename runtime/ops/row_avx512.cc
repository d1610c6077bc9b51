// Row kernels for AVX-512. A q7 table is two registers, so encoding needs no memory look-up.
#include "runtime/core/x86_intrinsics.h"
#include "runtime/ops/row_loops.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 4")

// 16 floats at a time, 64 codes per look-up.
void EncodeQ7(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  const __m512i low = _mm512_loadu_si512(loop.table), high = _mm512_loadu_si512(loop.table + 64);
  const __m512 inverse_scale = _mm512_set1_ps(loop.inverse_scale), limit = _mm512_set1_ps(loop.limit);
  const __m512 zero = _mm512_setzero_ps();
  const __m512i sign_bit = _mm512_set1_epi8(static_cast<char>(loop.sign_bit));
  const bool is_signed = loop.sign_bit != 0;
  uint32_t nan = 0, negative = 0;
  for (size_t i = 0; i < count; i += 64) {
    const size_t left = count - i;
    __m512i magnitudes = _mm512_setzero_si512();
    __mmask64 negatives = 0;
    UNROLL for (size_t j = 0; j < 4; ++j) {
      const size_t begin = 16 * j;
      const __mmask16 here = left >= begin + 16 ? 0xFFFF
                             : left <= begin    ? 0
                                                : static_cast<__mmask16>((1u << (left - begin)) - 1);
      const __m512 v = _mm512_maskz_loadu_ps(here, x + i + begin);
      nan += static_cast<uint32_t>(__builtin_popcount(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q)));
      negatives |= static_cast<__mmask64>(_mm512_cmp_ps_mask(v, zero, _CMP_LT_OQ)) << begin;
      // max gives its second operand for NaN.
      const __m512 magnitude = _mm512_max_ps(is_signed ? _mm512_abs_ps(v) : v, zero);
      const __m512 product = _mm512_min_ps(_mm512_mul_ps(magnitude, inverse_scale), limit);
      const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(product));
      magnitudes =
          _mm512_mask_blend_epi64(static_cast<__mmask8>(3u << (2 * j)), magnitudes, _mm512_broadcast_i32x4(bytes));
    }
    negative += static_cast<uint32_t>(__builtin_popcountll(negatives));
    __m512i code = _mm512_permutex2var_epi8(low, magnitudes, high);
    code = _mm512_or_si512(code, _mm512_maskz_mov_epi8(negatives & _mm512_test_epi8_mask(code, code), sign_bit));
    if (left >= 64) {
      _mm512_storeu_si512(codes + i, code);
    } else {
      _mm512_mask_storeu_epi8(codes + i, (__mmask64{1} << left) - 1, code);
    }
  }
  counts->nan += nan;
  counts->negative += negative;
}

void Encode(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  loop.limit == 127.0f ? EncodeQ7(loop, x, count, codes, counts) : EncodeBlocks(loop, x, count, codes, counts);
}

}  // namespace

extern const RowKernels kRowAvx512;
const RowKernels kRowAvx512 = {Finish, Encode, EncodeUniformRow, Max};

}  // namespace tally
