// QuantizeLinear: saturate(rint(x / scale) + zero_point), half to even; NaN gives the zero point. DequantizeLinear:
// (x - zero_point) * scale. Scale and zero point are single values or vary along one axis.
#include <cmath>
#include <limits>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

// Parameters of an element: values change every `run` elements, and repeat after `count` of them.
struct Parameters {
  size_t run = 1;
  size_t count = 1;
  size_t At(size_t i) const { return i / run % count; }
};

Parameters ParametersOf(const EvalContext& context) {
  const Shape& shape = context.inputs[0].shape;
  Parameters parameters;
  parameters.count = static_cast<size_t>(ElementsOf(context.inputs[1].shape));
  size_t axis = 0;
  if (context.inputs[1].shape.empty() || !NormalizeAxis(IntAttribute(context.node, "axis", 1), shape.size(), &axis)) {
    return parameters;  // one for all
  }
  for (size_t i = axis + 1; i < shape.size(); ++i) parameters.run *= static_cast<size_t>(shape[i]);
  return parameters;
}

// REQUIRES: elements > 0.
template <typename To, typename From, typename Fn>
void ForEach(const EvalContext& context, const Fn& fn) {
  const Parameters parameters = ParametersOf(context);
  const From* x = context.inputs[0].as<From>();
  To* y = context.outputs[0].as<To>();
  ParallelFor(context.pool, static_cast<size_t>(ElementsOf(context.inputs[0].shape)), kElementTile,
              [&](size_t begin, size_t end) {
                for (size_t i = begin; i < end; ++i) y[i] = fn(x[i], parameters.At(i));
              });
}

bool HasZeroPoint(const EvalContext& context) { return context.inputs.size() > 2 && context.inputs[2].data != nullptr; }

}  // namespace

absl::Status EvalQuantizeLinear(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  if (ElementsOf(context.inputs[0].shape) == 0) return absl::OkStatus();
  const float* scale = context.inputs[1].as<float>();
  const bool has_zero = HasZeroPoint(context);
  WithType(context.outputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (sizeof(T) == 1) {
      const T* zero = has_zero ? context.inputs[2].as<T>() : nullptr;
      ForEach<T, float>(context, [=](float x, size_t p) {
        const float offset = zero == nullptr ? 0.0f : static_cast<float>(zero[p]);
        constexpr float kLow = std::numeric_limits<T>::min(), kHigh = std::numeric_limits<T>::max();
        const float rounded = std::rint(x / scale[p]);
        const float value = (rounded == rounded ? rounded : 0.0f) + offset;
        return static_cast<T>(value < kLow ? kLow : value > kHigh ? kHigh : value);
      });
    }
  });
  return absl::OkStatus();
}

absl::Status EvalDequantizeLinear(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  if (ElementsOf(context.inputs[0].shape) == 0) return absl::OkStatus();
  const float* scale = context.inputs[1].as<float>();
  const bool has_zero = HasZeroPoint(context);
  WithType(context.inputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_integral_v<T>) {
      const T* zero = has_zero ? context.inputs[2].as<T>() : nullptr;
      ForEach<float, T>(context, [=](T x, size_t p) {
        const int64_t offset = zero == nullptr ? 0 : static_cast<int64_t>(zero[p]);
        return static_cast<float>(static_cast<int64_t>(x) - offset) * scale[p];
      });
    }
  });
  return absl::OkStatus();
}

}  // namespace tally
