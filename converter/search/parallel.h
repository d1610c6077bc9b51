// Parallel loops whose bodies allocate. The pool's own must not throw.
#ifndef TALLY_CONVERTER_SEARCH_PARALLEL_H_
#define TALLY_CONVERTER_SEARCH_PARALLEL_H_

#include <atomic>
#include <cstddef>
#include <new>

#include "runtime/core/thread_pool.h"

namespace tally {

// ThreadPool::ParallelFor; `pool` may be null. std::bad_alloc of any task is thrown here once all have ended.
template <typename Fn>
void ParallelFor(ThreadPool* pool, size_t count, size_t tile, const Fn& fn) {
  std::atomic<bool> out_of_memory{false};
  const auto guarded = [&](size_t begin, size_t end) {
    try {
      fn(begin, end);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  };
  if (pool == nullptr) {
    guarded(0, count);
  } else {
    pool->ParallelFor(count, tile, guarded);
  }
  if (out_of_memory) throw std::bad_alloc();
}

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_PARALLEL_H_
