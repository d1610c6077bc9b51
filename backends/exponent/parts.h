// Static division of work among the threads of a session, so that each part can own a slice of the scratch.
#ifndef TALLY_BACKENDS_EXPONENT_PARTS_H_
#define TALLY_BACKENDS_EXPONENT_PARTS_H_

#include <cstddef>

#include "runtime/core/thread_pool.h"

namespace tally {

// Calls fn(part, begin, end) for parts 0 .. parts - 1 of [0, items); empty parts are left out.
template <typename Fn>
void ForEachPart(ThreadPool* pool, size_t parts, size_t items, const Fn& fn) {
  pool->ParallelFor(parts, 1, [&](size_t first, size_t last) {
    for (size_t part = first; part < last; ++part) {
      // Spread the remainder one by one; no product that could wrap.
      const size_t each = items / parts, rest = items % parts;
      const size_t begin = part * each + (part < rest ? part : rest);
      const size_t end = begin + each + (part < rest ? 1 : 0);
      if (begin < end) fn(part, begin, end);
    }
  });
}

// Offsets of the buffers within a node's scratch, each aligned to a cache line.
class ScratchPlan {
 public:
  // `count` buffers of `bytes` each, `stride` apart; returns the offset of the first.
  size_t Add(size_t count, size_t bytes, size_t* stride) {
    *stride = (bytes + 63) / 64 * 64;
    const size_t offset = total_;
    total_ += count * *stride;
    return offset;
  }
  size_t total() const { return total_; }

 private:
  size_t total_ = 0;
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_PARTS_H_
