// Pools. MaxPool and GlobalMaxPool give NaN where their window holds one; a window entirely in the padding (dilated
// windows at an edge) gives -inf, an average over none 0. A maximum compares column after column of the window, the
// rows of each ascending: of equal zeros the first stays, of NaNs the last. Averages add row after row and divide.
#include <limits>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/parallel.h"
#include "runtime/ops/row_table.h"
#include "runtime/ops/taps.h"
#include "runtime/ops/window.h"

namespace tally {
namespace {

constexpr int64_t kBlock = 256;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

// Columns of padded input that a row of maxima may reach over; they lie on the stack.
constexpr int64_t kMaxLine = 2048;

// Extents are below 2^31, so each product stays within 2^62.
int64_t LineColumns(const Window2d& w) {
  return std::max(w.pad_left + w.in_w, (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w + 1);
}

// The maxima over a window's rows first, which neighbouring windows share. REQUIRES: stride_w <= 2, LineColumns(w) <=
// kMaxLine.
void MaxByRows(const Window2d& w, const RowKernels& kernels, const float* x, float* y, ThreadPool* pool) {
  const size_t cost = static_cast<size_t>(w.in_w * std::min(w.kernel_h, w.in_h) + w.out_w * w.kernel_w);
  const size_t rows = static_cast<size_t>(w.batch * w.in_channels * w.out_h);
  ParallelFor(pool, rows, TileFor(cost), [&](size_t begin, size_t end) {
    // Two of them: what was just written cannot be read in other vectors until it has left the store buffer.
    float lines[2][kMaxLine + 1];
    for (float* line : lines) std::fill_n(line, LineColumns(w) + 1, kLowest);
    MaxLoop down, across;
    down.step = static_cast<size_t>(w.dilation_h * w.in_w);
    across.taps = static_cast<size_t>(w.kernel_w);
    across.step = static_cast<size_t>(w.dilation_w);
    across.stride = static_cast<size_t>(w.stride_w);
    for (int64_t row = static_cast<int64_t>(begin); row <= static_cast<int64_t>(end); ++row) {
      if (row < static_cast<int64_t>(end)) {
        const int64_t start = row % w.out_h * w.stride_h - w.pad_top;
        const Span taps = TapsInside(w.kernel_h, w.dilation_h, start, w.in_h);
        float* line = lines[row % 2] + w.pad_left;
        if (taps.begin == taps.end) {
          std::fill_n(line, w.in_w, kLowest);
        } else {
          down.taps = static_cast<size_t>(taps.end - taps.begin);
          const int64_t first = row / w.out_h * w.in_h + start + taps.begin * w.dilation_h;
          kernels.max(down, x + first * w.in_w, static_cast<size_t>(w.in_w), line);
        }
      }
      if (row > static_cast<int64_t>(begin)) {
        kernels.max(across, lines[(row - 1) % 2], static_cast<size_t>(w.out_w), y + (row - 1) * w.out_w);
      }
    }
  });
}

// For every output row of every plane, in blocks: starts with `initial`, folds `combine(sum, x)` over the taps inside
// the input, by rows of the window or by its columns, then finish(values, output row, first output column, count).
template <bool kByColumns, typename Combine, typename FinishFn>
void PoolPlanes(const Window2d& w, float initial, const TensorView& x, float* y, ThreadPool* pool,
                const Combine& combine, const FinishFn& finish) {
  const size_t planes = static_cast<size_t>(w.batch * w.in_channels);
  const size_t cost =
      static_cast<size_t>(w.out_h * w.out_w * std::min(w.kernel_h, w.in_h) * std::min(w.kernel_w, w.in_w));
  const auto plane_task = [&](size_t plane) {
    const float* in_plane = x.as<float>() + plane * static_cast<size_t>(w.in_h * w.in_w);
    float* out = y + plane * static_cast<size_t>(w.out_h * w.out_w);
    float values[kBlock];
    for (int64_t oh = 0; oh < w.out_h; ++oh) {
      const int64_t start = oh * w.stride_h - w.pad_top;
      const Span rows = TapsInside(w.kernel_h, w.dilation_h, start, w.in_h);
      for (int64_t first = 0; first < w.out_w; first += kBlock) {
        const int64_t last = std::min(w.out_w, first + kBlock);
        std::fill(values, values + (last - first), initial);
        // Columns of the kernel that reach the input from some output of this block.
        const int64_t from = TapsInside(w.kernel_w, w.dilation_w, (last - 1) * w.stride_w - w.pad_left, w.in_w).begin;
        const int64_t to = TapsInside(w.kernel_w, w.dilation_w, first * w.stride_w - w.pad_left, w.in_w).end;
        const auto fold_tap = [&](int64_t r, int64_t s) {
          const float* line = in_plane + (start + r * w.dilation_h) * w.in_w;
          const int64_t offset = s * w.dilation_w - w.pad_left;
          const Span inside = OutputsOfTap(first, last, w.stride_w, offset, w.in_w);
          const int64_t count = inside.end - inside.begin;
          if (count == 0) return;
          const float* in = line + inside.begin * w.stride_w + offset;
          float* v = values + (inside.begin - first);
          if (w.stride_w == 1) {
            for (int64_t i = 0; i < count; ++i) v[i] = combine(v[i], in[i]);
          } else {
            for (int64_t i = 0; i < count; ++i) v[i] = combine(v[i], in[i * w.stride_w]);
          }
        };
        if constexpr (kByColumns) {
          for (int64_t s = from; s < to; ++s) {
            for (int64_t r = rows.begin; r < rows.end; ++r) fold_tap(r, s);
          }
        } else {
          for (int64_t r = rows.begin; r < rows.end; ++r) {
            for (int64_t s = from; s < to; ++s) fold_tap(r, s);
          }
        }
        finish(values, oh, first, last - first);
        std::copy(values, values + (last - first), out + oh * w.out_w + first);
      }
    }
  };
  ParallelFor(pool, planes, TileFor(cost), [&plane_task](size_t begin, size_t end) {
    for (size_t plane = begin; plane < end; ++plane) plane_task(plane);
  });
}

// Taps of the window at output o along one dimension that lie in the input, or, with `with_pad`, in input and padding.
int64_t Taps(int64_t o, int64_t stride, int64_t pad_begin, int64_t pad_end, int64_t kernel, int64_t extent,
             bool with_pad) {
  const int64_t start = o * stride - pad_begin;
  const int64_t low = with_pad ? -pad_begin : 0;
  const int64_t high = with_pad ? extent + pad_end : extent;
  return std::max<int64_t>(0, std::min(start + kernel, high) - std::max(start, low));
}

// y[i] = reduce(plane i); inference refuses planes of no elements.
template <typename Reduce>
absl::Status ReducePlanes(const EvalContext& context, const Reduce& reduce) {
  const TensorView& x = context.inputs[0];
  const size_t planes = static_cast<size_t>(x.shape[0] * x.shape[1]);
  size_t size = 1;
  for (size_t i = 2; i < x.shape.size(); ++i) size *= static_cast<size_t>(x.shape[i]);
  float* y = context.outputs[0].as<float>();
  ParallelFor(context.pool, planes, TileFor(size), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) y[i] = reduce(x.as<float>() + i * size, size);
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalMaxPool(const EvalContext& context) {
  TALLY_ASSIGN_OR_RETURN(const Window2d w, PoolWindow(context.node, context.inputs[0].shape));
  if (w.stride_w <= 2 && LineColumns(w) <= kMaxLine) {
    const RowKernels& kernels = context.rows != nullptr ? *context.rows : BaselineRows();
    MaxByRows(w, kernels, context.inputs[0].as<float>(), context.outputs[0].as<float>(), context.pool);
    return absl::OkStatus();
  }
  PoolPlanes</*kByColumns=*/true>(
      w, kLowest, context.inputs[0], context.outputs[0].as<float>(), context.pool,
      [](float m, float v) { return v > m || v != v ? v : m; }, [](float*, int64_t, int64_t, int64_t) {});
  return absl::OkStatus();
}

absl::Status EvalAveragePool(const EvalContext& context) {
  TALLY_ASSIGN_OR_RETURN(const Window2d w, PoolWindow(context.node, context.inputs[0].shape));
  const bool with_pad = IntAttribute(context.node, "count_include_pad", 0) != 0;
  PoolPlanes</*kByColumns=*/false>(
      w, 0.0f, context.inputs[0], context.outputs[0].as<float>(), context.pool,
      [](float sum, float v) { return sum + v; },
      [&](float* values, int64_t oh, int64_t first, int64_t count) {
        const int64_t rows = Taps(oh, w.stride_h, w.pad_top, w.pad_bottom, w.kernel_h, w.in_h, with_pad);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t columns = Taps(first + i, w.stride_w, w.pad_left, w.pad_right, w.kernel_w, w.in_w, with_pad);
          values[i] = rows * columns == 0 ? 0.0f : values[i] / static_cast<float>(rows * columns);
        }
      });
  return absl::OkStatus();
}

absl::Status EvalGlobalAveragePool(const EvalContext& context) {
  return ReducePlanes(context, [](const float* x, size_t n) { return LaneSum(x, n) / static_cast<float>(n); });
}

absl::Status EvalGlobalMaxPool(const EvalContext& context) {
  return ReducePlanes(context, [](const float* x, size_t n) { return LaneMax(x, n); });
}

}  // namespace tally
