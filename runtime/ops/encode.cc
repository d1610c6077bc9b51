#include "runtime/ops/encode.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "runtime/ops/math.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

// Elements whose thresholds are counted at once, in vectors.
constexpr size_t kBlock = 512;

// All ones or zero. Codes of real data are as good as random, so a branch on one would often be mispredicted.
inline uint32_t MaskIf(bool condition) { return 0u - static_cast<uint32_t>(condition); }

// Adds the values of x[0, count) that have no proper code.
void Count(const float* x, size_t count, EncodeCounts* counts) {
  uint32_t nans = 0;
  uint32_t negatives = 0;
  for (size_t i = 0; i < count; ++i) {
    nans += x[i] != x[i] ? 1u : 0u;
    negatives += x[i] < 0.0f ? 1u : 0u;
  }
  counts->nan += nans;
  counts->negative += negatives;
}

// |x|, or in a non-negative tensor max(x, 0); NaN becomes 0. Two selects, which are one vector instruction each.
template <bool kSigned>
inline float Magnitude(float x) {
  const float magnitude = kSigned ? AbsF(x) : x;
  return magnitude > 0.0f ? magnitude : 0.0f;
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

void EncodeRealRow(const Encoder& encoder, const float* x, size_t count, uint8_t* codes, EncodeCounts* counts) {
  const bool is_signed = encoder.codebook().is_signed;
  for (size_t i = 0; i < count; i += kBlock) {
    const size_t n = std::min(kBlock, count - i);
    is_signed ? EncodeReal<true>(encoder, x + i, n, codes + i) : EncodeReal<false>(encoder, x + i, n, codes + i);
    Count(x + i, n, counts);
  }
}

}  // namespace

void EncodeCodes(const Encoder& encoder, const float* x, size_t count, uint8_t* codes, ThreadPool* pool,
                 EncodeCounters* counters, const RowKernels& rows) {
  const Codebook& book = encoder.codebook();
  EncodeLoop loop;
  loop.table = encoder.table().data();
  loop.limit = static_cast<float>(book.max_mantissa());
  loop.inverse_scale = book.inverse_scale;
  loop.sign_bit = book.sign_bit();
  std::atomic<uint64_t> total_nan{0};
  std::atomic<uint64_t> total_negative{0};
  ParallelFor(pool, count, kElementTile, [&](size_t begin, size_t end) {
    EncodeCounts counts;
    if (book.grid == Grid::kReal) {
      EncodeRealRow(encoder, x + begin, end - begin, codes + begin, &counts);
    } else {
      rows.encode(loop, x + begin, end - begin, codes + begin, &counts);
    }
    if (counts.nan > 0) total_nan.fetch_add(counts.nan, std::memory_order_relaxed);
    if (counts.negative > 0) total_negative.fetch_add(counts.negative, std::memory_order_relaxed);
  });
  if (counters != nullptr) {
    counters->nan += total_nan.load();
    if (!book.is_signed) counters->negative += total_negative.load();
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

void EncodeUniform(const UniformQuantizer& quantizer, const float* x, size_t count, uint8_t* q, ThreadPool* pool,
                   const RowKernels& rows) {
  UniformLoop loop;
  loop.inverse_scale = quantizer.inverse_scale;
  loop.low = static_cast<float>(-quantizer.zero_point);
  loop.high = static_cast<float>(quantizer.max_value - quantizer.zero_point);
  loop.zero_point = quantizer.zero_point;
  ParallelFor(pool, count, kElementTile,
              [&](size_t begin, size_t end) { rows.encode_uniform(loop, x + begin, end - begin, q + begin); });
}

}  // namespace tally
