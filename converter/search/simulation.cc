#include "converter/search/simulation.h"

#include <algorithm>
#include <utility>

#include "converter/passes/graph_util.h"
#include "format/error.h"
#include "runtime/ops/encode.h"

namespace tally {
namespace {

// A node of an operator that does nothing without its bounds; a view could not change values.
constexpr char kRoundTripOp[] = "Clip";

class RoundTrip : public CompiledNode {
 public:
  RoundTrip(const Codebook& codebook, size_t count) : encoder_(codebook), count_(count) {
    for (double v : codebook.Values()) values_.push_back(static_cast<float>(v));
  }
  absl::Status Run(const RunArgs& args) override {
    constexpr size_t kTile = 1 << 14;
    const float* x = static_cast<const float*>(args.inputs[0]);
    float* y = static_cast<float*>(args.outputs[0]);
    args.pool->ParallelFor(count_, kTile, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) y[i] = values_[encoder_.Encode(x[i])];
    });
    return absl::OkStatus();
  }
  std::string kernel() const override { return kRoundTripBackend; }
  std::string isa() const override { return "baseline"; }

 private:
  const Encoder encoder_;
  std::vector<float> values_;  // by code
  const size_t count_;
};

class RoundTripBackend : public Backend {
 public:
  std::string name() const override { return kRoundTripBackend; }
  absl::Status Supports(const NodeContext& context) const override {
    const int output = context.node.outputs[0];
    if (context.node.op == kRoundTripOp && context.node.inputs.size() == 1 && output >= 0 &&
        context.graph.tensors[static_cast<size_t>(output)].codebook) {
      return absl::OkStatus();
    }
    return MakeError(ErrorId::kUnsupportedNode, "no simulated encoding");
  }
  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    const Tensor& output = context.graph.tensors[static_cast<size_t>(context.node.outputs[0])];
    return std::make_unique<RoundTrip>(*output.codebook, static_cast<size_t>(context.outputs[0].elements()));
  }
};

int AddConstant(Graph* graph, NameSet* names, Shape shape, const std::vector<float>& values) {
  float* to = nullptr;
  Tensor tensor = MakeFloatConstant(names->Unique("~"), std::move(shape), &to);
  std::copy(values.begin(), values.end(), to);
  return graph->AddTensor(std::move(tensor));
}

// Node n reads `to` where it multiplied by `from`.
void ReplaceOperand(Node* node, int from, int to) {
  // A residual input (beyond the second) is added in float.
  for (size_t i = 0; i < std::min<size_t>(2, node->inputs.size()); ++i) {
    if (node->inputs[i] == from) node->inputs[i] = to;
  }
}

void SimulateWeight(const WeightTarget& target, const QuantizedWeight& weight, NameSet* names, Graph* graph) {
  const Shape shape = graph->tensors[static_cast<size_t>(target.tensor)].shape;
  const int decoded = AddConstant(graph, names, shape, Decode(weight));
  const int bias = weight.bias.empty() ? -1 : AddConstant(graph, names, {target.channels}, weight.bias);
  for (int n : target.nodes) {
    Node& node = graph->nodes[static_cast<size_t>(n)];
    ReplaceOperand(&node, target.tensor, decoded);
    if (bias < 0) continue;
    if (node.inputs.size() < 3) node.inputs.resize(3, -1);
    node.inputs[2] = bias;
  }
  for (int n : target.lookups) ReplaceOperand(&graph->nodes[static_cast<size_t>(n)], target.tensor, decoded);
}

}  // namespace

Graph SimulateQuantization(const Graph& source, const Targets& targets,
                           const std::vector<const QuantizedWeight*>& weights,
                           const std::vector<const Codebook*>& activations) {
  Graph graph = source;
  NameSet names = NameSet::OfTensors(source), node_names = NameSet::OfNodes(source);
  // Per tensor, the nodes that go in behind whatever produces it; those behind nothing come first.
  std::vector<std::vector<Node>> behind(source.tensors.size());
  for (size_t a = 0; a < activations.size(); ++a) {
    if (activations[a] == nullptr) continue;
    const ActivationTarget& target = targets.activations[a];
    Tensor rounded;
    rounded.name = names.Unique("~");
    rounded.codebook = *activations[a];
    const int index = graph.AddTensor(rounded);
    behind[static_cast<size_t>(target.tensor)].push_back(
        {node_names.Unique("~"), kRoundTripOp, {target.tensor}, {index}, {}});
    for (int n : target.nodes) ReplaceOperand(&graph.nodes[static_cast<size_t>(n)], target.tensor, index);
  }
  for (size_t w = 0; w < weights.size(); ++w) {
    if (weights[w] != nullptr) SimulateWeight(targets.weights[w], *weights[w], &names, &graph);
  }
  std::vector<Node> nodes;
  const auto add_behind = [&](int t) {
    if (t < 0 || static_cast<size_t>(t) >= behind.size()) return;
    for (Node& node : behind[static_cast<size_t>(t)]) nodes.push_back(std::move(node));
  };
  for (int t : source.inputs) add_behind(t);
  for (Node& node : graph.nodes) {
    const std::vector<int> outputs = node.outputs;
    nodes.push_back(std::move(node));
    for (int t : outputs) add_behind(t);
  }
  graph.nodes = std::move(nodes);
  return graph;
}

std::shared_ptr<const Backend> MakeRoundTripBackend() { return std::make_shared<RoundTripBackend>(); }

}  // namespace tally
