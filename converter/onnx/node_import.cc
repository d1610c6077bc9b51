#include "converter/onnx/node_import.h"

#include <sstream>
#include <utility>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/op.h"

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

std::vector<std::string> NodeImport::Strings(const char* attribute) {
  const AttributeProto* a = Find(attribute, AttributeProto::STRINGS);
  return a == nullptr ? std::vector<std::string>() : std::vector<std::string>(a->strings().begin(), a->strings().end());
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

std::vector<float> NodeImport::Floats(const char* attribute) {
  const AttributeProto* a = Find(attribute, AttributeProto::FLOATS);
  return a == nullptr ? std::vector<float>() : std::vector<float>(a->floats().begin(), a->floats().end());
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

void NodeImport::CopyAttributes(Node* node) {
  std::istringstream spec(FindOp(node->op)->attributes);
  for (std::string entry; spec >> entry;) {
    const std::string name = entry.substr(0, entry.find(':'));
    const std::string kind = entry.substr(entry.find(':') + 1);
    if (kind == "int" || kind == "flag") CopyInt(name.c_str(), node);
    if (kind == "ints") CopyInts(name.c_str(), node);
    if (kind == "float") CopyFloat(name.c_str(), node);
    if (kind == "string") CopyString(name.c_str(), node);
  }
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
  MakeOutputs(&node, 0, outputs);
}

void NodeImport::EmitOutput(size_t i, Node node) {
  if (!output_used(i)) return;
  node.name = i == 0 ? name_ : importer_.node_names_.Unique(name_ + "_" + std::to_string(i));
  MakeOutputs(&node, i, i + 1);
}

void NodeImport::MakeOutputs(Node* unfinished, size_t first, size_t last) {
  Node& node = *unfinished;
  const bool known = InputsKnown(node);
  made_outputs_ = std::max(made_outputs_, last);
  for (size_t i = first; i < last; ++i) {
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
  Append(std::move(node));
}

std::vector<int> NodeImport::EmitParts(Node node, const std::string& suffix, size_t outputs) {
  // One ONNX node may ask for many (Sum).
  if (importer_.graph_.nodes.size() >= static_cast<size_t>(kMaxNodes)) {
    status_ = MakeError(ErrorId::kLimitCount, "expected at most " + std::to_string(kMaxNodes) + " nodes");
    return std::vector<int>(outputs, -1);
  }
  node.name = importer_.node_names_.Unique(name_ + "_" + suffix);
  const bool known = InputsKnown(node);
  for (size_t i = 0; i < outputs; ++i) node.outputs.push_back(NewTensor(suffix, known));
  const std::vector<int> made = node.outputs;
  Append(std::move(node));
  return made;
}

void NodeImport::Append(Node node) {
  const OpDef& def = *FindOp(node.op);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (IsShapedBy(def, i) && node.inputs[i] >= 0 && !importer_.known_[static_cast<size_t>(node.inputs[i])]) {
      Unsupported("a value that shapes follow from depends on the data of the run");
      break;
    }
  }
  importer_.types_->Visit(node);
  importer_.other_types_->Visit(node);
  const TensorType* first = node.inputs.empty() ? nullptr : type(node.inputs[0]);
  if (first != nullptr && (def.types & TypeBit(first->dtype)) == 0) {
    Unsupported(std::string("element type ") + DTypeName(first->dtype));
  }
  importer_.graph_.nodes.push_back(std::move(node));
}

int NodeImport::Rank(size_t i) {
  const TensorType* known = input_type(i);
  if (known != nullptr) return static_cast<int>(known->shape.size());
  Unsupported("input " + std::to_string(i) + " of unknown rank");
  return -1;
}

int64_t NodeImport::FixedExtent(int64_t axis) {
  const TensorType* a = input_type(0);
  const TensorType* b = importer_.other_types_->type(input(0));
  size_t normalized = 0;
  if (a == nullptr || !NormalizeAxis(axis, a->shape.size(), &normalized)) {
    Unsupported("an unknown extent of axis " + std::to_string(axis));
    return -1;
  }
  const int64_t extent = a->shape[normalized];
  // Unknown under the second binding alone: the model holds for one batch size only, and that is the first's.
  if (b == nullptr || b->shape[normalized] == extent) return extent;
  Unsupported("a dynamic extent of axis " + std::to_string(axis));
  return -1;
}

int NodeImport::AddTensorAttribute(const char* attribute) {
  const AttributeProto* a = Find(attribute, AttributeProto::TENSOR);
  if (a == nullptr) return -1;
  std::string unsupported;
  absl::StatusOr<Tensor> tensor = importer_.constants_.Read(a->t(), &unsupported);
  if (!tensor.ok()) {
    if (status_.ok()) status_ = tensor.status();
    return -1;
  }
  if (!unsupported.empty()) {
    Unsupported(unsupported);
    return -1;
  }
  return AddConstant(attribute, std::move(*tensor));
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

int NodeImport::AddFloats(const std::string& suffix, const std::vector<float>& values) {
  float* to = nullptr;
  Tensor tensor = MakeFloatConstant("", {static_cast<int64_t>(values.size())}, &to);
  std::copy(values.begin(), values.end(), to);
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
