#include "backends/xnnpack/layout.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "runtime/core/rounding.h"

namespace tally::xnnpack {
namespace {

// A tile of one cache line per row in both layouts; both sides of it stay in the first-level cache.
constexpr int64_t kTileChannels = 16;
constexpr int64_t kTilePositions = 64;
constexpr int64_t kRun = 4096;

// to[c * to_stride + r] = from[r * from_stride + c].
void Transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  int64_t done_rows = 0, done_columns = 0;
#if defined(__SSE2__)
  done_rows = rows / 4 * 4;
  done_columns = columns / 4 * 4;
  for (int64_t r = 0; r < done_rows; r += 4) {
    for (int64_t c = 0; c < done_columns; c += 4) {
      const float* f = from + r * from_stride + c;
      float* t = to + c * to_stride + r;
      __m128 a = _mm_loadu_ps(f), b = _mm_loadu_ps(f + from_stride), d = _mm_loadu_ps(f + 2 * from_stride),
             e = _mm_loadu_ps(f + 3 * from_stride);
      _MM_TRANSPOSE4_PS(a, b, d, e);
      _mm_storeu_ps(t, a);
      _mm_storeu_ps(t + to_stride, b);
      _mm_storeu_ps(t + 2 * to_stride, d);
      _mm_storeu_ps(t + 3 * to_stride, e);
    }
  }
#endif
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < done_rows ? done_columns : 0; c < columns; ++c) {
      to[c * to_stride + r] = from[r * from_stride + c];
    }
  }
}

// Calls fn(image, channel, channels, position, positions) for all tiles.
template <typename Fn>
void ForEachTile(const Images& images, ThreadPool* pool, const Fn& fn) {
  const int64_t channel_tiles = CeilDiv(images.channels, kTileChannels);
  const int64_t position_tiles = CeilDiv(images.positions, kTilePositions);
  const int64_t tasks = images.batch * channel_tiles * position_tiles;
  pool->ParallelFor(static_cast<size_t>(tasks), 4, [&](size_t begin, size_t end) {
    for (int64_t task = static_cast<int64_t>(begin); task < static_cast<int64_t>(end); ++task) {
      const int64_t position = task % position_tiles * kTilePositions;
      const int64_t channel = task / position_tiles % channel_tiles * kTileChannels;
      fn(task / position_tiles / channel_tiles, channel, std::min(kTileChannels, images.channels - channel), position,
         std::min(kTilePositions, images.positions - position));
    }
  });
}

// Calls fn(first, count) for runs that cover `total` elements.
template <typename Fn>
void ForEachRun(int64_t total, ThreadPool* pool, const Fn& fn) {
  pool->ParallelFor(static_cast<size_t>(total), static_cast<size_t>(kRun), [&](size_t begin, size_t end) {
    for (size_t first = begin; first < end; first += static_cast<size_t>(kRun)) {
      fn(first, std::min(static_cast<size_t>(kRun), end - first));
    }
  });
}

// Elements at .. at + count - 1 of the output from `values`.
void Finish(const float* values, const float* residual, const Activation& activation, size_t at, size_t count,
            float* out) {
  if (residual == nullptr) {
    std::memcpy(out + at, values, count * sizeof(float));
  } else {
    for (size_t i = 0; i < count; ++i) out[at + i] = values[i] + residual[at + i];
  }
  ApplyActivation(activation, out + at, count);
}

}  // namespace

void ToPixels(const float* from, const Images& images, float* to, ThreadPool* pool) {
  if (images.channels == 1 || images.positions == 1) {
    ForEachRun(images.batch * images.channels * images.positions, pool,
               [&](size_t first, size_t count) { std::memcpy(to + first, from + first, count * sizeof(float)); });
    return;
  }
  ForEachTile(images, pool, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    const float* planes = from + (image * images.channels + channel) * images.positions + position;
    float* pixels = to + (image * images.positions + position) * images.channels + channel;
    Transpose(planes, images.positions, channels, positions, pixels, images.channels);
  });
}

void FromPixels(const float* from, const Images& images, const float* residual, const Activation& activation,
                float* out, ThreadPool* pool) {
  if (images.channels == 1 || images.positions == 1) {
    ForEachRun(images.batch * images.channels * images.positions, pool,
               [&](size_t first, size_t count) { Finish(from + first, residual, activation, first, count, out); });
    return;
  }
  ForEachTile(images, pool, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    const float* pixels = from + (image * images.positions + position) * images.channels + channel;
    // Through a tile, because `out` may be the residual.
    alignas(64) float tile[kTileChannels * kTilePositions];
    Transpose(pixels, images.channels, positions, channels, tile, kTilePositions);
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t at = (image * images.channels + channel + c) * images.positions + position;
      Finish(tile + c * kTilePositions, residual, activation, static_cast<size_t>(at), static_cast<size_t>(positions),
             out);
    }
  });
}

}  // namespace tally::xnnpack
