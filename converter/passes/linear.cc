// Rewrites around Conv and Gemm that change weights and biases.
#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>
#include <utility>

#include "converter/passes/graph_util.h"
#include "converter/passes/passes.h"
#include "converter/passes/type_inference.h"
#include "format/error.h"

namespace tally {
namespace {

// A Conv or Gemm with a plain float32 weight and an absent or plain bias, into which something linear can be merged.
struct Linear {
  int node = -1;
  int64_t outputs = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;  // null: absent
};

bool GetLinear(const Graph& graph, int node_index, Linear* linear) {
  if (node_index < 0) return false;
  const Node& node = graph.nodes[static_cast<size_t>(node_index)];
  if (!IsConvOrGemm(node) || node.inputs.size() < 2 || node.outputs.size() != 1 || !HasNoFusedTail(node)) return false;
  linear->node = node_index;
  linear->weight = ConstantFloats(graph, node.inputs[1]);
  if (linear->weight == nullptr) return false;
  const Shape& shape = graph.tensors[static_cast<size_t>(node.inputs[1])].shape;
  if (shape.size() < 2) return false;
  linear->outputs = shape[0];
  const int bias = InputOrAbsent(node, 2);
  linear->bias = ConstantFloats(graph, bias);
  return bias < 0 ||
         (linear->bias != nullptr && graph.tensors[static_cast<size_t>(bias)].shape == Shape{linear->outputs});
}

void SetBias(Graph* graph, NameSet* names, const GraphIndex& index, Node* node, Tensor bias) {
  if (InputOrAbsent(*node, 2) >= 0) {
    const size_t uses = index.consumers[static_cast<size_t>(node->inputs[2])].size();
    ReplaceConstantInput(graph, names, node, 2, uses, std::move(bias));
    return;
  }
  bias.name = names->Unique(node->name + "_bias");
  node->inputs.resize(std::max<size_t>(node->inputs.size(), 3), -1);
  node->inputs[2] = graph->AddTensor(std::move(bias));
}

// The Conv or Gemm takes over the output of the node behind it, which goes.
void TakeOverOutput(Graph* graph, GraphIndex* index, int linear, int behind) {
  Node& node = graph->nodes[static_cast<size_t>(linear)];
  node.outputs[0] = graph->nodes[static_cast<size_t>(behind)].outputs[0];
  index->producer[static_cast<size_t>(node.outputs[0])] = linear;
  MarkRemoved(&graph->nodes[static_cast<size_t>(behind)]);
}

// Whether `shape` broadcasts to one value per output and leaves the Conv's or Gemm's output shape alone. `rank`: of
// that output, -1 when unknown.
bool VariesAlongOutputsOnly(const Node& node, const Shape& shape, int64_t outputs, int rank) {
  const int dims = static_cast<int>(shape.size());
  if (dims > (rank < 0 ? 1 : rank)) return false;
  const bool conv = node.op == "Conv";
  if (conv && rank < 2) return false;
  // Counted from the right: where the output channels are.
  const int channel_from_right = conv ? rank - 2 : 0;
  for (int i = 0; i < dims; ++i) {
    const int64_t extent = shape[static_cast<size_t>(dims - 1 - i)];
    if (extent != 1 && !(i == channel_from_right && extent == outputs)) return false;
  }
  return true;
}

// Rank of the Conv's or Gemm's output x; -1: unknown.
int LinearRank(const Graph& graph, const SymbolicTypes& types, const Node& node, int x) {
  if (node.op == "Gemm") return types.Rank(x);
  return static_cast<int>(graph.tensors[static_cast<size_t>(node.inputs[1])].shape.size());
}

struct BatchNorm {
  std::vector<double> scale;
  std::vector<double> shift;
};

bool GetBatchNorm(const Graph& graph, const Node& node, BatchNorm* norm) {
  if (node.inputs.size() != 5 || node.outputs.size() != 1) return false;
  const float* values[5] = {};
  const Shape& shape = node.inputs[1] < 0 ? Shape() : graph.tensors[static_cast<size_t>(node.inputs[1])].shape;
  if (shape.size() != 1) return false;
  for (size_t i = 1; i < 5; ++i) {
    values[i] = ConstantFloats(graph, node.inputs[i]);
    if (values[i] == nullptr || graph.tensors[static_cast<size_t>(node.inputs[i])].shape != shape) return false;
  }
  const double epsilon = node.GetFloat("epsilon", 1e-5f);
  for (int64_t c = 0; c < shape[0]; ++c) {
    const double scale = values[1][c] / std::sqrt(static_cast<double>(values[4][c]) + epsilon);
    norm->scale.push_back(scale);
    norm->shift.push_back(values[2][c] - static_cast<double>(values[3][c]) * scale);
  }
  return true;
}

absl::Status CheckFinite(const float* values, size_t count, const std::string& what) {
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) {
      return MakeError(ErrorId::kNonFiniteWeight,
                       "folding a scale or batch normalization gives " + std::to_string(values[i]) + " at index " +
                           std::to_string(i) + ", expected a finite value",
                       {"", "", -1, what});
    }
  }
  return absl::OkStatus();
}

