#include "runtime/ops/pad.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

absl::Status Bad(const std::string& detail) {
  return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Pad: ", detail));
}

// Index, among the kept elements of a dimension, of the one that output index `o` shows; -1 for the constant.
int64_t SourceIndex(const PadRange& range, PadMode mode, int64_t o) {
  const int64_t k = o - range.before;
  if (k >= 0 && k < range.kept) return k;
  switch (mode) {
    case PadMode::kConstant: return -1;
    case PadMode::kEdge: return k < 0 ? 0 : range.kept - 1;
    case PadMode::kReflect: return k < 0 ? -k : 2 * (range.kept - 1) - k;
  }
  return -1;
}

// Everything about one Pad but its outer dimensions. A unit is what one index of the innermost padded dimension holds.
struct RowPadder {
  PadMode mode;
  PadRange range;
  size_t unit;           // bytes
  size_t element;        // bytes
  const uint8_t* value;  // null: zero bytes

  uint8_t* Fill(uint8_t* to, size_t units) const {
    const size_t bytes = units * unit;
    if (value == nullptr) {
      std::memset(to, 0, bytes);
    } else {
      for (size_t i = 0; i < bytes; i += element) std::memcpy(to + i, value, element);
    }
    return to + bytes;
  }

  // `from` is the first unit of the source's row.
  void Run(const uint8_t* from, uint8_t* to) const {
    from += static_cast<size_t>(range.first) * unit;
    to = Side(0, range.before, from, to);
    const size_t kept = static_cast<size_t>(range.kept) * unit;
    std::memcpy(to, from, kept);
    Side(range.before + range.kept, range.after, from, to + kept);
  }

 private:
  uint8_t* Side(int64_t first, int64_t count, const uint8_t* kept, uint8_t* to) const {
    if (mode == PadMode::kConstant) return Fill(to, static_cast<size_t>(count));
    for (int64_t o = first; o < first + count; ++o) {
      std::memcpy(to, kept + static_cast<size_t>(SourceIndex(range, mode, o)) * unit, unit);
      to += unit;
    }
    return to;
  }
};

}  // namespace

absl::StatusOr<PadMode> ReadPadMode(const Node& node) {
  const std::string_view mode = StringAttribute(node, "mode", "constant");
  if (mode == "constant") return PadMode::kConstant;
  if (mode == "reflect") return PadMode::kReflect;
  if (mode == "edge") return PadMode::kEdge;
  return MakeError(ErrorId::kBadAttribute, absl::StrCat("Pad: attribute mode is ", Quoted(std::string(mode)),
                                                        ", expected constant, reflect or edge"));
}

absl::Status ResolvePad(const Shape& shape, absl::Span<const int64_t> pads, PadMode mode, PadRanges* ranges) {
  const size_t rank = shape.size();
  if (pads.size() != 2 * rank) return Bad(absl::StrCat(pads.size(), " pads, expected ", 2 * rank));
  for (size_t i = 0; i < rank; ++i) {
    const int64_t begin = pads[i];
    const int64_t end = pads[rank + i];
    if (std::min(begin, end) < -kMaxExtent || std::max(begin, end) > kMaxExtent) {
      return Bad(
          absl::StrCat("pads of dimension ", i, " are ", begin, " and ", end, ", expected at most ", kMaxExtent));
    }
    PadRange& range = (*ranges)[i];
    range.first = std::max<int64_t>(0, -begin);
    range.before = std::max<int64_t>(0, begin);
    range.after = std::max<int64_t>(0, end);
    range.kept = shape[i] - range.first - std::max<int64_t>(0, -end);
    if (range.kept < 0) {
      return Bad(absl::StrCat("pads of dimension ", i, " are ", begin, " and ", end, ", which remove more than its ",
                              shape[i], " elements"));
    }
    const int64_t added = std::max(range.before, range.after);
    const int64_t needed = added == 0 || mode == PadMode::kConstant ? 0 : mode == PadMode::kEdge ? 1 : added + 1;
    if (range.kept < needed) {
      return Bad(absl::StrCat("pads of dimension ", i, " are ", begin, " and ", end, ", which needs ", needed,
                              " elements where ", range.kept, " are left"));
    }
  }
  return absl::OkStatus();
}

absl::Status EvalPad(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  const size_t rank = x.shape.size();
  TALLY_ASSIGN_OR_RETURN(const PadMode mode, ReadPadMode(context.node));
  PadRanges ranges;
  TALLY_RETURN_IF_ERROR(ResolvePad(x.shape, IntsOf(context, 1), mode, &ranges));
  for (size_t i = 0; i < rank; ++i) TALLY_RETURN_IF_ERROR(CheckPlanned(context, i, ranges[i].count()));
  if (ElementsOf(context.outputs[0].shape) == 0) return absl::OkStatus();

  // Dimensions behind the last padded one belong to the unit.
  RowPadder padder{mode, {}, DTypeSize(x.dtype), DTypeSize(x.dtype), nullptr};
  size_t inner = rank;
  while (inner > 0 && ranges[inner - 1].count() == x.shape[inner - 1] && ranges[inner - 1].before == 0 &&
         ranges[inner - 1].first == 0) {
    padder.unit *= static_cast<size_t>(x.shape[--inner]);
  }
  if (inner == 0) {
    CopyBytes(context.pool, x.data, context.outputs[0].data, padder.unit);
    return absl::OkStatus();
  }
  --inner;
  padder.range = ranges[inner];
  if (context.inputs.size() > 2 && context.inputs[2].data != nullptr) {
    const uint8_t* value = context.inputs[2].as<uint8_t>();
    if (std::any_of(value, value + padder.element, [](uint8_t b) { return b != 0; })) padder.value = value;
  }

  int64_t rows = 1;
  int64_t from_strides[kMaxRank];  // bytes, of the dimensions outside the row
  int64_t stride = x.shape[inner] * static_cast<int64_t>(padder.unit);
  for (size_t i = inner; i-- > 0;) {
    from_strides[i] = stride;
    stride *= x.shape[i];
    rows *= ranges[i].count();
  }
  const size_t units = static_cast<size_t>(padder.range.count());
  const size_t row_bytes = units * padder.unit;
  const uint8_t* from = x.as<uint8_t>();
  uint8_t* to = context.outputs[0].as<uint8_t>();
  // Some 64 KiB per task.
  const size_t tile = std::max<size_t>(1, (64 << 10) / row_bytes);
  ParallelFor(context.pool, static_cast<size_t>(rows), tile, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) {
      int64_t rest = static_cast<int64_t>(row);
      int64_t offset = 0;
      bool inside = padder.range.kept > 0;
      for (size_t i = inner; i-- > 0;) {
        const int64_t k = SourceIndex(ranges[i], mode, rest % ranges[i].count());
        rest /= ranges[i].count();
        inside = inside && k >= 0;
        offset += (ranges[i].first + k) * from_strides[i];
      }
      if (inside) {
        padder.Run(from + offset, to + row * row_bytes);
      } else {
        padder.Fill(to + row * row_bytes, units);
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
