#include "runtime/ops/epilogue.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/elementary.h"
#include "runtime/ops/math.h"
#include "runtime/ops/row_table.h"

namespace tally {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// An activation operator: how many parameters its fused form takes, and their defaults.
struct Entry {
  const char* op;
  ActivationKind kind;
  size_t params;
  const char* names[2];
  float defaults[2];
};

constexpr Entry kActivations[] = {
    {"Relu", ActivationKind::kRelu, 0, {"", ""}, {0, 0}},
    {"Clip", ActivationKind::kClip, 2, {"min", "max"}, {-kInfinity, kInfinity}},
    {"LeakyRelu", ActivationKind::kLeakyRelu, 1, {"alpha", ""}, {0.01f, 0}},
    {"Sigmoid", ActivationKind::kSigmoid, 0, {"", ""}, {0, 0}},
    {"Tanh", ActivationKind::kTanh, 0, {"", ""}, {0, 0}},
    {"HardSigmoid", ActivationKind::kHardSigmoid, 2, {"alpha", "beta"}, {0.2f, 0.5f}},
    {"HardSwish", ActivationKind::kHardSwish, 0, {"", ""}, {0, 0}},
    {"Elu", ActivationKind::kElu, 1, {"alpha", ""}, {1, 0}},
    {"Selu", ActivationKind::kSelu, 2, {"alpha", "gamma"}, {1.67326319217681884765625f, 1.05070102214813232421875f}},
    {"Celu", ActivationKind::kCelu, 1, {"alpha", ""}, {1, 0}},
    {"ThresholdedRelu", ActivationKind::kThresholdedRelu, 1, {"alpha", ""}, {1, 0}},
    {"Shrink", ActivationKind::kShrink, 2, {"lambd", "bias"}, {0.5f, 0}},
    {"Softplus", ActivationKind::kSoftplus, 0, {"", ""}, {0, 0}},
    {"Softsign", ActivationKind::kSoftsign, 0, {"", ""}, {0, 0}},
    {"Gelu", ActivationKind::kGelu, 0, {"", ""}, {0, 0}},
    {"GeluTanh", ActivationKind::kGeluTanh, 0, {"", ""}, {0, 0}},
};

const Entry* FindEntry(std::string_view op) {
  for (const Entry& entry : kActivations) {
    if (op == entry.op) return &entry;
  }
  return nullptr;
}

// Selects that let NaN through; `low` wins over x, `high` over both.
inline float Clamp(float x, float low, float high) {
  const float y = x < low ? low : x;
  return y > high ? high : y;
}

template <typename Fn>
void Map(float* values, size_t count, const Fn& fn) {
  for (size_t i = 0; i < count; ++i) values[i] = fn(values[i]);
}

// Values per block of FinishRow: the steps run over a block that stays in the first-level cache.
constexpr size_t kBlock = 512;

template <typename Acc>
void FinishBlock(const Acc* acc, size_t count, const EpilogueRow& row, size_t first, float* out) {
  float t[kBlock];
  for (size_t i = 0; i < count; ++i) t[i] = static_cast<float>(acc[i]);
  if (row.scale != nullptr) {
    if (row.channel_step == 0) {
      const float scale = row.scale[0];
      for (size_t i = 0; i < count; ++i) t[i] *= scale;
    } else {
      for (size_t i = 0; i < count; ++i) t[i] *= row.scale[first + i];
    }
  }
  if (row.bias != nullptr) {
    if (row.channel_step == 0) {
      const float bias = row.bias[0];
      for (size_t i = 0; i < count; ++i) t[i] += bias;
    } else {
      for (size_t i = 0; i < count; ++i) t[i] += row.bias[first + i];
    }
  }
  if (row.residual != nullptr) {
    for (size_t i = 0; i < count; ++i) t[i] += row.residual[first + i];
  }
  ApplyActivation(row.activation, t, count);
  std::memcpy(out + first, t, count * sizeof(float));
}

template <typename Acc>
void Finish(const Acc* acc, size_t count, const EpilogueRow& row, float* out) {
  for (size_t first = 0; first < count; first += kBlock) {
    FinishBlock(acc + first, std::min(kBlock, count - first), row, first, out);
  }
}

}  // namespace

absl::StatusOr<Activation> FusedActivation(const Node& node) {
  const std::string_view op = StringAttribute(node, "activation", "");
  const Attribute* params = FindAttribute(node, "activation_params");
  const size_t given = params == nullptr ? 0 : params->floats.size();
  if (op.empty()) {
    if (given > 0) return MakeError(ErrorId::kBadAttribute, "activation_params without activation");
    return Activation();
  }
  const Entry* entry = FindEntry(op);
  if (entry == nullptr) {
    return MakeError(ErrorId::kBadAttribute,
                     absl::StrCat("activation ", Quoted(std::string(op)), " is not an activation operator"));
  }
  if (given != 0 && given != entry->params) {
    return MakeError(ErrorId::kBadAttribute,
                     absl::StrCat(given, " activation_params of ", entry->op, ", expected ", entry->params));
  }
  Activation activation{entry->kind, entry->defaults[0], entry->defaults[1]};
  for (size_t i = 0; i < given; ++i) {
    if (std::isnan(params->floats[i])) {
      return MakeError(ErrorId::kBadAttribute, absl::StrCat("activation_params[", i, "] of ", entry->op, " is NaN"));
    }
    (i == 0 ? activation.a : activation.b) = params->floats[i];
  }
  return activation;
}

