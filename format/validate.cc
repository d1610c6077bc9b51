#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "format/graph.h"
#include "format/limits.h"
#include "format/validate_forms.h"

namespace tally {
namespace {

// Well-formed UTF-8 by table 3-7 of the Unicode standard: no overlong form, no surrogate, nothing beyond U+10FFFF.
bool IsUtf8(std::string_view s) {
  for (size_t i = 0; i < s.size();) {
    const auto byte = [&](size_t k) { return k < s.size() ? static_cast<uint8_t>(s[k]) : uint8_t{0}; };
    const uint8_t lead = byte(i++);
    if (lead < 0x80) continue;
    if (lead < 0xC2 || lead > 0xF4) return false;
    const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(i) < low || byte(i) > high) return false;
    ++i;
    for (int rest = lead >= 0xF0 ? 2 : lead >= 0xE0 ? 1 : 0; rest > 0; --rest, ++i) {
      if (byte(i) < 0x80 || byte(i) > 0xBF) return false;
    }
  }
  return true;
}

// `what` is "tensor", "node", ... NUL is refused because the C API would cut such a name.
absl::Status ValidateName(const char* what, const std::string& name, bool may_be_empty = false) {
  if (name.size() > static_cast<size_t>(kMaxNameBytes)) {
    return MakeError(ErrorId::kLimitCount,
                     absl::StrCat(what, " name of ", name.size(), " bytes, at most ", kMaxNameBytes));
  }
  if (name.empty() && !may_be_empty) return MakeError(ErrorId::kBadName, absl::StrCat(what, " name is empty"));
  if (!IsUtf8(name) || name.find('\0') != std::string::npos) {
    return MakeError(ErrorId::kBadName, absl::StrCat(what, " name ", Quoted(name), " is not UTF-8 or holds a NUL"));
  }
  return absl::OkStatus();
}

// Sorting, not hashing: its time does not depend on how the names were chosen.
absl::Status ValidateUnique(const char* what, std::vector<std::string_view> names) {
  std::sort(names.begin(), names.end());
  const auto repeated = std::adjacent_find(names.begin(), names.end());
  if (repeated == names.end()) return absl::OkStatus();
  return MakeError(ErrorId::kBadName, absl::StrCat(what, " name ", Quoted(std::string(*repeated)), " is repeated"));
}

absl::Status ValidateCount(const char* what, size_t count, int limit) {
  if (count <= static_cast<size_t>(limit)) return absl::OkStatus();
  return MakeError(ErrorId::kLimitCount, absl::StrCat(count, " ", what, ", at most ", limit));
}

Where InTensor(const Tensor& tensor) { return {"", "", -1, absl::StrCat("tensor ", Quoted(tensor.name))}; }
Where InNode(const Node& node) { return {"", "", -1, absl::StrCat("node ", Quoted(node.name))}; }

absl::Status ValidateDType(DType dtype) {
  if (static_cast<int>(dtype) < kNumDTypes) return absl::OkStatus();
  return MakeError(ErrorId::kUnknownEnum,
                   absl::StrCat("element type ", static_cast<int>(dtype), ", expected 0..", kNumDTypes - 1));
}

absl::Status ValidateAttribute(const Attribute& a) {
  TALLY_RETURN_IF_ERROR(ValidateName("attribute", a.name));
  if (static_cast<int>(a.kind) > static_cast<int>(Attribute::Kind::kString)) {
    return MakeError(ErrorId::kUnknownEnum, absl::StrCat("attribute ", Quoted(a.name), " has kind ",
                                                         static_cast<int>(a.kind), ", expected 0..2"));
  }
  const bool stray = (a.kind != Attribute::Kind::kInts && !a.ints.empty()) ||
                     (a.kind != Attribute::Kind::kFloats && !a.floats.empty()) ||
                     (a.kind != Attribute::Kind::kString && !a.string.empty());
  if (stray) {
    return MakeError(ErrorId::kBadAttribute, absl::StrCat("attribute ", Quoted(a.name), " has values of two kinds"));
  }
  for (size_t i = 0; i < a.floats.size(); ++i) {
    if (std::isnan(a.floats[i])) {
      return MakeError(ErrorId::kBadAttribute, absl::StrCat("attribute ", Quoted(a.name), ", value ", i, " is NaN"));
    }
  }
  if (!IsUtf8(a.string)) {
    return MakeError(ErrorId::kBadAttribute, absl::StrCat("attribute ", Quoted(a.name), " is not UTF-8"));
  }
  return absl::OkStatus();
}

class Validator {
 public:
  explicit Validator(const Graph& graph) : graph_(graph) {}

