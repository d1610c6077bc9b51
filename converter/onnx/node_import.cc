#include "converter/onnx/node_import.h"

#include <utility>

#include "format/error.h"

namespace tally {
namespace {

using onnx::AttributeProto;

}  // namespace

const Tensor* NodeImport::constant(size_t i) const {
  if (!has_input(i)) return nullptr;
  const Tensor& tensor = importer_.graph_.tensors[static_cast<size_t>(input(i))];
  return tensor.has_data ? &tensor : nullptr;
}

std::optional<std::vector<int64_t>> NodeImport::constant_ints(size_t i) const {
  const Tensor* tensor = constant(i);
  if (tensor == nullptr || tensor->shape.size() > 1) return std::nullopt;
  const size_t count = tensor->elements();
  if (tensor->dtype == DType::kInt64) {
    return std::vector<int64_t>(tensor->data.as<int64_t>(), tensor->data.as<int64_t>() + count);
  }
  if (tensor->dtype == DType::kInt32) {
    return std::vector<int64_t>(tensor->data.as<int32_t>(), tensor->data.as<int32_t>() + count);
  }
  return std::nullopt;
}

std::optional<float> NodeImport::constant_float(size_t i) const {
  const Tensor* tensor = constant(i);
  if (tensor == nullptr || tensor->dtype != DType::kFloat32 || tensor->elements() != 1) return std::nullopt;
  return tensor->data.as<float>()[0];
}

void NodeImport::RequireKnown(size_t i, const char* what) {
  if (has_input(i) && !importer_.known_[static_cast<size_t>(input(i))]) {
    Unsupported(std::string(what) + " depends on the data of the run");
  }
}

bool NodeImport::output_used(size_t i) const {
  return i < num_outputs() && importer_.Uses(proto_.output(static_cast<int>(i))) > 0;
}

const AttributeProto* NodeImport::Find(const char* attribute, AttributeProto::AttributeType type) {
  asked_for_.insert(attribute);
  for (const AttributeProto& a : proto_.attribute()) {
    if (a.name() != attribute) continue;
    if (a.type() == type) return &a;
    Fail("attribute " + std::string(attribute) + ": expected type " + AttributeProto::AttributeType_Name(type) +
         ", found " + AttributeProto::AttributeType_Name(a.type()));
    return nullptr;
  }
  return nullptr;
}

bool NodeImport::Has(const char* attribute) const {
  for (const AttributeProto& a : proto_.attribute()) {
    if (a.name() == attribute) return true;
  }
  return false;
}

int64_t NodeImport::Int(const char* attribute, int64_t absent) {
  const AttributeProto* a = Find(attribute, AttributeProto::INT);
  return a == nullptr ? absent : a->i();
}

float NodeImport::Float(const char* attribute, float absent) {
  const AttributeProto* a = Find(attribute, AttributeProto::FLOAT);
  return a == nullptr ? absent : a->f();
}

std::vector<int64_t> NodeImport::Ints(const char* attribute) {
  const AttributeProto* a = Find(attribute, AttributeProto::INTS);
  return a == nullptr ? std::vector<int64_t>() : std::vector<int64_t>(a->ints().begin(), a->ints().end());
}

std::string NodeImport::String(const char* attribute, const std::string& absent) {
  const AttributeProto* a = Find(attribute, AttributeProto::STRING);
  return a == nullptr ? absent : a->s();
}

void NodeImport::Fail(const std::string& detail) {
  if (status_.ok()) {
    status_ = MakeError(ErrorId::kBadOnnx, detail,
                        {"", "", -1, "node " + Quoted(name_) + " (" + Quoted(proto_.op_type()) + ")"});
  }
}

void NodeImport::Unsupported(const std::string& reason) {
  refused_ = true;
  importer_.offenders_.Add(proto_.op_type(), reason, name_);
}

Node NodeImport::MakeNode(const std::string& op, std::vector<int> inputs) const {
  while (!inputs.empty() && inputs.back() < 0) inputs.pop_back();
  Node node;
  node.op = op;
  node.inputs = std::move(inputs);
  return node;
}

void NodeImport::CopyInt(const char* attribute, Node* node) {
  if (Has(attribute)) node->SetInts(attribute, {Int(attribute, 0)});
}

void NodeImport::CopyInts(const char* attribute, Node* node) {
  if (Has(attribute)) node->SetInts(attribute, Ints(attribute));
}

void NodeImport::CopyFloat(const char* attribute, Node* node) {
  if (Has(attribute)) node->SetFloats(attribute, {Float(attribute, 0)});
}

void NodeImport::CopyString(const char* attribute, Node* node) {
  if (Has(attribute)) node->SetString(attribute, String(attribute, ""));
}

bool NodeImport::InputsKnown(const Node& node) const {
  if (node.op == "Shape") return true;
  for (int t : node.inputs) {
    if (t >= 0 && !importer_.known_[static_cast<size_t>(t)]) return false;
  }
  return true;
}

int NodeImport::NewTensor(const std::string& suffix, bool known) {
  Tensor tensor;
  tensor.name = importer_.tensor_names_.Unique(name_ + "_" + suffix);
  return importer_.AddTensor(std::move(tensor), known);
}

void NodeImport::Emit(Node node, size_t outputs) {
  node.name = name_;
  const bool known = InputsKnown(node);
  made_outputs_ = outputs;
  for (size_t i = 0; i < outputs; ++i) {
    const std::string& name = i < num_outputs() ? proto_.output(static_cast<int>(i)) : std::string();
    if (name.empty()) {
      node.outputs.push_back(NewTensor("unused", known));
      continue;
    }
    absl::StatusOr<int> tensor = importer_.Define(name, Tensor());
    if (!tensor.ok()) {
      if (status_.ok()) status_ = tensor.status();
      return;
    }
    importer_.known_[static_cast<size_t>(*tensor)] = known;
    node.outputs.push_back(*tensor);
  }
  importer_.graph_.nodes.push_back(std::move(node));
}

int NodeImport::EmitPart(Node node, const std::string& suffix) {
  // One ONNX node may ask for many (Sum).
  if (importer_.graph_.nodes.size() >= static_cast<size_t>(kMaxNodes)) {
    status_ = MakeError(ErrorId::kLimitCount, "expected at most " + std::to_string(kMaxNodes) + " nodes");
    return -1;
  }
  node.name = importer_.node_names_.Unique(name_ + "_" + suffix);
  const int output = NewTensor(suffix, InputsKnown(node));
  node.outputs = {output};
  importer_.graph_.nodes.push_back(std::move(node));
  return output;
}

void NodeImport::EmitSplitIntoEqualParts(Node node) {
  Emit(std::move(node), num_outputs());
  importer_.pending_splits_.push_back({importer_.graph_.nodes.size() - 1, num_outputs()});
}

int NodeImport::AddConstant(const std::string& suffix, Tensor tensor) {
  tensor.name = importer_.tensor_names_.Unique(name_ + "_" + suffix);
  return importer_.AddTensor(std::move(tensor), true);
}

int NodeImport::AddInts(const std::string& suffix, const std::vector<int64_t>& values) {
  return AddConstant(suffix, MakeInt64Constant("", values));
}

int NodeImport::AddFloat(const std::string& suffix, float value) {
  float* to = nullptr;
  Tensor tensor = MakeFloatConstant("", {}, &to);
  *to = value;
  return AddConstant(suffix, std::move(tensor));
}

int NodeImport::Matrix(size_t i, bool transposed, float factor) {
  const int original = input(i);
  if (!transposed && factor == 1.0f) return original;
  auto& copies = transposed ? importer_.transposed_ : importer_.scaled_;
  const auto key = std::make_pair(original, static_cast<double>(factor));
  if (const auto found = copies.find(key); found != copies.end()) return found->second;

  const Tensor& matrix = importer_.graph_.tensors[static_cast<size_t>(original)];
  Tensor copy;
  if (transposed) {
    copy = TransposedMatrix(matrix, factor);
  } else {
    float* to = nullptr;
    copy = MakeFloatConstant("", matrix.shape, &to);
    const size_t count = matrix.elements();
    for (size_t k = 0; k < count; ++k) to[k] = matrix.data.as<float>()[k] * factor;
  }
  // A weight that nobody else reads keeps its name.
  if (importer_.Uses(proto_.input(static_cast<int>(i))) == 1) {
    copy.name = matrix.name;
    importer_.graph_.tensors[static_cast<size_t>(original)] = std::move(copy);
    return original;
  }
  const int added = AddConstant("weight", std::move(copy));
  copies.emplace(key, added);
  return added;
}

absl::Status NodeImport::Finish() {
  if (!refused_ && status_.ok()) {
    for (const AttributeProto& a : proto_.attribute()) {
      if (asked_for_.count(a.name()) == 0) Unsupported("attribute " + Quoted(a.name()));
    }
    for (size_t i = made_outputs_; i < num_outputs(); ++i) {
      if (output_used(i)) Unsupported("output " + std::to_string(i));
    }
  }
  // Readers of what a refused node would have made must not be reported as well.
  for (const std::string& output : proto_.output()) {
    if (status_.ok() && !output.empty() && importer_.values_.count(output) == 0) {
      absl::StatusOr<int> tensor = importer_.Define(output, Tensor());
      if (!tensor.ok()) return tensor.status();
      importer_.known_[static_cast<size_t>(*tensor)] = true;
    }
  }
  return status_;
}

}  // namespace tally
