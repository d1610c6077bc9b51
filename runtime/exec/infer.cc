#include "runtime/exec/infer.h"

#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "format/checked.h"
#include "format/error.h"
#include "runtime/core/thread_pool.h"
#include "runtime/ops/op.h"
#include "runtime/ops/shape_inputs.h"

namespace tally {
namespace {

// Values larger than this are computed at run time: planning must stay cheap for any file.
constexpr size_t kMaxFoldedBytes = 4096;

absl::Status CheckOperators(const Graph& graph) {
  std::set<std::string> unknown;
  for (const Node& node : graph.nodes) {
    if (FindOp(node.op) == nullptr) unknown.insert(Quoted(node.op));
  }
  if (unknown.empty()) return absl::OkStatus();
  return MakeError(ErrorId::kUnknownOp,
                   absl::StrCat("operators that this version does not know: ", absl::StrJoin(unknown, ", ")));
}

absl::Status CheckTensorLimit(const TensorType& type, const std::string& name, const Limits& limits) {
  int64_t elements = 0;
  uint64_t bytes = 0;
  if (!CheckedElements(type.shape, &elements) ||
      !CheckedMul<uint64_t>(static_cast<uint64_t>(elements), DTypeSize(type.dtype), &bytes)) {
    return MakeError(ErrorId::kBadShape, absl::StrCat("shape ", ShapeString(type.shape), " is negative or wraps"),
                     {"", "", -1, Quoted(name)});
  }
  if (bytes > limits.tensor_bytes) {
    return MakeError(ErrorId::kLimitTensor,
                     absl::StrCat(bytes, " bytes (", ShapeString(type.shape), "), limit ", limits.tensor_bytes),
                     {"", "", -1, Quoted(name)});
  }
  return absl::OkStatus();
}

// Plain bytes of a tensor that is known before the run, else null.
const void* KnownData(const Graph& graph, const InferredGraph& inferred, int tensor) {
  const Tensor& t = graph.tensors[static_cast<size_t>(tensor)];
  if (t.has_data) return t.data.data();
  if (inferred.known[static_cast<size_t>(tensor)]) return inferred.values[static_cast<size_t>(tensor)].data();
  return nullptr;
}

// Computes the node's outputs when all that it needs is known and small.
absl::Status FoldNode(const Graph& graph, const OpDef& def, size_t node_index, InferredGraph* inferred) {
  const Node& node = graph.nodes[node_index];
  const bool needs_values = node.op != "Shape";
  EvalContext eval{node, {}, {}, nullptr};
  size_t bytes = 0;
  for (int t : node.inputs) {
    if (t < 0) {
      eval.inputs.emplace_back();
      continue;
    }
    const TensorType& type = inferred->types[static_cast<size_t>(t)];
    const void* data = KnownData(graph, *inferred, t);
    if (needs_values) {
      if (data == nullptr && type.elements() > 0) return absl::OkStatus();
      bytes += type.bytes();
    }
    eval.inputs.push_back({data, type.dtype, type.shape});
  }
  for (int t : node.outputs) {
    if (t >= 0) bytes += inferred->types[static_cast<size_t>(t)].bytes();
  }
  // A node without inputs has nothing to follow from.
  if (node.inputs.empty() || bytes > kMaxFoldedBytes) return absl::OkStatus();
  std::vector<Blob> values;
  for (int t : node.outputs) {
    uint8_t* data = nullptr;
    const TensorType type = t < 0 ? TensorType{} : inferred->types[static_cast<size_t>(t)];
    values.push_back(Blob::Allocate(type.bytes(), &data));
    eval.outputs.push_back({data, type.dtype, type.shape});
  }
  TALLY_RETURN_IF_ERROR(def.eval(eval));
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] < 0) continue;
    inferred->values[static_cast<size_t>(node.outputs[i])] = values[i];
    inferred->known[static_cast<size_t>(node.outputs[i])] = true;
  }
  inferred->folded[node_index] = true;
  return absl::OkStatus();
}

// Of a node's outputs: are their types known now (*typed), and will their values follow from those of shape inputs?
// Error: a shape that depends on the data of a run.
absl::Status Await(const Graph& graph, const OpDef& def, const InferContext& context, InferredGraph* inferred,
                   std::vector<bool>* awaited, bool* typed) {
  const Node& node = context.node;
  const auto at = [](const std::vector<bool>& flags, int t) { return flags[static_cast<size_t>(t)]; };
  bool waits = false, only_awaited = true;
  *typed = true;
  for (int t : node.inputs) {
    if (t < 0) continue;
    const bool has_type = !at(inferred->untyped, t);
    const bool known = KnownData(graph, *inferred, t) != nullptr ||
                       (has_type && inferred->types[static_cast<size_t>(t)].elements() == 0);
    *typed &= has_type;
    waits |= at(*awaited, t);
    only_awaited &= known || at(*awaited, t);
  }
  if (node.op == "Shape") {
    waits = !*typed;
    only_awaited = true;
  }
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const int t = node.inputs[i];
    if (t < 0 || !IsShapedBy(def, i)) continue;
    if (at(*awaited, t)) {
      *typed = false;
    } else if (at(inferred->untyped, t)) {
      return MakeError(
          ErrorId::kBadNodeInputs,
          absl::StrCat(def.name, ": input ", i, " depends on the data, expected values known before the run"));
    }
  }
  for (int t : node.outputs) {
    if (t < 0) continue;
    (*awaited)[static_cast<size_t>(t)] = waits && only_awaited;
    inferred->untyped[static_cast<size_t>(t)] = !*typed;
  }
  return *typed ? absl::OkStatus() : CheckNode(def, context);
}

}  // namespace

