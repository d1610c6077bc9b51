// Operators that read or write where indices say: GatherElements, GatherND, ScatterElements, ScatterND, OneHot,
// ReverseSequence. Every index is checked before anything is written; negative ones count from the end.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/line.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

absl::Status BadIndex(const EvalContext& context, int64_t at, int64_t index, int64_t extent) {
  return MakeError(ErrorId::kBadNodeInputs, absl::StrCat(context.node.op, ": indices[", at, "] is ", index,
                                                         ", expected ", -extent, " .. ", extent - 1));
}

int64_t IndexAt(const TensorView& indices, int64_t i) {
  return indices.dtype == DType::kInt64 ? indices.as<int64_t>()[i] : indices.as<int32_t>()[i];
}

// All within -extent .. extent - 1.
absl::Status CheckIndices(const EvalContext& context, int64_t extent) {
  const TensorView& indices = context.inputs[1];
  const int64_t count = ElementsOf(indices.shape);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = IndexAt(indices, i);
    if (index < -extent || index >= extent) return BadIndex(context, i, index, extent);
  }
  return absl::OkStatus();
}

// For GatherElements and ScatterElements: element `index` of `shape` (of the indices), as the offset in `data` with the
// coordinate along `axis` left out.
int64_t OffsetWithout(const Shape& shape, const Shape& data, size_t axis, int64_t index) {
  int64_t offset = 0;
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0; index /= shape[d]) {
    if (d != axis) offset += index % shape[d] * stride;
    stride *= data[d];
  }
  return offset;
}

// The tuples of GatherND and ScatterND: `tuple` indices each select a block of `block` elements.
struct Tuples {
  int64_t tuple = 0;
  int64_t count = 1;      // of tuples
  int64_t per_batch = 1;  // tuples of one batch
  int64_t block = 1;
  int64_t batch_stride = 1;  // elements of one batch of the data
};

Tuples TuplesOf(const Shape& data, const Shape& indices, size_t batch_dims) {
  Tuples tuples;
  tuples.tuple = indices.back();
  for (size_t i = 0; i + 1 < indices.size(); ++i) {
    tuples.count *= indices[i];
    if (i >= batch_dims) tuples.per_batch *= indices[i];
  }
  for (size_t i = batch_dims; i < data.size(); ++i) {
    tuples.batch_stride *= data[i];
    if (i >= batch_dims + static_cast<size_t>(tuples.tuple)) tuples.block *= data[i];
  }
  return tuples;
}

// Elements from the start of the data to the block of tuple i. False where an index is out of range (`*bad`: which).
bool BlockOffset(const Tuples& tuples, const Shape& data, const int64_t* indices, size_t batch_dims, int64_t i,
                 int64_t* offset, int64_t* bad) {
  int64_t at = 0;
  for (int64_t k = 0; k < tuples.tuple; ++k) {
    const int64_t extent = data[batch_dims + static_cast<size_t>(k)];
    int64_t index = indices[i * tuples.tuple + k];
    if (index < -extent || index >= extent) {
      *bad = i * tuples.tuple + k;
      return false;
    }
    if (index < 0) index += extent;
    at = at * extent + index;
  }
  *offset = i / tuples.per_batch * tuples.batch_stride + at * tuples.block;
  return true;
}

absl::Status CheckTuples(const EvalContext& context, const Tuples& tuples, const Shape& data, size_t batch_dims) {
  const int64_t* indices = context.inputs[1].as<int64_t>();
  for (int64_t i = 0; i < tuples.count; ++i) {
    int64_t offset = 0, bad = 0;
    if (!BlockOffset(tuples, data, indices, batch_dims, i, &offset, &bad)) {
      return BadIndex(context, bad, indices[bad], data[batch_dims + static_cast<size_t>(bad % tuples.tuple)]);
    }
  }
  return absl::OkStatus();
}

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