absl::Status MergeBatchNorm(Graph* graph, NameSet* names, const GraphIndex& index, const Linear& linear,
                            const BatchNorm& norm) {
  Node& node = graph->nodes[static_cast<size_t>(linear.node)];
  const size_t outputs = static_cast<size_t>(linear.outputs);
  const Tensor& old = graph->tensors[static_cast<size_t>(node.inputs[1])];
  const size_t per_output = outputs == 0 ? 0 : old.elements() / outputs;
  float* weight = nullptr;
  Tensor new_weight = MakeFloatConstant("", old.shape, &weight);
  float* bias = nullptr;
  Tensor new_bias = MakeFloatConstant("", {linear.outputs}, &bias);
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t i = 0; i < per_output; ++i) {
      weight[o * per_output + i] = static_cast<float>(linear.weight[o * per_output + i] * norm.scale[o]);
    }
    const double old_bias = linear.bias == nullptr ? 0.0 : static_cast<double>(linear.bias[o]);
    bias[o] = static_cast<float>(old_bias * norm.scale[o] + norm.shift[o]);
  }
  const std::string what = "node " + Quoted(node.name);
  TALLY_RETURN_IF_ERROR(CheckFinite(weight, outputs * per_output, what + ": weight"));
  TALLY_RETURN_IF_ERROR(CheckFinite(bias, outputs, what + ": bias"));
  const size_t uses = index.consumers[static_cast<size_t>(node.inputs[1])].size();
  ReplaceConstantInput(graph, names, &node, 1, uses, std::move(new_weight));
  const bool shifts = std::any_of(norm.shift.begin(), norm.shift.end(), [](double shift) { return shift != 0.0; });
  if (linear.bias == nullptr && !shifts) return absl::OkStatus();
  SetBias(graph, names, index, &node, std::move(new_bias));
  return absl::OkStatus();
}

Tensor PerChannel(const std::string& name, const std::vector<double>& values, int rank) {
  Shape shape(static_cast<size_t>(rank) - 1, 1);
  shape[0] = static_cast<int64_t>(values.size());
  float* to = nullptr;
  Tensor tensor = MakeFloatConstant(name, std::move(shape), &to);
  for (size_t c = 0; c < values.size(); ++c) to[c] = static_cast<float>(values[c]);
  return tensor;
}

}  // namespace

