// Static division of work among the threads of a session, so that each part can own a slice of the scratch.
#ifndef TALLY_BACKENDS_EXPONENT_PARTS_H_
#define TALLY_BACKENDS_EXPONENT_PARTS_H_

#include <algorithm>
#include <cstddef>

#include "runtime/backend/backend.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// How much longer a product takes than in a tile where its weight comes from memory and is used but a few times, about.
inline constexpr double kStreamFactor = 8;

// How many of the context's threads take part in `products` products (in a tile): each gets `products_per_thread`.
inline size_t PartsFor(const NodeContext& context, double products, double products_per_thread) {
  const double most = context.num_threads > 1 ? context.num_threads : 1;
  return static_cast<size_t>(std::clamp(products / products_per_thread, 1.0, most));
}

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
