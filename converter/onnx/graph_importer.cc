#include "converter/onnx/graph_importer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "converter/onnx/node_import.h"
#include "converter/onnx/operators.h"
#include "format/error.h"

namespace tally {
namespace {

absl::Status Bad(const std::string& what, const std::string& name, const std::string& detail) {
  return MakeError(ErrorId::kBadOnnx, detail, {"", "", -1, what + " " + Quoted(name)});
}

// The element types of docs/operators.md, of a node's first input.
bool TakesElementType(const std::string& op, DType dtype) {
  constexpr const char* kAny[] = {"Cast",  "Concat", "Flatten", "Gather",  "Identity",  "Pad",      "Reshape",
                                  "Shape", "Slice",  "Split",   "Squeeze", "Transpose", "Unsqueeze"};
  if (dtype == DType::kFloat32) return true;
  for (const char* any : kAny) {
    if (op == any) return true;
  }
  const bool arithmetic = op == "Add" || op == "Sub" || op == "Mul" || op == "Div";
  return arithmetic && (dtype == DType::kInt64 || dtype == DType::kInt32);
}

bool IsOnnxDomain(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

}  // namespace

absl::StatusOr<Graph> GraphImporter::Import(onnx::GraphProto* proto) {
  graph_.name = proto->name();
  TALLY_RETURN_IF_ERROR(CountUses(*proto));
  TALLY_RETURN_IF_ERROR(AddInitializers(proto));
  TALLY_RETURN_IF_ERROR(AddInputs(*proto));
  TALLY_RETURN_IF_ERROR(AddNodes(proto));
  TALLY_RETURN_IF_ERROR(AddOutputs(*proto));
  TALLY_RETURN_IF_ERROR(CheckWeightsAreFinite());
  if (offenders_.empty()) CheckTypes();
  return std::move(graph_);
}

absl::Status GraphImporter::CountUses(const onnx::GraphProto& proto) {
  if (proto.node_size() > kMaxNodes) {
    return MakeError(ErrorId::kLimitCount, "expected at most " + std::to_string(kMaxNodes) + " nodes, found " +
                                               std::to_string(proto.node_size()));
  }
  for (const onnx::NodeProto& node : proto.node()) {
    for (const std::string& input : node.input()) ++uses_[input];
    // Names that our nodes must not get: those of other nodes.
    if (!node.name().empty()) node_names_.Take(node.name());
    for (const std::string& output : node.output()) tensor_names_.Take(output);
  }
  for (const onnx::TensorProto& tensor : proto.initializer()) tensor_names_.Take(tensor.name());
  for (const onnx::ValueInfoProto& input : proto.input()) tensor_names_.Take(input.name());
  for (const onnx::ValueInfoProto& output : proto.output()) ++uses_[output.name()];
  return absl::OkStatus();
}

absl::StatusOr<int> GraphImporter::Define(const std::string& name, Tensor tensor) {
  if (name.empty()) return MakeError(ErrorId::kBadOnnx, "an input or initializer has no name");
  const auto [found, is_new] = values_.try_emplace(name, static_cast<int>(graph_.tensors.size()));
  if (!is_new) return Bad("value", name, "is defined twice");
  if (graph_.tensors.size() >= static_cast<size_t>(kMaxTensors)) {
    return MakeError(ErrorId::kLimitCount, "expected at most " + std::to_string(kMaxTensors) + " tensors");
  }
  tensor.name = name;
  const bool known = tensor.has_data;
  return AddTensor(std::move(tensor), known);
}

absl::Status GraphImporter::DefineConstant(const std::string& name, const onnx::TensorProto& proto,
                                           const std::string& what) {
  std::string unsupported;
  absl::StatusOr<Tensor> tensor = constants_.Read(proto, &unsupported);
  if (!tensor.ok()) return AddWhere(tensor.status(), {"", "", -1, what + " " + Quoted(name)});
  if (!unsupported.empty()) offenders_.Add(what, unsupported, name);
  TALLY_ASSIGN_OR_RETURN(const int index, Define(name, std::move(*tensor)));
  known_[static_cast<size_t>(index)] = true;
  return absl::OkStatus();
}

absl::Status GraphImporter::AddInitializers(onnx::GraphProto* proto) {
  for (onnx::TensorProto& tensor : *proto->mutable_initializer()) {
    TALLY_RETURN_IF_ERROR(DefineConstant(tensor.name(), tensor, "initializer"));
    onnx::TensorProto().Swap(&tensor);  // frees the data
  }
  for (const onnx::SparseTensorProto& sparse : proto->sparse_initializer()) {
    offenders_.Add("initializer", "a sparse tensor", sparse.values().name());
    TALLY_ASSIGN_OR_RETURN(const int index, Define(sparse.values().name(), Tensor()));
    known_[static_cast<size_t>(index)] = true;
  }
  return absl::OkStatus();
}

int64_t GraphImporter::SymbolExtent(const std::string& name) {
  const int64_t extent = -static_cast<int64_t>(graph_.symbols.size()) - 1;
  const auto [found, is_new] = symbols_.try_emplace(name, extent);
  if (is_new) graph_.symbols.push_back(name);
  return found->second;
}

absl::Status GraphImporter::AddInputs(const onnx::GraphProto& proto) {
  // Names given by the model first, so that a made-up one cannot take one of them.
  std::vector<std::pair<int, size_t>> unnamed;
  const int initializers = static_cast<int>(graph_.tensors.size());
  for (const onnx::ValueInfoProto& input : proto.input()) {
    if (const auto found = values_.find(input.name()); found != values_.end() && found->second < initializers) {
      continue;  // up to IR version 3 initializers are listed as inputs, too
    }
    Tensor tensor;
    const onnx::TypeProto& type = input.type();
    if (!type.has_tensor_type()) {
      offenders_.Add("input", "not a tensor", input.name());
    } else if (!DTypeOfOnnx(type.tensor_type().elem_type(), &tensor.dtype)) {
      offenders_.Add("input", "element type " + OnnxTypeName(type.tensor_type().elem_type()), input.name());
    } else if (!type.tensor_type().has_shape()) {
      offenders_.Add("input", "no shape", input.name());
    }
    const onnx::TensorShapeProto& shape = type.tensor_type().shape();
    if (shape.dim_size() > kMaxRank) {
      return MakeError(
          ErrorId::kLimitCount,
          "rank: expected at most " + std::to_string(kMaxRank) + ", found " + std::to_string(shape.dim_size()),
          {"", "", -1, "input " + Quoted(input.name())});
    }
    for (const onnx::TensorShapeProto::Dimension& dim : shape.dim()) {
      if (dim.dim_value() > kMaxExtent) {
        return MakeError(
            ErrorId::kBadShape,
            "expected extents up to " + std::to_string(kMaxExtent) + ", found " + std::to_string(dim.dim_value()),
            {"", "", -1, "input " + Quoted(input.name())});
      }
      // Exporters write 0 or -1 for extents that they do not know.
      if (dim.dim_value() > 0) {
        tensor.shape.push_back(dim.dim_value());
      } else if (!dim.dim_param().empty()) {
        tensor.shape.push_back(SymbolExtent(dim.dim_param()));
      } else {
        unnamed.emplace_back(static_cast<int>(graph_.tensors.size()), tensor.shape.size());
        tensor.shape.push_back(0);
      }
    }
    TALLY_ASSIGN_OR_RETURN(const int index, Define(input.name(), std::move(tensor)));
    graph_.inputs.push_back(index);
  }
  for (const auto& [index, axis] : unnamed) {
    Tensor& tensor = graph_.tensors[static_cast<size_t>(index)];
    std::string name = tensor.name + "_" + std::to_string(axis);
    while (symbols_.count(name) != 0) name += "_";
    tensor.shape[axis] = SymbolExtent(name);
  }
  return absl::OkStatus();
}

absl::Status GraphImporter::AddNodes(onnx::GraphProto* proto) {
  for (onnx::NodeProto& node : *proto->mutable_node()) TALLY_RETURN_IF_ERROR(AddNode(&node));
  return absl::OkStatus();
}

absl::Status GraphImporter::AddConstantNode(const onnx::NodeProto& proto) {
  if (proto.output_size() != 1 || proto.attribute_size() != 1) {
    return Bad("node", proto.name(), "Constant: expected one output and one attribute");
  }
  const onnx::AttributeProto& a = proto.attribute(0);
  onnx::TensorProto tensor;
  if (a.name() == "value" && a.type() == onnx::AttributeProto::TENSOR) {
    return DefineConstant(proto.output(0), a.t(), "constant");
  }
  if (a.name() == "value_float" && a.type() == onnx::AttributeProto::FLOAT) {
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_float_data(a.f());
  } else if (a.name() == "value_int" && a.type() == onnx::AttributeProto::INT) {
    tensor.set_data_type(onnx::TensorProto::INT64);
    tensor.add_int64_data(a.i());
  } else if (a.name() == "value_floats" && a.type() == onnx::AttributeProto::FLOATS) {
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(a.floats_size());
    *tensor.mutable_float_data() = a.floats();
  } else if (a.name() == "value_ints" && a.type() == onnx::AttributeProto::INTS) {
    tensor.set_data_type(onnx::TensorProto::INT64);
    tensor.add_dims(a.ints_size());
    *tensor.mutable_int64_data() = a.ints();
  } else {
    offenders_.Add("Constant", "attribute " + Quoted(a.name()), proto.output(0));
    TALLY_ASSIGN_OR_RETURN(const int index, Define(proto.output(0), Tensor()));
    known_[static_cast<size_t>(index)] = true;
    return absl::OkStatus();
  }
  return DefineConstant(proto.output(0), tensor, "constant");
}

absl::Status GraphImporter::AddNode(onnx::NodeProto* proto) {
  const std::string op = proto->op_type();
  const bool ours = IsOnnxDomain(proto->domain());
  if (ours && op == "Constant") return AddConstantNode(*proto);
  const std::string first_output = proto->output_size() > 0 ? proto->output(0) : "";
  // Names that the model gives were taken all at once; the first node of such a name keeps it.
  std::string name = proto->name();
  if (name.empty() || !given_names_.insert(name).second) {
    name = node_names_.Unique(name.empty() ? op + "_" + first_output : name);
  }
  std::vector<int> inputs;
  for (const std::string& input : proto->input()) {
    if (input.empty()) {
      inputs.push_back(-1);
      continue;
    }
    const auto found = values_.find(input);
    if (found == values_.end()) {
      return Bad("node", name, Quoted(op) + " reads " + Quoted(input) + " before anything produces it");
    }
    inputs.push_back(found->second);
  }
  NodeImport node(this, proto, name, std::move(inputs));
  const OperatorImport* row = ours ? FindOperatorImport(op) : nullptr;
  if (row == nullptr) {
    const std::string label = op.empty() ? "node" : op;
    // Names from the file: escaped and cut like all of them, but without quotes, which nobody would type.
    const std::string shown = Quoted(ours ? label : proto->domain() + "." + label);
    offenders_.Add(shown.substr(1, shown.size() - 2), "not a supported operator", name);
    node.MarkRefused();
    return node.Finish();
  }
  if (row->max_inputs >= 0 && static_cast<int>(node.num_inputs()) > row->max_inputs) {
    node.Fail("expected at most " + std::to_string(row->max_inputs) + " inputs, found " +
              std::to_string(node.num_inputs()));
  }
  for (int i = 0; i < row->min_inputs; ++i) {
    if (!node.has_input(static_cast<size_t>(i))) node.Fail("input " + std::to_string(i) + " is absent");
  }
  if (node.num_outputs() == 0) node.Fail("expected an output");
  if (node.num_outputs() > static_cast<size_t>(kMaxTensors) - std::min<size_t>(kMaxTensors, graph_.tensors.size())) {
    return MakeError(ErrorId::kLimitCount, "expected at most " + std::to_string(kMaxTensors) + " tensors");
  }
  if (node.ok()) row->import(node);
  return node.Finish();
}

absl::Status GraphImporter::AddOutputs(const onnx::GraphProto& proto) {
  if (proto.output_size() == 0) return MakeError(ErrorId::kBadOnnx, "the graph has no outputs");
  std::vector<bool> made(graph_.tensors.size(), false);
  for (const Node& node : graph_.nodes) {
    for (int t : node.outputs) made[static_cast<size_t>(t)] = true;
  }
  std::unordered_set<int> listed;
  for (const onnx::ValueInfoProto& output : proto.output()) {
    const auto found = values_.find(output.name());
    if (found == values_.end()) return Bad("output", output.name(), "nothing produces it");
    if (!listed.insert(found->second).second) return Bad("output", output.name(), "is listed twice");
    int index = found->second;
    Tensor& tensor = graph_.tensors[static_cast<size_t>(index)];
    if (tensor.has_data) {
      // A session computes its outputs: a constant one is copied by a node, which takes over its name.
      const std::string name = tensor.name;
      tensor.name = tensor_names_.Unique(name + "_value");
      Tensor copy;
      copy.name = name;
      const int copied = AddTensor(std::move(copy), true);
      graph_.nodes.push_back({node_names_.Unique("Identity_" + name), "Identity", {index}, {copied}, {}});
      index = copied;
    } else if (!made[static_cast<size_t>(index)] && offenders_.empty()) {
      offenders_.Add("output", "an input of the model", output.name());
    }
    graph_.outputs.push_back(index);
  }
  return absl::OkStatus();
}

absl::Status GraphImporter::CheckWeightsAreFinite() const {
  std::vector<bool> checked(graph_.tensors.size(), false);
  for (const Node& node : graph_.nodes) {
    if (!IsConvOrGemm(node) && node.op != "MatMul" && node.op != "BatchNormalization") continue;
    for (int t : node.inputs) {
      const float* values = ConstantFloats(graph_, t);
      if (values == nullptr || checked[static_cast<size_t>(t)]) continue;
      checked[static_cast<size_t>(t)] = true;
      const Tensor& tensor = graph_.tensors[static_cast<size_t>(t)];
      const size_t count = tensor.elements();
      for (size_t i = 0; i < count; ++i) {
        if (std::isfinite(values[i])) continue;
        return MakeError(
            ErrorId::kNonFiniteWeight,
            "expected a finite value at index " + std::to_string(i) + ", found " + std::to_string(values[i]),
            {"", "", -1, "tensor " + Quoted(tensor.name)});
      }
    }
  }
  return absl::OkStatus();
}

void GraphImporter::CheckTypes() {
  TypeInference first(graph_, 0), second(graph_, 1);
  size_t next = 0;
  for (size_t n = 0; n < graph_.nodes.size(); ++n) {
    Node& node = graph_.nodes[n];
    if (next < pending_splits_.size() && pending_splits_[next].node == n) {
      ResolveSplit(&node, pending_splits_[next++].parts, first, second);
    }
    first.Visit(node);
    second.Visit(node);
    const TensorType* type = node.inputs.empty() || node.inputs[0] < 0 ? nullptr : first.type(node.inputs[0]);
    if (type != nullptr && !TakesElementType(node.op, type->dtype)) {
      offenders_.Add(node.op, std::string("element type ") + DTypeName(type->dtype), node.name);
    }
  }
}

void GraphImporter::ResolveSplit(Node* node, size_t outputs, const TypeInference& first, const TypeInference& second) {
  const TensorType* a = first.type(node->inputs[0]);
  const TensorType* b = second.type(node->inputs[0]);
  const int64_t parts = static_cast<int64_t>(outputs);
  int64_t axis = node->GetInt("axis", 0);
  if (a != nullptr && axis < 0) axis += static_cast<int64_t>(a->shape.size());
  if (a == nullptr || axis < 0 || axis >= static_cast<int64_t>(a->shape.size())) {
    return offenders_.Add("Split", "equal parts of an unknown extent", node->name);
  }
  const int64_t extent = a->shape[static_cast<size_t>(axis)];
  // Unknown under the second binding alone: the model holds for one batch size only, and that is the first's.
  if (b != nullptr && b->shape[static_cast<size_t>(axis)] != extent) {
    return offenders_.Add("Split", "equal parts of a dynamic extent", node->name);
  }
  if (extent % parts != 0) return offenders_.Add("Split", "unequal parts without sizes", node->name);
  node->SetInts("split", std::vector<int64_t>(outputs, extent / parts));
}

}  // namespace tally
