// Four float32 lanes in the compiler's portable vector type: SSE on x86-64, NEON on AArch64. Arithmetic per lane is
// exactly the scalar arithmetic.
#ifndef TALLY_RUNTIME_OPS_FLOAT4_H_
#define TALLY_RUNTIME_OPS_FLOAT4_H_

#include <cstddef>
#include <cstring>

namespace tally {

using Float4 [[gnu::vector_size(16)]] = float;

inline Float4 Load4(const float* p) {
  Float4 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

inline void Store4(float* p, Float4 v) { std::memcpy(p, &v, sizeof(v)); }

inline Float4 Splat4(float x) { return Float4{x, x, x, x}; }

// Sum of n values in the one order of this project: lane j of 16 adds elements j, j + 16, j + 32, ...; then lanes j and
// j + 8 are added, then j and j + 4, j + 2, j + 1. Faster and more accurate than left to right.
inline float LaneSum(const float* x, size_t n) {
  Float4 sum[4] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 4; ++j) sum[j] += Load4(x + i + 4 * j);
  }
  float lanes[16];
  std::memcpy(lanes, sum, sizeof(lanes));
  for (size_t j = 0; i + j < n; ++j) lanes[j] += x[i + j];
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

// Dot product of n values, its products summed in the order of LaneSum.
inline float LaneDot(const float* x, const float* y, size_t n) {
  Float4 sum[4] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 4; ++j) sum[j] += Load4(x + i + 4 * j) * Load4(y + i + 4 * j);
  }
  float lanes[16];
  std::memcpy(lanes, sum, sizeof(lanes));
  for (size_t j = 0; i + j < n; ++j) lanes[j] += x[i + j] * y[i + j];
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

// Largest of n >= 1 values; NaN if any value is NaN.
inline float LaneMax(const float* x, size_t n) {
  // NaN replaces the maximum and is never replaced by a number.
  const auto combine = [](float m, float v) { return v > m || v != v ? v : m; };
  float lanes[16];
  for (float& lane : lanes) lane = x[0];
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t j = 0; j < 16; ++j) lanes[j] = combine(lanes[j], x[i + j]);
  }
  for (size_t j = 0; i + j < n; ++j) lanes[j] = combine(lanes[j], x[i + j]);
  float m = lanes[0];
  for (float lane : lanes) m = combine(m, lane);
  return m;
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_FLOAT4_H_
