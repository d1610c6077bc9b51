// Reductions over any axes. Where the innermost axis is reduced, runs along it are folded (floats are summed by
// LaneSum) and the runs' results folded in ascending order; otherwise outputs fold in ascending order of all reduced
// indices. Integers wrap.
#include <limits>
#include <type_traits>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

constexpr size_t kBlock = 256;

// The input's dimensions with neighbours of the same fate merged, extents of 1 dropped.
struct Groups {
  size_t count = 0;
  size_t extents[kMaxRank] = {};
  size_t strides[kMaxRank] = {};
  bool reduced[kMaxRank] = {};
};

Groups MakeGroups(const Shape& shape, const bool* reduced) {
  Groups groups;
  for (size_t i = 0; i < shape.size(); ++i) {
    const size_t extent = static_cast<size_t>(shape[i]);
    if (extent == 1) continue;
    if (groups.count > 0 && groups.reduced[groups.count - 1] == reduced[i]) {
      groups.extents[groups.count - 1] *= extent;
    } else {
      groups.extents[groups.count] = extent;
      groups.reduced[groups.count] = reduced[i];
      ++groups.count;
    }
  }
  size_t stride = 1;
  for (size_t g = groups.count; g-- > 0;) {
    groups.strides[g] = stride;
    stride *= groups.extents[g];
  }
  return groups;
}

// Offset of flat index `index` over the groups before `end` whose fate is `reduced`.
size_t Offset(const Groups& groups, size_t end, bool reduced, size_t index) {
  size_t offset = 0;
  for (size_t g = end; g-- > 0;) {
    if (groups.reduced[g] != reduced) continue;
    offset += index % groups.extents[g] * groups.strides[g];
    index /= groups.extents[g];
  }
  return offset;
}

size_t Product(const Groups& groups, size_t end, bool reduced) {
  size_t n = 1;
  for (size_t g = 0; g < end; ++g) n *= groups.reduced[g] == reduced ? groups.extents[g] : 1;
  return n;
}

// What a reduction does with two partial results, with a contiguous run, and with nothing.
template <typename T>
struct SumFold {
  static constexpr T kNothing = T{0};
  static T Fold(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a + b;
    } else {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    }
  }
  static T Run(const T* x, size_t n) {
    if constexpr (std::is_floating_point_v<T>) {
      return LaneSum(x, n);
    } else {
      T sum = 0;
      for (size_t i = 0; i < n; ++i) sum = Fold(sum, x[i]);
      return sum;
    }
  }
};

template <typename T>
struct ProductFold {
  static constexpr T kNothing = T{1};
  static T Fold(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a * b;
    } else {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
    }
  }
  static T Run(const T* x, size_t n) {
    T product = x[0];
    for (size_t i = 1; i < n; ++i) product = Fold(product, x[i]);
    return product;
  }
};

// NaN where there is one.
template <typename T>
struct MaxFold {
  static constexpr T kNothing =
      std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  static T Fold(T m, T v) { return v > m || v != v ? v : m; }
  static T Run(const T* x, size_t n) {
    if constexpr (std::is_floating_point_v<T>) {
      return LaneMax(x, n);
    } else {
      T m = x[0];
      for (size_t i = 1; i < n; ++i) m = Fold(m, x[i]);
      return m;
    }
  }
};

template <typename T>
struct MinFold {
  static constexpr T kNothing =
      std::is_floating_point_v<T> ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
  static T Fold(T m, T v) { return v < m || v != v ? v : m; }
  static T Run(const T* x, size_t n) {
    T m = x[0];
    for (size_t i = 1; i < n; ++i) m = Fold(m, x[i]);
    return m;
  }
};

// y = finish(fold of x over the reduced groups).
template <typename Fold, typename T, typename Finish>
void Reduce(const Groups& groups, const T* x, T* y, ThreadPool* pool, const Finish& finish) {
  const size_t inner = groups.count - 1;
  const size_t length = groups.extents[inner];
  const size_t outer = Product(groups, inner, false);
  const size_t repeats = Product(groups, inner, true);
  if (groups.reduced[inner]) {
    ParallelFor(pool, outer, TileFor(repeats * length), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const T* from = x + Offset(groups, inner, false, i);
        T value = Fold::kNothing;
        for (size_t r = 0; r < repeats; ++r) {
          value = Fold::Fold(value, Fold::Run(from + Offset(groups, inner, true, r), length));
        }
        y[i] = finish(value);
      }
    });
    return;
  }
  const size_t blocks = (length + kBlock - 1) / kBlock;
  ParallelFor(pool, outer * blocks, TileFor(repeats * kBlock), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t row = task / blocks;
      const size_t first = task % blocks * kBlock;
      const size_t count = std::min(kBlock, length - first);
      const T* from = x + Offset(groups, inner, false, row) + first;
      T values[kBlock];
      std::fill(values, values + count, Fold::kNothing);
      for (size_t r = 0; r < repeats; ++r) {
        const T* row_values = from + Offset(groups, inner, true, r);
        for (size_t j = 0; j < count; ++j) values[j] = Fold::Fold(values[j], row_values[j]);
      }
      for (size_t j = 0; j < count; ++j) y[row * length + first + j] = finish(values[j]);
    }
  });
}

// finish(value, elements per output).
template <template <typename> class FoldOf, typename T, typename Finish>
void Reduce(const EvalContext& context, const Finish& finish) {
  const TensorView& x = context.inputs[0];
  const size_t rank = x.shape.size();
  const absl::Span<const int64_t> axes = IntsOf(context, 1);
  bool reduced[kMaxRank];
  std::fill(reduced, reduced + kMaxRank, axes.empty() && IntAttribute(context.node, "noop_with_empty_axes", 0) == 0);
  for (int64_t axis : axes) reduced[axis < 0 ? axis + static_cast<int64_t>(rank) : axis] = true;
  T* y = context.outputs[0].as<T>();
  const size_t inputs = static_cast<size_t>(ElementsOf(x.shape));
  const size_t outputs = static_cast<size_t>(ElementsOf(context.outputs[0].shape));
  if (inputs == 0) {
    // Inference lets only those through that have a value for nothing.
    std::fill(y, y + outputs, FoldOf<T>::kNothing);
    return;
  }
  Groups groups = MakeGroups(x.shape, reduced);
  if (groups.count == 0) {
    groups.count = 1;
    groups.extents[0] = groups.strides[0] = 1;
  }
  const size_t elements = inputs / outputs;
  Reduce<FoldOf<T>>(groups, x.as<T>(), y, context.pool, [&](T value) { return finish(value, elements); });
}

template <template <typename> class FoldOf>
absl::Status ReduceNumbers(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  WithType(context.inputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    Reduce<FoldOf, T>(context, [](T value, size_t) { return value; });
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalReduceMean(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  Reduce<SumFold, float>(context, [](float sum, size_t count) { return sum / static_cast<float>(count); });
  return absl::OkStatus();
}
absl::Status EvalReduceSum(const EvalContext& context) { return ReduceNumbers<SumFold>(context); }
absl::Status EvalReduceProd(const EvalContext& context) { return ReduceNumbers<ProductFold>(context); }
absl::Status EvalReduceMax(const EvalContext& context) { return ReduceNumbers<MaxFold>(context); }
absl::Status EvalReduceMin(const EvalContext& context) { return ReduceNumbers<MinFold>(context); }

}  // namespace tally
