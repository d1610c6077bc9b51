// Geometry of convolutions and pools: strides, pads, dilations and groups resolved against concrete shapes, once, for
// every backend.
#ifndef TALLY_RUNTIME_OPS_WINDOW_H_
#define TALLY_RUNTIME_OPS_WINDOW_H_

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "tally/types.h"

namespace tally {

// A 2-D convolution or pool over NCHW. A 1-D one has height 1. All values are validated: kernel, stride, dilation and
// group >= 1, pads >= 0 and less than the dilated kernel's extent for pools, output extents >= 0.
struct Window2d {
  int64_t batch = 0;
  int64_t in_channels = 0;
  int64_t in_h = 0, in_w = 0;
  int64_t out_channels = 0;
  int64_t out_h = 0, out_w = 0;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t group = 1;

  int64_t in_channels_per_group() const { return in_channels / group; }
  int64_t out_channels_per_group() const { return out_channels / group; }
  // Length of one dot product of a convolution.
  int64_t k() const { return in_channels_per_group() * kernel_h * kernel_w; }
  bool is_depthwise() const { return group > 1 && in_channels_per_group() == 1; }
};

// Conv: input [N, C, H, W] (or [N, C, W]), weight [O, C/group, kh, kw] (or [O, C/group, kw]).
// Attributes: strides, pads (begin..., end...), dilations, group, auto_pad (NOTSET, SAME_UPPER, SAME_LOWER, VALID).
// Errors: kBadAttribute, kBadNodeInputs.
absl::StatusOr<Window2d> ConvWindow(const Node& node, const Shape& input, const Shape& weight);

// MaxPool, AveragePool: input [N, C, H, W] (or [N, C, W]); attributes kernel_shape, strides, pads, dilations (MaxPool),
// ceil_mode, auto_pad. in_channels == out_channels == C, group == 1.
absl::StatusOr<Window2d> PoolWindow(const Node& node, const Shape& input);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_WINDOW_H_
