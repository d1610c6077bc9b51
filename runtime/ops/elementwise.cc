// Activation operators, and Add, Sub, Mul, Div with broadcasting.
//
// Integers wrap. Integer division truncates; the lowest value divided by -1 wraps to itself; by zero is an error.
#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

size_t Elements(const Shape& shape) {
  size_t n = 1;
  for (int64_t d : shape) n *= static_cast<size_t>(d);
  return n;
}

absl::Status EvalActivation(const EvalContext& context) {
  const Activation activation = StandaloneActivation(context.node);
  const float* x = context.inputs[0].as<float>();
  float* y = context.outputs[0].as<float>();
  ParallelFor(context.pool, Elements(context.outputs[0].shape), kElementTile, [&](size_t begin, size_t end) {
    // The output may be the input itself.
    if (x != y) std::memcpy(y + begin, x + begin, (end - begin) * sizeof(float));
    ApplyActivation(activation, y + begin, end - begin);
  });
  return absl::OkStatus();
}

// A broadcast of two operands as few nested loops: neighbouring dimensions that both operands walk alike are merged.
// Strides are in elements, 0 where an operand repeats.
struct Loops {
  size_t rank = 0;  // >= 1
  size_t extents[kMaxRank] = {};
  size_t a_strides[kMaxRank] = {};
  size_t b_strides[kMaxRank] = {};
};

Loops MakeLoops(const Shape& a, const Shape& b, const Shape& out) {
  Loops loops;
  size_t a_stride = Elements(a);
  size_t b_stride = Elements(b);
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t extent = static_cast<size_t>(out[i]);
    const size_t from_a = out.size() - a.size();
    const size_t from_b = out.size() - b.size();
    const size_t a_extent = i < from_a ? 1 : static_cast<size_t>(a[i - from_a]);
    const size_t b_extent = i < from_b ? 1 : static_cast<size_t>(b[i - from_b]);
    if (extent == 1) continue;
    a_stride /= a_extent;
    b_stride /= b_extent;
    const size_t a_step = a_extent == 1 ? 0 : a_stride;
    const size_t b_step = b_extent == 1 ? 0 : b_stride;
    const size_t last = loops.rank - 1;
    if (loops.rank > 0 && loops.a_strides[last] == a_step * extent && loops.b_strides[last] == b_step * extent) {
      loops.extents[last] *= extent;
      loops.a_strides[last] = a_step;
      loops.b_strides[last] = b_step;
    } else {
      loops.extents[loops.rank] = extent;
      loops.a_strides[loops.rank] = a_step;
      loops.b_strides[loops.rank] = b_step;
      ++loops.rank;
    }
  }
  if (loops.rank == 0) {
    loops.rank = 1;
    loops.extents[0] = 1;
  }
  return loops;
}

template <typename T, typename Fn>
void Row(const T* a, size_t a_step, const T* b, size_t b_step, size_t count, T* y, const Fn& fn) {
  // Steps are 0 or 1, and both are 0 only for a single element.
  if (a_step == 1 && b_step == 1) {
    for (size_t i = 0; i < count; ++i) y[i] = fn(a[i], b[i]);
  } else if (a_step == 1) {
    const T right = b[0];
    for (size_t i = 0; i < count; ++i) y[i] = fn(a[i], right);
  } else {
    const T left = a[0];
    for (size_t i = 0; i < count; ++i) y[i] = fn(left, b[i]);
  }
}

// The innermost dimension of Loops has strides 0 or 1 for both operands, and not 0 for both unless its extent is 1.
template <typename T, typename Fn>
void Broadcast(const EvalContext& context, const Fn& fn) {
  const TensorView& a = context.inputs[0];
  const TensorView& b = context.inputs[1];
  T* y = context.outputs[0].as<T>();
  const Loops loops = MakeLoops(a.shape, b.shape, context.outputs[0].shape);
  const size_t inner = loops.rank - 1;
  const size_t row_length = loops.extents[inner];
  // Ranges of flat output elements, cut where rows end.
  ParallelFor(context.pool, Elements(context.outputs[0].shape), kElementTile, [&](size_t begin, size_t end) {
    while (begin < end) {
      const size_t column = begin % row_length;
      const size_t count = std::min(row_length - column, end - begin);
      size_t a_offset = column * loops.a_strides[inner];
      size_t b_offset = column * loops.b_strides[inner];
      size_t rest = begin / row_length;
      for (size_t d = inner; d-- > 0; rest /= loops.extents[d]) {
        a_offset += rest % loops.extents[d] * loops.a_strides[d];
        b_offset += rest % loops.extents[d] * loops.b_strides[d];
      }
      Row(a.as<T>() + a_offset, loops.a_strides[inner], b.as<T>() + b_offset, loops.b_strides[inner], count, y + begin,
          fn);
      begin += count;
    }
  });
}

// Calls fn on unsigned integers, whose overflow wraps.
template <typename T, typename Fn>
auto Wrapping(const Fn& fn) {
  return [fn](T a, T b) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(fn(static_cast<U>(a), static_cast<U>(b)));
  };
}

template <typename Fn>
absl::Status Arithmetic(const EvalContext& context, const Fn& fn) {
  if (Elements(context.outputs[0].shape) == 0) return absl::OkStatus();
  switch (context.outputs[0].dtype) {
    case DType::kFloat32: Broadcast<float>(context, fn); return absl::OkStatus();
    case DType::kInt64: Broadcast<int64_t>(context, Wrapping<int64_t>(fn)); return absl::OkStatus();
    case DType::kInt32: Broadcast<int32_t>(context, Wrapping<int32_t>(fn)); return absl::OkStatus();
    default: break;
  }
  return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("arithmetic on ", DTypeName(context.outputs[0].dtype)));
}

template <typename T>
absl::Status DivideIntegers(const EvalContext& context) {
  const T* b = context.inputs[1].as<T>();
  const size_t count = Elements(context.inputs[1].shape);
  for (size_t i = 0; i < count; ++i) {
    if (b[i] == 0) return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("integer division by zero, divisor ", i));
  }
  Broadcast<T>(context, [](T x, T y) {
    using U = std::make_unsigned_t<T>;
    return y == -1 ? static_cast<T>(U{0} - static_cast<U>(x)) : static_cast<T>(x / y);
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalRelu(const EvalContext& context) { return EvalActivation(context); }
absl::Status EvalClip(const EvalContext& context) { return EvalActivation(context); }
absl::Status EvalLeakyRelu(const EvalContext& context) { return EvalActivation(context); }
absl::Status EvalSigmoid(const EvalContext& context) { return EvalActivation(context); }
absl::Status EvalTanh(const EvalContext& context) { return EvalActivation(context); }
absl::Status EvalHardSigmoid(const EvalContext& context) { return EvalActivation(context); }
absl::Status EvalHardSwish(const EvalContext& context) { return EvalActivation(context); }

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
  if (Elements(context.outputs[0].shape) == 0) return absl::OkStatus();
  switch (context.outputs[0].dtype) {
    case DType::kInt64: return DivideIntegers<int64_t>(context);
    case DType::kInt32: return DivideIntegers<int32_t>(context);
    default: return Arithmetic(context, [](auto a, auto b) { return a / b; });
  }
}

}  // namespace tally
