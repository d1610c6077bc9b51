// Between the session's layout (images of planes, one per channel) and oneDNN's (pixels of channels): codes are decoded
// on the way in, products are summed and finished on the way out. All of it serial; slices run side by side.
#ifndef TALLY_BACKENDS_ONEDNN_LAYOUT_H_
#define TALLY_BACKENDS_ONEDNN_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "backends/onednn/decode.h"
#include "backends/onednn/digits.h"
#include "runtime/ops/epilogue.h"

namespace tally::onednn {

// Part of a tensor [..][channels][positions]: some images, and of each some positions and channels.
struct Block {
  int64_t channels = 0, positions = 0;  // of the whole tensor
  int64_t image_begin = 0, images = 0;
  int64_t position_begin = 0, position_count = 0;
  int64_t channel_begin = 0, channel_count = 0;

  int64_t elements() const { return images * position_count * channel_count; }
};

// Copies bytes to [image][position][group * segment.size()], keeping of each of the `group` equal groups of channels
// those of `segment`. `map` is applied to every byte. REQUIRES: the block has all channels.
struct ByteMap {
  DecodeFn decode = nullptr;  // null: bytes are copied
  const uint8_t* table = nullptr;
  size_t entries = 0;
};
void GatherPixels(const uint8_t* from, const Block& block, int64_t group, const Segment& segment, const ByteMap& map,
                  uint8_t* to);

// What follows a product. `bias`: one per channel of the whole tensor, or null. `residual`: in the outputs' layout, or
// null; it may be the output itself.
struct Tail {
  const float* bias = nullptr;
  const float* residual = nullptr;
  Activation activation;
};

// Sums several products of one dot product and finishes them with the shared epilogue.
struct ProductSum {
  std::vector<int64_t> factors;  // of product 0, 1, ...
  bool wide = false;             // the sum may not fit int32
  std::vector<float> scales;     // one per channel of the whole tensor, or a single one

  // products: [product][image][position][channel] of the block; out: the whole tensor.
  void Finish(const int32_t* products, const Block& block, const Tail& tail, float* out) const;
};

// Copies [image][position][channel] of the block to its place in `out`, and applies residual and activation.
// REQUIRES: tail.bias is null.
void ScatterPixels(const float* from, const Block& block, const Tail& tail, float* out);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_LAYOUT_H_
