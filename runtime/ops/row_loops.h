// The loops of row_kernels.h as the compiler vectorises them. Included once by each file that is compiled for one
// instruction set; everything is in an unnamed namespace.
#ifndef TALLY_RUNTIME_OPS_ROW_LOOPS_H_
#define TALLY_RUNTIME_OPS_ROW_LOOPS_H_

#include "runtime/ops/row_kernels.h"

namespace tally {
namespace {

// 1.5 * 2^23, see kRoundMagic of runtime/ops/math.h.
constexpr float kRowMagic = 12582912.0f;
constexpr int32_t kRowMagicBits = 0x4B400000;

inline int32_t RowRound(float x) {
  const float shifted = x + kRowMagic;
  int32_t bits;
  __builtin_memcpy(&bits, &shifted, sizeof(bits));
  return bits - kRowMagicBits;
}

template <bool kStep, bool kBias, bool kResidual>
void FinishOf(const FinishLoop& loop, const int32_t* __restrict acc, size_t count, float* out) {
  const float* __restrict scale = loop.scale;
  const float* __restrict bias = loop.bias;
  const float* residual = loop.residual;
  const float low = loop.low, high = loop.high;
  const float scale0 = scale[0], bias0 = kBias ? bias[0] : 0.0f;
  // The residual may be the output: element i is read before element i is written.
#pragma GCC ivdep
  for (size_t i = 0; i < count; ++i) {
    float t = static_cast<float>(acc[i]) * (kStep ? scale[i] : scale0);
    if (kBias) t = t + (kStep ? bias[i] : bias0);
    if (kResidual) t = t + residual[i];
    const float at_least = t < low ? low : t;
    out[i] = at_least > high ? high : at_least;
  }
}

template <bool kStep>
void FinishSteps(const FinishLoop& loop, const int32_t* acc, size_t count, float* out) {
  if (loop.bias != nullptr) {
    loop.residual != nullptr ? FinishOf<kStep, true, true>(loop, acc, count, out)
                             : FinishOf<kStep, true, false>(loop, acc, count, out);
  } else {
    loop.residual != nullptr ? FinishOf<kStep, false, true>(loop, acc, count, out)
                             : FinishOf<kStep, false, false>(loop, acc, count, out);
  }
}

void Finish(const FinishLoop& loop, const int32_t* acc, size_t count, float* out) {
  if (count == 0) return;
  FinishLoop row = loop;
  for (size_t r = 0; r < loop.rows; ++r, acc += loop.acc_stride, out += loop.out_stride) {
    loop.channel_step == 0 ? FinishSteps<false>(row, acc, count, out) : FinishSteps<true>(row, acc, count, out);
    row.scale += loop.channel_stride;
    if (row.bias != nullptr) row.bias += loop.channel_stride;
    if (row.residual != nullptr) row.residual += loop.out_stride;
  }
}

// Integer magnitudes of a block are computed in vectors, before the scalar look-ups.
constexpr size_t kRowBlock = 512;

template <bool kSigned>
void EncodeBlock(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  int32_t magnitudes[kRowBlock];
  uint32_t nans = 0, negatives = 0;
  const float inverse_scale = loop.inverse_scale, limit = loop.limit;
  for (size_t i = 0; i < count; ++i) {
    const float absolute = kSigned ? __builtin_fabsf(x[i]) : x[i];
    const float magnitude = absolute > 0.0f ? absolute : 0.0f;
    // The limit is an integer, so taking the minimum before rounding gives the same.
    const float product = magnitude * inverse_scale;
    magnitudes[i] = RowRound(product < limit ? product : limit);
    nans += x[i] != x[i] ? 1u : 0u;
    negatives += x[i] < 0.0f ? 1u : 0u;
  }
  counts->nan += nans;
  counts->negative += negatives;
  const uint8_t* table = loop.table;
  if (!kSigned) {
    for (size_t i = 0; i < count; ++i) codes[i] = table[magnitudes[i]];
    return;
  }
  uint32_t signs[kRowBlock];
  for (size_t i = 0; i < count; ++i) signs[i] = x[i] < 0.0f ? loop.sign_bit : 0u;
  for (size_t i = 0; i < count; ++i) {
    // All ones or zero: codes of real data are as good as random, so a branch on one would often be mispredicted.
    const uint32_t code = table[magnitudes[i]];
    codes[i] = static_cast<uint8_t>(code | (signs[i] & (0u - static_cast<uint32_t>(code != 0))));
  }
}

[[maybe_unused]] void EncodeBlocks(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes,
                                   EncodeCounts* counts) {
  for (size_t i = 0; i < count; i += kRowBlock) {
    const size_t n = count - i < kRowBlock ? count - i : kRowBlock;
    loop.sign_bit != 0 ? EncodeBlock<true>(loop, x + i, n, codes + i, counts)
                       : EncodeBlock<false>(loop, x + i, n, codes + i, counts);
  }
}

void EncodeUniformRow(const UniformLoop& given, const float* __restrict x, size_t count, uint8_t* __restrict q) {
  // A copy, because the bytes written could be the parameters as far as the compiler knows.
  const UniformLoop loop = given;
  for (size_t i = 0; i < count; ++i) {
    // Clamping before the zero point is added keeps the rounding within its range.
    const float product = x[i] * loop.inverse_scale;
    const float number = product == product ? product : 0.0f;
    const float at_least = number < loop.low ? loop.low : number;
    const float v = at_least > loop.high ? loop.high : at_least;
    q[i] = static_cast<uint8_t>(RowRound(v) + loop.zero_point);
  }
}

// The compiler's portable vectors: those of 4 floats, and the widest of the instruction set.
using Floats4 [[gnu::vector_size(16)]] = float;
inline Floats4 EvenFloats(Floats4 a, Floats4 b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
#if defined(__AVX512F__)
using Floats [[gnu::vector_size(64)]] = float;
inline Floats EvenFloats(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
#elif defined(__AVX__)
using Floats [[gnu::vector_size(32)]] = float;
inline Floats EvenFloats(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
#else
using Floats = Floats4;
#endif

template <class V>
inline V LoadFloats(const float* x) {
  V v;
  __builtin_memcpy(&v, x, sizeof(v));
  return v;
}
template <class V>
inline V Larger(V m, V x) {
  return (x > m) | (x != x) ? x : m;
}

template <class V, size_t kStride>
inline V LoadEvery(const float* x) {
  const V v = LoadFloats<V>(x);
  if constexpr (kStride == 1) return v;
  return EvenFloats(v, LoadFloats<V>(x + sizeof(V) / sizeof(float)));
}

// As many outputs as a vector has.
template <class V, size_t kStride>
inline void MaxVector(const MaxLoop& loop, const float* x, float* out) {
  V m = LoadEvery<V, kStride>(x);
  for (size_t t = 1; t < loop.taps; ++t) m = Larger(m, LoadEvery<V, kStride>(x + t * loop.step));
  __builtin_memcpy(out, &m, sizeof(m));
}

template <size_t kStride>
void MaxOf(const MaxLoop& loop, const float* x, size_t count, float* out) {
  constexpr size_t kWide = sizeof(Floats) / sizeof(float);
  size_t i = 0;
  for (; i + kWide <= count; i += kWide) MaxVector<Floats, kStride>(loop, x + i * kStride, out + i);
  if (count < 4) {
    for (; i < count; ++i) {
      float m = x[i * kStride];
      for (size_t t = 1; t < loop.taps; ++t) m = Larger(m, x[i * kStride + t * loop.step]);
      out[i] = m;
    }
  }
  // The last vectors overlap.
  for (; i < count; i += 4) {
    if (i + 4 > count) i = count - 4;
    MaxVector<Floats4, kStride>(loop, x + i * kStride, out + i);
  }
}

void Max(const MaxLoop& loop, const float* x, size_t count, float* out) {
  loop.stride == 1 ? MaxOf<1>(loop, x, count, out) : MaxOf<2>(loop, x, count, out);
}

}  // namespace
}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ROW_LOOPS_H_
