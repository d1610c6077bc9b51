// BatchNormalization with running statistics: (x - mean) * (scale / sqrt(variance + epsilon)) + bias.
#include <cmath>

#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/parallel.h"

namespace tally {

absl::Status EvalBatchNormalization(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const float* scale = context.inputs[1].as<float>();
  const float* bias = context.inputs[2].as<float>();
  const float* mean = context.inputs[3].as<float>();
  const float* variance = context.inputs[4].as<float>();
  const float epsilon = FloatAttribute(context.node, "epsilon", 1e-5f);
  const size_t channels = static_cast<size_t>(x.shape[1]);
  const size_t planes = static_cast<size_t>(x.shape[0]) * channels;
  size_t size = 1;
  for (size_t i = 2; i < x.shape.size(); ++i) size *= static_cast<size_t>(x.shape[i]);
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

}  // namespace tally
