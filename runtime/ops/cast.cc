#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/math.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A bool in memory, kept apart from uint8: any byte but 0 reads as true, only 0 and 1 are written.
struct Bool {
  uint8_t byte;
};

template <typename To, typename From>
To Convert(From value) {
  if constexpr (std::is_same_v<From, Bool>) {
    return Convert<To, uint8_t>(value.byte != 0 ? 1 : 0);
  } else if constexpr (std::is_same_v<To, Bool>) {
    return Bool{static_cast<uint8_t>(value != From{0} ? 1 : 0)};
  } else if constexpr (std::is_same_v<From, float> && std::is_integral_v<To>) {
    // The bounds as floats: the lower one is exact, the upper one (2^n - 1) may round up to 2^n, and then nothing below
    // it is out of range.
    constexpr float kLow = static_cast<float>(std::numeric_limits<To>::min());
    constexpr float kHigh = static_cast<float>(std::numeric_limits<To>::max());
    if (std::isnan(value)) return 0;
    if (value <= kLow) return std::numeric_limits<To>::min();
    if (value >= kHigh) return std::numeric_limits<To>::max();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);  // integers keep their low bits, floats round to nearest
  }
}

// The nearest float32 that a 16-bit float holds, half to even.
float RoundToHalf(float x) {
  const float magnitude = AbsF(x);
  if (!(magnitude < 65520.0f)) return x != x ? x : x < 0 ? -kInfinity : kInfinity;
  // Adding a number whose last bit is worth the half's last bit rounds; below 2^-14 that is 2^-24.
  const uint32_t exponent = std::max(FloatBits(magnitude) >> 23, uint32_t{127 - 14});
  const float shift = BitsToFloat((exponent + 13) << 23);
  const float rounded = (magnitude + shift) - shift;
  return BitsToFloat(FloatBits(rounded) | (FloatBits(x) & kSignBit));
}

template <typename To, typename From>
void CastElements(const EvalContext& context) {
  const From* from = context.inputs[0].as<From>();
  To* to = context.outputs[0].as<To>();
  ParallelFor(context.pool, static_cast<size_t>(ElementsOf(context.inputs[0].shape)), kElementTile,
              [=](size_t begin, size_t end) {
                for (size_t i = begin; i < end; ++i) to[i] = Convert<To>(from[i]);
              });
}

template <typename From>
absl::Status CastFrom(const EvalContext& context) {
  switch (context.outputs[0].dtype) {
    case DType::kFloat32: CastElements<float, From>(context); break;
    case DType::kInt64: CastElements<int64_t, From>(context); break;
    case DType::kInt32: CastElements<int32_t, From>(context); break;
    case DType::kUint8: CastElements<uint8_t, From>(context); break;
    case DType::kInt8: CastElements<int8_t, From>(context); break;
    case DType::kBool: CastElements<Bool, From>(context); break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalCast(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  switch (context.inputs[0].dtype) {
    case DType::kFloat32: TALLY_RETURN_IF_ERROR(CastFrom<float>(context)); break;
    case DType::kInt64: TALLY_RETURN_IF_ERROR(CastFrom<int64_t>(context)); break;
    case DType::kInt32: TALLY_RETURN_IF_ERROR(CastFrom<int32_t>(context)); break;
    case DType::kUint8: TALLY_RETURN_IF_ERROR(CastFrom<uint8_t>(context)); break;
    case DType::kInt8: TALLY_RETURN_IF_ERROR(CastFrom<int8_t>(context)); break;
    case DType::kBool: TALLY_RETURN_IF_ERROR(CastFrom<Bool>(context)); break;
  }
  if (StringAttribute(context.node, "precision", "").empty()) return absl::OkStatus();
  float* y = context.outputs[0].as<float>();
  const int64_t count = ElementsOf(context.outputs[0].shape);
  for (int64_t i = 0; i < count; ++i) y[i] = RoundToHalf(y[i]);
  return absl::OkStatus();
}

}  // namespace tally
