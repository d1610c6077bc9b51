// Normalisation. BatchNormalization uses given statistics: (x - mean) * (scale / sqrt(variance + epsilon)) + bias; the
// others those of the data: the mean, then the variance of the differences from it, then
// (x - mean) * (1 / sqrt(variance + epsilon)) * scale + bias.
#include <cmath>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/elementary.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

struct Moments {
  float mean = 0;
  float inverse = 0;  // 1 / sqrt(variance + epsilon)
};

// Leaves x - mean in y.
Moments Center(const float* x, size_t n, float epsilon, float* y) {
  Moments moments;
  const float count = static_cast<float>(n);
  moments.mean = LaneSum(x, n) / count;
  for (size_t i = 0; i < n; ++i) y[i] = x[i] - moments.mean;
  // Squares are summed by LaneSum in blocks, and the blocks in ascending order.
  constexpr size_t kBlock = 256;
  float squares[kBlock];
  float sum = 0.0f;
  for (size_t first = 0; first < n; first += kBlock) {
    const size_t block = std::min(kBlock, n - first);
    for (size_t i = 0; i < block; ++i) squares[i] = y[first + i] * y[first + i];
    sum += LaneSum(squares, block);
  }
  moments.inverse = 1.0f / std::sqrt(sum / count + epsilon);
  return moments;
}

size_t Count(const Shape& shape, size_t begin) {
  size_t n = 1;
  for (size_t i = begin; i < shape.size(); ++i) n *= static_cast<size_t>(shape[i]);
  return n;
}

// Groups of channels of [N, C, ...]: statistics per group, scale and bias per channel.
absl::Status NormalizeGroups(const EvalContext& context, size_t groups) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const TensorView& x = context.inputs[0];
  const float* scale = context.inputs[1].as<float>();
  const float* bias = context.inputs[2].as<float>();
  const float epsilon = FloatAttribute(context.node, "epsilon", 1e-5f);
  const size_t channels = static_cast<size_t>(x.shape[1]);
  const size_t plane = Count(x.shape, 2);
  if (ElementsOf(x.shape) == 0) return absl::OkStatus();
  const size_t group_channels = channels / groups;
  const size_t size = group_channels * plane;
  ParallelFor(context.pool, static_cast<size_t>(x.shape[0]) * groups, TileFor(size), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      float* y = context.outputs[0].as<float>() + i * size;
      const Moments moments = Center(x.as<float>() + i * size, size, epsilon, y);
      for (size_t c = 0; c < group_channels; ++c) {
        const size_t channel = i % groups * group_channels + c;
        const float factor = scale[channel];
        const float offset = bias[channel];
        float* row = y + c * plane;
        for (size_t j = 0; j < plane; ++j) row[j] = row[j] * moments.inverse * factor + offset;
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalBatchNormalization(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 5));
  const TensorView& x = context.inputs[0];
  const float* scale = context.inputs[1].as<float>();
  const float* bias = context.inputs[2].as<float>();
  const float* mean = context.inputs[3].as<float>();
  const float* variance = context.inputs[4].as<float>();
  const float epsilon = FloatAttribute(context.node, "epsilon", 1e-5f);
  const size_t channels = static_cast<size_t>(x.shape[1]);
  const size_t planes = static_cast<size_t>(x.shape[0]) * channels;
  const size_t size = Count(x.shape, 2);
  ParallelFor(context.pool, planes, TileFor(size), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t c = i % channels;
      const float factor = scale[c] / std::sqrt(variance[c] + epsilon);
      const float center = mean[c];
      const float offset = bias[c];
      const float* in = x.as<float>() + i * size;
      float* out = context.outputs[0].as<float>() + i * size;
      for (size_t j = 0; j < size; ++j) out[j] = (in[j] - center) * factor + offset;
    }
  });
  return absl::OkStatus();
}

absl::Status EvalLayerNormalization(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  size_t axis = 0;
  const bool valid = NormalizeAxis(IntAttribute(context.node, "axis", -1), x.shape.size(), &axis);
  static_cast<void>(valid);  // checked by inference
  const float epsilon = FloatAttribute(context.node, "epsilon", 1e-5f);
  const size_t size = Count(x.shape, axis);
  if (ElementsOf(x.shape) == 0) return absl::OkStatus();
  const float* scale = context.inputs[1].as<float>();
  const float* bias = context.inputs.size() > 2 ? context.inputs[2].as<float>() : nullptr;
  float* means = context.outputs.size() > 1 ? context.outputs[1].as<float>() : nullptr;
  float* inverses = context.outputs.size() > 2 ? context.outputs[2].as<float>() : nullptr;
  ParallelFor(context.pool, static_cast<size_t>(ElementsOf(x.shape)) / size, TileFor(size),
              [&](size_t begin, size_t end) {
                for (size_t i = begin; i < end; ++i) {
                  float* y = context.outputs[0].as<float>() + i * size;
                  const Moments moments = Center(x.as<float>() + i * size, size, epsilon, y);
                  const float inverse = moments.inverse;
                  if (bias != nullptr) {
                    for (size_t j = 0; j < size; ++j) y[j] = y[j] * inverse * scale[j] + bias[j];
                  } else {
                    for (size_t j = 0; j < size; ++j) y[j] = y[j] * inverse * scale[j];
                  }
                  if (means != nullptr) means[i] = moments.mean;
                  if (inverses != nullptr) inverses[i] = inverse;
                }
              });
  return absl::OkStatus();
}

absl::Status EvalInstanceNormalization(const EvalContext& context) {
  return NormalizeGroups(context, std::max<size_t>(1, static_cast<size_t>(context.inputs[0].shape[1])));
}

absl::Status EvalGroupNormalization(const EvalContext& context) {
  return NormalizeGroups(context, static_cast<size_t>(IntAttribute(context.node, "num_groups", 1)));
}

// x / (bias + alpha / size * sum of the squares of `size` neighbouring channels) ^ beta, sums in ascending order.
absl::Status EvalLRN(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  const int64_t size = IntAttribute(context.node, "size", 1);
  const double factor = static_cast<double>(FloatAttribute(context.node, "alpha", 1e-4f)) / static_cast<double>(size);
  const double beta = FloatAttribute(context.node, "beta", 0.75f);
  const double bias = FloatAttribute(context.node, "bias", 1.0f);
  const int64_t channels = x.shape[1];
  const int64_t plane = static_cast<int64_t>(Count(x.shape, 2));
  ParallelFor(context.pool, static_cast<size_t>(ElementsOf(x.shape)), kElementTile, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const int64_t element = static_cast<int64_t>(i);
      const int64_t c = element / plane % channels;
      const int64_t first = std::max<int64_t>(0, c - (size - 1) / 2);
      const int64_t last = std::min<int64_t>(channels - 1, c + size / 2);
      double sum = 0.0;
      for (int64_t k = first; k <= last; ++k) {
        const double value = x.as<float>()[element + (k - c) * plane];
        sum += value * value;
      }
      context.outputs[0].as<float>()[i] =
          static_cast<float>(static_cast<double>(x.as<float>()[i]) / PowD(bias + factor * sum, beta));
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
