// How Pad extends each dimension, resolved against a concrete shape; shared by inference and evaluation.
#ifndef TALLY_RUNTIME_OPS_PAD_H_
#define TALLY_RUNTIME_OPS_PAD_H_

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "format/graph.h"
#include "format/limits.h"
#include "tally/types.h"

namespace tally {

enum class PadMode : uint8_t { kConstant, kReflect, kEdge };

// A negative pad removes elements, before anything is added.
struct PadRange {
  int64_t first = 0;  // index of the first input element that is kept
  int64_t kept = 0;   // how many are kept
  int64_t before = 0;
  int64_t after = 0;
  int64_t count() const { return before + kept + after; }
};
using PadRanges = std::array<PadRange, kMaxRank>;

// Error: kBadAttribute.
absl::StatusOr<PadMode> ReadPadMode(const Node& node);

// `pads` holds the pads at the beginning of every dimension, then those at the end. Reflection needs more kept elements
// than it adds on a side, edge at least one. REQUIRES: shape.size() <= kMaxRank. Error: kBadNodeInputs.
absl::Status ResolvePad(const Shape& shape, absl::Span<const int64_t> pads, PadMode mode, PadRanges* ranges);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_PAD_H_
