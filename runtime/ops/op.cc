#include "runtime/ops/op.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"
#include "runtime/ops/element_types.h"

namespace tally {
namespace {

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
  if (count >= static_cast<size_t>(min) && (max < 0 || count <= static_cast<size_t>(max))) return absl::OkStatus();
  const std::string range = max < 0      ? absl::StrCat(min, " or more")
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

std::string TypeNames(unsigned types) {
  if (types == kAnyType) return "any";
  std::string names;
  for (int i = 0; i < kNumDTypes; ++i) {
    const DType dtype = static_cast<DType>(i);
    if ((types & TypeBit(dtype)) != 0) absl::StrAppend(&names, names.empty() ? "" : ", ", DTypeName(dtype));
  }
  return names;
}

absl::Status CheckNode(const OpDef& def, const InferContext& context) {
  const Node& node = context.node;
  TALLY_RETURN_IF_ERROR(CheckCount(def, "inputs", context.inputs.size(), def.min_inputs, def.max_inputs));
  TALLY_RETURN_IF_ERROR(CheckCount(def, "outputs", node.outputs.size(), def.min_outputs, def.max_outputs));
  for (size_t i = 0; i < static_cast<size_t>(def.min_inputs); ++i) {
    if (context.has(i)) continue;
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat(def.name, ": input ", i, " is absent, expected a tensor"));
  }
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    TALLY_RETURN_IF_ERROR(CheckAttribute(def, node.attributes[i]));
    for (size_t j = 0; j < i; ++j) {
      if (node.attributes[j].name != node.attributes[i].name) continue;
      return MakeError(ErrorId::kBadAttribute, absl::StrCat(def.name, ": attribute ", Quoted(node.attributes[i].name),
                                                            " is given twice, expected once"));
    }
  }
  return absl::OkStatus();
}

absl::Status InferNode(const OpDef& def, const InferContext& context, std::vector<TensorType>* outputs) {
  outputs->clear();
  TALLY_RETURN_IF_ERROR(CheckNode(def, context));
  for (size_t i = 0; i < context.inputs.size(); ++i) {
    if (context.has(i)) TALLY_RETURN_IF_ERROR(CheckLimits(def, "input", i, *context.inputs[i]));
  }
  if (!context.inputs.empty() && (def.types & TypeBit(context.inputs[0]->dtype)) == 0) {
    return MakeError(ErrorId::kBadNodeInputs,
                     absl::StrCat(def.name, ": input 0 is ", DTypeName(context.inputs[0]->dtype), ", expected ",
                                  TypeNames(def.types)));
  }
  TALLY_RETURN_IF_ERROR(def.infer(context, outputs));
  if (outputs->size() != context.node.outputs.size()) {
    return MakeError(ErrorId::kBadNodeInputs,
                     absl::StrCat(def.name, ": ", context.node.outputs.size(), " outputs, expected ", outputs->size()));
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    TALLY_RETURN_IF_ERROR(CheckLimits(def, "output", i, (*outputs)[i]));
  }
  return absl::OkStatus();
}

}  // namespace tally
