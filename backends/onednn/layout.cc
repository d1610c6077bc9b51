#include "backends/onednn/layout.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>

namespace tally::onednn {
namespace {

// A tile of channels x positions stays in the first-level cache while it is transposed and finished. 16 channels: one
// vector of bytes, one cache line of 32-bit values.
constexpr int64_t kTileChannels = 16;
constexpr int64_t kTilePositions = 64;
// Blocks of single pixels are finished in runs of this length.
constexpr int64_t kRun = 1024;

#if defined(__SSE2__)
// to[p * stride + c] = rows[c][position + p] for 16 channels and 16 positions.
void TransposeBytes(const uint8_t* const* rows, int64_t position, uint8_t* to, int64_t stride) {
  __m128i a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + position));
  // Four rounds of a perfect shuffle of rows i and i + 8 turn row-major into column-major order.
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
      b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    std::memcpy(a, b, sizeof(a));
  }
  for (int i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * stride), a[i]);
}

// to[c * to_stride + p] = from[p * stride + c] for 4 channels and 4 positions of 32 bits.
void TransposeWords(const void* from, int64_t stride, void* to, int64_t to_stride) {
  const float* f = static_cast<const float*>(from);
  float* t = static_cast<float*>(to);
  __m128 r0 = _mm_loadu_ps(f), r1 = _mm_loadu_ps(f + stride), r2 = _mm_loadu_ps(f + 2 * stride),
         r3 = _mm_loadu_ps(f + 3 * stride);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  _mm_storeu_ps(t, r0);
  _mm_storeu_ps(t + to_stride, r1);
  _mm_storeu_ps(t + 2 * to_stride, r2);
  _mm_storeu_ps(t + 3 * to_stride, r3);
}
#endif

// to[c * to_stride + p] = from[p * stride + c].
template <typename T>
void Transpose(const T* from, int64_t stride, int64_t channels, int64_t positions, T* to, int64_t to_stride) {
  int64_t done_channels = 0, done_positions = 0;
#if defined(__SSE2__)
  if constexpr (sizeof(T) == 4) {
    done_channels = channels / 4 * 4;
    done_positions = positions / 4 * 4;
    for (int64_t p = 0; p < done_positions; p += 4) {
      for (int64_t c = 0; c < done_channels; c += 4) {
        TransposeWords(from + p * stride + c, stride, to + c * to_stride + p, to_stride);
      }
    }
  }
#endif
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t c = p < done_positions ? done_channels : 0; c < channels; ++c) {
      to[c * to_stride + p] = from[p * stride + c];
    }
  }
}

// Calls fn(image, channel, channels, position, positions) for all tiles of the block; image, channel and position are
// counted from the block's begin.
template <typename Fn>
void ForEachTile(const Block& b, const Fn& fn) {
  for (int64_t image = 0; image < b.images; ++image) {
    for (int64_t position = 0; position < b.position_count; position += kTilePositions) {
      for (int64_t channel = 0; channel < b.channel_count; channel += kTileChannels) {
        fn(image, channel, std::min(kTileChannels, b.channel_count - channel), position,
           std::min(kTilePositions, b.position_count - position));
      }
    }
  }
}

EpilogueRow MakeRow(const ProductSum& sum, const Tail& tail, int64_t channel, size_t channel_step, int64_t at) {
  EpilogueRow row;
  const bool per_channel = sum.scales.size() > 1;
  row.scale = sum.scales.data() + (per_channel ? channel : 0);
  row.bias = tail.bias == nullptr ? nullptr : tail.bias + channel;
  row.channel_step = per_channel ? channel_step : 0;
  row.residual = tail.residual == nullptr ? nullptr : tail.residual + at;
  row.activation = tail.activation;
  return row;
}

// to[i] = sum over products of factor * products[product * size + i].
template <typename Acc>
void Add(const std::vector<int64_t>& factors, const int32_t* products, int64_t size, int64_t count, Acc* to) {
  const Acc first = static_cast<Acc>(factors[0]);
  for (int64_t i = 0; i < count; ++i) to[i] = first * static_cast<Acc>(products[i]);
  for (size_t t = 1; t < factors.size(); ++t) {
    const int32_t* product = products + static_cast<int64_t>(t) * size;
    const Acc factor = static_cast<Acc>(factors[t]);
    for (int64_t i = 0; i < count; ++i) to[i] += factor * static_cast<Acc>(product[i]);
  }
}

template <typename Acc>
void FinishTiles(const ProductSum& s, const int32_t* products, const Block& b, const Tail& tail, float* out) {
  const bool single = s.factors.size() == 1 && s.factors[0] == 1 && sizeof(Acc) == sizeof(int32_t);
  ForEachTile(b, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    alignas(64) Acc tile[kTileChannels][kTilePositions];
    const int32_t* pixels = products + (image * b.position_count + position) * b.channel_count + channel;
    if (single) {
      Transpose(reinterpret_cast<const Acc*>(pixels), b.channel_count, channels, positions, tile[0], kTilePositions);
    } else {
      alignas(64) Acc sums[kTilePositions * kTileChannels];
      for (int64_t p = 0; p < positions; ++p) {
        Add(s.factors, pixels + p * b.channel_count, b.elements(), channels, sums + p * kTileChannels);
      }
      Transpose(sums, kTileChannels, channels, positions, tile[0], kTilePositions);
    }
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t o = b.channel_begin + channel + c;
      const int64_t at = ((b.image_begin + image) * b.channels + o) * b.positions + b.position_begin + position;
      FinishRow(tile[c], static_cast<size_t>(positions), MakeRow(s, tail, o, 0, at), out + at);
    }
  });
}

