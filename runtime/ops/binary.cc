// Operators of two broadcast operands, and Where.
//
// Integers wrap. Integer division truncates; the lowest value divided by -1 wraps to itself; by zero is an error.
// Minimum and maximum are NaN where an operand is.
#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/elementary.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"

namespace tally {

bool BroadcastShapes(const Shape& a, const Shape& b, Shape* out) {
  const size_t rank = std::max(a.size(), b.size());
  out->assign(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) return false;
    (*out)[rank - 1 - i] = da == 1 ? db : da;
  }
  return true;
}

namespace {

template <typename Out, typename A, typename B, typename Fn>
void Row(const A* a, size_t a_step, const B* b, size_t b_step, size_t count, Out* y, const Fn& fn) {
  // Steps are 0 or 1, and both are 0 only for a single element.
  if (a_step == 1 && b_step == 1) {
    for (size_t i = 0; i < count; ++i) y[i] = fn(a[i], b[i]);
  } else if (a_step == 1) {
    const B right = b[0];
    for (size_t i = 0; i < count; ++i) y[i] = fn(a[i], right);
  } else {
    const A left = a[0];
    for (size_t i = 0; i < count; ++i) y[i] = fn(left, b[i]);
  }
}

// y = fn(a, b) over the broadcast of both.
template <typename Out, typename A, typename B, typename Fn>
void Broadcast(const EvalContext& context, const Fn& fn) {
  const TensorView& a = context.inputs[0];
  const TensorView& b = context.inputs[1];
  Out* y = context.outputs[0].as<Out>();
  const size_t elements = static_cast<size_t>(ElementsOf(context.outputs[0].shape));
  if (elements == 0) return;
  const auto loops = MakeBroadcastLoops<2>({&a.shape, &b.shape}, context.outputs[0].shape);
  const size_t a_step = loops.strides[0][loops.rank - 1];
  const size_t b_step = loops.strides[1][loops.rank - 1];
  ForEachRow(loops, elements, context.pool, [&](size_t begin, size_t count, const size_t* offsets) {
    Row(a.as<A>() + offsets[0], a_step, b.as<B>() + offsets[1], b_step, count, y + begin, fn);
  });
}

// Integers go through their unsigned type, whose overflow wraps.
template <typename Fn>
absl::Status Arithmetic(const EvalContext& context, const Fn& fn) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  WithType(context.outputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      Broadcast<T, T, T>(context, fn);
    } else {
      using U = std::make_unsigned_t<T>;
      Broadcast<T, T, T>(context, [&fn](T a, T b) { return static_cast<T>(fn(static_cast<U>(a), static_cast<U>(b))); });
    }
  });
  return absl::OkStatus();
}

// Fn takes and gives the element type itself.
template <typename Fn>
absl::Status Select(const EvalContext& context, const Fn& fn) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  WithType(context.outputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    Broadcast<T, T, T>(context, fn);
  });
  return absl::OkStatus();
}

template <typename Fn>
absl::Status Compare(const EvalContext& context, const Fn& fn) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  WithType(context.inputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    Broadcast<uint8_t, T, T>(context, [&fn](T a, T b) { return static_cast<uint8_t>(fn(a, b)); });
  });
  return absl::OkStatus();
}

template <typename T>
absl::Status CheckDivisors(const EvalContext& context) {
  const T* b = context.inputs[1].as<T>();
  if (ElementsOf(context.outputs[0].shape) == 0) return absl::OkStatus();
  const int64_t count = ElementsOf(context.inputs[1].shape);
  for (int64_t i = 0; i < count; ++i) {
    if (b[i] == 0) return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("integer division by zero, divisor ", i));
  }
  return absl::OkStatus();
}

// The remainder has the divisor's sign, or, as C's, the dividend's.
template <typename T>
T Remainder(T a, T b, bool as_c) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmod(a, b);  // exact by definition, so the same everywhere
  } else {
    if (b == static_cast<T>(-1) && std::is_signed_v<T>) return 0;
    const T r = static_cast<T>(a % b);
    return as_c || r == 0 || (r < 0) == (b < 0) ? r : static_cast<T>(r + b);
  }
}

