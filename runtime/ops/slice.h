// What Slice takes from each dimension, resolved against a concrete shape; shared by inference and evaluation.
#ifndef TALLY_RUNTIME_OPS_SLICE_H_
#define TALLY_RUNTIME_OPS_SLICE_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "format/limits.h"
#include "tally/types.h"

namespace tally {

// Indices start, start + step, ... (`count` of them, all within the dimension). The step is 1 unless count > 1.
struct SliceRange {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};
using SliceRanges = std::array<SliceRange, kMaxRank>;

// ONNX semantics: negative starts, ends and axes count from the end, starts and ends are clamped. Empty axes are 0,
// 1, ..., empty steps 1. Any integer values are accepted or refused, none overflows.
// REQUIRES: shape.size() <= kMaxRank. Error: kBadNodeInputs.
absl::Status ResolveSlice(const Shape& shape, absl::Span<const int64_t> starts, absl::Span<const int64_t> ends,
                          absl::Span<const int64_t> axes, absl::Span<const int64_t> steps, SliceRanges* ranges);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_SLICE_H_
