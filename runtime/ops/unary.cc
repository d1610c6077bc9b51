// Activation functions and element-wise operators of one operand that are no plain function of a float.
#include "runtime/ops/unary.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "runtime/ops/attributes.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/evals.h"

namespace tally {

absl::Status EvalActivation(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const Activation activation = StandaloneActivation(context.node);
  const float* x = context.inputs[0].as<float>();
  float* y = context.outputs[0].as<float>();
  ParallelFor(context.pool, static_cast<size_t>(ElementsOf(context.outputs[0].shape)), kElementTile,
              [&](size_t begin, size_t end) {
                // The output may be the input itself.
                if (x != y) std::memcpy(y + begin, x + begin, (end - begin) * sizeof(float));
                ApplyActivation(activation, y + begin, end - begin);
              });
  return absl::OkStatus();
}

// The lowest integer has no counterpart: its magnitude and negative wrap to itself.
absl::Status EvalAbs(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  WithType(context.inputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    MapElements<T, T>(context, [](T x) {
      if constexpr (std::is_floating_point_v<T>) {
        return std::fabs(x);
      } else {
        return static_cast<T>(x < 0 ? 0 - static_cast<std::make_unsigned_t<T>>(x) : x);
      }
    });
  });
  return absl::OkStatus();
}

absl::Status EvalNeg(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  WithType(context.inputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    MapElements<T, T>(context, [](T x) {
      if constexpr (std::is_floating_point_v<T>) {
        return -x;
      } else {
        return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(x));
      }
    });
  });
  return absl::OkStatus();
}

absl::Status EvalSign(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  WithType(context.inputs[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    MapElements<T, T>(context, [](T x) { return x > T{0} ? T{1} : x < T{0} ? static_cast<T>(-1) : x; });
  });
  return absl::OkStatus();
}

absl::Status EvalNot(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  MapElements<uint8_t, uint8_t>(context, [](uint8_t x) { return static_cast<uint8_t>(x == 0); });
  return absl::OkStatus();
}

absl::Status EvalIsNaN(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  MapElements<uint8_t, float>(context, [](float x) { return static_cast<uint8_t>(x != x); });
  return absl::OkStatus();
}

absl::Status EvalIsInf(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const bool positive = IntAttribute(context.node, "detect_positive", 1) != 0;
  const bool negative = IntAttribute(context.node, "detect_negative", 1) != 0;
  MapElements<uint8_t, float>(
      context, [=](float x) { return static_cast<uint8_t>(std::isinf(x) && (x > 0 ? positive : negative)); });
  return absl::OkStatus();
}

}  // namespace tally
