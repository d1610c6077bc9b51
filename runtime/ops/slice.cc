#include "runtime/ops/slice.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"

namespace tally {
namespace {

// A start or end as an index of a dimension of `extent`: from the end when negative, then clamped. Adding the extent to
// a negative number cannot wrap.
int64_t ClampIndex(int64_t index, int64_t extent, int64_t low, int64_t high) {
  return std::clamp(index < 0 ? index + extent : index, low, high);
}

SliceRange Resolve(int64_t extent, int64_t start, int64_t end, int64_t step) {
  SliceRange range;
  if (extent == 0) return range;
  const bool forward = step > 0;
  start = ClampIndex(start, extent, 0, forward ? extent : extent - 1);
  end = ClampIndex(end, extent, forward ? 0 : -1, forward ? extent : extent - 1);
  const int64_t distance = forward ? end - start : start - end;
  if (distance <= 0) return range;
  // Unsigned, because the magnitude of the smallest int64 is not one.
  const uint64_t magnitude = forward ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  range.start = start;
  range.count = static_cast<int64_t>((static_cast<uint64_t>(distance) - 1) / magnitude) + 1;
  if (range.count > 1) range.step = step;
  return range;
}

absl::Status Bad(const std::string& detail) {
  return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Slice: ", detail));
}

}  // namespace

absl::Status ResolveSlice(const Shape& shape, absl::Span<const int64_t> starts, absl::Span<const int64_t> ends,
                          absl::Span<const int64_t> axes, absl::Span<const int64_t> steps, SliceRanges* ranges) {
  const size_t count = starts.size();
  const bool all_axes = axes.empty();
  const bool all_steps = steps.empty();
  if (ends.size() != count || (!all_axes && axes.size() != count) || (!all_steps && steps.size() != count)) {
    return Bad(absl::StrCat(count, " starts, ", ends.size(), " ends, ", axes.size(), " axes and ", steps.size(),
                            " steps, expected as many of each"));
  }
  for (size_t i = 0; i < shape.size(); ++i) (*ranges)[i] = {0, 1, shape[i]};
  std::array<bool, kMaxRank> used = {};
  for (size_t i = 0; i < count; ++i) {
    const int64_t axis = all_axes ? static_cast<int64_t>(i) : axes[i];
    const int64_t step = all_steps ? 1 : steps[i];
    size_t d = 0;
    if (!NormalizeAxis(axis, shape.size(), &d) || used[d]) {
      return Bad(absl::StrCat("axes has ", axis, ", expected distinct axes of a tensor of rank ", shape.size()));
    }
    if (step == 0) return Bad(absl::StrCat("steps[", i, "] is 0, expected another number"));
    used[d] = true;
    (*ranges)[d] = Resolve(shape[d], starts[i], ends[i], step);
  }
  return absl::OkStatus();
}

absl::Status EvalSlice(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const TensorView& x = context.inputs[0];
  SliceRanges ranges;
  TALLY_RETURN_IF_ERROR(
      ResolveSlice(x.shape, IntsOf(context, 1), IntsOf(context, 2), IntsOf(context, 3), IntsOf(context, 4), &ranges));
  const uint8_t* from = x.as<uint8_t>();
  StridedCopy copy;
  copy.element = DTypeSize(x.dtype);
  copy.rank = x.shape.size();
  int64_t from_stride = static_cast<int64_t>(copy.element);
  int64_t to_stride = from_stride;
  for (size_t i = x.shape.size(); i-- > 0;) {
    TALLY_RETURN_IF_ERROR(CheckPlanned(context, i, ranges[i].count));
    copy.extents[i] = ranges[i].count;
    copy.from[i] = ranges[i].step * from_stride;
    copy.to[i] = to_stride;
    if (from != nullptr) from += ranges[i].start * from_stride;
    from_stride *= x.shape[i];
    to_stride *= ranges[i].count;
  }
  CopyStrided(copy, from, context.outputs[0].data, context.pool);
  return absl::OkStatus();
}

}  // namespace tally