  absl::Status Run() {
    TALLY_RETURN_IF_ERROR(ValidateHead());
    TALLY_RETURN_IF_ERROR(ValidateInputs());
    TALLY_RETURN_IF_ERROR(ValidateTensors());
    TALLY_RETURN_IF_ERROR(ValidateNodes());
    TALLY_RETURN_IF_ERROR(ValidateOutputs());
    for (size_t c = 0; c < graph_.golden.size(); ++c) {
      const Where where = {"", "", -1, absl::StrCat("golden case ", c)};
      TALLY_RETURN_IF_ERROR(AddWhere(ValidateGolden(graph_.golden[c]), where));
    }
    return absl::OkStatus();
  }

 private:
  // Where a tensor's value comes from.
  enum class Source : uint8_t { kNone, kConstant, kInput, kNode };

  absl::Status ValidateHead() {
    TALLY_RETURN_IF_ERROR(ValidateCount("tensors", graph_.tensors.size(), kMaxTensors));
    TALLY_RETURN_IF_ERROR(ValidateCount("nodes", graph_.nodes.size(), kMaxNodes));
    TALLY_RETURN_IF_ERROR(ValidateCount("symbols", graph_.symbols.size(), kMaxTensors));
    TALLY_RETURN_IF_ERROR(ValidateName("graph", graph_.name, /*may_be_empty=*/true));
    for (const std::string& s : graph_.symbols) TALLY_RETURN_IF_ERROR(ValidateName("symbol", s));
    TALLY_RETURN_IF_ERROR(ValidateUnique("symbol", {graph_.symbols.begin(), graph_.symbols.end()}));
    for (const auto& [key, value] : graph_.metadata) {
      TALLY_RETURN_IF_ERROR(ValidateName("metadata", key));
      if (!IsUtf8(value)) {
        return MakeError(ErrorId::kBadRecord, absl::StrCat("metadata value of ", Quoted(key), " is not UTF-8"));
      }
    }
    std::vector<std::string_view> names;
    for (const Tensor& t : graph_.tensors) {
      TALLY_RETURN_IF_ERROR(ValidateName("tensor", t.name));
      names.push_back(t.name);
    }
    TALLY_RETURN_IF_ERROR(ValidateUnique("tensor", std::move(names)));
    names.clear();
    for (const Node& n : graph_.nodes) {
      TALLY_RETURN_IF_ERROR(ValidateName("node", n.name));
      names.push_back(n.name);
    }
    return ValidateUnique("node", std::move(names));
  }

  absl::Status ValidateIndex(const char* what, int index) const {
    if (index >= 0 && static_cast<size_t>(index) < graph_.tensors.size()) return absl::OkStatus();
    return MakeError(ErrorId::kBadIndex, absl::StrCat(what, " is tensor ", index, " of ", graph_.tensors.size()));
  }

  absl::Status ValidateInputs() {
    sources_.assign(graph_.tensors.size(), Source::kNone);
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (graph_.tensors[i].is_constant()) sources_[i] = Source::kConstant;
    }
    for (int i : graph_.inputs) {
      TALLY_RETURN_IF_ERROR(ValidateIndex("an input of the graph", i));
      Source& source = sources_[static_cast<size_t>(i)];
      if (source != Source::kNone) {
        return MakeError(ErrorId::kBadTopology,
                         source == Source::kInput ? "is an input of the graph twice" : "is an input and a constant",
                         InTensor(graph_.tensors[static_cast<size_t>(i)]));
      }
      source = Source::kInput;
    }
    return absl::OkStatus();
  }

  absl::Status ValidateTensor(const Tensor& tensor, Source source) const {
    TALLY_RETURN_IF_ERROR(ValidateDType(tensor.dtype));
    if (source == Source::kNone && !tensor.shape.empty()) {
      return MakeError(ErrorId::kBadShape, absl::StrCat("shape ", ShapeString(tensor.shape),
                                                        " on a tensor that is neither input nor constant"));
    }
    TALLY_RETURN_IF_ERROR(ValidateShape(tensor.shape, source == Source::kInput, graph_.symbols.size()));
    return ValidateForms(tensor);
  }

  absl::Status ValidateTensors() const {
    for (size_t i = 0; i < graph_.tensors.size(); ++i) {
      absl::Status status = ValidateTensor(graph_.tensors[i], sources_[i]);
      if (!status.ok()) return AddWhere(status, InTensor(graph_.tensors[i]));
    }
    return absl::OkStatus();
  }

