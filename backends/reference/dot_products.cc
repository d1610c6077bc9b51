#include <algorithm>

#include "backends/reference/oracle.h"
#include "format/error.h"
#include "runtime/ops/taps.h"
#include "runtime/ops/window.h"

namespace tally::reference {
namespace {

// Float64 accumulators kept on the stack at a time.
constexpr int64_t kBlock = 256;

// What follows a dot product. Pointers are null when there is no such term.
struct Epilogue {
  const float* bias;
  const float* residual;
  Activation activation;

  Epilogue(const EvalContext& context, const Activation& fused)
      : bias(context.inputs.size() > 2 ? context.inputs[2].as<float>() : nullptr),
        residual(context.inputs.size() > 3 ? context.inputs[3].as<float>() : nullptr),
        activation(fused) {}

  float operator()(double sum, int64_t channel, int64_t output) const {
    if (bias != nullptr) sum += bias[channel];
    if (residual != nullptr) sum += residual[output];
    return static_cast<float>(Activated(activation, sum));
  }
};

double Dot(const float* a, const float* b, int64_t count) {
  double sums[4] = {0, 0, 0, 0};
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += static_cast<double>(a[k + j]) * b[k + j];
  }
  for (; k < count; ++k) sums[0] += static_cast<double>(a[k]) * b[k];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

absl::Status Conv(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const TensorView& weight = context.inputs[1];
  TALLY_ASSIGN_OR_RETURN(Window2d w, ConvWindow(context.node, x.shape, weight.shape));
  FlattenPointwise(&w);
  TALLY_ASSIGN_OR_RETURN(const Activation activation, FusedActivation(context.node));
  const Epilogue epilogue(context, activation);
  float* y = context.outputs[0].as<float>();
  const int64_t group_in = w.in_channels_per_group();

  // One output row of one channel: every tap adds its products to the row's sums.
  const auto row = [&](int64_t n, int64_t o, int64_t oh) {
    const int64_t first_channel = o / w.out_channels_per_group() * group_in;
    for (int64_t first = 0; first < w.out_w; first += kBlock) {
      const int64_t last = std::min(w.out_w, first + kBlock);
      double sums[kBlock] = {};
      for (int64_t c = 0; c < group_in; ++c) {
        for (int64_t r = 0; r < w.kernel_h; ++r) {
          const int64_t ih = oh * w.stride_h - w.pad_top + r * w.dilation_h;
          if (ih < 0 || ih >= w.in_h) continue;
          const float* line = x.as<float>() + ((n * w.in_channels + first_channel + c) * w.in_h + ih) * w.in_w;
          const float* taps = weight.as<float>() + ((o * group_in + c) * w.kernel_h + r) * w.kernel_w;
          for (int64_t s = 0; s < w.kernel_w; ++s) {
            const int64_t offset = s * w.dilation_w - w.pad_left;
            // Outputs whose tap lies within the line; the rest of the line's surroundings is zero.
            int64_t begin = first;
            int64_t end = last;
            while (begin < end && begin * w.stride_w + offset < 0) ++begin;
            while (begin < end && (end - 1) * w.stride_w + offset >= w.in_w) --end;
            const double tap = taps[s];
            if (w.stride_w == 1) {
              for (int64_t ow = begin; ow < end; ++ow) sums[ow - first] += tap * line[ow + offset];
            } else {
              for (int64_t ow = begin; ow < end; ++ow) sums[ow - first] += tap * line[ow * w.stride_w + offset];
            }
          }
        }
      }
      const int64_t output = ((n * w.out_channels + o) * w.out_h + oh) * w.out_w;
      for (int64_t ow = first; ow < last; ++ow) y[output + ow] = epilogue(sums[ow - first], o, output + ow);
    }
  };
  const int64_t rows = w.batch * w.out_channels * w.out_h;
  context.pool->ParallelFor(static_cast<size_t>(rows), 1, [&](size_t begin, size_t end) {
    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i) {
      row(i / w.out_h / w.out_channels, i / w.out_h % w.out_channels, i % w.out_h);
    }
  });
  return absl::OkStatus();
}

absl::Status Gemm(const EvalContext& context) {
  const float* x = context.inputs[0].as<float>();
  const float* weight = context.inputs[1].as<float>();
  const int64_t columns = context.inputs[1].shape[0];
  const int64_t depth = context.inputs[1].shape[1];
  TALLY_ASSIGN_OR_RETURN(const Activation activation, FusedActivation(context.node));
  const Epilogue epilogue(context, activation);
  float* y = context.outputs[0].as<float>();
  const int64_t outputs = Elements(context.outputs[0].shape);
  context.pool->ParallelFor(static_cast<size_t>(outputs), 16, [&](size_t begin, size_t end) {
    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i) {
      const int64_t column = i % columns;
      y[i] = epilogue(Dot(x + i / columns * depth, weight + column * depth, depth), column, i);
    }
  });
  return absl::OkStatus();
}

absl::Status MatMul(const EvalContext& context) {
  // Vectors become a row on the left, a column on the right.
  Shape a = context.inputs[0].shape;
  Shape b = context.inputs[1].shape;
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  const int64_t rows = a[a.size() - 2];
  const int64_t depth = a[a.size() - 1];
  const int64_t columns = b[b.size() - 1];
  const int64_t outputs = Elements(context.outputs[0].shape);
  if (outputs == 0) return absl::OkStatus();

  // Matrix `index` of the output, counted over the broadcast leading extents, to the matrix of one operand.
  const auto matrix_of = [&](const Shape& operand, const Shape& other, int64_t index) {
    int64_t matrix = 0;
    int64_t stride = 1;
    for (size_t i = 3; i <= std::max(operand.size(), other.size()); ++i) {
      const int64_t mine = i <= operand.size() ? operand[operand.size() - i] : 1;
      const int64_t theirs = i <= other.size() ? other[other.size() - i] : 1;
      const int64_t extent = std::max(mine, theirs);
      if (mine > 1) matrix += index % extent * stride;
      stride *= mine;
      index /= extent;
    }
    return matrix;
  };
  float* y = context.outputs[0].as<float>();
  context.pool->ParallelFor(static_cast<size_t>(outputs / columns), 1, [&](size_t begin, size_t end) {
    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i) {
      const int64_t matrix = i / rows;
      const float* left = context.inputs[0].as<float>() + (matrix_of(a, b, matrix) * rows + i % rows) * depth;
      const float* right = context.inputs[1].as<float>() + matrix_of(b, a, matrix) * depth * columns;
      for (int64_t first = 0; first < columns; first += kBlock) {
        const int64_t count = std::min(kBlock, columns - first);
        double sums[kBlock] = {};
        for (int64_t k = 0; k < depth; ++k) {
          const double factor = left[k];
          for (int64_t j = 0; j < count; ++j) sums[j] += factor * right[k * columns + first + j];
        }
        for (int64_t j = 0; j < count; ++j) y[i * columns + first + j] = static_cast<float>(sums[j]);
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace tally::reference
