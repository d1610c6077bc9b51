#include <cmath>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "backends/reference/oracle.h"
#include "format/error.h"
#include "runtime/ops/element_types.h"

namespace tally::reference {
namespace {

constexpr size_t kTile = 4096;

double Clamp(double x, double low, double high) {
  if (x < low) x = low;
  if (x > high) x = high;
  return x;  // NaN stays NaN
}

// Element `output` of the broadcast shape, to the element of the operand that it reads.
int64_t BroadcastIndex(const Shape& operand, const Shape& out, int64_t output) {
  if (operand == out) return output;
  int64_t index = 0;
  int64_t stride = 1;
  for (size_t i = 1; i <= out.size(); ++i) {
    const int64_t extent = out[out.size() - i];
    if (i <= operand.size()) {
      const int64_t mine = operand[operand.size() - i];
      if (mine > 1) index += output % extent * stride;
      stride *= mine;
    }
    output /= extent;
  }
  return index;
}

// Integers wrap in their unsigned type.
template <typename T>
T Apply(char sign, T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    switch (sign) {
      case '+': return a + b;
      case '-': return a - b;
      case '*': return a * b;
      default: return a / b;
    }
  } else {
    using U = std::make_unsigned_t<T>;
    switch (sign) {
      case '+': return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
      case '-': return static_cast<T>(static_cast<U>(a) - static_cast<U>(b));
      case '*': return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
      default:
        return std::is_signed_v<T> && b == static_cast<T>(-1) ? static_cast<T>(U{0} - static_cast<U>(a))
                                                              : static_cast<T>(a / b);
    }
  }
}

template <typename T>
absl::Status ArithmeticOf(const EvalContext& context, char sign) {
  const TensorView& a = context.inputs[0];
  const TensorView& b = context.inputs[1];
  const Shape& out = context.outputs[0].shape;
  const int64_t outputs = Elements(out);
  if (sign == '/' && std::is_integral_v<T> && outputs > 0) {
    for (int64_t i = 0; i < Elements(b.shape); ++i) {
      if (b.as<T>()[i] == 0) {
        return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("integer division by zero, divisor ", i));
      }
    }
  }
  T* y = context.outputs[0].as<T>();
  context.pool->ParallelFor(static_cast<size_t>(outputs), kTile, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const int64_t output = static_cast<int64_t>(i);
      y[i] = Apply<T>(sign, a.as<T>()[BroadcastIndex(a.shape, out, output)],
                      b.as<T>()[BroadcastIndex(b.shape, out, output)]);
    }
  });
  return absl::OkStatus();
}

}  // namespace

double Activated(const Activation& activation, double x) {
  const double a = activation.a;
  const double b = activation.b;
  switch (activation.kind) {
    case ActivationKind::kNone: return x;
    case ActivationKind::kRelu: return x < 0 ? 0 : x;
    case ActivationKind::kClip: return Clamp(x, a, b);
    case ActivationKind::kLeakyRelu: return x < 0 ? a * x : x;
    case ActivationKind::kSigmoid: return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
    case ActivationKind::kTanh: return std::tanh(x);
    case ActivationKind::kHardSigmoid: return Clamp(a * x + b, 0, 1);
    case ActivationKind::kHardSwish: return x * Clamp(x / 6 + 0.5, 0, 1);
    case ActivationKind::kElu: return x < 0 ? a * std::expm1(x) : x;
    case ActivationKind::kSelu: return b * (x < 0 ? a * std::expm1(x) : x);
    case ActivationKind::kCelu: return x < 0 ? a * std::expm1(x / a) : x;
    case ActivationKind::kThresholdedRelu: return x <= a ? 0 : x;
    case ActivationKind::kShrink: return x < -a ? x + b : x > a ? x - b : std::isnan(x) ? x : 0;
    case ActivationKind::kSoftplus: return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
    case ActivationKind::kSoftsign: return x / (1 + std::fabs(x));
    case ActivationKind::kGelu: return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

absl::Status Activate(const EvalContext& context) {
  const Activation activation = StandaloneActivation(context.node);
  const float* x = context.inputs[0].as<float>();
  float* y = context.outputs[0].as<float>();
  const int64_t outputs = Elements(context.outputs[0].shape);
  context.pool->ParallelFor(static_cast<size_t>(outputs), kTile, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) y[i] = static_cast<float>(Activated(activation, x[i]));
  });
  return absl::OkStatus();
}

absl::Status Arithmetic(const EvalContext& context) {
  const std::string& op = context.node.op;
  const char sign = op == "Add" ? '+' : op == "Sub" ? '-' : op == "Mul" ? '*' : '/';
  return WithType(context.outputs[0].dtype, [&](auto zero) { return ArithmeticOf<decltype(zero)>(context, sign); });
}

absl::Status BatchNormalization(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const float* scale = context.inputs[1].as<float>();
  const float* bias = context.inputs[2].as<float>();
  const float* mean = context.inputs[3].as<float>();
  const float* variance = context.inputs[4].as<float>();
  const double epsilon = context.node.GetFloat("epsilon", 1e-5f);
  float* y = context.outputs[0].as<float>();
  int64_t plane = 1;
  for (size_t i = 2; i < x.shape.size(); ++i) plane *= x.shape[i];
  context.pool->ParallelFor(static_cast<size_t>(Elements(x.shape)), kTile, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const int64_t c = static_cast<int64_t>(i) / plane % x.shape[1];
      const double normal = (x.as<float>()[i] - static_cast<double>(mean[c])) / std::sqrt(variance[c] + epsilon);
      y[i] = static_cast<float>(normal * scale[c] + bias[c]);
    }
  });
  return absl::OkStatus();
}

}  // namespace tally::reference