Activation StandaloneActivation(const Node& node) {
  const Entry* entry = FindEntry(node.op);
  if (entry == nullptr) return Activation();
  return {entry->kind, FloatAttribute(node, entry->names[0], entry->defaults[0]),
          FloatAttribute(node, entry->names[1], entry->defaults[1])};
}

size_t NumActivationParams(ActivationKind kind) {
  for (const Entry& entry : kActivations) {
    if (entry.kind == kind) return entry.params;
  }
  return 0;
}

bool Activation::ClampedRange(float* low, float* high) const {
  if (kind == ActivationKind::kRelu) *low = 0;
  if (kind == ActivationKind::kClip) {
    *low = a;
    *high = b;
  }
  return kind == ActivationKind::kNone || kind == ActivationKind::kRelu || kind == ActivationKind::kClip;
}

void ApplyActivation(const Activation& activation, float* values, size_t count) {
  const float a = activation.a;
  const float b = activation.b;
  switch (activation.kind) {
    case ActivationKind::kNone: break;
    case ActivationKind::kRelu: Map(values, count, [](float x) { return x < 0.0f ? 0.0f : x; }); break;
    case ActivationKind::kClip: Map(values, count, [a, b](float x) { return Clamp(x, a, b); }); break;
    case ActivationKind::kLeakyRelu: Map(values, count, [a](float x) { return x < 0.0f ? a * x : x; }); break;
    case ActivationKind::kSigmoid: Map(values, count, SigmoidF); break;
    case ActivationKind::kTanh: Map(values, count, TanhF); break;
    case ActivationKind::kHardSigmoid:
      Map(values, count, [a, b](float x) { return Clamp(a * x + b, 0.0f, 1.0f); });
      break;
    case ActivationKind::kHardSwish:
      Map(values, count, [](float x) { return x * Clamp(x * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f); });
      break;
    case ActivationKind::kElu: Map(values, count, [a](float x) { return x < 0.0f ? a * ExpMinusOneF(x) : x; }); break;
    case ActivationKind::kSelu:
      Map(values, count, [a, b](float x) { return b * (x < 0.0f ? a * ExpMinusOneF(x) : x); });
      break;
    case ActivationKind::kCelu:
      Map(values, count, [a](float x) { return x < 0.0f ? a * ExpMinusOneF(x / a) : x; });
      break;
    case ActivationKind::kThresholdedRelu: Map(values, count, [a](float x) { return x <= a ? 0.0f : x; }); break;
    case ActivationKind::kShrink:
      Map(values, count, [a, b](float x) { return x < -a ? x + b : x > a ? x - b : x != x ? x : 0.0f; });
      break;
    case ActivationKind::kSoftplus: Map(values, count, SoftplusF); break;
    case ActivationKind::kSoftsign: Map(values, count, [](float x) { return x / (1.0f + AbsF(x)); }); break;
    case ActivationKind::kGelu:
      Map(values, count, [](float x) { return 0.5f * x * (1.0f + ErfF(x * 0.707106781f)); });
      break;
    case ActivationKind::kGeluTanh:
      Map(values, count,
          [](float x) { return 0.5f * x * (1.0f + TanhF(0.797884561f * (x + 0.044715f * (x * x * x)))); });
      break;
  }
}

void FinishRow(const int32_t* acc, size_t count, const EpilogueRow& row, float* out) {
  FinishRow(acc, count, row, out, BaselineRows());
}

void FinishRow(const int32_t* acc, size_t count, const EpilogueRow& row, float* out, const RowKernels& kernels) {
  FinishBlock(acc, count, {row}, out, kernels);
}

void FinishBlock(const int32_t* acc, size_t count, const EpilogueBlock& block, float* out, const RowKernels& kernels) {
  const EpilogueRow& row = block.row;
  FinishLoop loop{row.scale, row.bias, row.channel_step, row.residual};
  loop.rows = block.rows;
  loop.acc_stride = block.acc_stride;
  loop.out_stride = block.out_stride;
  loop.channel_stride = block.channel_stride;
  const bool is_whole = row.activation.ClampedRange(&loop.low, &loop.high);
  kernels.finish(loop, acc, count, out);
  if (is_whole) return;
  for (size_t r = 0; r < block.rows; ++r) ApplyActivation(row.activation, out + r * block.out_stride, count);
}

void FinishBlock(const int64_t* acc, size_t count, const EpilogueBlock& block, float* out) {
  EpilogueRow row = block.row;
  for (size_t r = 0; r < block.rows; ++r) {
    FinishRow(acc + r * block.acc_stride, count, row, out + r * block.out_stride);
    row.scale += block.channel_stride;
    if (row.bias != nullptr) row.bias += block.channel_stride;
    if (row.residual != nullptr) row.residual += block.out_stride;
  }
}

void FinishRow(const int64_t* acc, size_t count, const EpilogueRow& row, float* out) { Finish(acc, count, row, out); }
void FinishRow(const double* acc, size_t count, const EpilogueRow& row, float* out) { Finish(acc, count, row, out); }
void FinishRow(const float* acc, size_t count, const EpilogueRow& row, float* out) { Finish(acc, count, row, out); }

}  // namespace tally
