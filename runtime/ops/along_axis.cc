// Operators that search, order or accumulate along one axis: ArgMax, ArgMin, TopK, CumSum.
#include <algorithm>
#include <type_traits>

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

// Whether a comes before b where the largest (or smallest) values come first; NaN counts as larger than any number.
template <typename T>
bool Before(T a, T b, bool largest) {
  if (a != a || b != b) return largest ? a != a && b == b : b != b && a == a;
  return largest ? a > b : a < b;
}

absl::Status EvalArg(const EvalContext& context, bool largest) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  const Lines lines = LinesAlong(x.shape, IntAttribute(context.node, "axis", 0));
  const bool last = IntAttribute(context.node, "select_last_index", 0) != 0;
  int64_t* y = context.outputs[0].as<int64_t>();
  WithType(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelFor(context.pool, lines.count, TileFor(lines.length), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const T* line = x.as<T>() + lines.Start(i);
        size_t best = 0;
        for (size_t k = 1; k < lines.length; ++k) {
          const T value = line[k * lines.stride];
          const T held = line[best * lines.stride];
          if (Before(value, held, largest) || (last && !Before(held, value, largest))) best = k;
        }
        y[i] = static_cast<int64_t>(best);
      }
    });
  });
  return absl::OkStatus();
}

template <typename T>
void TopKLine(const T* line, const Lines& lines, size_t k, bool largest, T* values, int64_t* indices) {
  // The best so far in order; equal values keep the order of their indices.
  const size_t stride = lines.stride;
  size_t held = 0;
  for (size_t i = 0; i < lines.length && k > 0; ++i) {
    const T value = line[i * stride];
    if (held == k && !Before(value, values[(k - 1) * stride], largest)) continue;
    size_t at = held == k ? k - 1 : held++;
    for (; at > 0 && Before(value, values[(at - 1) * stride], largest); --at) {
      values[at * stride] = values[(at - 1) * stride];
      indices[at * stride] = indices[(at - 1) * stride];
    }
    values[at * stride] = value;
    indices[at * stride] = static_cast<int64_t>(i);
  }
}

template <typename T>
void SumLine(const T* from, const Lines& lines, bool exclusive, bool reverse, T* to) {
  T sum = 0;
  for (size_t k = 0; k < lines.length; ++k) {
    const size_t at = (reverse ? lines.length - 1 - k : k) * lines.stride;
    const T value = from[at];
    if (exclusive) to[at] = sum;
    if constexpr (std::is_floating_point_v<T>) {
      sum += value;
    } else {
      using U = std::make_unsigned_t<T>;
      sum = static_cast<T>(static_cast<U>(sum) + static_cast<U>(value));
    }
    if (!exclusive) to[at] = sum;
  }
}

}  // namespace

absl::Status EvalArgMax(const EvalContext& context) { return EvalArg(context, true); }
absl::Status EvalArgMin(const EvalContext& context) { return EvalArg(context, false); }

absl::Status EvalTopK(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  const int64_t axis = IntAttribute(context.node, "axis", -1);
  const Lines from = LinesAlong(x.shape, axis);
  const Lines to = LinesAlong(context.outputs[0].shape, axis);
  TALLY_RETURN_IF_ERROR(CheckPlanned(context, to.axis, context.inputs[1].as<int64_t>()[0]));
  const bool largest = IntAttribute(context.node, "largest", 1) != 0;
  WithType(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelFor(context.pool, to.count, TileFor(from.length), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        TopKLine(x.as<T>() + from.Start(i), from, to.length, largest, context.outputs[0].as<T>() + to.Start(i),
                 context.outputs[1].as<int64_t>() + to.Start(i));
      }
    });
  });
  return absl::OkStatus();
}

absl::Status EvalCumSum(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const TensorView& x = context.inputs[0];
  const TensorView& axis_input = context.inputs[1];
  const int64_t axis = axis_input.dtype == DType::kInt64 ? axis_input.as<int64_t>()[0] : axis_input.as<int32_t>()[0];
  size_t normalized = 0;
  if (!NormalizeAxis(axis, x.shape.size(), &normalized)) {
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("CumSum: input 1 (axis) is ", axis,
                                                           ", expected an axis of a tensor of rank ", x.shape.size()));
  }
  const Lines lines = LinesAlong(x.shape, axis);
  const bool exclusive = IntAttribute(context.node, "exclusive", 0) != 0;
  const bool reverse = IntAttribute(context.node, "reverse", 0) != 0;
  WithWideType(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelFor(context.pool, lines.count, TileFor(lines.length), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        SumLine(x.as<T>() + lines.Start(i), lines, exclusive, reverse, context.outputs[0].as<T>() + lines.Start(i));
      }
    });
  });
  return absl::OkStatus();
}

}  // namespace tally
