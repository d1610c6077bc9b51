// Runs one operator of the shared implementation: inference, exactly sized buffers, evaluation.
#ifndef TALLY_TESTS_OPS_OP_RUNNER_H_
#define TALLY_TESTS_OPS_OP_RUNNER_H_

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "format/graph.h"
#include "runtime/core/thread_pool.h"
#include "runtime/ops/op.h"

namespace tally::testing {

// Copies share the data of inputs.
class OpRunner {
 public:
  explicit OpRunner(const std::string& op, int outputs = 1) {
    node_.name = "node";
    node_.op = op;
    for (int i = 0; i < outputs; ++i) node_.outputs.push_back(i);
  }

  // An input whose values are unknown to inference and zero when running.
  OpRunner& Input(Shape shape, DType dtype = DType::kFloat32) {
    Add({dtype, std::move(shape)}, false);
    return *this;
  }
  OpRunner& Absent() {
    Add({}, false);
    inputs_.back().absent = true;
    node_.inputs.back() = -1;
    return *this;
  }
  // An input with values; inference knows them when `known`.
  template <typename T>
  OpRunner& Values(DType dtype, Shape shape, const std::vector<T>& values, bool known = true) {
    Add({dtype, std::move(shape)}, known);
    SetData(values.data(), values.size() * sizeof(T));
    return *this;
  }
  OpRunner& Floats(Shape shape, const std::vector<float>& values) {
    return Values(DType::kFloat32, std::move(shape), values, false);
  }
  // A known int64 vector.
  OpRunner& Ints(const std::vector<int64_t>& values) {
    return Values(DType::kInt64, {static_cast<int64_t>(values.size())}, values);
  }

  OpRunner& Attr(const std::string& name, std::vector<int64_t> values) {
    node_.SetInts(name, std::move(values));
    return *this;
  }
  OpRunner& Attr(const std::string& name, std::vector<float> values) {
    node_.SetFloats(name, std::move(values));
    return *this;
  }
  OpRunner& Attr(const std::string& name, const char* value) {
    node_.SetString(name, value);
    return *this;
  }

  absl::Status Infer() {
    const OpDef* def = FindOp(node_.op);
    if (def == nullptr) return absl::NotFoundError(node_.op);
    InferContext context{node_, {}, {}};
    for (const Value& v : inputs_) {
      context.inputs.push_back(v.absent ? nullptr : &v.type);
      context.values.push_back(v.known ? v.data.get() : nullptr);
    }
    return InferNode(*def, context, &types_);
  }

  // Infer, then evaluate into fresh buffers that hold 0xCD before.
  absl::Status Run(ThreadPool* pool = nullptr) {
    if (absl::Status status = Infer(); !status.ok()) return status;
    Prepare(pool);
    return Evaluate();
  }

  // The two halves of Run after Infer, for tests that look at the evaluation alone.
  void Prepare(ThreadPool* pool) {
    outputs_.clear();
    for (const TensorType& type : types_) {
      outputs_.push_back({type, Buffer(type.bytes()), false, false});
      std::memset(outputs_.back().data.get(), 0xCD, type.bytes());
    }
    context_.reset(new EvalContext{node_, {}, {}, pool});
    for (Value& v : inputs_) {
      if (v.data == nullptr && !v.absent) {
        v.data = Buffer(v.type.bytes());
        std::memset(v.data.get(), 0, v.type.bytes());
      }
      context_->inputs.push_back({v.data.get(), v.type.dtype, v.type.shape});
    }
    for (Value& v : outputs_) context_->outputs.push_back({v.data.get(), v.type.dtype, v.type.shape});
  }
  absl::Status Evaluate() { return FindOp(node_.op)->eval(*context_); }

  Node& node() { return node_; }
  // REQUIRES: Infer was OK.
  size_t input_bytes() const {
    size_t n = 0;
    for (const Value& v : inputs_) n += v.absent ? 0 : v.type.bytes();
    return n;
  }
  // Of the last Infer or Run.
  const std::vector<TensorType>& types() const { return types_; }
  const Shape& shape(size_t i = 0) const { return types_[i].shape; }
  template <typename T>
  std::vector<T> Output(size_t i = 0) const {
    const T* data = reinterpret_cast<const T*>(outputs_[i].data.get());
    return std::vector<T>(data, data + outputs_[i].type.bytes() / sizeof(T));
  }

 private:
  struct Value {
    TensorType type;
    std::shared_ptr<uint8_t[]> data;
    bool known = false;
    bool absent = false;
  };

  // One allocation of exactly this size, so that a sanitizer sees every byte too far; aligned for any element.
  static std::shared_ptr<uint8_t[]> Buffer(size_t bytes) { return std::shared_ptr<uint8_t[]>(new uint8_t[bytes]); }

  void Add(TensorType type, bool known) {
    node_.inputs.push_back(static_cast<int>(inputs_.size()) + 100);
    inputs_.push_back({std::move(type), nullptr, known, false});
  }
  void SetData(const void* data, size_t bytes) {
    inputs_.back().data = Buffer(bytes);
    if (bytes > 0) std::memcpy(inputs_.back().data.get(), data, bytes);
  }

  Node node_;
  std::shared_ptr<EvalContext> context_;  // refers to node_
  std::vector<Value> inputs_;
  std::vector<Value> outputs_;
  std::vector<TensorType> types_;
};

}  // namespace tally::testing

#endif  // TALLY_TESTS_OPS_OP_RUNNER_H_
