#include "backends/xnnpack/layout.h"

#include <algorithm>
#include <cstring>

namespace tally::xnnpack {
namespace {

// A tile of one cache line per row in both layouts; both sides of it stay in the first-level cache.
constexpr int64_t kTileChannels = 16;
constexpr int64_t kTilePositions = 64;
constexpr int64_t kRun = 4096;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

}  // namespace

void ToPixels(const float* from, const Images& images, float* to, ThreadPool* pool) {
  if (images.channels == 1 || images.positions == 1) {
    ForEachRun(images.batch * images.channels * images.positions, pool, [&](size_t first, size_t count) {
      std::memcpy(to + first, from + first, count * sizeof(float));
    });
    return;
  }
  ForEachTile(images, pool, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    const float* planes = from + (image * images.channels + channel) * images.positions + position;
    float* pixels = to + (image * images.positions + position) * images.channels + channel;
    for (int64_t p = 0; p < positions; ++p) {
      for (int64_t c = 0; c < channels; ++c) pixels[p * images.channels + c] = planes[c * images.positions + p];
    }
  });
}

void FromPixels(const float* from, const Images& images, const float* residual, const Activation& activation,
                float* out, ThreadPool* pool) {
  if (images.channels == 1 || images.positions == 1) {
    ForEachRun(images.batch * images.channels * images.positions, pool, [&](size_t first, size_t count) {
      for (size_t i = first; i < first + count; ++i) out[i] = residual == nullptr ? from[i] : from[i] + residual[i];
      ApplyActivation(activation, out + first, count);
    });
    return;
  }
  ForEachTile(images, pool, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    const float* pixels = from + (image * images.positions + position) * images.channels + channel;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t at = (image * images.channels + channel + c) * images.positions + position;
      for (int64_t p = 0; p < positions; ++p) {
        const float value = pixels[p * images.channels + c];
        out[at + p] = residual == nullptr ? value : value + residual[at + p];
      }
      ApplyActivation(activation, out + at, static_cast<size_t>(positions));
    }
  });
}

}  // namespace tally::xnnpack
