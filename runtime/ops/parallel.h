// Work division of the shared operators. Tiles are constants, never derived from the number of threads, so that the
// same elements share a vector at any thread count.
#ifndef TALLY_RUNTIME_OPS_PARALLEL_H_
#define TALLY_RUNTIME_OPS_PARALLEL_H_

#include <algorithm>
#include <cstddef>

#include "runtime/core/thread_pool.h"

namespace tally {

// Elements of an element-wise operator per task: some tens of microseconds of work, far above the cost of a task.
inline constexpr size_t kElementTile = 16384;

// Tasks of `cost` elements each: how many to hand out at once.
inline size_t TileFor(size_t cost) { return std::max<size_t>(1, kElementTile / std::max<size_t>(1, cost)); }

// Not inlined: which of two NaNs an operation gives depends on the code, so there is one for all callers.
template <typename Fn>
__attribute__((noinline)) void RunRange(const Fn& fn, size_t begin, size_t end) {
  fn(begin, end);
}

// pool->ParallelFor, or the same ranges on the caller when there is no pool (shape arithmetic while planning).
template <typename Fn>
void ParallelFor(ThreadPool* pool, size_t count, size_t tile, const Fn& fn) {
  if (pool != nullptr) {
    pool->ParallelFor(count, tile, [&fn](size_t begin, size_t end) { RunRange(fn, begin, end); });
    return;
  }
  for (size_t begin = 0; begin < count; begin += std::min(tile, count - begin)) {
    RunRange(fn, begin, begin + std::min(tile, count - begin));
  }
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_PARALLEL_H_
