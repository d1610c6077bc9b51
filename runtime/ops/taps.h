// Which positions of a window's output a tap reaches inside the input, and the shapes that make that question trivial.
#ifndef TALLY_RUNTIME_OPS_TAPS_H_
#define TALLY_RUNTIME_OPS_TAPS_H_

#include <algorithm>
#include <cstdint>

#include "runtime/ops/window.h"

namespace tally {

// A 1x1 convolution without padding or stride sees its image as one long row.
inline void FlattenPointwise(Window2d* w) {
  const bool pointwise = w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
                         w->in_h == w->out_h && w->in_w == w->out_w && w->pad_top == 0 && w->pad_left == 0;
  if (!pointwise) return;
  w->in_w = w->out_w = w->in_h * w->in_w;
  w->in_h = w->out_h = 1;
}

struct Span {
  int64_t begin = 0;
  int64_t end = 0;
};

// Output positions o in [first, last) with 0 <= o * stride + offset < extent, offset = tap * dilation - pad. Empty
// spans have begin == end, both within [first, last].
inline Span OutputsOfTap(int64_t first, int64_t last, int64_t stride, int64_t offset, int64_t extent) {
  const int64_t lowest = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t highest = offset >= extent ? 0 : (extent - 1 - offset) / stride + 1;
  Span span;
  span.begin = std::clamp(lowest, first, last);
  span.end = std::clamp(highest, span.begin, last);
  return span;
}

// Taps t in [0, taps) with 0 <= start + t * dilation < extent, start = o * stride - pad. Bounds the work by the input
// where a file asks for a window far larger than it.
inline Span TapsInside(int64_t taps, int64_t dilation, int64_t start, int64_t extent) {
  const int64_t lowest = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  const int64_t highest = start >= extent ? 0 : (extent - 1 - start) / dilation + 1;
  Span span;
  span.begin = std::min(lowest, taps);
  span.end = std::clamp(highest, span.begin, taps);
  return span;
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_TAPS_H_
