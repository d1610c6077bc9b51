// Operators that repeat, generate or rearrange elements: Expand, Tile, Range, Trilu, DepthToSpace, SpaceToDepth.
#include <algorithm>
#include <cmath>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"
#include "runtime/ops/range.h"

namespace tally {

absl::Status EvalExpand(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  const Shape& out = context.outputs[0].shape;
  StridedCopy copy;
  copy.rank = out.size();
  copy.element = DTypeSize(x.dtype);
  int64_t from = static_cast<int64_t>(copy.element);
  int64_t to = from;
  for (size_t i = out.size(); i-- > 0;) {
    const size_t absent = out.size() - x.shape.size();
    const int64_t mine = i < absent ? 1 : x.shape[i - absent];
    copy.extents[i] = out[i];
    copy.from[i] = mine == 1 ? 0 : from;
    copy.to[i] = to;
    from *= mine;
    to *= out[i];
  }
  CopyStrided(copy, x.data, context.outputs[0].data, context.pool);
  return absl::OkStatus();
}

absl::Status EvalTile(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  const Shape& out = context.outputs[0].shape;
  // Each dimension as [repeats, extent].
  StridedCopy copy;
  copy.rank = 2 * out.size();
  copy.element = DTypeSize(x.dtype);
  int64_t from = static_cast<int64_t>(copy.element);
  int64_t to = from;
  for (size_t i = out.size(); i-- > 0;) {
    const int64_t extent = x.shape[i];
    copy.extents[2 * i + 1] = extent;
    copy.from[2 * i + 1] = from;
    copy.to[2 * i + 1] = to;
    copy.extents[2 * i] = extent == 0 ? 0 : out[i] / extent;
    copy.from[2 * i] = 0;
    copy.to[2 * i] = to * extent;
    from *= extent;
    to *= out[i];
  }
  CopyStrided(copy, x.data, context.outputs[0].data, context.pool);
  return absl::OkStatus();
}

int64_t RangeLength(double start, double limit, double delta) {
  const double steps = std::ceil((limit - start) / delta);
  return std::isnan(steps) || steps <= 0 ? 0 : steps > 0x1p62 ? int64_t{1} << 62 : static_cast<int64_t>(steps);
}

int64_t RangeLength(int64_t start, int64_t limit, int64_t delta) {
  if (delta > 0 ? start >= limit : start <= limit) return 0;
  // Unsigned, because neither the distance nor the magnitude of the smallest step need be an int64.
  const uint64_t distance = delta > 0 ? static_cast<uint64_t>(limit) - static_cast<uint64_t>(start)
                                      : static_cast<uint64_t>(start) - static_cast<uint64_t>(limit);
  const uint64_t step = delta > 0 ? static_cast<uint64_t>(delta) : 0 - static_cast<uint64_t>(delta);
  const uint64_t length = (distance - 1) / step + 1;
  return length > uint64_t{1} << 62 ? int64_t{1} << 62 : static_cast<int64_t>(length);
}

absl::Status EvalRange(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const size_t count = static_cast<size_t>(context.outputs[0].shape[0]);
  return WithWideType(context.outputs[0].dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    // Wider, so that a step of 0 or an overflow of int32 on the way to the limit needs no special care.
    using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
    const T start = context.inputs[0].as<T>()[0];
    const T delta = context.inputs[2].as<T>()[0];
    if (delta == T{0}) return MakeError(ErrorId::kBadNodeInputs, "Range: delta is 0");
    TALLY_RETURN_IF_ERROR(
        CheckPlanned(context, 0, RangeLength(Wide{start}, Wide{context.inputs[1].as<T>()[0]}, Wide{delta})));
    T* y = context.outputs[0].as<T>();
    for (size_t i = 0; i < count; ++i) {
      if constexpr (std::is_floating_point_v<T>) {
        y[i] = start + static_cast<T>(i) * delta;
      } else {
        y[i] = static_cast<T>(static_cast<uint64_t>(start) + i * static_cast<uint64_t>(delta));
      }
    }
    return absl::OkStatus();
  });
}

absl::Status EvalTrilu(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  const bool upper = IntAttribute(context.node, "upper", 1) != 0;
  const absl::Span<const int64_t> given = IntsOf(context, 1);
  const int64_t rows = x.shape[x.shape.size() - 2];
  const int64_t columns = x.shape.back();
  // The diagonal of row r starts at column r + k; k beyond the matrix is as good as just beyond it.
  const int64_t k = std::clamp<int64_t>(given.empty() ? 0 : given[0], -rows, columns);
  const int64_t lines = columns == 0 ? 0 : ElementsOf(x.shape) / columns;
  WithSize(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelFor(context.pool, static_cast<size_t>(lines), TileFor(static_cast<size_t>(columns)),
                [&](size_t begin, size_t end) {
                  for (size_t i = begin; i < end; ++i) {
                    const int64_t row = static_cast<int64_t>(i) % rows;
                    const T* from = x.as<T>() + i * static_cast<size_t>(columns);
                    T* to = context.outputs[0].as<T>() + i * static_cast<size_t>(columns);
                    for (int64_t c = 0; c < columns; ++c)
                      to[c] = (upper ? c >= row + k : c <= row + k) ? from[c] : T{0};
                  }
                });
  });
  return absl::OkStatus();
}

namespace {

// Between [N, C, H, W] with C = b * b * c and [N, c, H * b, W * b]. The image is walked as [N, c, H, b, W, b].
absl::Status MoveBlocks(const EvalContext& context, bool to_space) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  const Shape& deep = to_space ? x.shape : context.outputs[0].shape;
  const int64_t b = IntAttribute(context.node, "blocksize", 1);
  const bool column_row_depth = StringAttribute(context.node, "mode", "DCR") == "CRD";
  const int64_t c = deep[1] / (b * b);
  const int64_t h = deep[2], w = deep[3];
  const int64_t plane = h * w;
  const int64_t element = static_cast<int64_t>(DTypeSize(x.dtype));
  const int64_t extents[6] = {deep[0], c, h, b, w, b};
  const int64_t image[6] = {c * b * b * plane, b * b * plane, b * b * w, b * w, b, 1};
  const int64_t channel = column_row_depth ? b * b : 1;
  const int64_t block_row = column_row_depth ? b : b * c;
  const int64_t block_column = column_row_depth ? 1 : c;
  const int64_t deep_strides[6] = {c * b * b * plane, channel * plane, w, block_row * plane, 1, block_column * plane};
  StridedCopy copy;
  copy.element = DTypeSize(x.dtype);
  // In the order of the destination.
  constexpr int kImageOrder[6] = {0, 1, 2, 3, 4, 5};
  constexpr int kDeepOrders[2][6] = {{0, 3, 5, 1, 2, 4}, {0, 1, 3, 5, 2, 4}};
  for (int d : to_space ? kImageOrder : kDeepOrders[column_row_depth ? 1 : 0]) {
    const int64_t from = (to_space ? deep_strides : image)[d] * element;
    const int64_t to = (to_space ? image : deep_strides)[d] * element;
    copy.Add(extents[d], from, to);
  }
  CopyStrided(copy, x.data, context.outputs[0].data, context.pool);
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalDepthToSpace(const EvalContext& context) { return MoveBlocks(context, true); }
absl::Status EvalSpaceToDepth(const EvalContext& context) { return MoveBlocks(context, false); }

}  // namespace tally