absl::Status CanonicalizeGemm(Graph* graph) {
  const GraphIndex index(*graph);
  NameSet names = NameSet::OfTensors(*graph);
  const SymbolicTypes types(*graph);
  std::unordered_map<int, int> transposed;  // weights that several nodes share
  for (Node& node : graph->nodes) {
    if (node.op != "MatMul" || node.inputs.size() != 2 || node.inputs[0] < 0) continue;
    const int weight = node.inputs[1];
    if (ConstantFloats(*graph, weight) == nullptr) continue;
    const Tensor& old = graph->tensors[static_cast<size_t>(weight)];
    const size_t dims = old.shape.size();
    if (dims < 2) continue;
    bool matrix = dims == 2 || static_cast<int>(dims) <= types.Rank(node.inputs[0]);
    for (size_t i = 0; i + 2 < dims; ++i) matrix = matrix && old.shape[i] == 1;
    if (!matrix) continue;
    node.op = "Gemm";
    if (const auto found = transposed.find(weight); found != transposed.end()) {
      node.inputs[1] = found->second;
      continue;
    }
    Tensor flat = old;
    flat.shape.erase(flat.shape.begin(), flat.shape.end() - 2);
    const size_t uses = index.consumers[static_cast<size_t>(weight)].size();
    const int replaced = ReplaceConstantInput(graph, &names, &node, 1, uses, TransposedMatrix(flat, 1.0));
    if (replaced != weight) transposed.emplace(weight, replaced);
  }
  return absl::OkStatus();
}

absl::Status FoldBatchNormalization(Graph* graph) {
  GraphIndex index(*graph);
  NameSet names = NameSet::OfTensors(*graph);
  NameSet node_names = NameSet::OfNodes(*graph);
  const SymbolicTypes types(*graph);
  std::vector<Node> nodes;  // with Mul and Add in place of what could not be folded
  for (size_t n = 0; n < graph->nodes.size(); ++n) {
    Node& node = graph->nodes[n];
    BatchNorm norm;
    if (node.op != "BatchNormalization" || !GetBatchNorm(*graph, node, &norm)) continue;
    const int x = node.inputs[0];
    const int rank = types.Rank(x);
    Linear linear;
    if (index.SoleConsumer(x) == static_cast<int>(n) &&
        GetLinear(*graph, index.producer[static_cast<size_t>(x)], &linear) &&
        linear.outputs == static_cast<int64_t>(norm.scale.size()) &&
        // Batch normalization works along axis 1, a Gemm's outputs are its last axis.
        (graph->nodes[static_cast<size_t>(linear.node)].op == "Conv" || rank == 2)) {
      TALLY_RETURN_IF_ERROR(MergeBatchNorm(graph, &names, index, linear, norm));
      TakeOverOutput(graph, &index, linear.node, static_cast<int>(n));
    }
  }
  for (Node& node : graph->nodes) {
    BatchNorm norm;
    const int rank = node.op == "BatchNormalization" ? types.Rank(node.inputs[0]) : -1;
    if (rank < 2 || !GetBatchNorm(*graph, node, &norm)) {
      nodes.push_back(std::move(node));
      continue;
    }
    const int scale = graph->AddTensor(PerChannel(names.Unique(node.name + "_scale"), norm.scale, rank));
    const int shift = graph->AddTensor(PerChannel(names.Unique(node.name + "_shift"), norm.shift, rank));
    for (int t : {scale, shift}) {
      const Tensor& tensor = graph->tensors[static_cast<size_t>(t)];
      TALLY_RETURN_IF_ERROR(CheckFinite(tensor.data.as<float>(), tensor.elements(), "node " + Quoted(node.name)));
    }
    Tensor product;
    product.name = names.Unique(node.name + "_scaled");
    const int scaled = graph->AddTensor(std::move(product));
    nodes.push_back({node_names.Unique(node.name + "_mul"), "Mul", {node.inputs[0], scale}, {scaled}, {}});
    nodes.push_back({node.name, "Add", {scaled, shift}, node.outputs, {}});
  }
  graph->nodes = std::move(nodes);
  EraseRemovedNodes(graph);
  return absl::OkStatus();
}

