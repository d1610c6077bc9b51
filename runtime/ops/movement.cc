#include "runtime/ops/movement.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

// Bytes per task: far above the cost of handing one out.
constexpr size_t kTaskBytes = 64 << 10;

// 16 elements of 4 bytes fill a cache line: a block touches 16 lines on either side, few enough for the first-level
// cache even when a power-of-two stride maps them to one set of it and its neighbours.
constexpr int64_t kBlock = 16;

// Elements up to this many bytes are moved by one instruction; larger ones are runs for memcpy.
constexpr size_t kLargestUnit = 16;

// A nest of two loops inside the outer dimensions.
struct Plane {
  int64_t rows = 1, from_row = 0, to_row = 0;
  int64_t columns = 1, from_column = 0, to_column = 0;

  // Blocks serve a source that is read across its fastest dimension.
  bool blocked() const { return columns > 1 && std::abs(from_row) < std::abs(from_column) && rows > 1; }
};

// Rows r0 .. r1 - 1 of columns c0 .. c1 - 1. kElement is the element's bytes, or 0: `element` then says so.
template <size_t kElement>
inline void CopyBlock(const Plane& plane, int64_t r0, int64_t r1, int64_t c0, int64_t c1, size_t element,
                      const uint8_t* from, uint8_t* to) {
  for (int64_t r = r0; r < r1; ++r) {
    const uint8_t* source = from + r * plane.from_row + c0 * plane.from_column;
    uint8_t* target = to + r * plane.to_row + c0 * plane.to_column;
    for (int64_t c = c0; c < c1; ++c) {
      std::memcpy(target, source, kElement == 0 ? element : kElement);
      source += plane.from_column;
      target += plane.to_column;
    }
  }
}

// Four rows by four columns of 4-byte elements that are contiguous along the rows of the source and the columns of the
// destination, through four vectors.
inline void TransposeTile(const Plane& plane, const uint8_t* from, uint8_t* to) {
  typedef uint32_t Vector __attribute__((vector_size(16)));
  Vector column[4];
  for (int64_t c = 0; c < 4; ++c) std::memcpy(&column[c], from + c * plane.from_column, sizeof(Vector));
  const Vector a = __builtin_shufflevector(column[0], column[1], 0, 4, 1, 5);
  const Vector b = __builtin_shufflevector(column[2], column[3], 0, 4, 1, 5);
  const Vector c = __builtin_shufflevector(column[0], column[1], 2, 6, 3, 7);
  const Vector d = __builtin_shufflevector(column[2], column[3], 2, 6, 3, 7);
  const Vector row[4] = {__builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
                         __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
  for (int64_t r = 0; r < 4; ++r) std::memcpy(to + r * plane.to_row, &row[r], sizeof(Vector));
}

template <size_t kElement>
void CopyPlane(const Plane& plane, int64_t first_row, int64_t last_row, size_t element, const uint8_t* from,
               uint8_t* to) {
  if (!plane.blocked()) {
    CopyBlock<kElement>(plane, first_row, last_row, 0, plane.columns, element, from, to);
    return;
  }
  const bool tiled = kElement == 4 && plane.from_row == 4 && plane.to_column == 4;
  for (int64_t r0 = first_row; r0 < last_row; r0 += kBlock) {
    const int64_t r1 = std::min(last_row, r0 + kBlock);
    for (int64_t c0 = 0; c0 < plane.columns; c0 += kBlock) {
      const int64_t c1 = std::min(plane.columns, c0 + kBlock);
      if (!tiled || r1 - r0 < kBlock || c1 - c0 < kBlock) {
        CopyBlock<kElement>(plane, r0, r1, c0, c1, element, from, to);
        continue;
      }
      for (int64_t r = r0; r < r1; r += 4) {
        for (int64_t c = c0; c < c1; c += 4) {
          TransposeTile(plane, from + r * 4 + c * plane.from_column, to + r * plane.to_row + c * 4);
        }
      }
    }
  }
}

using PlaneFn = void (*)(const Plane&, int64_t, int64_t, size_t, const uint8_t*, uint8_t*);

PlaneFn PlaneFnFor(size_t element) {
  switch (element) {
    case 1: return CopyPlane<1>;
    case 2: return CopyPlane<2>;
    case 4: return CopyPlane<4>;
    case 8: return CopyPlane<8>;
    case kLargestUnit: return CopyPlane<kLargestUnit>;
    default: return CopyPlane<0>;
  }
}

// The same copy without dimensions of 1, neighbours merged where both sides are evenly spaced across them, and a
// contiguous last dimension turned into larger elements.
StridedCopy Simplify(const StridedCopy& copy) {
  StridedCopy out;
  out.element = copy.element;
  for (size_t i = 0; i < copy.rank; ++i) {
    if (copy.extents[i] == 1) continue;
    if (out.rank > 0) {
      const size_t last = out.rank - 1;
      if (out.from[last] == copy.from[i] * copy.extents[i] && out.to[last] == copy.to[i] * copy.extents[i]) {
        out.extents[last] *= copy.extents[i];
        out.from[last] = copy.from[i];
        out.to[last] = copy.to[i];
        continue;
      }
    }
    out.Add(copy.extents[i], copy.from[i], copy.to[i]);
  }
  const int64_t element = static_cast<int64_t>(out.element);
  if (out.rank > 0 && out.from[out.rank - 1] == element && out.to[out.rank - 1] == element) {
    out.element *= static_cast<size_t>(out.extents[--out.rank]);
  }
  return out;
}

}  // namespace

