// ReduceMean over any axes. Where the innermost axis is reduced, runs along it are summed by LaneSum and the runs added
// in ascending order; otherwise outputs are sums in ascending order of all reduced indices.
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

constexpr size_t kBlock = 256;

// The input's dimensions with neighbours of the same fate merged, extents of 1 dropped.
struct Groups {
  size_t count = 0;
  size_t extents[kMaxRank] = {};
  size_t strides[kMaxRank] = {};
  bool reduced[kMaxRank] = {};
};

Groups MakeGroups(const Shape& shape, const bool* reduced) {
  Groups groups;
  for (size_t i = 0; i < shape.size(); ++i) {
    const size_t extent = static_cast<size_t>(shape[i]);
    if (extent == 1) continue;
    if (groups.count > 0 && groups.reduced[groups.count - 1] == reduced[i]) {
      groups.extents[groups.count - 1] *= extent;
    } else {
      groups.extents[groups.count] = extent;
      groups.reduced[groups.count] = reduced[i];
      ++groups.count;
    }
  }
  size_t stride = 1;
  for (size_t g = groups.count; g-- > 0;) {
    groups.strides[g] = stride;
    stride *= groups.extents[g];
  }
  return groups;
}

// Offset of flat index `index` over the groups before `end` whose fate is `reduced`.
size_t Offset(const Groups& groups, size_t end, bool reduced, size_t index) {
  size_t offset = 0;
  for (size_t g = end; g-- > 0;) {
    if (groups.reduced[g] != reduced) continue;
    offset += index % groups.extents[g] * groups.strides[g];
    index /= groups.extents[g];
  }
  return offset;
}

size_t Product(const Groups& groups, size_t end, bool reduced) {
  size_t n = 1;
  for (size_t g = 0; g < end; ++g) n *= groups.reduced[g] == reduced ? groups.extents[g] : 1;
  return n;
}

void Mean(const EvalContext& context, const Groups& groups, const float* x, float* y) {
  const size_t inner = groups.count - 1;
  const size_t length = groups.extents[inner];
  const size_t outer = Product(groups, inner, false);
  const size_t repeats = Product(groups, inner, true);
  if (groups.reduced[inner]) {
    const float divisor = static_cast<float>(repeats * length);
    ParallelFor(context.pool, outer, TileFor(repeats * length), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const float* from = x + Offset(groups, inner, false, i);
        float sum = 0.0f;
        for (size_t r = 0; r < repeats; ++r) sum += LaneSum(from + Offset(groups, inner, true, r), length);
        y[i] = sum / divisor;
      }
    });
    return;
  }
  const float divisor = static_cast<float>(repeats);
  const size_t blocks = (length + kBlock - 1) / kBlock;
  ParallelFor(context.pool, outer * blocks, TileFor(repeats * kBlock), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t row = task / blocks;
      const size_t first = task % blocks * kBlock;
      const size_t count = std::min(kBlock, length - first);
      const float* from = x + Offset(groups, inner, false, row) + first;
      float sums[kBlock] = {};
      for (size_t r = 0; r < repeats; ++r) {
        const float* values = from + Offset(groups, inner, true, r);
        for (size_t j = 0; j < count; ++j) sums[j] += values[j];
      }
      for (size_t j = 0; j < count; ++j) y[row * length + first + j] = sums[j] / divisor;
    }
  });
}

}  // namespace

absl::Status EvalReduceMean(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const size_t rank = x.shape.size();
  size_t elements = 1;
  for (int64_t d : x.shape) elements *= static_cast<size_t>(d);
  const bool has_axes = context.inputs.size() > 1 && !context.inputs[1].shape.empty() && context.inputs[1].shape[0] > 0;
  bool reduced[kMaxRank];
  std::fill(reduced, reduced + kMaxRank, !has_axes && IntAttribute(context.node, "noop_with_empty_axes", 0) == 0);
  if (has_axes) {
    const int64_t* axes = context.inputs[1].as<int64_t>();
    for (int64_t i = 0; i < context.inputs[1].shape[0]; ++i) {
      const int64_t axis = axes[i] < 0 ? axes[i] + static_cast<int64_t>(rank) : axes[i];
      reduced[axis] = true;
    }
  }
  float* y = context.outputs[0].as<float>();
  if (elements == 0) return absl::OkStatus();  // no outputs either: inference refuses the mean of nothing
  const Groups groups = MakeGroups(x.shape, reduced);
  if (groups.count == 0) {
    y[0] = x.as<float>()[0];
    return absl::OkStatus();
  }
  Mean(context, groups, x.as<float>(), y);
  return absl::OkStatus();
}

}  // namespace tally
