// Builds small ONNX models in memory and on disk.
#ifndef TALLY_TESTS_CONVERTER_ONNX_ONNX_BUILDER_H_
#define TALLY_TESTS_CONVERTER_ONNX_ONNX_BUILDER_H_

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "converter/onnx/import.h"
#include "onnx/onnx_pb.h"
#include "tests/testing/paths.h"

namespace tally::testing {

inline void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

class OnnxBuilder {
 public:
  explicit OnnxBuilder(int64_t opset = 13) {
    model_.set_ir_version(8);
    model_.set_producer_name("test");
    model_.add_opset_import()->set_version(opset);
    model_.mutable_graph()->set_name("graph");
  }

  onnx::ModelProto& model() { return model_; }
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }

  // Extent -1 becomes the symbol N, other negative ones M.
  OnnxBuilder& Input(const std::string& name, const std::vector<int64_t>& shape,
                     int elem_type = onnx::TensorProto::FLOAT) {
    onnx::ValueInfoProto* input = graph().add_input();
    input->set_name(name);
    onnx::TypeProto::Tensor* type = input->mutable_type()->mutable_tensor_type();
    type->set_elem_type(elem_type);
    type->mutable_shape();
    for (int64_t extent : shape) {
      onnx::TensorShapeProto::Dimension* dim = type->mutable_shape()->add_dim();
      if (extent < 0) {
        dim->set_dim_param(extent == -1 ? "N" : "M");
      } else {
        dim->set_dim_value(extent);
      }
    }
    return *this;
  }
  OnnxBuilder& Output(const std::string& name) {
    graph().add_output()->set_name(name);
    return *this;
  }
  onnx::TensorProto& Initializer(const std::string& name, const std::vector<int64_t>& shape, int data_type) {
    onnx::TensorProto* tensor = graph().add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(data_type);
    for (int64_t extent : shape) tensor->add_dims(extent);
    return *tensor;
  }
  OnnxBuilder& Floats(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    Initializer(name, shape, onnx::TensorProto::FLOAT)
        .set_raw_data(std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
    return *this;
  }
  OnnxBuilder& Ints(const std::string& name, const std::vector<int64_t>& values) {
    onnx::TensorProto& tensor = Initializer(name, {static_cast<int64_t>(values.size())}, onnx::TensorProto::INT64);
    for (int64_t v : values) tensor.add_int64_data(v);
    return *this;
  }
  onnx::NodeProto& Node(const std::string& op, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const std::string& name = "") {
    onnx::NodeProto* node = graph().add_node();
    node->set_op_type(op);
    node->set_name(name);
    for (const std::string& input : inputs) node->add_input(input);
    for (const std::string& output : outputs) node->add_output(output);
    return *node;
  }

  std::string Bytes() const { return model_.SerializeAsString(); }
  // A file in a fresh directory.
  std::string Save() const {
    const std::string path = TempDir() + "/model.onnx";
    WriteBytes(path, Bytes());
    return path;
  }
  absl::StatusOr<Graph> Import() const { return ImportOnnx(Save()); }

 private:
  onnx::ModelProto model_;
};

inline onnx::AttributeProto& AddAttribute(onnx::NodeProto& node, const std::string& name,
                                          onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto* a = node.add_attribute();
  a->set_name(name);
  a->set_type(type);
  return *a;
}
inline void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  AddAttribute(node, name, onnx::AttributeProto::INT).set_i(value);
}
inline void SetFloat(onnx::NodeProto& node, const std::string& name, float value) {
  AddAttribute(node, name, onnx::AttributeProto::FLOAT).set_f(value);
}
inline void SetString(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  AddAttribute(node, name, onnx::AttributeProto::STRING).set_s(value);
}
inline void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
  onnx::AttributeProto& a = AddAttribute(node, name, onnx::AttributeProto::INTS);
  for (int64_t v : values) a.add_ints(v);
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONVERTER_ONNX_ONNX_BUILDER_H_