int64_t ElementsOf(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

absl::Status CheckData(const EvalContext& context, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (context.inputs[i].data != nullptr || ElementsOf(context.inputs[i].shape) == 0) continue;
    return MakeError(ErrorId::kMissingForm,
                     absl::StrCat(context.node.op, ": input ", i, " has no plain values, expected them"));
  }
  return absl::OkStatus();
}

absl::Span<const int64_t> IntsOf(const EvalContext& context, size_t i) {
  if (i >= context.inputs.size() || context.inputs[i].data == nullptr) return {};
  const TensorView& view = context.inputs[i];
  return absl::Span<const int64_t>(view.as<int64_t>(), static_cast<size_t>(ElementsOf(view.shape)));
}

absl::Status CheckPlanned(const EvalContext& context, size_t dimension, int64_t extent) {
  const int64_t planned = context.outputs[0].shape[dimension];
  if (extent == planned) return absl::OkStatus();
  return MakeError(ErrorId::kBadNodeInputs,
                   absl::StrCat(context.node.op, ": values give an extent of ", extent, " in dimension ", dimension,
                                ", expected ", planned, " as planned"));
}

void CopyBytes(ThreadPool* pool, const void* from, void* to, size_t bytes) {
  ParallelFor(pool, bytes, kTaskBytes, [&](size_t begin, size_t end) {
    std::memcpy(static_cast<uint8_t*>(to) + begin, static_cast<const uint8_t*>(from) + begin, end - begin);
  });
}

void CopyStrided(const StridedCopy& original, const void* from, void* to, ThreadPool* pool) {
  if (std::find(original.extents, original.extents + original.rank, 0) != original.extents + original.rank) return;
  const StridedCopy copy = Simplify(original);
  if (copy.rank == 0) return CopyBytes(pool, from, to, copy.element);

  // The columns are the destination's fastest dimension (runs have none), the rows the source's fastest of the others.
  const bool runs = copy.element > kLargestUnit;
  const size_t column_dim = runs ? copy.rank : copy.rank - 1;
  size_t row_dim = copy.rank;
  for (size_t i = copy.rank; i-- > 0;) {
    if (i == column_dim) continue;
    if (row_dim == copy.rank || std::abs(copy.from[i]) < std::abs(copy.from[row_dim])) row_dim = i;
  }
  Plane plane;
  if (column_dim < copy.rank) {
    plane.columns = copy.extents[column_dim];
    plane.from_column = copy.from[column_dim];
    plane.to_column = copy.to[column_dim];
  }
  if (row_dim < copy.rank) {
    plane.rows = copy.extents[row_dim];
    plane.from_row = copy.from[row_dim];
    plane.to_row = copy.to[row_dim];
  }
  size_t outer[StridedCopy::kMaxDims];
  size_t outer_rank = 0;
  int64_t planes = 1;
  for (size_t i = 0; i < copy.rank; ++i) {
    if (i == row_dim || i == column_dim) continue;
    outer[outer_rank++] = i;
    planes *= copy.extents[i];
  }

  // A plane is cut into bands of rows, a task is a range of bands.
  const size_t row_bytes = static_cast<size_t>(plane.columns) * copy.element;
  const int64_t band_rows =
      plane.blocked() ? kBlock : static_cast<int64_t>(std::max<size_t>(1, kTaskBytes / row_bytes));
  const int64_t bands = (plane.rows - 1) / band_rows + 1;
  const size_t band_bytes = static_cast<size_t>(std::min(plane.rows, band_rows)) * row_bytes;
  const size_t tile = std::max<size_t>(1, kTaskBytes / band_bytes);
  const PlaneFn copy_plane = PlaneFnFor(copy.element);
  ParallelFor(pool, static_cast<size_t>(planes * bands), tile, [&](size_t begin, size_t end) {
    int64_t plane_index = static_cast<int64_t>(begin) / bands;
    int64_t band = static_cast<int64_t>(begin) % bands;
    int64_t left = static_cast<int64_t>(end - begin);
    int64_t index[StridedCopy::kMaxDims] = {};
    const uint8_t* source = static_cast<const uint8_t*>(from);
    uint8_t* target = static_cast<uint8_t*>(to);
    for (size_t i = outer_rank; i-- > 0;) {
      const size_t d = outer[i];
      index[i] = plane_index % copy.extents[d];
      plane_index /= copy.extents[d];
      source += index[i] * copy.from[d];
      target += index[i] * copy.to[d];
    }
    while (left > 0) {
      const int64_t now = std::min(left, bands - band);
      copy_plane(plane, band * band_rows, std::min(plane.rows, (band + now) * band_rows), copy.element, source, target);
      left -= now;
      band = 0;
      for (size_t i = outer_rank; i-- > 0;) {
        const size_t d = outer[i];
        source += copy.from[d];
        target += copy.to[d];
        if (++index[i] < copy.extents[d]) break;
        index[i] = 0;
        source -= copy.from[d] * copy.extents[d];
        target -= copy.to[d] * copy.extents[d];
      }
    }
  });
}

}  // namespace tally
