// Arithmetic on sizes and offsets from untrusted files: every function returns false instead of wrapping.
#ifndef TALLY_FORMAT_CHECKED_H_
#define TALLY_FORMAT_CHECKED_H_

#include <cstdint>

#include "tally/types.h"

namespace tally {

template <typename T>
[[nodiscard]] bool CheckedMul(T a, T b, T* out) {
  return !__builtin_mul_overflow(a, b, out);
}

template <typename T>
[[nodiscard]] bool CheckedAdd(T a, T b, T* out) {
  return !__builtin_add_overflow(a, b, out);
}

// Rounds up to a multiple of `alignment`, a power of two.
[[nodiscard]] inline bool CheckedAlignUp(uint64_t value, uint64_t alignment, uint64_t* out) {
  if (!CheckedAdd(value, alignment - 1, out)) return false;
  *out &= ~(alignment - 1);
  return true;
}

// Whether [offset, offset + length) lies within [0, size), without computing the sum.
[[nodiscard]] inline bool RangeFits(uint64_t offset, uint64_t length, uint64_t size) {
  return length <= size && offset <= size - length;
}

// Product of the extents; false when one is negative or the product exceeds INT64_MAX. An extent of 0 gives 0, but the
// other extents must still multiply without wrapping, so that strides never do.
[[nodiscard]] inline bool CheckedElements(const Shape& shape, int64_t* out) {
  int64_t n = 1;
  bool zero = false;
  for (int64_t d : shape) {
    if (d < 0) return false;
    if (d == 0) {
      zero = true;
    } else if (!CheckedMul(n, d, &n)) {
      return false;
    }
  }
  *out = zero ? 0 : n;
  return true;
}

}  // namespace tally

#endif  // TALLY_FORMAT_CHECKED_H_
