// A tiny interpreter: evaluates a graph node by node with the shared operators. What the tests compare rewrites with.
#ifndef TALLY_TESTS_CONVERTER_ONNX_RUN_GRAPH_H_
#define TALLY_TESTS_CONVERTER_ONNX_RUN_GRAPH_H_

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/passes/type_inference.h"
#include "format/error.h"
#include "format/graph.h"
#include "gtest/gtest.h"

namespace tally::testing {

using Values = std::map<std::string, Tensor>;

inline Tensor FloatTensor(const Shape& shape, const std::vector<float>& values) {
  Tensor tensor;
  tensor.shape = shape;
  tensor.has_data = true;
  tensor.data = Blob::Copy(values.data(), values.size() * sizeof(float));
  return tensor;
}

inline Tensor RandomTensor(const Shape& shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tensor tensor;
  tensor.shape = shape;
  std::vector<float> values(tensor.elements());
  for (float& v : values) v = normal(random);
  return FloatTensor(shape, values);
}

inline std::vector<float> RandomFloats(size_t count, uint32_t seed) {
  const Tensor t = RandomTensor({static_cast<int64_t>(count)}, seed);
  return std::vector<float>(t.data.as<float>(), t.data.as<float>() + count);
}

// The graph's outputs by name.
inline absl::StatusOr<Values> RunGraph(const Graph& graph, const Values& inputs) {
  TALLY_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Create(1));
  EvaluationBudget budget = {uint64_t{1} << 32, std::numeric_limits<uint64_t>::max()};
  std::vector<Tensor> tensors = graph.tensors;
  for (int i : graph.inputs) {
    const auto found = inputs.find(tensors[static_cast<size_t>(i)].name);
    if (found == inputs.end()) return absl::NotFoundError(tensors[static_cast<size_t>(i)].name);
    tensors[static_cast<size_t>(i)] = found->second;
  }
  for (const Node& node : graph.nodes) {
    std::vector<const Tensor*> values;
    for (int t : node.inputs) values.push_back(t >= 0 ? &tensors[static_cast<size_t>(t)] : nullptr);
    absl::StatusOr<std::vector<Tensor>> results = EvaluateNode(node, values, &budget, pool.get());
    if (!results.ok()) return AddWhere(results.status(), {"", "", -1, node.name});
    if (results->size() != node.outputs.size()) return absl::InternalError(node.name + " was not evaluated");
    for (size_t i = 0; i < results->size(); ++i)
      tensors[static_cast<size_t>(node.outputs[i])] = std::move((*results)[i]);
  }
  Values outputs;
  for (int t : graph.outputs) {
    outputs[graph.tensors[static_cast<size_t>(t)].name] = tensors[static_cast<size_t>(t)];
  }
  return outputs;
}

// Same type; floats within `relative` of the larger magnitude or of 1 (sums of normal values are of that size),
// everything else equal.
inline ::testing::AssertionResult Close(const Tensor& expected, const Tensor& actual, double relative) {
  if (expected.dtype != actual.dtype || expected.shape != actual.shape) {
    return ::testing::AssertionFailure() << "expected " << DTypeName(expected.dtype) << " "
                                         << ShapeString(expected.shape) << ", found " << DTypeName(actual.dtype) << " "
                                         << ShapeString(actual.shape);
  }
  if (expected.dtype != DType::kFloat32) {
    const bool same = std::equal(expected.data.data(), expected.data.data() + expected.data.size(), actual.data.data());
    return same ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << "integers differ";
  }
  for (size_t i = 0; i < expected.elements(); ++i) {
    const double a = expected.data.as<float>()[i];
    const double b = actual.data.as<float>()[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!(std::fabs(a - b) <= relative * std::max(1.0, std::fabs(a)))) {
      return ::testing::AssertionFailure() << "at " << i << ": expected " << a << ", found " << b;
    }
  }
  return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult Close(const Values& expected, const Values& actual, double relative) {
  if (expected.size() != actual.size()) return ::testing::AssertionFailure() << "outputs differ in number";
  for (const auto& [name, tensor] : expected) {
    const auto found = actual.find(name);
    if (found == actual.end()) return ::testing::AssertionFailure() << "no output " << name;
    if (auto result = Close(tensor, found->second, relative); !result) return result << " in " << name;
  }
  return ::testing::AssertionSuccess();
}

// "Conv Conv+residual+Relu Gemm": the nodes with what is fused into them.
inline std::string Summary(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes) {
    text += (text.empty() ? "" : " ") + node.op;
    if ((node.op == "Conv" || node.op == "Gemm") && node.inputs.size() > 3 && node.inputs[3] >= 0) text += "+residual";
    if (node.Find("activation") != nullptr) text += "+" + node.GetString("activation");
  }
  return text;
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONVERTER_ONNX_RUN_GRAPH_H_
