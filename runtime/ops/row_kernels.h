// The loops over contiguous floats before and after integer dot products: encoding and epilogue. Compiled for several
// instruction sets; every one gives the same bits, because each element goes through the same float32 operations.
//
// This header is included by files compiled for one instruction set, so it must stay free of anything that could emit
// code: no std or absl.
#ifndef TALLY_RUNTIME_OPS_ROW_KERNELS_H_
#define TALLY_RUNTIME_OPS_ROW_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

namespace tally {

// t = float32(acc) * scale; t += bias; t += residual; t is clamped: t < low ? low : t, then t > high ? high : t, so
// that NaN passes. Each step is rounded.
struct FinishLoop {
  const float* scale = nullptr;     // required
  const float* bias = nullptr;      // null: none
  size_t channel_step = 1;          // of scale and bias: 1, or 0 where one value serves all
  const float* residual = nullptr;  // null: none; may be the output itself
  float low = -__builtin_inff(), high = __builtin_inff();
  // A block of rows, each so many elements after the one before it.
  size_t rows = 1;
  size_t acc_stride = 0;
  size_t out_stride = 0;      // of out and residual
  size_t channel_stride = 0;  // of scale and bias
};

// Codes of an integer grid: code = table[min(limit, rint(|x| * inverse_scale))], with the sign bit where x < 0 and the
// code is not 0; in a non-negative tensor (sign_bit 0) x < 0 counts as 0. NaN counts as 0.
struct EncodeLoop {
  const uint8_t* table = nullptr;  // limit + 1 entries
  float limit = 127;               // 127 (then the table has 128 entries) or 16383
  float inverse_scale = 1;
  uint8_t sign_bit = 0;
};

// q = clamp(rint(x * inverse_scale), low, high) + zero_point; NaN counts as 0.
struct UniformLoop {
  float inverse_scale = 1;
  float low = 0, high = 255;
  int32_t zero_point = 0;
};

struct EncodeCounts {
  uint32_t nan = 0;
  uint32_t negative = 0;  // x < 0
};

// out[i] = the maximum of x[i * stride + t * step], t < taps; NaN where one of them is NaN.
struct MaxLoop {
  size_t taps = 1, step = 1;
  size_t stride = 1;  // 1 or 2
};

struct RowKernels {
  void (*finish)(const FinishLoop& loop, const int32_t* acc, size_t count, float* out);
  // Adds to *counts.
  void (*encode)(const EncodeLoop& loop, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts);
  void (*encode_uniform)(const UniformLoop& loop, const float* x, size_t count, uint8_t* q);
  // One float is readable behind the last one of x.
  void (*max)(const MaxLoop& loop, const float* x, size_t count, float* out);
};

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ROW_KERNELS_H_
