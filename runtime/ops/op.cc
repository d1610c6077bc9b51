#include "runtime/ops/op.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/infer.h"

namespace tally {
namespace {

// Attributes that several operators share.
#define TALLY_WINDOW_ATTRIBUTES "strides:ints pads:ints auto_pad:string"
#define TALLY_FUSED_ATTRIBUTES "activation:string activation_params:floats"

constexpr int kAny = -1;
constexpr bool kView = true;

// Sorted by name. Columns: inputs min, max; outputs min, max; attributes; inference; evaluation; view.
constexpr OpDef kOps[] = {
    {"Add", 2, 2, 1, 1, "", InferArithmetic, EvalAdd},
    {"AveragePool", 1, 1, 1, 1, TALLY_WINDOW_ATTRIBUTES " kernel_shape:ints ceil_mode:flag count_include_pad:flag",
     InferPool, EvalAveragePool},
    {"BatchNormalization", 5, 5, 1, 1, "epsilon:float", InferBatchNormalization, EvalBatchNormalization},
    {"Cast", 1, 1, 1, 1, "to:string", InferCast, EvalCast},
    {"Clip", 1, 1, 1, 1, "min:float max:float", InferActivation, EvalClip},
    {"Concat", 1, kAny, 1, 1, "axis:int", InferConcat, EvalConcat},
    {"Conv", 2, 4, 1, 1, TALLY_WINDOW_ATTRIBUTES " dilations:ints group:int " TALLY_FUSED_ATTRIBUTES, InferConv,
     EvalConv},
    {"Div", 2, 2, 1, 1, "", InferArithmetic, EvalDiv},
    {"Flatten", 1, 1, 1, 1, "axis:int", InferFlatten, EvalFlatten, kView},
    {"Gather", 2, 2, 1, 1, "axis:int", InferGather, EvalGather},
    {"Gemm", 2, 4, 1, 1, TALLY_FUSED_ATTRIBUTES, InferGemm, EvalGemm},
    {"GlobalAveragePool", 1, 1, 1, 1, "", InferGlobalPool, EvalGlobalAveragePool},
    {"GlobalMaxPool", 1, 1, 1, 1, "", InferGlobalPool, EvalGlobalMaxPool},
    {"HardSigmoid", 1, 1, 1, 1, "alpha:float beta:float", InferActivation, EvalHardSigmoid},
    {"HardSwish", 1, 1, 1, 1, "", InferActivation, EvalHardSwish},
    {"Identity", 1, 1, 1, 1, "", InferIdentity, EvalIdentity, kView},
    {"LeakyRelu", 1, 1, 1, 1, "alpha:float", InferActivation, EvalLeakyRelu},
    {"MatMul", 2, 2, 1, 1, "", InferMatMul, EvalMatMul},
    {"MaxPool", 1, 1, 1, 1, TALLY_WINDOW_ATTRIBUTES " kernel_shape:ints dilations:ints ceil_mode:flag", InferPool,
     EvalMaxPool},
    {"Mul", 2, 2, 1, 1, "", InferArithmetic, EvalMul},
    {"Pad", 2, 3, 1, 1, "mode:string", InferPad, EvalPad},
    {"ReduceMean", 1, 2, 1, 1, "keepdims:flag noop_with_empty_axes:flag", InferReduceMean, EvalReduceMean},
    {"Relu", 1, 1, 1, 1, "", InferActivation, EvalRelu},
    {"Reshape", 2, 2, 1, 1, "allowzero:flag", InferReshape, EvalReshape, kView},
    {"Shape", 1, 1, 1, 1, "start:int end:int", InferShape, EvalShape},
    {"Sigmoid", 1, 1, 1, 1, "", InferActivation, EvalSigmoid},
    {"Slice", 3, 5, 1, 1, "", InferSlice, EvalSlice},
    {"Softmax", 1, 1, 1, 1, "axis:int flatten:flag", InferSoftmax, EvalSoftmax},
    {"Split", 1, 1, 1, kAny, "axis:int split:ints", InferSplit, EvalSplit},
    {"Squeeze", 1, 2, 1, 1, "", InferSqueeze, EvalSqueeze, kView},
    {"Sub", 2, 2, 1, 1, "", InferArithmetic, EvalSub},
    {"Tanh", 1, 1, 1, 1, "", InferActivation, EvalTanh},
    {"Transpose", 1, 1, 1, 1, "perm:ints", InferTranspose, EvalTranspose},
    {"Unsqueeze", 2, 2, 1, 1, "", InferUnsqueeze, EvalUnsqueeze, kView},
};

#undef TALLY_WINDOW_ATTRIBUTES
#undef TALLY_FUSED_ATTRIBUTES

// The kind in `spec` of the attribute `name`; empty when the operator has none of that name.
std::string_view KindInSpec(std::string_view spec, std::string_view name) {
  while (!spec.empty()) {
    const std::string_view entry = spec.substr(0, spec.find(' '));
    spec.remove_prefix(std::min(spec.size(), entry.size() + 1));
    const size_t colon = entry.find(':');
    if (entry.substr(0, colon) == name) return entry.substr(colon + 1);
  }
  return {};
}

std::string Describe(const Attribute& a) {
  switch (a.kind) {
    case Attribute::Kind::kInts: return absl::StrCat(a.ints.size(), " integers");
    case Attribute::Kind::kFloats: return absl::StrCat(a.floats.size(), " floats");
    case Attribute::Kind::kString: return "a string";
  }
  return "of an unknown kind";
}

absl::Status CheckAttribute(const OpDef& def, const Attribute& a) {
  const auto bad = [&](const std::string& problem) {
    return MakeError(ErrorId::kBadAttribute, absl::StrCat(def.name, ": attribute ", Quoted(a.name), " ", problem));
  };
  const std::string_view kind = KindInSpec(def.attributes, a.name);
  if (kind.empty()) {
    return bad(absl::StrCat("is unknown, expected ", *def.attributes == '\0' ? "no attributes" : def.attributes));
  }
  const bool single = kind == "int" || kind == "flag" || kind == "float";
  Attribute::Kind expected = Attribute::Kind::kInts;
  if (kind == "string") expected = Attribute::Kind::kString;
  if (kind == "float" || kind == "floats") expected = Attribute::Kind::kFloats;
  const size_t size = a.kind == Attribute::Kind::kInts ? a.ints.size() : a.floats.size();
  if (a.kind != expected || (single && size != 1)) {
    return bad(absl::StrCat("is ", Describe(a), ", expected ", std::string(kind)));
  }
  if (kind == "flag" && a.ints[0] != 0 && a.ints[0] != 1)
    return bad(absl::StrCat("is ", a.ints[0], ", expected 0 or 1"));
  if (std::any_of(a.floats.begin(), a.floats.end(), [](float f) { return std::isnan(f); })) {
    return bad("is not a number");
  }
  return absl::OkStatus();
}

absl::Status CheckCount(const OpDef& def, const char* what, size_t count, int min, int max) {
  if (count >= static_cast<size_t>(min) && (max == kAny || count <= static_cast<size_t>(max))) return absl::OkStatus();
  const std::string range = max == kAny  ? absl::StrCat(min, " or more")
                            : min == max ? absl::StrCat(min)
                                         : absl::StrCat(min, " .. ", max);
  return MakeError(ErrorId::kBadNodeInputs, absl::StrCat(def.name, ": ", count, " ", what, ", expected ", range));
}

// Rank, extents, and that the bytes do not wrap. An extent of 0 counts as 1, so that strides do not wrap either.
absl::Status CheckLimits(const OpDef& def, const char* what, size_t i, const TensorType& type) {
  const auto bad = [&](const std::string& expected) {
    return MakeError(ErrorId::kBadShape, absl::StrCat(def.name, ": ", what, " ", i, " has shape ",
                                                      ShapeString(type.shape), ", expected ", expected));
  };
  if (type.shape.size() > kMaxRank) return bad(absl::StrCat("rank ", kMaxRank, " or less"));
  int64_t bytes = static_cast<int64_t>(DTypeSize(type.dtype));
  for (int64_t extent : type.shape) {
    if (extent < 0 || extent > kMaxExtent) return bad(absl::StrCat("extents 0 .. ", kMaxExtent));
    if (!CheckedMul(bytes, std::max<int64_t>(1, extent), &bytes)) return bad("bytes that fit in 63 bits");
  }
  return absl::OkStatus();
}

}  // namespace

const OpDef* FindOp(const std::string& name) {
  for (const OpDef& def : kOps) {
    if (name == def.name) return &def;
  }
  return nullptr;
}

std::vector<const OpDef*> AllOps() {
  std::vector<const OpDef*> ops;
  for (const OpDef& def : kOps) ops.push_back(&def);
  return ops;
}

absl::Status InferNode(const OpDef& def, const InferContext& context, std::vector<TensorType>* outputs) {
  outputs->clear();
  const Node& node = context.node;
  TALLY_RETURN_IF_ERROR(CheckCount(def, "inputs", context.inputs.size(), def.min_inputs, def.max_inputs));
  TALLY_RETURN_IF_ERROR(CheckCount(def, "outputs", node.outputs.size(), def.min_outputs, def.max_outputs));
  for (size_t i = 0; i < context.inputs.size(); ++i) {
    if (context.inputs[i] != nullptr) {
      TALLY_RETURN_IF_ERROR(CheckLimits(def, "input", i, *context.inputs[i]));
    } else if (i < static_cast<size_t>(def.min_inputs)) {
      return MakeError(ErrorId::kBadNodeInputs, absl::StrCat(def.name, ": input ", i, " is absent, expected a tensor"));
    }
  }
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    TALLY_RETURN_IF_ERROR(CheckAttribute(def, node.attributes[i]));
    for (size_t j = 0; j < i; ++j) {
      if (node.attributes[j].name != node.attributes[i].name) continue;
      return MakeError(ErrorId::kBadAttribute, absl::StrCat(def.name, ": attribute ", Quoted(node.attributes[i].name),
                                                            " is given twice, expected once"));
    }
  }
  TALLY_RETURN_IF_ERROR(def.infer(context, outputs));
  if (outputs->size() != node.outputs.size()) {
    return MakeError(ErrorId::kBadNodeInputs,
                     absl::StrCat(def.name, ": ", node.outputs.size(), " outputs, expected ", outputs->size()));
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    TALLY_RETURN_IF_ERROR(CheckLimits(def, "output", i, (*outputs)[i]));
  }
  return absl::OkStatus();
}

}  // namespace tally
