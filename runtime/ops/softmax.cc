// Softmax: e^(x - max) / sum; LogSoftmax: x - max - log(sum); Hardmax: 1 at the first maximum, 0 elsewhere. A row
// without a finite maximum (NaN, or an infinite maximum) gives NaN.
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/elementary.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/math.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

template <bool kLog>
void SoftmaxRow(const float* x, size_t n, float* y) {
  const float max = LaneMax(x, n);
  for (size_t i = 0; i < n; ++i) y[i] = ExpF(x[i] - max);
  const float sum = LaneSum(y, n);
  if constexpr (kLog) {
    const float log_sum = LogF(sum);
    for (size_t i = 0; i < n; ++i) y[i] = (x[i] - max) - log_sum;
  } else {
    for (size_t i = 0; i < n; ++i) y[i] /= sum;
  }
}

// `count` neighbouring rows whose elements are `stride` apart; sums run along the axis in ascending order.
constexpr size_t kBlock = 64;
template <bool kLog>
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
  if constexpr (kLog) {
    for (size_t j = 0; j < count; ++j) sum[j] = LogF(sum[j]);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < count; ++j) y[i * stride + j] = (x[i * stride + j] - max[j]) - sum[j];
    }
  } else {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < count; ++j) y[i * stride + j] /= sum[j];
    }
  }
}

// The tensor as [outer, n, inner]: n runs along the axis, or over all from it on.
struct Extents {
  size_t outer = 1;
  size_t n = 1;
  size_t inner = 1;
  bool empty() const { return outer == 0 || n == 0 || inner == 0; }
};

Extents ExtentsOf(const EvalContext& context) {
  const Shape& shape = context.inputs[0].shape;
  int64_t axis = IntAttribute(context.node, "axis", -1);
  if (axis < 0) axis += static_cast<int64_t>(shape.size());
  const bool flatten = IntAttribute(context.node, "flatten", 0) != 0;
  Extents extents;
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool before = i < static_cast<size_t>(axis);
    const bool along = i == static_cast<size_t>(axis) || flatten;
    (before ? extents.outer : along ? extents.n : extents.inner) *= static_cast<size_t>(shape[i]);
  }
  return extents;
}

template <bool kLog>
absl::Status Softmax(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const Extents e = ExtentsOf(context);
  if (e.empty()) return absl::OkStatus();
  const float* in = context.inputs[0].as<float>();
  float* y = context.outputs[0].as<float>();
  if (e.inner == 1) {
    ParallelFor(context.pool, e.outer, TileFor(e.n), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) SoftmaxRow<kLog>(in + i * e.n, e.n, y + i * e.n);
    });
    return absl::OkStatus();
  }
  const size_t blocks = (e.inner + kBlock - 1) / kBlock;
  ParallelFor(context.pool, e.outer * blocks, TileFor(e.n * kBlock), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t first = i % blocks * kBlock;
      const size_t offset = i / blocks * e.n * e.inner + first;
      SoftmaxColumns<kLog>(in + offset, e.n, e.inner, std::min(kBlock, e.inner - first), y + offset);
    }
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalSoftmax(const EvalContext& context) { return Softmax<false>(context); }
absl::Status EvalLogSoftmax(const EvalContext& context) { return Softmax<true>(context); }

absl::Status EvalHardmax(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const Extents e = ExtentsOf(context);
  if (e.empty()) return absl::OkStatus();
  ParallelFor(context.pool, e.outer * e.inner, TileFor(e.n), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t offset = i / e.inner * e.n * e.inner + i % e.inner;
      const float* x = context.inputs[0].as<float>() + offset;
      float* y = context.outputs[0].as<float>() + offset;
      size_t best = 0;
      for (size_t k = 1; k < e.n; ++k) best = x[k * e.inner] > x[best * e.inner] ? k : best;
      for (size_t k = 0; k < e.n; ++k) y[k * e.inner] = k == best ? 1.0f : 0.0f;
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
