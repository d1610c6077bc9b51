// One ONNX node while it is being translated: its inputs, constants and attributes, and where the result goes.
//
// Errors and refusals are recorded, not returned, so that importers of operators read straight on: Fail() is a damaged
// file, Unsupported() something valid that Tally does not do. Every attribute must be asked for (or ignored by name);
// one that nobody asked for is unsupported, because its meaning would be lost.
#ifndef TALLY_CONVERTER_ONNX_NODE_IMPORT_H_
#define TALLY_CONVERTER_ONNX_NODE_IMPORT_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/onnx/graph_importer.h"
#include "format/graph.h"
#include "onnx/onnx_pb.h"

namespace tally {

class NodeImport {
 public:
  // `name` is the node's final name; `inputs` are resolved to tensors (-1: absent).
  NodeImport(GraphImporter* importer, onnx::NodeProto* proto, std::string name, std::vector<int> inputs)
      : importer_(*importer), proto_(*proto), name_(std::move(name)), inputs_(std::move(inputs)) {}

  int64_t opset() const { return importer_.opset_; }
  const std::string& op() const { return proto_.op_type(); }

  // Inputs. Index beyond the list: absent.
  size_t num_inputs() const { return inputs_.size(); }
  int input(size_t i) const { return i < inputs_.size() ? inputs_[i] : -1; }
  bool has_input(size_t i) const { return input(i) >= 0; }
  // The tensor when it is a plain constant, else null.
  const Tensor* constant(size_t i) const;
  // An int64 (or int32) constant of rank <= 1; empty when the input is no such constant.
  std::optional<std::vector<int64_t>> constant_ints(size_t i) const;
  // A float32 constant of one element.
  std::optional<float> constant_float(size_t i) const;
  // The type of input i or of a tensor made so far, where it follows from the graph; shapes with trial extents for
  // symbols. Null: unknown.
  const TensorType* type(int tensor) const { return tensor < 0 ? nullptr : importer_.types_->type(tensor); }
  const TensorType* input_type(size_t i) const { return type(input(i)); }
  // The element type that the file declares for input i, 0 where it declares none.
  int OnnxType(size_t i) const {
    const auto found = importer_.declared_.find(input(i));
    return found == importer_.declared_.end() ? 0 : found->second;
  }
  // Rank of input i; Unsupported() and -1 when it is unknown.
  int Rank(size_t i);

  // Outputs of the ONNX node.
  size_t num_outputs() const { return static_cast<size_t>(proto_.output_size()); }
  bool output_used(size_t i) const;

  // Attributes: the value, or `absent`.
  bool Has(const char* attribute) const;
  int64_t Int(const char* attribute, int64_t absent);
  float Float(const char* attribute, float absent);
  std::vector<int64_t> Ints(const char* attribute);
  std::vector<float> Floats(const char* attribute);
  std::string String(const char* attribute, const std::string& absent);
  std::vector<std::string> Strings(const char* attribute);
  void Ignore(const char* attribute) { asked_for_.insert(attribute); }

  bool ok() const { return status_.ok(); }
  void MarkRefused() { refused_ = true; }
  void Fail(const std::string& detail);
  void Unsupported(const std::string& reason);

  // A node with these inputs (absent ones at the end dropped) and a name that Emit gives.
  Node MakeNode(const std::string& op, std::vector<int> inputs) const;
  // Copies an attribute when the ONNX node has it.
  void CopyInt(const char* attribute, Node* node);
  void CopyInts(const char* attribute, Node* node);
  void CopyFloat(const char* attribute, Node* node);
  void CopyString(const char* attribute, Node* node);
  // Those that `node`'s operator has, of the same name and kind.
  void CopyAttributes(Node* node);
  // The node that makes the ONNX node's first `outputs` outputs; further ones, which it has beyond them, too.
  void Emit(Node node, size_t outputs = 1);
  // A node that makes output i alone, of an ONNX node that becomes several; nothing when nobody reads the output.
  void EmitOutput(size_t i, Node node);
  // A node in between; returns the tensor that it makes.
  int EmitPart(Node node, const std::string& suffix) { return EmitParts(std::move(node), suffix, 1)[0]; }
  std::vector<int> EmitParts(Node node, const std::string& suffix, size_t outputs);
  // A node without attributes in between; its suffix is the operator.
  int Part(const char* op, std::vector<int> inputs) { return EmitPart(MakeNode(op, std::move(inputs)), op); }
  // The extent of input 0 along `axis` where it is the same for all values of the symbols, else -1 (Unsupported()).
  int64_t FixedExtent(int64_t axis);

  int AddConstant(const std::string& suffix, Tensor tensor);
  int AddInts(const std::string& suffix, const std::vector<int64_t>& values);
  int AddFloat(const std::string& suffix, float value);  // a scalar
  int AddFloats(const std::string& suffix, const std::vector<float>& values);
  // Reads a tensor attribute as a constant; -1 (and Fail() or Unsupported()) when that does not work.
  int AddTensorAttribute(const char* attribute);
  // Input i, a float32 matrix, transposed or not, times `factor`: the same constant when that changes nothing, and one
  // copy for all nodes that ask for the same.
  int Matrix(size_t i, bool transposed, float factor);

  // Checks what must hold at the end: attributes all asked for, outputs all made or unused.
  absl::Status Finish();

 private:
  const onnx::AttributeProto* Find(const char* attribute, onnx::AttributeProto::AttributeType type);
  bool InputsKnown(const Node& node) const;
  // Gives the node the ONNX node's outputs first .. last - 1 and appends it.
  void MakeOutputs(Node* node, size_t first, size_t last);
  // Appends the node to the graph and infers its types.
  void Append(Node node);
  int NewTensor(const std::string& suffix, bool known);

  GraphImporter& importer_;
  onnx::NodeProto& proto_;
  const std::string name_;
  const std::vector<int> inputs_;
  std::set<std::string> asked_for_;
  absl::Status status_;
  bool refused_ = false;
  size_t made_outputs_ = 0;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_NODE_IMPORT_H_
