// Walking operands that broadcast to one output shape: row by row of the output, each operand contiguous or repeating.
#ifndef TALLY_RUNTIME_OPS_BROADCAST_H_
#define TALLY_RUNTIME_OPS_BROADCAST_H_

#include <algorithm>
#include <cstddef>

#include "format/limits.h"
#include "runtime/ops/parallel.h"
#include "tally/types.h"

namespace tally {

// ONNX broadcasting: trailing dimensions are aligned, an extent of 1 repeats. False when the extents do not fit.
[[nodiscard]] bool BroadcastShapes(const Shape& a, const Shape& b, Shape* out);

// A broadcast as few nested loops: neighbouring dimensions that all operands walk alike are merged. Strides are in
// elements, 0 where an operand repeats; those of the innermost dimension are 0 or 1.
template <size_t kOperands>
struct BroadcastLoops {
  size_t rank = 0;  // >= 1
  size_t extents[kMaxRank] = {};
  size_t strides[kOperands][kMaxRank] = {};
};

template <size_t kOperands>
BroadcastLoops<kOperands> MakeBroadcastLoops(const Shape* const (&operands)[kOperands], const Shape& out) {
  BroadcastLoops<kOperands> loops;
  size_t stride[kOperands];
  for (size_t k = 0; k < kOperands; ++k) {
    stride[k] = 1;
    for (int64_t d : *operands[k]) stride[k] *= static_cast<size_t>(d);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t extent = static_cast<size_t>(out[i]);
    if (extent == 1) continue;
    size_t step[kOperands];
    bool merges = loops.rank > 0;
    for (size_t k = 0; k < kOperands; ++k) {
      const size_t absent = out.size() - operands[k]->size();
      const size_t mine = i < absent ? 1 : static_cast<size_t>((*operands[k])[i - absent]);
      stride[k] /= mine;
      step[k] = mine == 1 ? 0 : stride[k];
      merges = merges && loops.strides[k][loops.rank - 1] == step[k] * extent;
    }
    if (!merges) ++loops.rank;
    const size_t last = loops.rank - 1;
    loops.extents[last] = merges ? loops.extents[last] * extent : extent;
    for (size_t k = 0; k < kOperands; ++k) loops.strides[k][last] = step[k];
  }
  if (loops.rank == 0) {
    loops.rank = 1;
    loops.extents[0] = 1;
  }
  return loops;
}

// Calls row(begin, count, offsets) for ranges of flat output elements, cut where rows end; offsets[k] is the first
// element of operand k, whose innermost stride is loops.strides[k][loops.rank - 1]. REQUIRES: elements > 0.
template <size_t kOperands, typename Row>
void ForEachRow(const BroadcastLoops<kOperands>& loops, size_t elements, ThreadPool* pool, const Row& row) {
  const size_t inner = loops.rank - 1;
  const size_t row_length = loops.extents[inner];
  ParallelFor(pool, elements, kElementTile, [&](size_t begin, size_t end) {
    while (begin < end) {
      const size_t column = begin % row_length;
      const size_t count = std::min(row_length - column, end - begin);
      size_t offsets[kOperands];
      for (size_t k = 0; k < kOperands; ++k) offsets[k] = column * loops.strides[k][inner];
      size_t rest = begin / row_length;
      for (size_t d = inner; d-- > 0; rest /= loops.extents[d]) {
        const size_t index = rest % loops.extents[d];
        for (size_t k = 0; k < kOperands; ++k) offsets[k] += index * loops.strides[k][d];
      }
      row(begin, count, offsets);
      begin += count;
    }
  });
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_BROADCAST_H_
