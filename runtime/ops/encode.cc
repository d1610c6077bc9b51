#include "runtime/ops/encode.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "runtime/ops/math.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

// Elements whose integer magnitudes are computed at once, in vectors, before the scalar look-ups.
constexpr size_t kBlock = 512;

// All ones or zero. Codes of real data are as good as random, so a branch on one would often be mispredicted.
inline uint32_t MaskIf(bool condition) { return 0u - static_cast<uint32_t>(condition); }

// Adds the values of x[0, count) that have no proper code.
void Count(const float* x, size_t count, bool is_signed, uint32_t* nan, uint32_t* negative) {
  uint32_t nans = 0;
  uint32_t negatives = 0;
  for (size_t i = 0; i < count; ++i) {
    nans += x[i] != x[i] ? 1u : 0u;
    negatives += x[i] < 0.0f ? 1u : 0u;
  }
  *nan += nans;
  if (!is_signed) *negative += negatives;
}

// |x|, or in a non-negative tensor max(x, 0); NaN becomes 0. Two selects, which are one vector instruction each.
template <bool kSigned>
inline float Magnitude(float x) {
  const float magnitude = kSigned ? AbsF(x) : x;
  return magnitude > 0.0f ? magnitude : 0.0f;
}

template <bool kSigned>
void EncodeInteger(const Encoder& encoder, const float* x, size_t count, uint8_t* codes) {
  const Codebook& book = encoder.codebook();
  const uint8_t* table = encoder.table().data();
  const float limit = static_cast<float>(book.max_mantissa());
  const float inverse_scale = book.inverse_scale;
  uint32_t magnitudes[kBlock];
  for (size_t i = 0; i < count; ++i) {
    // The limit is an integer, so taking the minimum before rounding gives what Encoder::Encode gives.
    const float product = Magnitude<kSigned>(x[i]) * inverse_scale;
    const float v = product < limit ? product : limit;
    magnitudes[i] = FloatBits(v + kRoundMagic) - kRoundMagicBits;
  }
  if (!kSigned) {
    for (size_t i = 0; i < count; ++i) codes[i] = table[magnitudes[i]];
    return;
  }
  const uint32_t sign_bit = book.sign_bit();
  uint32_t signs[kBlock];
  for (size_t i = 0; i < count; ++i) signs[i] = x[i] < 0.0f ? sign_bit : 0u;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t code = table[magnitudes[i]];
    codes[i] = static_cast<uint8_t>(code | (signs[i] & MaskIf(code != 0)));
  }
}

template <bool kSigned>
void EncodeReal(const Encoder& encoder, const float* x, size_t count, uint8_t* codes) {
  const Codebook& book = encoder.codebook();
  const uint32_t sign_bit = book.sign_bit();
  float magnitudes[kBlock];
  uint32_t unsigned_codes[kBlock];
  for (size_t i = 0; i < count; ++i) {
    magnitudes[i] = Magnitude<kSigned>(x[i]);
    unsigned_codes[i] = 0;
  }
  // In vectors, counting over all thresholds is faster than searching per element.
  for (const float threshold : book.thresholds) {
    for (size_t i = 0; i < count; ++i) unsigned_codes[i] += magnitudes[i] > threshold ? 1u : 0u;
  }
  for (size_t i = 0; i < count; ++i) {
    const uint32_t code = unsigned_codes[i];
    codes[i] = static_cast<uint8_t>(code | (sign_bit & MaskIf(x[i] < 0.0f) & MaskIf(code != 0)));
  }
}

using EncodeBlockFn = void (*)(const Encoder&, const float*, size_t, uint8_t*);

EncodeBlockFn BlockEncoder(const Codebook& book) {
  if (book.grid == Grid::kReal) return book.is_signed ? EncodeReal<true> : EncodeReal<false>;
  return book.is_signed ? EncodeInteger<true> : EncodeInteger<false>;
}

}  // namespace

void EncodeCodes(const Encoder& encoder, const float* x, size_t count, uint8_t* codes, ThreadPool* pool,
                 EncodeCounters* counters) {
  const EncodeBlockFn encode_block = BlockEncoder(encoder.codebook());
  const bool is_signed = encoder.codebook().is_signed;
  std::atomic<uint64_t> total_nan{0};
  std::atomic<uint64_t> total_negative{0};
  ParallelFor(pool, count, kElementTile, [&](size_t begin, size_t end) {
    uint32_t nan = 0;
    uint32_t negative = 0;
    for (size_t i = begin; i < end; i += kBlock) {
      const size_t n = std::min(kBlock, end - i);
      encode_block(encoder, x + i, n, codes + i);
      Count(x + i, n, is_signed, &nan, &negative);
    }
    if (nan > 0) total_nan.fetch_add(nan, std::memory_order_relaxed);
    if (negative > 0) total_negative.fetch_add(negative, std::memory_order_relaxed);
  });
  if (counters != nullptr) {
    counters->nan += total_nan.load();
    counters->negative += total_negative.load();
  }
}

UniformQuantizer MakeUniformQuantizer(const Range& range, int max_value) {
  UniformQuantizer quantizer;
  quantizer.max_value = max_value;
  const double low = std::min(0.0, static_cast<double>(range.min));
  const double high = std::max(0.0, static_cast<double>(range.max));
  const float scale = static_cast<float>((high - low) / max_value);
  const float inverse = 1.0f / scale;
  // NaN, infinite or vanishing: a range of nothing.
  if (!std::isfinite(scale) || !std::isfinite(inverse) || !(scale > 0.0f) || !(inverse > 0.0f)) return quantizer;
  quantizer.scale = scale;
  quantizer.inverse_scale = inverse;
  const double zero = std::nearbyint(-low / static_cast<double>(scale));
  quantizer.zero_point = static_cast<int32_t>(std::clamp<double>(zero, 0, max_value));
  return quantizer;
}

void EncodeUniform(const UniformQuantizer& quantizer, const float* x, size_t count, uint8_t* q, ThreadPool* pool) {
  ParallelFor(pool, count, kElementTile, [&quantizer, x, q](size_t begin, size_t end) {
    // A copy, because the bytes written could be the quantizer's as far as the compiler knows.
    const UniformQuantizer local = quantizer;
    // Clamping before the zero point is added keeps the rounding within RoundToInt's range; NaN is a zero.
    const float low = static_cast<float>(-local.zero_point);
    const float high = static_cast<float>(local.max_value - local.zero_point);
    const float* from = x;
    uint8_t* to = q;
    for (size_t i = begin; i < end; ++i) {
      const float product = from[i] * local.inverse_scale;
      const float number = product == product ? product : 0.0f;
      const float at_least = number < low ? low : number;
      const float v = at_least > high ? high : at_least;
      to[i] = static_cast<uint8_t>(RoundToInt(v) + local.zero_point);
    }
  });
}

}  // namespace tally
