// Softmax: e^(x - max) / sum. A row without a finite maximum (NaN, or an infinite maximum) gives NaN.
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/math.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

void SoftmaxRow(const float* x, size_t n, float* y) {
  const float max = LaneMax(x, n);
  for (size_t i = 0; i < n; ++i) y[i] = ExpF(x[i] - max);
  const float sum = LaneSum(y, n);
  for (size_t i = 0; i < n; ++i) y[i] /= sum;
}

// `count` neighbouring rows whose elements are `stride` apart; sums run along the axis in ascending order.
constexpr size_t kBlock = 64;
void SoftmaxColumns(const float* x, size_t n, size_t stride, size_t count, float* y) {
  float max[kBlock];
  float sum[kBlock];
  for (size_t j = 0; j < count; ++j) {
    max[j] = x[j];
    sum[j] = 0.0f;
  }
  for (size_t i = 1; i < n; ++i) {
    const float* row = x + i * stride;
    for (size_t j = 0; j < count; ++j) max[j] = row[j] > max[j] || row[j] != row[j] ? row[j] : max[j];
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < count; ++j) {
      const float e = ExpF(x[i * stride + j] - max[j]);
      y[i * stride + j] = e;
      sum[j] += e;
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < count; ++j) y[i * stride + j] /= sum[j];
  }
}

}  // namespace

absl::Status EvalSoftmax(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const size_t rank = x.shape.size();
  int64_t axis = IntAttribute(context.node, "axis", -1);
  if (axis < 0) axis += static_cast<int64_t>(rank);
  const bool flatten = IntAttribute(context.node, "flatten", 0) != 0;
  // [outer, n, inner].
  size_t outer = 1;
  size_t n = 1;
  size_t inner = 1;
  for (size_t i = 0; i < rank; ++i) {
    const bool before = i < static_cast<size_t>(axis);
    const bool along = i == static_cast<size_t>(axis) || flatten;
    (before ? outer : along ? n : inner) *= static_cast<size_t>(x.shape[i]);
  }
  if (outer == 0 || n == 0 || inner == 0) return absl::OkStatus();
  const float* in = x.as<float>();
  float* y = context.outputs[0].as<float>();
  if (inner == 1) {
    ParallelFor(context.pool, outer, TileFor(n), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) SoftmaxRow(in + i * n, n, y + i * n);
    });
    return absl::OkStatus();
  }
  const size_t blocks = (inner + kBlock - 1) / kBlock;
  ParallelFor(context.pool, outer * blocks, TileFor(n * kBlock), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t first = i % blocks * kBlock;
      const size_t offset = i / blocks * n * inner + first;
      SoftmaxColumns(in + offset, n, inner, std::min(kBlock, inner - first), y + offset);
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
