// A tensor as lines along one of its axes.
#ifndef TALLY_RUNTIME_OPS_LINE_H_
#define TALLY_RUNTIME_OPS_LINE_H_

#include <cstddef>
#include <cstdint>

#include "tally/types.h"

namespace tally {

struct Lines {
  size_t axis = 0;
  size_t count = 1;   // of lines
  size_t length = 0;  // elements of each
  size_t stride = 1;  // between elements of a line

  // Element 0 of line i; lines are in the order of the tensor without the axis.
  size_t Start(size_t i) const { return i / stride * stride * length + i % stride; }
};

// REQUIRES: -rank <= axis < rank.
inline Lines LinesAlong(const Shape& shape, int64_t axis) {
  Lines lines;
  lines.axis = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(shape.size()) : axis);
  lines.length = static_cast<size_t>(shape[lines.axis]);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i == lines.axis) continue;
    const size_t extent = static_cast<size_t>(shape[i]);
    lines.count *= extent;
    if (i > lines.axis) lines.stride *= extent;
  }
  return lines;
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_LINE_H_
