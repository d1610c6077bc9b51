#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

template <typename Index>
absl::Status CheckIndices(const Index* indices, int64_t count, int64_t extent) {
  for (int64_t i = 0; i < count; ++i) {
    if (indices[i] >= -extent && indices[i] < extent) continue;
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Gather: indices[", i, "] is ", indices[i], ", expected ",
                                                           -extent, " .. ", extent - 1));
  }
  return absl::OkStatus();
}

// One run of `bytes` per index, `outer` times.
template <typename Index>
void CopyRuns(ThreadPool* pool, const Index* indices, int64_t count, int64_t extent, int64_t outer, size_t bytes,
              const uint8_t* from, uint8_t* to) {
  // Some 64 KiB per task.
  const size_t tile = std::max<size_t>(1, (64 << 10) / std::max<size_t>(1, bytes));
  ParallelFor(pool, static_cast<size_t>(outer * count), tile, [&](size_t begin, size_t end) {
    int64_t block = static_cast<int64_t>(begin) / count;
    int64_t j = static_cast<int64_t>(begin) % count;
    for (size_t i = begin; i < end; ++i) {
      const int64_t index = indices[j] < 0 ? indices[j] + extent : indices[j];
      const uint8_t* run = from + static_cast<size_t>(block * extent + index) * bytes;
      uint8_t* target = to + i * bytes;
      // Constant sizes become single moves.
      switch (bytes) {
        case 1: *target = *run; break;
        case 4: std::memcpy(target, run, 4); break;
        case 8: std::memcpy(target, run, 8); break;
        default: std::memcpy(target, run, bytes);
      }
      if (++j == count) {
        j = 0;
        ++block;
      }
    }
  });
}

template <typename Index>
absl::Status GatherRuns(const EvalContext& context, size_t axis) {
  const TensorView& x = context.inputs[0];
  const Index* indices = context.inputs[1].as<Index>();
  const int64_t count = ElementsOf(context.inputs[1].shape);
  const int64_t extent = x.shape[axis];
  TALLY_RETURN_IF_ERROR(CheckIndices(indices, count, extent));
  if (ElementsOf(context.outputs[0].shape) == 0) return absl::OkStatus();
  int64_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= x.shape[i];
  size_t bytes = DTypeSize(x.dtype);
  for (size_t i = axis + 1; i < x.shape.size(); ++i) bytes *= static_cast<size_t>(x.shape[i]);
  CopyRuns(context.pool, indices, count, extent, outer, bytes, x.as<uint8_t>(), context.outputs[0].as<uint8_t>());
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGatherIndices(const TensorView& indices, int64_t extent) {
  const int64_t count = ElementsOf(indices.shape);
  return indices.dtype == DType::kInt64 ? CheckIndices(indices.as<int64_t>(), count, extent)
                                        : CheckIndices(indices.as<int32_t>(), count, extent);
}

absl::Status EvalGather(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  size_t axis = 0;
  if (!NormalizeAxis(IntAttribute(context.node, "axis", 0), context.inputs[0].shape.size(), &axis)) {
    return MakeError(ErrorId::kBadAttribute, "Gather: attribute axis is out of range");
  }
  return context.inputs[1].dtype == DType::kInt64 ? GatherRuns<int64_t>(context, axis)
                                                  : GatherRuns<int32_t>(context, axis);
}

}  // namespace tally
