// Runs one node without a session: builds its graph and contexts by hand, infers the types, allocates exact buffers
// (an overrun is seen by the address sanitizer) and calls the shared implementation or a backend.
#ifndef TALLY_TESTS_OPS_NODE_RUNNER_H_
#define TALLY_TESTS_OPS_NODE_RUNNER_H_

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "format/error.h"
#include "format/graph.h"
#include "runtime/backend/backend.h"
#include "runtime/ops/op.h"

namespace tally::testing {

// A tensor with its values. An absent optional input is std::nullopt in Inputs.
struct Value {
  TensorType type;
  std::vector<uint8_t> bytes;

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
  template <typename T>
  std::vector<T> list() const {
    return std::vector<T>(as<T>(), as<T>() + bytes.size() / sizeof(T));
  }
};

using Inputs = std::vector<std::optional<Value>>;
using Outputs = std::vector<Value>;

template <typename T>
Value MakeValue(DType dtype, Shape shape, const std::vector<T>& values) {
  Value value{{dtype, std::move(shape)}, std::vector<uint8_t>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(value.bytes.data(), values.data(), value.bytes.size());
  return value;
}
inline Value Floats(Shape shape, const std::vector<float>& values) {
  return MakeValue(DType::kFloat32, std::move(shape), values);
}
inline Value Int64s(Shape shape, const std::vector<int64_t>& values) {
  return MakeValue(DType::kInt64, std::move(shape), values);
}
inline Value Int32s(Shape shape, const std::vector<int32_t>& values) {
  return MakeValue(DType::kInt32, std::move(shape), values);
}

using Rng = std::mt19937;

inline int64_t Pick(Rng& rng, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(rng);
}
inline float PickFloat(Rng& rng, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(rng);
}
inline Value RandomFloats(Rng& rng, Shape shape, float low = -2, float high = 2) {
  const int64_t n = TensorType{DType::kFloat32, shape}.elements();
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = PickFloat(rng, low, high);
  return Floats(std::move(shape), values);
}
inline Value Abs(Value value) {
  float* x = reinterpret_cast<float*>(value.bytes.data());
  for (size_t i = 0; i < value.bytes.size() / sizeof(float); ++i) x[i] = std::fabs(x[i]);
  return value;
}

inline Node MakeNode(const std::string& op, size_t outputs = 1) {
  Node node;
  node.name = "node";
  node.op = op;
  node.outputs.resize(outputs);
  return node;
}

inline std::unique_ptr<ThreadPool> MakePool(int num_threads) { return *ThreadPool::Create(num_threads); }

// Fills in the tensor indices of node->inputs and node->outputs.
inline Graph GraphOf(const Inputs& inputs, Node* node) {
  Graph graph;
  node->inputs.clear();
  for (const auto& input : inputs) {
    int index = -1;
    if (input.has_value()) {
      Tensor tensor;
      tensor.name = "t" + std::to_string(graph.tensors.size());
      tensor.dtype = input->type.dtype;
      tensor.shape = input->type.shape;
      index = graph.AddTensor(std::move(tensor));
    }
    node->inputs.push_back(index);
  }
  for (int& output : node->outputs) output = graph.AddTensor(Tensor());
  return graph;
}

inline absl::StatusOr<std::vector<TensorType>> InferTypes(const Node& node, const Inputs& inputs) {
  const OpDef* def = FindOp(node.op);
  if (def == nullptr) return MakeError(ErrorId::kUnknownOp, node.op);
  InferContext context{node, {}, {}};
  for (const auto& input : inputs) {
    context.inputs.push_back(input.has_value() ? &input->type : nullptr);
    context.values.push_back(input.has_value() ? static_cast<const void*>(input->bytes.data()) : nullptr);
  }
  std::vector<TensorType> types;
  TALLY_RETURN_IF_ERROR(InferNode(*def, context, &types));
  return types;
}

// Buffers are poisoned with NaN patterns, so that an output left unwritten is seen.
inline Outputs AllocateOutputs(const std::vector<TensorType>& types) {
  Outputs outputs;
  for (const TensorType& type : types) outputs.push_back({type, std::vector<uint8_t>(type.bytes(), 0xFF)});
  return outputs;
}

// The shared implementation.
inline absl::StatusOr<Outputs> RunShared(Node node, const Inputs& inputs, ThreadPool* pool = nullptr) {
  const Graph graph = GraphOf(inputs, &node);
  TALLY_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferTypes(node, inputs));
  Outputs outputs = AllocateOutputs(types);
  EvalContext context{node, {}, {}, pool};
  for (const auto& input : inputs) {
    context.inputs.push_back(input.has_value() ? TensorView{input->bytes.data(), input->type.dtype, input->type.shape}
                                               : TensorView());
  }
  for (Value& output : outputs) {
    context.outputs.push_back({output.bytes.data(), output.type.dtype, output.type.shape});
  }
  TALLY_RETURN_IF_ERROR(FindOp(node.op)->eval(context));
  return outputs;
}

// A backend, with plain encodings.
inline absl::StatusOr<Outputs> RunBackend(const Backend& backend, Node node, const Inputs& inputs, ThreadPool* pool) {
  const Graph graph = GraphOf(inputs, &node);
  TALLY_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferTypes(node, inputs));
  NodeContext context{graph, node, {}, types, CpuFeatures(), pool->num_threads()};
  for (const auto& input : inputs) context.inputs.push_back(input.has_value() ? input->type : TensorType());
  TALLY_RETURN_IF_ERROR(backend.Supports(context));
  TALLY_ASSIGN_OR_RETURN(const std::unique_ptr<CompiledNode> compiled, backend.Compile(context));
  Outputs outputs = AllocateOutputs(types);
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const auto& input : inputs) in.push_back(input.has_value() ? input->bytes.data() : nullptr);
  for (Value& output : outputs) out.push_back(output.bytes.data());
  std::vector<uint8_t> scratch(compiled->scratch_bytes());
  TALLY_RETURN_IF_ERROR(compiled->Run({in.data(), out.data(), scratch.data(), pool}));
  return outputs;
}

inline uint32_t Bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

// |got - want| in units of the last place of float32 at `want`; 0 for two NaNs, infinite when only one is NaN or the
// result overflows wrongly.
inline double UlpError(float got, double want) {
  const double infinite = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : infinite;
  // Halfway between the largest float and 2^128: from there on the right float is infinite.
  const double overflow = 0x1.ffffffp127;
  if (std::isinf(got)) return std::fabs(want) >= overflow && std::signbit(got) == std::signbit(want) ? 0 : infinite;
  int exponent = 0;
  std::frexp(std::fabs(want), &exponent);
  return std::fabs(got - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_OPS_NODE_RUNNER_H_
