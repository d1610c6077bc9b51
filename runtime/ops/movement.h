// What the data-movement operators share: they know element sizes, not element types.
#ifndef TALLY_RUNTIME_OPS_MOVEMENT_H_
#define TALLY_RUNTIME_OPS_MOVEMENT_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "format/limits.h"
#include "runtime/core/thread_pool.h"
#include "runtime/ops/op.h"

namespace tally {

// Elements of a view's shape. REQUIRES: a shape that inference accepted.
int64_t ElementsOf(const Shape& shape);

// Inputs 0 .. count - 1 have data or no elements; a constant may come without plain form. Error: kMissingForm.
absl::Status CheckData(const EvalContext& context, size_t count);

// The int64 elements of input i; empty when it is absent.
absl::Span<const int64_t> IntsOf(const EvalContext& context, size_t i);

// All of Gather's indices (int64 or int32) are within -extent .. extent - 1. Error: kBadNodeInputs.
absl::Status CheckGatherIndices(const TensorView& indices, int64_t extent);

// The operator's values at run time give the output that was planned. Error: kBadNodeInputs.
absl::Status CheckPlanned(const EvalContext& context, size_t dimension, int64_t extent);

// Copies bytes, in parallel when there are many. The ranges do not overlap.
void CopyBytes(ThreadPool* pool, const void* from, void* to, size_t bytes);

// A copy between two arrays that are addressed by strides.
struct StridedCopy {
  // Operators that repeat or interleave split each dimension in two.
  static constexpr size_t kMaxDims = 2 * kMaxRank;
  size_t rank = 0;
  size_t element = 1;  // bytes
  int64_t extents[kMaxDims];
  // Bytes between neighbours along each dimension. `from` may be negative (then its base is the first element read).
  // `to` steps forward, the last dimension fastest.
  int64_t from[kMaxDims];
  int64_t to[kMaxDims];

  void Add(int64_t extent, int64_t from_stride, int64_t to_stride) {
    extents[rank] = extent;
    from[rank] = from_stride;
    to[rank] = to_stride;
    ++rank;
  }
};

// Neighbouring dimensions that are contiguous on both sides are merged and copied as runs; where the fastest dimension
// of the source is another than the destination's, in square blocks. Results do not depend on the pool.
void CopyStrided(const StridedCopy& copy, const void* from, void* to, ThreadPool* pool);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_MOVEMENT_H_
