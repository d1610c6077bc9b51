#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backends/reference/oracle.h"
#include "format/error.h"
#include "runtime/ops/taps.h"
#include "runtime/ops/window.h"

namespace tally::reference {
namespace {

// Folds NaN in: once the maximum is NaN it stays.
double Max(double m, double x) { return x > m || std::isnan(x) ? x : m; }

}  // namespace

absl::Status Pool(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  TALLY_ASSIGN_OR_RETURN(const Window2d w, PoolWindow(context.node, x.shape));
  const bool is_max = context.node.op == "MaxPool";
  const bool count_padding = context.node.GetInt("count_include_pad", 0) != 0;
  float* y = context.outputs[0].as<float>();

  const auto output = [&](const float* plane, int64_t oh, int64_t ow) {
    const int64_t top = oh * w.stride_h - w.pad_top;
    const int64_t left = ow * w.stride_w - w.pad_left;
    const Span rows = TapsInside(w.kernel_h, w.dilation_h, top, w.in_h);
    const Span columns = TapsInside(w.kernel_w, w.dilation_w, left, w.in_w);
    double max = -std::numeric_limits<double>::infinity();
    double sum = 0;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      for (int64_t s = columns.begin; s < columns.end; ++s) {
        const double value = plane[(top + r * w.dilation_h) * w.in_w + left + s * w.dilation_w];
        max = Max(max, value);
        sum += value;
      }
    }
    if (is_max) return max;
    // Padding may count, but not what hangs over its end (ceil_mode).
    const int64_t count = count_padding ? std::min(w.kernel_h, w.in_h + w.pad_bottom - top) *
                                              std::min(w.kernel_w, w.in_w + w.pad_right - left)
                                        : (rows.end - rows.begin) * (columns.end - columns.begin);
    return sum / static_cast<double>(count);
  };
  const size_t planes = static_cast<size_t>(w.batch * w.in_channels);
  context.pool->ParallelFor(planes, 1, [&](size_t begin, size_t end) {
    for (int64_t plane = static_cast<int64_t>(begin); plane < static_cast<int64_t>(end); ++plane) {
      for (int64_t oh = 0; oh < w.out_h; ++oh) {
        for (int64_t ow = 0; ow < w.out_w; ++ow) {
          y[(plane * w.out_h + oh) * w.out_w + ow] =
              static_cast<float>(output(x.as<float>() + plane * w.in_h * w.in_w, oh, ow));
        }
      }
    }
  });
  return absl::OkStatus();
}

absl::Status GlobalPool(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const bool is_max = context.node.op == "GlobalMaxPool";
  float* y = context.outputs[0].as<float>();
  int64_t size = 1;
  for (size_t i = 2; i < x.shape.size(); ++i) size *= x.shape[i];
  const size_t planes = static_cast<size_t>(x.shape[0] * x.shape[1]);
  context.pool->ParallelFor(planes, 1, [&](size_t begin, size_t end) {
    for (int64_t plane = static_cast<int64_t>(begin); plane < static_cast<int64_t>(end); ++plane) {
      double max = -std::numeric_limits<double>::infinity();
      double sum = 0;
      for (int64_t i = 0; i < size; ++i) {
        const double value = x.as<float>()[plane * size + i];
        max = Max(max, value);
        sum += value;
      }
      y[plane] = static_cast<float>(is_max ? max : sum / static_cast<double>(size));
    }
  });
  return absl::OkStatus();
}

absl::Status Softmax(const EvalContext& context) {
  const Shape& shape = context.inputs[0].shape;
  const int64_t rank = static_cast<int64_t>(shape.size());
  int64_t axis = context.node.GetInt("axis", -1);
  if (axis < 0) axis += rank;
  const bool flatten = context.node.GetInt("flatten", 0) != 0;
  // The tensor as [outer, n, inner]; softmax runs along n.
  int64_t n = 1;
  int64_t inner = 1;
  for (int64_t i = axis; i < rank; ++i) {
    (i == axis || flatten ? n : inner) *= shape[static_cast<size_t>(i)];
  }
  const int64_t elements = Elements(shape);
  if (elements == 0) return absl::OkStatus();
  context.pool->ParallelFor(static_cast<size_t>(elements / n), 16, [&](size_t begin, size_t end) {
    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i) {
      const int64_t offset = i / inner * n * inner + i % inner;
      const float* x = context.inputs[0].as<float>() + offset;
      float* y = context.outputs[0].as<float>() + offset;
      double max = -std::numeric_limits<double>::infinity();
      for (int64_t k = 0; k < n; ++k) max = Max(max, x[k * inner]);
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) sum += std::exp(x[k * inner] - max);
      for (int64_t k = 0; k < n; ++k) y[k * inner] = static_cast<float>(std::exp(x[k * inner] - max) / sum);
    }
  });
  return absl::OkStatus();
}

absl::Status ReduceMean(const EvalContext& context) {
  const Shape& shape = context.inputs[0].shape;
  const size_t rank = shape.size();
  std::vector<bool> reduced(rank, false);
  const bool has_axes =
      context.inputs.size() > 1 && Elements(context.inputs[1].shape) > 0 && context.inputs[1].data != nullptr;
  if (has_axes) {
    for (int64_t i = 0; i < Elements(context.inputs[1].shape); ++i) {
      const int64_t axis = context.inputs[1].as<int64_t>()[i];
      reduced[static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis)] = true;
    }
  } else if (context.node.GetInt("noop_with_empty_axes", 0) == 0) {
    reduced.assign(rank, true);
  }
  // Every input element is added to the output whose kept indices it shares.
  std::vector<double> sums(static_cast<size_t>(Elements(context.outputs[0].shape)), 0.0);
  const int64_t elements = Elements(shape);
  for (int64_t i = 0; i < elements; ++i) {
    int64_t rest = i;
    int64_t output = 0;
    int64_t stride = 1;
    for (size_t d = rank; d-- > 0; rest /= shape[d]) {
      if (reduced[d]) continue;
      output += rest % shape[d] * stride;
      stride *= shape[d];
    }
    sums[static_cast<size_t>(output)] += context.inputs[0].as<float>()[i];
  }
  const double count = sums.empty() ? 1 : static_cast<double>(elements) / static_cast<double>(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) context.outputs[0].as<float>()[i] = static_cast<float>(sums[i] / count);
  return absl::OkStatus();
}

}  // namespace tally::reference
