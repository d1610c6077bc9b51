// float32 convolution. Each output is one chain over channel, kernel row, kernel column (ascending), starting from 0,
// then the epilogue. Padding counts as zeros, which change nothing while the weights are finite.
#include <cstring>

#include "format/error.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/panel.h"
#include "runtime/ops/parallel.h"
#include "runtime/ops/taps.h"
#include "runtime/ops/window.h"

namespace tally {
namespace {

struct ConvArgs {
  Window2d w;
  const float* x;
  const float* weight;
  const float* bias;      // null: none
  const float* residual;  // null: none
  float* y;
  Activation activation;
};

// Inputs that one tap (channel plane, kernel row r, kernel column s) multiplies for output positions first .. last - 1.
void GatherTap(const Window2d& w, const float* plane, int64_t r, int64_t s, int64_t first, int64_t last, float* to) {
  const int64_t offset = s * w.dilation_w - w.pad_left;
  int64_t oh = first / w.out_w;
  int64_t ow = first % w.out_w;
  for (int64_t p = first; p < last; ++oh, ow = 0) {
    const int64_t ow_end = std::min(w.out_w, ow + (last - p));
    const int64_t ih = oh * w.stride_h - w.pad_top + r * w.dilation_h;
    Span inside{ow, ow};
    if (ih >= 0 && ih < w.in_h) inside = OutputsOfTap(ow, ow_end, w.stride_w, offset, w.in_w);
    std::fill(to, to + (inside.begin - ow), 0.0f);
    float* out = to + (inside.begin - ow);
    if (inside.begin < inside.end) {
      const float* in = plane + ih * w.in_w + inside.begin * w.stride_w + offset;
      const int64_t count = inside.end - inside.begin;
      if (w.stride_w == 1) {
        std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
      } else {
        for (int64_t i = 0; i < count; ++i) out[i] = in[i * w.stride_w];
      }
    }
    std::fill(out + (inside.end - inside.begin), to + (ow_end - ow), 0.0f);
    to += ow_end - ow;
    p += ow_end - ow;
  }
}

void Finish(const ConvArgs& c, const float* sums, int64_t channel, size_t offset, size_t count) {
  EpilogueRow row;
  row.bias = c.bias == nullptr ? nullptr : c.bias + channel;
  row.channel_step = 0;
  row.residual = c.residual == nullptr ? nullptr : c.residual + offset;
  row.activation = c.activation;
  FinishRow(sums, count, row, c.y + offset);
}

// Output channels first_channel .. + channels - 1 of group g, positions first .. last - 1 of image n.
void ConvTile(const ConvArgs& c, int64_t n, int64_t g, int64_t first_channel, int64_t channels, int64_t first,
              int64_t last) {
  const Window2d& w = c.w;
  alignas(64) Panel panel;
  alignas(64) PanelSums sums;
  const size_t columns = static_cast<size_t>(last - first);
  const size_t padded = PaddedColumns(columns);
  std::fill(sums, sums + static_cast<size_t>(channels) * kPanelColumns, 0.0f);
  const int64_t k = w.k();
  const int64_t taps = w.kernel_h * w.kernel_w;
  const float* image = c.x + (n * w.in_channels + g * w.in_channels_per_group()) * w.in_h * w.in_w;
  const int64_t o = g * w.out_channels_per_group() + first_channel;
  for (int64_t k0 = 0; k0 < k; k0 += static_cast<int64_t>(kPanelDepth)) {
    const int64_t depth = std::min<int64_t>(kPanelDepth, k - k0);
    for (int64_t i = 0; i < depth; ++i) {
      const int64_t channel = (k0 + i) / taps;
      const int64_t tap = (k0 + i) % taps;
      float* to = panel + static_cast<size_t>(i) * kPanelColumns;
      GatherTap(w, image + channel * w.in_h * w.in_w, tap / w.kernel_w, tap % w.kernel_w, first, last, to);
      std::fill(to + columns, to + padded, 0.0f);
    }
    MultiplyPanel(c.weight + o * k + k0, static_cast<size_t>(k), static_cast<size_t>(channels), panel,
                  static_cast<size_t>(depth), columns, sums);
  }
  const int64_t positions = w.out_h * w.out_w;
  for (int64_t i = 0; i < channels; ++i) {
    Finish(c, sums + static_cast<size_t>(i) * kPanelColumns, o + i,
           static_cast<size_t>((n * w.out_channels + o + i) * positions + first), columns);
  }
}

// One output channel of one image when each group has a single input channel: nothing to share between channels, so
// gathering would cost more than the products.
void DepthwisePlane(const ConvArgs& c, int64_t n, int64_t o) {
  const Window2d& w = c.w;
  constexpr int64_t kBlock = 256;
  float sums[kBlock];
  const float* plane = c.x + (n * w.in_channels + o / w.out_channels_per_group()) * w.in_h * w.in_w;
  const float* weight = c.weight + o * w.kernel_h * w.kernel_w;
  for (int64_t oh = 0; oh < w.out_h; ++oh) {
    const int64_t start = oh * w.stride_h - w.pad_top;
    const Span rows = TapsInside(w.kernel_h, w.dilation_h, start, w.in_h);
    for (int64_t first = 0; first < w.out_w; first += kBlock) {
      const int64_t last = std::min(w.out_w, first + kBlock);
      std::fill(sums, sums + (last - first), 0.0f);
      for (int64_t r = rows.begin; r < rows.end; ++r) {
        const float* line = plane + (start + r * w.dilation_h) * w.in_w;
        for (int64_t s = 0; s < w.kernel_w; ++s) {
          const int64_t offset = s * w.dilation_w - w.pad_left;
          const Span inside = OutputsOfTap(first, last, w.stride_w, offset, w.in_w);
          if (inside.begin == inside.end) continue;
          const float factor = weight[r * w.kernel_w + s];
          const float* in = line + inside.begin * w.stride_w + offset;
          float* sum = sums + (inside.begin - first);
          const int64_t count = inside.end - inside.begin;
          if (w.stride_w == 1) {
            for (int64_t i = 0; i < count; ++i) sum[i] += factor * in[i];
          } else {
            for (int64_t i = 0; i < count; ++i) sum[i] += factor * in[i * w.stride_w];
          }
        }
      }
      Finish(c, sums, o, static_cast<size_t>(((n * w.out_channels + o) * w.out_h + oh) * w.out_w + first),
             static_cast<size_t>(last - first));
    }
  }
}

}  // namespace

absl::Status EvalConv(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const TensorView& weight = context.inputs[1];
  ConvArgs c;
  TALLY_ASSIGN_OR_RETURN(c.w, ConvWindow(context.node, x.shape, weight.shape));
  TALLY_ASSIGN_OR_RETURN(c.activation, FusedActivation(context.node));
  c.x = x.as<float>();
  c.weight = weight.as<float>();
  c.bias = context.inputs.size() > 2 ? context.inputs[2].as<float>() : nullptr;
  c.residual = context.inputs.size() > 3 ? context.inputs[3].as<float>() : nullptr;
  c.y = context.outputs[0].as<float>();
  const int64_t positions = c.w.out_h * c.w.out_w;
  if (c.w.batch == 0 || c.w.out_channels == 0 || positions == 0) return absl::OkStatus();
  if (c.weight == nullptr && c.w.k() > 0) {
    return MakeError(ErrorId::kMissingForm, "the weight has no float32 form; convert with --keep float");
  }
  if (c.w.group > 1 && c.w.in_channels_per_group() == 1) {
    const size_t planes = static_cast<size_t>(c.w.batch * c.w.out_channels);
    const size_t cost = static_cast<size_t>(positions * c.w.k());
    ParallelFor(context.pool, planes, TileFor(cost), [&c](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const int64_t plane = static_cast<int64_t>(i);
        DepthwisePlane(c, plane / c.w.out_channels, plane % c.w.out_channels);
      }
    });
    return absl::OkStatus();
  }
  FlattenPointwise(&c.w);
  const int64_t group_channels = c.w.out_channels_per_group();
  const int64_t blocks = (group_channels + kPanelRows - 1) / kPanelRows;
  const int64_t tiles = (positions + kPanelColumns - 1) / kPanelColumns;
  const size_t tasks = static_cast<size_t>(c.w.batch * c.w.group * tiles * blocks);
  ParallelFor(context.pool, tasks, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      int64_t task = static_cast<int64_t>(i);
      const int64_t first_channel = task % blocks * static_cast<int64_t>(kPanelRows);
      task /= blocks;
      const int64_t first = task % tiles * static_cast<int64_t>(kPanelColumns);
      task /= tiles;
      ConvTile(c, task / c.w.group, task % c.w.group, first_channel,
               std::min<int64_t>(kPanelRows, group_channels - first_channel), first,
               std::min<int64_t>(positions, first + static_cast<int64_t>(kPanelColumns)));
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
