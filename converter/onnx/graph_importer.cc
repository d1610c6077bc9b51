#include "converter/onnx/graph_importer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "converter/onnx/node_import.h"
#include "converter/onnx/operators.h"
#include "format/error.h"
#include "runtime/ops/shape_inputs.h"

namespace tally {
namespace {

absl::Status Bad(const std::string& what, const std::string& name, const std::string& detail) {
  return MakeError(ErrorId::kBadOnnx, detail, {"", "", -1, what + " " + Quoted(name)});
}

bool IsOnnxDomain(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

}  // namespace

absl::StatusOr<Graph> GraphImporter::Import(onnx::GraphProto* proto) {
  graph_.name = proto->name();
  TALLY_RETURN_IF_ERROR(CountUses(*proto));
  TALLY_RETURN_IF_ERROR(AddInitializers(proto));
  TALLY_RETURN_IF_ERROR(AddInputs(*proto));
  types_.emplace(graph_, 0);
  other_types_.emplace(graph_, 1);
  TALLY_RETURN_IF_ERROR(AddNodes(proto));
  TALLY_RETURN_IF_ERROR(AddOutputs(*proto));
  TALLY_RETURN_IF_ERROR(CheckWeightsAreFinite());
  return std::move(graph_);
}

absl::Status GraphImporter::CountUses(const onnx::GraphProto& proto) {
  num_nodes_ += proto.node_size();
  if (num_nodes_ > kMaxNodes) {
    return MakeError(ErrorId::kLimitCount,
                     "expected at most " + std::to_string(kMaxNodes) + " nodes, found " + std::to_string(num_nodes_));
  }
  for (const onnx::NodeProto& node : proto.node()) {
    for (const std::string& input : node.input()) ++uses_[input];
    // Names that our nodes must not get: those of other nodes.
    if (!node.name().empty()) node_names_.Take(node.name());
    for (const std::string& output : node.output()) tensor_names_.Take(output);
    for (const onnx::AttributeProto& a : node.attribute()) {
      if (a.has_g()) TALLY_RETURN_IF_ERROR(CountUses(a.g()));
    }
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
  declared_[index] = proto.data_type();
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
    std::string unsupported;
    if (!type.has_tensor_type()) {
      unsupported = "not a tensor";
    } else if (!DTypeOfOnnx(type.tensor_type().elem_type(), &tensor.dtype)) {
      unsupported = "element type " + OnnxTypeName(type.tensor_type().elem_type());
    } else if (!type.tensor_type().has_shape()) {
      unsupported = "no shape";
    } else if (type.tensor_type().shape().dim_size() > kMaxRank) {
      unsupported = "rank " + std::to_string(type.tensor_type().shape().dim_size()) + " (at most " +
                    std::to_string(kMaxRank) + ")";
    }
    if (!unsupported.empty()) offenders_.Add("input", unsupported, input.name());
    const onnx::TensorShapeProto& shape = type.tensor_type().shape();
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
    const bool may_be_shape_input = MayBeShapeInput(tensor);
    TALLY_ASSIGN_OR_RETURN(const int index, Define(input.name(), std::move(tensor)));
    known_[static_cast<size_t>(index)] = may_be_shape_input;
    declared_[index] = type.tensor_type().elem_type();
    if (!unsupported.empty()) unread_[index] = unsupported;
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

absl::Status GraphImporter::AddIf(onnx::NodeProto* proto, NodeImport* node) {
  const Tensor* condition = node->has_input(0) ? types_->value(node->input(0)) : nullptr;
  const Tensor* other = node->has_input(0) ? other_types_->value(node->input(0)) : nullptr;
  const auto is_true = [](const Tensor& t) { return t.data.as<uint8_t>()[0] != 0; };
  if (condition == nullptr || other == nullptr || condition->dtype != DType::kBool || condition->elements() != 1 ||
      other->elements() != 1 || is_true(*condition) != is_true(*other)) {
    node->Unsupported("a condition that is not constant");
    return node->Finish();
  }
  node->Ignore("then_branch");
  node->Ignore("else_branch");
  const char* const name = is_true(*condition) ? "then_branch" : "else_branch";
  onnx::GraphProto* branch = nullptr;
  for (onnx::AttributeProto& a : *proto->mutable_attribute()) {
    if (a.name() == name && a.has_g()) branch = a.mutable_g();
  }
  if (branch == nullptr || branch->output_size() != proto->output_size()) {
    return Bad("node", proto->name(), std::string("If: expected a ") + name + " with as many outputs as the node");
  }
  // Names are unique over a graph and its branches, so the branch simply becomes part of the graph.
  TALLY_RETURN_IF_ERROR(AddInitializers(branch));
  TALLY_RETURN_IF_ERROR(AddNodes(branch));
  for (int i = 0; i < branch->output_size(); ++i) {
    const auto found = values_.find(branch->output(i).name());
    if (found == values_.end()) return Bad("output", branch->output(i).name(), "nothing produces it");
    node->EmitOutput(static_cast<size_t>(i), node->MakeNode("Identity", {found->second}));
  }
  return node->Finish();
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
  for (size_t i = 0; i < node.num_inputs(); ++i) {
    if (const auto found = unread_.find(node.input(i)); found != unread_.end()) {
      node.Unsupported("input " + std::to_string(i) + ": " + found->second);
    }
  }
  if (ours && op == "If") return AddIf(proto, &node);
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
  if (opset_ >= 1 && opset_ < row->since) {
    node.Unsupported("of opset " + std::to_string(opset_) + " (supported from " + std::to_string(row->since) + " on)");
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

}  // namespace tally