Reduction ReductionOf(const Node& node) {
  const std::string_view name = StringAttribute(node, "reduction", "none");
  return name == "add"   ? Reduction::kAdd
         : name == "mul" ? Reduction::kMul
         : name == "max" ? Reduction::kMax
         : name == "min" ? Reduction::kMin
                         : Reduction::kNone;
}

template <typename T>
T Reduced(Reduction reduction, T held, T update) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    if (reduction == Reduction::kAdd) return static_cast<T>(static_cast<U>(held) + static_cast<U>(update));
    if (reduction == Reduction::kMul) return static_cast<T>(static_cast<U>(held) * static_cast<U>(update));
  }
  switch (reduction) {
    case Reduction::kNone: return update;
    case Reduction::kAdd: return static_cast<T>(held + update);
    case Reduction::kMul: return static_cast<T>(held * update);
    case Reduction::kMax: return update > held || update != update ? update : held;
    case Reduction::kMin: return update < held || update != update ? update : held;
  }
  return update;
}

void CopyData(const EvalContext& context) {
  const TensorView& data = context.inputs[0];
  CopyBytes(context.pool, data.data, context.outputs[0].data,
            static_cast<size_t>(ElementsOf(data.shape)) * DTypeSize(data.dtype));
}

}  // namespace

absl::Status EvalGatherElements(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& data = context.inputs[0];
  const TensorView& indices = context.inputs[1];
  const Lines lines = LinesAlong(data.shape, IntAttribute(context.node, "axis", 0));
  const int64_t extent = static_cast<int64_t>(lines.length);
  TALLY_RETURN_IF_ERROR(CheckIndices(context, extent));
  WithSize(data.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* y = context.outputs[0].as<T>();
    ParallelFor(context.pool, static_cast<size_t>(ElementsOf(indices.shape)), kElementTile,
                [&](size_t begin, size_t end) {
                  for (size_t i = begin; i < end; ++i) {
                    const int64_t element = static_cast<int64_t>(i);
                    int64_t index = IndexAt(indices, element);
                    if (index < 0) index += extent;
                    y[i] = data.as<T>()[OffsetWithout(indices.shape, data.shape, lines.axis, element) +
                                        index * static_cast<int64_t>(lines.stride)];
                  }
                });
  });
  return absl::OkStatus();
}

// Updates of one element are applied in the order of the updates.
absl::Status EvalScatterElements(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const TensorView& data = context.inputs[0];
  const TensorView& indices = context.inputs[1];
  const Lines lines = LinesAlong(data.shape, IntAttribute(context.node, "axis", 0));
  const int64_t extent = static_cast<int64_t>(lines.length);
  TALLY_RETURN_IF_ERROR(CheckIndices(context, extent));
  CopyData(context);
  const Reduction reduction = ReductionOf(context.node);
  WithType(data.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* updates = context.inputs[2].as<T>();
    T* y = context.outputs[0].as<T>();
    const int64_t count = ElementsOf(indices.shape);
    for (int64_t i = 0; i < count; ++i) {
      int64_t index = IndexAt(indices, i);
      if (index < 0) index += extent;
      T& held = y[OffsetWithout(indices.shape, data.shape, lines.axis, i) + index * static_cast<int64_t>(lines.stride)];
      held = Reduced(reduction, held, updates[i]);
    }
  });
  return absl::OkStatus();
}

absl::Status EvalGatherND(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& data = context.inputs[0];
  const size_t batch_dims = static_cast<size_t>(IntAttribute(context.node, "batch_dims", 0));
  if (ElementsOf(context.outputs[0].shape) == 0) return absl::OkStatus();
  const Tuples tuples = TuplesOf(data.shape, context.inputs[1].shape, batch_dims);
  TALLY_RETURN_IF_ERROR(CheckTuples(context, tuples, data.shape, batch_dims));
  const size_t bytes = static_cast<size_t>(tuples.block) * DTypeSize(data.dtype);
  ParallelFor(context.pool, static_cast<size_t>(tuples.count), TileFor(bytes), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      int64_t offset = 0, bad = 0;
      BlockOffset(tuples, data.shape, context.inputs[1].as<int64_t>(), batch_dims, static_cast<int64_t>(i), &offset,
                  &bad);
      std::memcpy(context.outputs[0].as<uint8_t>() + i * bytes,
                  data.as<uint8_t>() + static_cast<size_t>(offset) * DTypeSize(data.dtype), bytes);
    }
  });
  return absl::OkStatus();
}