template <typename T>
T FromDouble(double value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else {
    // The bounds are exact; what lies beyond saturates.
    constexpr double kLow = static_cast<double>(std::numeric_limits<T>::min());
    if (std::isnan(value)) return 0;
    if (value <= kLow) return std::numeric_limits<T>::min();
    if (value >= -kLow) return std::numeric_limits<T>::max();
    return static_cast<T>(value);
  }
}

}  // namespace

absl::Status EvalAdd(const EvalContext& context) {
  return Arithmetic(context, [](auto a, auto b) { return a + b; });
}
absl::Status EvalSub(const EvalContext& context) {
  return Arithmetic(context, [](auto a, auto b) { return a - b; });
}
absl::Status EvalMul(const EvalContext& context) {
  return Arithmetic(context, [](auto a, auto b) { return a * b; });
}

absl::Status EvalDiv(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  return WithType(context.outputs[0].dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      Broadcast<T, T, T>(context, [](T a, T b) { return a / b; });
    } else {
      TALLY_RETURN_IF_ERROR(CheckDivisors<T>(context));
      Broadcast<T, T, T>(context, [](T a, T b) {
        const bool wraps = std::is_signed_v<T> && b == static_cast<T>(-1);
        return wraps ? static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a)) : static_cast<T>(a / b);
      });
    }
    return absl::OkStatus();
  });
}

absl::Status EvalMod(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const bool as_c = IntAttribute(context.node, "fmod", 0) != 0;
  return WithType(context.outputs[0].dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    if constexpr (std::is_integral_v<T>) TALLY_RETURN_IF_ERROR(CheckDivisors<T>(context));
    Broadcast<T, T, T>(context, [as_c](T a, T b) { return Remainder(a, b, as_c); });
    return absl::OkStatus();
  });
}

absl::Status EvalPow(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  WithWideType(context.inputs[0].dtype, [&](auto base) {
    using A = decltype(base);
    WithWideType(context.inputs[1].dtype, [&](auto exponent) {
      using B = decltype(exponent);
      Broadcast<A, A, B>(context,
                         [](A a, B b) { return FromDouble<A>(PowD(static_cast<double>(a), static_cast<double>(b))); });
    });
  });
  return absl::OkStatus();
}

absl::Status EvalMin(const EvalContext& context) {
  return Select(context, [](auto a, auto b) { return b < a || b != b ? b : a; });
}
absl::Status EvalMax(const EvalContext& context) {
  return Select(context, [](auto a, auto b) { return b > a || b != b ? b : a; });
}

absl::Status EvalPRelu(const EvalContext& context) {
  return Arithmetic(context, [](auto x, auto slope) { return x < 0 ? slope * x : x; });
}

absl::Status EvalEqual(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a == b; });
}
absl::Status EvalLess(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a < b; });
}
absl::Status EvalLessOrEqual(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a <= b; });
}
absl::Status EvalGreater(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a > b; });
}
absl::Status EvalGreaterOrEqual(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a >= b; });
}
absl::Status EvalAnd(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a != 0 && b != 0; });
}
absl::Status EvalOr(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return a != 0 || b != 0; });
}
absl::Status EvalXor(const EvalContext& context) {
  return Compare(context, [](auto a, auto b) { return (a != 0) != (b != 0); });
}

absl::Status EvalWhere(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 3));
  const TensorView& condition = context.inputs[0];
  const TensorView& a = context.inputs[1];
  const TensorView& b = context.inputs[2];
  const MutableTensorView& out = context.outputs[0];
  const size_t elements = static_cast<size_t>(ElementsOf(out.shape));
  if (elements == 0) return absl::OkStatus();
  const auto loops = MakeBroadcastLoops<3>({&condition.shape, &a.shape, &b.shape}, out.shape);
  size_t step[3];
  for (size_t k = 0; k < 3; ++k) step[k] = loops.strides[k][loops.rank - 1];
  WithSize(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    ForEachRow(loops, elements, context.pool, [&](size_t begin, size_t count, const size_t* offsets) {
      const uint8_t* chosen = condition.as<uint8_t>() + offsets[0];
      const T* left = a.as<T>() + offsets[1];
      const T* right = b.as<T>() + offsets[2];
      T* y = out.as<T>() + begin;
      for (size_t i = 0; i < count; ++i) y[i] = chosen[i * step[0]] != 0 ? left[i * step[1]] : right[i * step[2]];
    });
  });
  return absl::OkStatus();
}

}  // namespace tally