// Single pixels: products and outputs have one layout.
template <typename Acc>
void FinishRuns(const ProductSum& s, const int32_t* products, const Block& b, const Tail& tail, float* out) {
  for (int64_t image = 0; image < b.images; ++image) {
    for (int64_t channel = 0; channel < b.channel_count; channel += kRun) {
      const int64_t count = std::min(kRun, b.channel_count - channel);
      const int64_t o = b.channel_begin + channel;
      const int64_t at = (b.image_begin + image) * b.channels + o;
      const EpilogueRow row = MakeRow(s, tail, o, 1, at);
      alignas(64) Acc sums[kRun];
      Add(s.factors, products + image * b.channel_count + channel, b.elements(), count, sums);
      FinishRow(sums, static_cast<size_t>(count), row, out + at);
    }
  }
}

}  // namespace

void GatherPixels(const uint8_t* from, const Block& b, int64_t group, const Segment& segment, const ByteMap& map,
                  uint8_t* to) {
  const int64_t group_channels = b.channels / group;
  const int64_t kept = group * segment.size();
  if (b.positions == 1 && group == 1) {
    for (int64_t i = 0; i < b.images; ++i) {
      const uint8_t* row = from + (b.image_begin + i) * b.channels + segment.begin;
      if (map.decode == nullptr) {
        std::memcpy(to + i * kept, row, static_cast<size_t>(kept));
      } else {
        map.decode(row, map.table, map.entries, static_cast<size_t>(kept), to + i * kept);
      }
    }
    return;
  }
  Block target = b;
  target.channel_count = kept;
  ForEachTile(target, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    alignas(64) uint8_t tile[kTileChannels][kTilePositions];
    const uint8_t* rows[kTileChannels];
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t source =
          (channel + c) / segment.size() * group_channels + segment.begin + (channel + c) % segment.size();
      rows[c] = from + ((b.image_begin + image) * b.channels + source) * b.positions + b.position_begin + position;
      if (map.decode != nullptr) {
        map.decode(rows[c], map.table, map.entries, static_cast<size_t>(positions), tile[c]);
        rows[c] = tile[c];
      }
    }
    uint8_t* pixels = to + (image * b.position_count + position) * kept + channel;
    int64_t done = 0;
#if defined(__SSE2__)
    if (channels == kTileChannels) {
      for (; done + 16 <= positions; done += 16) TransposeBytes(rows, done, pixels + done * kept, kept);
    }
#endif
    for (int64_t p = done; p < positions; ++p) {
      for (int64_t c = 0; c < channels; ++c) pixels[p * kept + c] = rows[c][p];
    }
  });
}

void ProductSum::Finish(const int32_t* products, const Block& block, const Tail& tail, float* out) const {
  if (block.positions == 1) {
    wide ? FinishRuns<int64_t>(*this, products, block, tail, out)
         : FinishRuns<int32_t>(*this, products, block, tail, out);
  } else {
    wide ? FinishTiles<int64_t>(*this, products, block, tail, out)
         : FinishTiles<int32_t>(*this, products, block, tail, out);
  }
}

void ScatterPixels(const float* from, const Block& b, const Tail& tail, float* out) {
  const auto finish = [&](const float* values, int64_t count, int64_t at) {
    if (tail.residual == nullptr) {
      std::memcpy(out + at, values, static_cast<size_t>(count) * sizeof(float));
    } else {
      for (int64_t i = 0; i < count; ++i) out[at + i] = values[i] + tail.residual[at + i];
    }
    if (tail.activation.kind != ActivationKind::kNone) {
      ApplyActivation(tail.activation, out + at, static_cast<size_t>(count));
    }
  };
  if (b.positions == 1) {
    for (int64_t image = 0; image < b.images; ++image) {
      finish(from + image * b.channel_count, b.channel_count, (b.image_begin + image) * b.channels + b.channel_begin);
    }
    return;
  }
  ForEachTile(b, [&](int64_t image, int64_t channel, int64_t channels, int64_t position, int64_t positions) {
    const float* pixels = from + (image * b.position_count + position) * b.channel_count + channel;
    const int64_t first =
        ((b.image_begin + image) * b.channels + b.channel_begin + channel) * b.positions + b.position_begin + position;
    if (tail.residual == nullptr && tail.activation.kind == ActivationKind::kNone) {
      Transpose(pixels, b.channel_count, channels, positions, out + first, b.positions);
      return;
    }
    alignas(64) float tile[kTileChannels][kTilePositions];
    Transpose(pixels, b.channel_count, channels, positions, tile[0], kTilePositions);
    for (int64_t c = 0; c < channels; ++c) finish(tile[c], positions, first + c * b.positions);
  });
}

}  // namespace tally::onednn