absl::StatusOr<InferredGraph> InferGraph(const Graph& graph, const std::vector<int64_t>& symbol_values,
                                         const Limits& limits, const std::vector<Blob>& shape_values) {
  TALLY_RETURN_IF_ERROR(CheckOperators(graph));
  InferredGraph inferred;
  inferred.types.resize(graph.tensors.size());
  inferred.untyped.resize(graph.tensors.size(), false);
  inferred.values.resize(graph.tensors.size());
  inferred.known.resize(graph.tensors.size(), false);
  inferred.folded.resize(graph.nodes.size(), false);
  inferred.shape_inputs = FindShapeInputs(graph);
  std::vector<bool> is_input(graph.tensors.size(), false);
  std::vector<bool> awaited(graph.tensors.size(), false);  // its value will follow from those of shape inputs
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const size_t t = static_cast<size_t>(graph.inputs[i]);
    is_input[t] = true;
    if (!inferred.shape_inputs[i]) continue;
    if (shape_values.empty()) {
      awaited[t] = true;
      inferred.complete = false;
    } else {
      inferred.known[t] = true;
      inferred.values[t] = shape_values[i];
    }
  }
  for (size_t i = 0; i < graph.tensors.size(); ++i) {
    const Tensor& t = graph.tensors[i];
    if (!t.is_constant() && !is_input[i]) continue;
    inferred.types[i] = {t.dtype, t.shape};
    for (int64_t& extent : inferred.types[i].shape) {
      if (extent < 0) extent = symbol_values[static_cast<size_t>(-(extent + 1))];
    }
    TALLY_RETURN_IF_ERROR(CheckTensorLimit(inferred.types[i], t.name, limits));
  }
  const ScopedFpEnvironment environment;  // what is computed here has the bits of a run
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const OpDef& def = *FindOp(node.op);
    InferContext context{node, {}, {}};
    for (int t : node.inputs) {
      context.inputs.push_back(t < 0 ? nullptr : &inferred.types[static_cast<size_t>(t)]);
      context.values.push_back(t < 0 ? nullptr : KnownData(graph, inferred, t));
    }
    const Where where{"", "", -1, absl::StrCat("node ", Quoted(node.name), " (", node.op, ")")};
    std::vector<TensorType> outputs;
    bool typed = false;
    if (absl::Status s = Await(graph, def, context, &inferred, &awaited, &typed); !s.ok()) return AddWhere(s, where);
    if (!typed) continue;
    if (absl::Status s = InferNode(def, context, &outputs); !s.ok()) return AddWhere(s, where);
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] < 0) continue;
      TALLY_RETURN_IF_ERROR(
          CheckTensorLimit(outputs[i], graph.tensors[static_cast<size_t>(node.outputs[i])].name, limits));
      inferred.types[static_cast<size_t>(node.outputs[i])] = outputs[i];
    }
    if (absl::Status s = FoldNode(graph, def, n, &inferred); !s.ok()) return AddWhere(s, where);
  }
  return inferred;
}

std::vector<int64_t> RecordedExtents(const Graph& graph) {
  std::vector<int64_t> values(graph.symbols.size(), 1);
  for (size_t s = 0; s < values.size(); ++s) {
    const auto it = graph.metadata.find(absl::StrCat("extent.", graph.symbols[s]));
    int64_t value = 0;
    if (it != graph.metadata.end() && absl::SimpleAtoi(it->second, &value) && value > 0 && value <= kMaxExtent) {
      values[s] = value;
    }
  }
  return values;
}

absl::StatusOr<std::vector<TensorType>> InferTensorTypes(const Graph& graph,
                                                         const std::vector<int64_t>& symbol_values) {
  TALLY_ASSIGN_OR_RETURN(InferredGraph inferred, InferGraph(graph, symbol_values));
  for (size_t i = 0; i < graph.inputs.size() && !inferred.complete; ++i) {
    if (!inferred.shape_inputs[i]) continue;
    const std::string& name = graph.tensors[static_cast<size_t>(graph.inputs[i])].name;
    return MakeError(ErrorId::kShapeInput, "shapes follow from its value, expected a constant in its place",
                     {"", "", -1, absl::StrCat("input ", Quoted(name))});
  }
  return std::move(inferred.types);
}

}  // namespace tally
