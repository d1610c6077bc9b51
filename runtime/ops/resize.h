// How Resize maps each axis, resolved against a concrete shape; shared by inference and evaluation.
#ifndef TALLY_RUNTIME_OPS_RESIZE_H_
#define TALLY_RUNTIME_OPS_RESIZE_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "format/limits.h"
#include "tally/types.h"

namespace tally {

struct ResizeAxis {
  int64_t in = 0;
  int64_t out = 0;
  double scale = 1;  // out / in, or as it was given
  bool is_same() const { return in == out && scale == 1; }
};
using ResizeAxes = std::array<ResizeAxis, kMaxRank>;

// From the sizes where there are any, else from the scales: extents are floor(in * scale).
// REQUIRES: shape.size() <= kMaxRank. Error: kBadNodeInputs.
absl::Status ResolveResize(const Shape& shape, absl::Span<const float> scales, absl::Span<const int64_t> sizes,
                           ResizeAxes* axes);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_RESIZE_H_