absl::Status FuseScale(Graph* graph) {
  GraphIndex index(*graph);
  NameSet names = NameSet::OfTensors(*graph);
  const SymbolicTypes types(*graph);
  for (size_t n = 0; n < graph->nodes.size(); ++n) {
    const Node& mul = graph->nodes[n];
    const bool divide = mul.op == "Div";
    if ((mul.op != "Mul" && !divide) || mul.inputs.size() != 2 || mul.outputs.size() != 1) continue;
    for (size_t side = 0; side < (divide ? 1u : 2u); ++side) {
      const int x = mul.inputs[side];
      const int constant = mul.inputs[1 - side];
      const float* values = ConstantFloats(*graph, constant);
      Linear linear;
      if (values == nullptr || x < 0 || index.SoleConsumer(x) != static_cast<int>(n) ||
          !GetLinear(*graph, index.producer[static_cast<size_t>(x)], &linear)) {
        continue;
      }
      const Node& node = graph->nodes[static_cast<size_t>(linear.node)];
      const Tensor& factor = graph->tensors[static_cast<size_t>(constant)];
      if (!VariesAlongOutputsOnly(node, factor.shape, linear.outputs, LinearRank(*graph, types, node, x))) continue;
      const bool single = factor.elements() == 1;
      BatchNorm norm;
      for (int64_t o = 0; o < linear.outputs; ++o) {
        const double value = values[single ? 0 : o];
        norm.scale.push_back(divide ? 1.0 / value : value);
        norm.shift.push_back(0.0);
      }
      const auto usable = [](double v) { return std::isfinite(v); };
      if (!std::all_of(norm.scale.begin(), norm.scale.end(), usable)) break;
      TALLY_RETURN_IF_ERROR(MergeBatchNorm(graph, &names, index, linear, norm));
      TakeOverOutput(graph, &index, linear.node, static_cast<int>(n));
      break;
    }
  }
  EraseRemovedNodes(graph);
  return absl::OkStatus();
}

absl::Status FuseBias(Graph* graph) {
  GraphIndex index(*graph);
  NameSet names = NameSet::OfTensors(*graph);
  const SymbolicTypes types(*graph);
  for (size_t n = 0; n < graph->nodes.size(); ++n) {
    const Node& add = graph->nodes[n];
    const bool subtract = add.op == "Sub";
    if ((add.op != "Add" && !subtract) || add.inputs.size() != 2 || add.outputs.size() != 1) continue;
    for (size_t side = 0; side < (subtract ? 1u : 2u); ++side) {
      const int x = add.inputs[side];
      const int constant = add.inputs[1 - side];
      const float* values = ConstantFloats(*graph, constant);
      Linear linear;
      if (values == nullptr || x < 0 || index.SoleConsumer(x) != static_cast<int>(n) ||
          !GetLinear(*graph, index.producer[static_cast<size_t>(x)], &linear)) {
        continue;
      }
      Node& node = graph->nodes[static_cast<size_t>(linear.node)];
      const Tensor& addend = graph->tensors[static_cast<size_t>(constant)];
      const int rank = LinearRank(*graph, types, node, x);
      if (!VariesAlongOutputsOnly(node, addend.shape, linear.outputs, rank)) continue;
      const bool single = addend.elements() == 1;
      float* bias = nullptr;
      Tensor sum = MakeFloatConstant("", {linear.outputs}, &bias);
      for (int64_t o = 0; o < linear.outputs; ++o) {
        const double value = values[single ? 0 : o];
        const double old = linear.bias == nullptr ? 0.0 : static_cast<double>(linear.bias[o]);
        bias[o] = static_cast<float>(subtract ? old - value : old + value);
      }
      SetBias(graph, &names, index, &node, std::move(sum));
      TakeOverOutput(graph, &index, linear.node, static_cast<int>(n));
      break;
    }
  }
  EraseRemovedNodes(graph);
  return absl::OkStatus();
}

}  // namespace tally
