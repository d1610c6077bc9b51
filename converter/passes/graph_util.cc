#include "converter/passes/graph_util.h"

#include <algorithm>

namespace tally {

GraphIndex::GraphIndex(const Graph& graph)
    : producer(graph.tensors.size(), -1), consumers(graph.tensors.size()), is_output(graph.tensors.size(), false) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (int t : graph.nodes[n].inputs) {
      if (t >= 0) consumers[static_cast<size_t>(t)].push_back(static_cast<int>(n));
    }
    for (int t : graph.nodes[n].outputs) {
      if (t >= 0) producer[static_cast<size_t>(t)] = static_cast<int>(n);
    }
  }
  for (int t : graph.outputs) is_output[static_cast<size_t>(t)] = true;
}

NameSet NameSet::OfTensors(const Graph& graph) {
  NameSet set;
  for (const Tensor& tensor : graph.tensors) set.names_.insert(tensor.name);
  return set;
}

NameSet NameSet::OfNodes(const Graph& graph) {
  NameSet set;
  for (const Node& node : graph.nodes) set.names_.insert(node.name);
  return set;
}

std::string NameSet::Unique(const std::string& wanted) {
  if (names_.insert(wanted).second) return wanted;
  int& suffix = next_suffix_[wanted];
  for (;;) {
    std::string name = wanted + "_" + std::to_string(++suffix);
    if (names_.insert(name).second) return name;
  }
}

void EraseRemovedNodes(Graph* graph) {
  graph->nodes.erase(std::remove_if(graph->nodes.begin(), graph->nodes.end(), IsRemoved), graph->nodes.end());
}

const float* ConstantFloats(const Graph& graph, int tensor) {
  if (tensor < 0) return nullptr;
  const Tensor& t = graph.tensors[static_cast<size_t>(tensor)];
  return t.has_data && t.dtype == DType::kFloat32 ? t.data.as<float>() : nullptr;
}

bool ConstantScalar(const Graph& graph, int tensor, float* value) {
  const float* values = ConstantFloats(graph, tensor);
  if (values == nullptr) return false;
  const Tensor& t = graph.tensors[static_cast<size_t>(tensor)];
  if (t.shape.size() > 1 || t.elements() != 1) return false;
  *value = values[0];
  return true;
}

Tensor MakeFloatConstant(const std::string& name, Shape shape, float** values) {
  Tensor tensor;
  tensor.name = name;
  tensor.shape = std::move(shape);
  tensor.has_data = true;
  uint8_t* bytes = nullptr;
  tensor.data = Blob::Allocate(tensor.elements() * sizeof(float), &bytes);
  *values = reinterpret_cast<float*>(bytes);
  return tensor;
}

Tensor MakeInt64Constant(const std::string& name, const std::vector<int64_t>& values) {
  Tensor tensor;
  tensor.name = name;
  tensor.dtype = DType::kInt64;
  tensor.shape = {static_cast<int64_t>(values.size())};
  tensor.has_data = true;
  tensor.data = Blob::Copy(values.data(), values.size() * sizeof(int64_t));
  return tensor;
}

Tensor TransposedMatrix(const Tensor& matrix, double factor) {
  const size_t rows = static_cast<size_t>(matrix.shape[0]);
  const size_t columns = static_cast<size_t>(matrix.shape[1]);
  const float* from = matrix.data.as<float>();
  float* to = nullptr;
  Tensor transposed = MakeFloatConstant(matrix.name, {matrix.shape[1], matrix.shape[0]}, &to);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      to[c * rows + r] = static_cast<float>(static_cast<double>(from[r * columns + c]) * factor);
    }
  }
  return transposed;
}

int ReplaceConstantInput(Graph* graph, NameSet* names, Node* node, size_t input, size_t uses, Tensor constant) {
  const size_t old = static_cast<size_t>(node->inputs[input]);
  if (uses == 1) {
    constant.name = graph->tensors[old].name;
    graph->tensors[old] = std::move(constant);
    return static_cast<int>(old);
  }
  constant.name = names->Unique(graph->tensors[old].name + "_" + node->name);
  node->inputs[input] = graph->AddTensor(std::move(constant));
  return node->inputs[input];
}

}  // namespace tally