absl::Status EvalScatterND(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const TensorView& data = context.inputs[0];
  CopyData(context);
  if (ElementsOf(context.inputs[2].shape) == 0) return absl::OkStatus();
  const Tuples tuples = TuplesOf(data.shape, context.inputs[1].shape, 0);
  TALLY_RETURN_IF_ERROR(CheckTuples(context, tuples, data.shape, 0));
  const Reduction reduction = ReductionOf(context.node);
  WithType(data.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* updates = context.inputs[2].as<T>();
    for (int64_t i = 0; i < tuples.count; ++i) {
      int64_t offset = 0, bad = 0;
      BlockOffset(tuples, data.shape, context.inputs[1].as<int64_t>(), 0, i, &offset, &bad);
      T* y = context.outputs[0].as<T>() + offset;
      for (int64_t j = 0; j < tuples.block; ++j) y[j] = Reduced(reduction, y[j], updates[i * tuples.block + j]);
    }
  });
  return absl::OkStatus();
}

// An index outside of the depth gives a line without the on value.
absl::Status EvalOneHot(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const TensorView& indices = context.inputs[0];
  const Lines lines = LinesAlong(context.outputs[0].shape, IntAttribute(context.node, "axis", -1));
  const int64_t depth = static_cast<int64_t>(lines.length);
  WithSize(context.outputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const T off = context.inputs[2].as<T>()[0];
    const T on = context.inputs[2].as<T>()[1];
    WithWideType(indices.dtype, [&](auto index_zero) {
      using Index = decltype(index_zero);
      ParallelFor(context.pool, lines.count, TileFor(lines.length), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
          T* line = context.outputs[0].as<T>() + lines.Start(i);
          for (size_t k = 0; k < lines.length; ++k) line[k * lines.stride] = off;
          const Index value = indices.as<Index>()[i];
          if (!(value >= static_cast<Index>(-depth) && value < static_cast<Index>(depth))) continue;
          const int64_t index = static_cast<int64_t>(value);
          line[static_cast<size_t>(index < 0 ? index + depth : index) * lines.stride] = on;
        }
      });
    });
  });
  return absl::OkStatus();
}

absl::Status EvalReverseSequence(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  const int64_t* lengths = context.inputs[1].as<int64_t>();
  const bool batch_first = IntAttribute(context.node, "batch_axis", 1) == 0;
  const int64_t batch = x.shape[batch_first ? 0 : 1];
  const int64_t time = x.shape[batch_first ? 1 : 0];
  for (int64_t b = 0; b < batch; ++b) {
    if (lengths[b] >= 0 && lengths[b] <= time) continue;
    return MakeError(ErrorId::kBadNodeInputs,
                     absl::StrCat("ReverseSequence: sequence_lens[", b, "] is ", lengths[b], ", expected 0 .. ", time));
  }
  size_t bytes = DTypeSize(x.dtype);
  for (size_t i = 2; i < x.shape.size(); ++i) bytes *= static_cast<size_t>(x.shape[i]);
  ParallelFor(context.pool, static_cast<size_t>(batch * time), TileFor(bytes), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const int64_t outer = static_cast<int64_t>(i) / (batch_first ? time : batch);
      const int64_t inner = static_cast<int64_t>(i) % (batch_first ? time : batch);
      const int64_t b = batch_first ? outer : inner;
      const int64_t t = batch_first ? inner : outer;
      const int64_t from = t < lengths[b] ? lengths[b] - 1 - t : t;
      const int64_t run = batch_first ? b * time + from : from * batch + b;
      std::memcpy(context.outputs[0].as<uint8_t>() + i * bytes, x.as<uint8_t>() + static_cast<size_t>(run) * bytes,
                  bytes);
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
