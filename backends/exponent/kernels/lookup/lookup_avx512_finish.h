// What becomes of sums in AVX-512 registers: LookupFinish of lookup.h. For lookup_avx512.cc, in an unnamed namespace.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_AVX512_FINISH_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_AVX512_FINISH_H_

#include "backends/exponent/kernels/lookup/lookup.h"
#include "runtime/core/x86_intrinsics.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 32")

// GCC 12 would otherwise copy sums between registers in every round, or move them to memory.
template <int kRows, int kVectors>
__attribute__((always_inline)) inline void KeepInRegisters(__m512i (&acc)[kRows][kVectors]) {
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < kVectors; ++v) asm volatile("" : "+v"(acc[r][v]));
  }
}

// Whole rows of sums with nothing to add but the bias; the results go `to` elements beyond the finish's.
template <bool kByRow, bool kHasLow, bool kHasHigh, int kRows, int kVectors>
__attribute__((always_inline)) inline void FinishPlain(__m512i (&acc)[kRows][kVectors], const LookupFinish& f,
                                                       size_t to) {
  const __m512 low = _mm512_set1_ps(f.low), high = _mm512_set1_ps(f.high);
  float* out = f.out[0] + to;
  UNROLL for (int r = 0; r < kRows; ++r, out += f.out_stride) {
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const __m512 scale = kByRow ? _mm512_set1_ps(f.scale[r]) : _mm512_loadu_ps(f.scale + 16 * v);
      const __m512 bias = kByRow ? _mm512_set1_ps(f.bias[r]) : _mm512_loadu_ps(f.bias + 16 * v);
      __m512 t = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][v]), scale), bias);
      // The second operand is the result where one is NaN, so infinite bounds change nothing at all.
      if constexpr (kHasLow) t = _mm512_max_ps(low, t);
      if constexpr (kHasHigh) t = _mm512_min_ps(high, t);
      _mm512_storeu_ps(out + 16 * v, t);
    }
  }
}

// Puts the sums of a tile where they belong.
template <bool kByRow, int kRows, int kVectors>
__attribute__((always_inline)) inline void Finish(__m512i (&acc)[kRows][kVectors], const LookupFinish& f,
                                                  size_t plain_to = 0) {
  KeepInRegisters(acc);
  if (f.is_plain && f.lanes[0] == (kVectors == 2 ? 0xFFFFFFFFu : 0xFFFFu)) {
    const bool has_low = f.low > -__builtin_inff(), has_high = f.high < __builtin_inff();
    if (has_high) {
      FinishPlain<kByRow, true, true>(acc, f, plain_to);
    } else if (has_low) {
      FinishPlain<kByRow, true, false>(acc, f, plain_to);
    } else {
      FinishPlain<kByRow, false, false>(acc, f, plain_to);
    }
    return;
  }
  const __m512 low = _mm512_set1_ps(f.low), high = _mm512_set1_ps(f.high);
  __mmask16 lanes[2][kVectors];
  UNROLL for (int v = 0; v < kVectors; ++v) {
    lanes[0][v] = static_cast<__mmask16>(f.lanes[0] >> (16 * v));
    lanes[1][v] = static_cast<__mmask16>(f.lanes[1] >> (16 * v));
  }
  const bool two_runs = f.lanes[1] != 0;
  float *out = f.out[0], *out1 = f.out[1];
  const float *residual = f.residual[0], *residual1 = f.residual[1];
  UNROLL for (int r = 0; r < kRows; ++r) {
    __m512 t[kVectors], added[kVectors];
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const __mmask16 here = lanes[0][v];
      if constexpr (kByRow) {
        const __m512i sum = _mm512_add_epi32(acc[r][v], _mm512_set1_epi32(f.correction[r]));
        t[v] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(f.scale[r]));
        t[v] = _mm512_add_ps(t[v], _mm512_set1_ps(f.bias[r]));
      } else {
        const __m512i sum = _mm512_add_epi32(acc[r][v], _mm512_maskz_loadu_epi32(here, f.correction + 16 * v));
        t[v] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_maskz_loadu_ps(here, f.scale + 16 * v));
        t[v] = _mm512_add_ps(t[v], _mm512_maskz_loadu_ps(here, f.bias + 16 * v));
      }
      added[v] = _mm512_maskz_loadu_ps(here, residual + 16 * v);
    }
    if (two_runs) {
      UNROLL for (int v = 0; v < kVectors; ++v) {
        added[v] = _mm512_mask_loadu_ps(added[v], lanes[1][v], residual1 + 16 * v);
      }
    }
    UNROLL for (int v = 0; v < kVectors; ++v) {
      // The second operand is the result where one is NaN.
      t[v] = _mm512_min_ps(high, _mm512_max_ps(low, _mm512_add_ps(t[v], added[v])));
      _mm512_mask_storeu_ps(out + 16 * v, lanes[0][v], t[v]);
    }
    if (two_runs) {
      UNROLL for (int v = 0; v < kVectors; ++v) _mm512_mask_storeu_ps(out1 + 16 * v, lanes[1][v], t[v]);
    }
    out += f.out_stride;
    out1 += f.out_stride;
    residual += f.residual_stride;
    residual1 += f.residual_stride;
  }
}

}  // namespace
}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_AVX512_FINISH_H_