  absl::Status ValidateNode(const Node& node) {
    TALLY_RETURN_IF_ERROR(ValidateName("operator", node.op));
    std::vector<std::string_view> names;
    for (const Attribute& a : node.attributes) {
      TALLY_RETURN_IF_ERROR(ValidateAttribute(a));
      names.push_back(a.name);
    }
    TALLY_RETURN_IF_ERROR(ValidateUnique("attribute", std::move(names)));
    for (int i : node.inputs) {
      if (i == -1) continue;
      TALLY_RETURN_IF_ERROR(ValidateIndex("an input", i));
      if (sources_[static_cast<size_t>(i)] == Source::kNone) {
        return MakeError(ErrorId::kBadTopology,
                         absl::StrCat("reads tensor ", Quoted(graph_.tensors[static_cast<size_t>(i)].name),
                                      ", which no earlier node produces"));
      }
    }
    for (int i : node.outputs) {
      TALLY_RETURN_IF_ERROR(ValidateIndex("an output", i));
      Source& source = sources_[static_cast<size_t>(i)];
      if (source != Source::kNone) {
        return MakeError(ErrorId::kBadTopology,
                         absl::StrCat("produces tensor ", Quoted(graph_.tensors[static_cast<size_t>(i)].name),
                                      source == Source::kConstant ? ", which is a constant"
                                      : source == Source::kInput  ? ", which is an input of the graph"
                                                                  : ", which is already produced"));
      }
      source = Source::kNode;
    }
    return absl::OkStatus();
  }

  absl::Status ValidateNodes() {
    for (const Node& node : graph_.nodes) {
      absl::Status status = ValidateNode(node);
      if (!status.ok()) return AddWhere(status, InNode(node));
    }
    return absl::OkStatus();
  }

  absl::Status ValidateOutputs() const {
    std::vector<bool> seen(graph_.tensors.size());
    for (int i : graph_.outputs) {
      TALLY_RETURN_IF_ERROR(ValidateIndex("an output of the graph", i));
      const size_t index = static_cast<size_t>(i);
      if (sources_[index] == Source::kNone || seen[index]) {
        return MakeError(ErrorId::kBadTopology,
                         seen[index] ? "is an output of the graph twice" : "is an output that no node produces",
                         InTensor(graph_.tensors[index]));
      }
      seen[index] = true;
    }
    return absl::OkStatus();
  }

  // `declared`: the shape to match, null when it only follows from inference. `symbols` collects extents by symbol.
  static absl::Status ValidateGoldenValue(const GoldenCase::Value& value, DType dtype, const Shape* declared,
                                          std::map<int64_t, int64_t>* symbols) {
    TALLY_RETURN_IF_ERROR(ValidateDType(value.dtype));
    TALLY_RETURN_IF_ERROR(ValidateShape(value.shape, /*symbols_allowed=*/false, 0));
    bool matches = value.dtype == dtype && (declared == nullptr || declared->size() == value.shape.size());
    for (size_t i = 0; matches && declared != nullptr && i < declared->size(); ++i) {
      int64_t expected = (*declared)[i];
      if (expected < 0) {
        expected = symbols->emplace(expected, value.shape[i]).first->second;
      }
      matches = value.shape[i] == expected;
    }
    if (!matches) {
      return MakeError(ErrorId::kBadRecord,
                       absl::StrCat(DTypeName(value.dtype), " ", ShapeString(value.shape), ", expected ",
                                    DTypeName(dtype), declared ? " " + ShapeString(*declared) : ""));
    }
    return ValidateData(value.dtype, value.shape, value.data);
  }

  absl::Status ValidateGolden(const GoldenCase& golden) const {
    if (golden.inputs.size() != graph_.inputs.size() || golden.outputs.size() != graph_.outputs.size()) {
      return MakeError(ErrorId::kBadRecord,
                       absl::StrCat(golden.inputs.size(), " inputs and ", golden.outputs.size(), " outputs, expected ",
                                    graph_.inputs.size(), " and ", graph_.outputs.size()));
    }
    std::map<int64_t, int64_t> symbols;
    for (size_t i = 0; i < golden.inputs.size(); ++i) {
      const Tensor& t = graph_.tensors[static_cast<size_t>(graph_.inputs[i])];
      TALLY_RETURN_IF_ERROR(ValidateGoldenValue(golden.inputs[i], t.dtype, &t.shape, &symbols));
    }
    for (size_t i = 0; i < golden.outputs.size(); ++i) {
      const size_t index = static_cast<size_t>(graph_.outputs[i]);
      const Tensor& t = graph_.tensors[index];
      const Shape* declared = sources_[index] == Source::kNode ? nullptr : &t.shape;
      TALLY_RETURN_IF_ERROR(ValidateGoldenValue(golden.outputs[i], t.dtype, declared, &symbols));
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  std::vector<Source> sources_;  // by tensor; nodes fill it in as they are checked
};

}  // namespace

absl::Status ValidateGraph(const Graph& graph) { return Validator(graph).Run(); }

}  // namespace tally
