// Rewrites that merge element-wise nodes: into the epilogue of Conv and Gemm, and into one activation function.
#include <algorithm>
#include <cmath>
#include <utility>

#include "converter/passes/graph_util.h"
#include "converter/passes/passes.h"
#include "converter/passes/type_inference.h"
#include "runtime/ops/epilogue.h"

namespace tally {
namespace {

bool IsNear(float value, double expected) { return std::fabs(value - expected) <= 1e-6 * expected; }

// The activation function's parameters as the attribute "activation_params" lists them. False: `node` is none.
bool ActivationParams(const Node& node, std::vector<float>* params) {
  if (node.inputs.size() != 1 || node.outputs.size() != 1) return false;
  const Activation activation = StandaloneActivation(node);
  *params = {activation.a, activation.b};
  params->resize(NumActivationParams(activation.kind));
  return activation.kind != ActivationKind::kNone;
}

class HardActivationFuser {
 public:
  explicit HardActivationFuser(Graph* graph) : graph_(graph), index_(*graph) {}

  void Run() {
    // Inner forms first: HardSigmoid is part of the longest form of HardSwish.
    for (size_t n = 0; n < graph_->nodes.size(); ++n) FuseHardSigmoid(n);
    for (size_t n = 0; n < graph_->nodes.size(); ++n) FuseHardSwish(n);
    EraseRemovedNodes(graph_);
  }

 private:
  Node& At(int node) { return graph_->nodes[static_cast<size_t>(node)]; }

  // The producer of `tensor` when it is `op` and nothing else reads the tensor; else null.
  Node* PrivateProducer(int tensor, const char* op) {
    if (tensor < 0 || index_.SoleConsumer(tensor) < 0) return nullptr;
    const int producer = index_.producer[static_cast<size_t>(tensor)];
    return producer >= 0 && At(producer).op == op ? &At(producer) : nullptr;
  }

  // For node = scaled / 6 or scaled * (1/6): the scaled tensor; else -1.
  int DividedBySix(const Node& node) {
    if (node.inputs.size() != 2) return -1;
    float value = 0;
    if (node.op == "Div") {
      return ConstantScalar(*graph_, node.inputs[1], &value) && value == 6.0f ? node.inputs[0] : -1;
    }
    if (node.op != "Mul") return -1;
    for (size_t side = 0; side < 2; ++side) {
      if (ConstantScalar(*graph_, node.inputs[side], &value) && IsNear(value, 1.0 / 6)) return node.inputs[1 - side];
    }
    return -1;
  }

  struct Relu6 {
    Node* add = nullptr;
    Node* clip = nullptr;
    int x = -1;
  };
  // tensor = Clip(x + 3, 0, 6), all of it private.
  bool MatchShiftedRelu6(int tensor, Relu6* match) {
    match->clip = PrivateProducer(tensor, "Clip");
    if (match->clip == nullptr || match->clip->GetFloat("min", -1.0f) != 0.0f ||
        match->clip->GetFloat("max", -1.0f) != 6.0f) {
      return false;
    }
    match->add = PrivateProducer(match->clip->inputs[0], "Add");
    if (match->add == nullptr) return false;
    for (size_t side = 0; side < 2; ++side) {
      float value = 0;
      if (ConstantScalar(*graph_, match->add->inputs[side], &value) && value == 3.0f) {
        match->x = match->add->inputs[1 - side];
        return true;
      }
    }
    return false;
  }

  void Become(Node* node, const char* op, int x) { *node = Node{node->name, op, {x}, node->outputs, {}}; }

  // Removes `node`, whose input edge from x goes as well.
  void Drop(Node* node) { MarkRemoved(node); }

  void FuseHardSigmoid(size_t n) {
    Node& node = graph_->nodes[n];
    const int scaled = DividedBySix(node);
    Relu6 relu6;
    if (scaled < 0 || !MatchShiftedRelu6(scaled, &relu6)) return;
    ReplaceEdge(relu6.x, relu6.add, static_cast<int>(n));
    Drop(relu6.add);
    Drop(relu6.clip);
    Become(&node, "HardSigmoid", relu6.x);
    node.SetFloats("alpha", {1.0f / 6.0f});
    node.SetFloats("beta", {0.5f});
  }

  void FuseHardSwish(size_t n) {
    Node& node = graph_->nodes[n];
    // x * HardSigmoid(x, 1/6, 1/2)
    if (node.op == "Mul" && node.inputs.size() == 2) {
      for (size_t side = 0; side < 2; ++side) {
        Node* gate = PrivateProducer(node.inputs[side], "HardSigmoid");
        if (gate == nullptr || gate->inputs[0] != node.inputs[1 - side] ||
            !IsNear(gate->GetFloat("alpha", 0.2f), 1.0 / 6) || gate->GetFloat("beta", 0.5f) != 0.5f) {
          continue;
        }
        const int x = gate->inputs[0];
        RemoveEdge(x, gate);
        Drop(gate);
        Become(&node, "HardSwish", x);
        return;
      }
    }
    // x * Clip(x + 3, 0, 6) / 6
    const int product = DividedBySix(node);
    Node* mul = product < 0 ? nullptr : PrivateProducer(product, "Mul");
    if (mul == nullptr || mul->inputs.size() != 2) return;
    for (size_t side = 0; side < 2; ++side) {
      Relu6 relu6;
      if (!MatchShiftedRelu6(mul->inputs[side], &relu6) || relu6.x != mul->inputs[1 - side]) continue;
      RemoveEdge(relu6.x, relu6.add);
      ReplaceEdge(relu6.x, mul, static_cast<int>(n));
      Drop(relu6.add);
      Drop(relu6.clip);
      Drop(mul);
      Become(&node, "HardSwish", relu6.x);
      return;
    }
  }

  std::vector<int>::iterator FindEdge(int tensor, const Node* reader) {
    std::vector<int>& edges = index_.consumers[static_cast<size_t>(tensor)];
    return std::find(edges.begin(), edges.end(), static_cast<int>(reader - graph_->nodes.data()));
  }
  void RemoveEdge(int tensor, const Node* reader) {
    index_.consumers[static_cast<size_t>(tensor)].erase(FindEdge(tensor, reader));
  }
  void ReplaceEdge(int tensor, const Node* reader, int by) { *FindEdge(tensor, reader) = by; }

  Graph* graph_;
  GraphIndex index_;
};

// Whether input `side` of the Add at `add` comes from a Conv or Gemm that can take the other input as its residual.
bool CanTakeResidual(const Graph& graph, const GraphIndex& index, const SymbolicTypes& types, int add, size_t side) {
  const Node& node = graph.nodes[static_cast<size_t>(add)];
  const int x = node.inputs[side];
  const int residual = node.inputs[1 - side];
  if (x < 0 || residual < 0 || x == residual || index.SoleConsumer(x) != add) return false;
  const int producer = index.producer[static_cast<size_t>(x)];
  if (producer < 0) return false;
  const Node& linear = graph.nodes[static_cast<size_t>(producer)];
  return IsConvOrGemm(linear) && HasNoFusedTail(linear) && linear.inputs.size() >= 2 &&
         !graph.tensors[static_cast<size_t>(residual)].is_constant() && types.Same(x, residual);
}

void FuseResiduals(Graph* graph, GraphIndex* index) {
  const SymbolicTypes types(*graph);
  for (int n = 0; n < static_cast<int>(graph->nodes.size()); ++n) {
    Node& add = graph->nodes[static_cast<size_t>(n)];
    if (add.op != "Add" || add.inputs.size() != 2 || add.outputs.size() != 1) continue;
    int best = -1;
    size_t best_side = 0;
    for (size_t side = 0; side < 2; ++side) {
      if (!CanTakeResidual(*graph, *index, types, n, side)) continue;
      // Of two, the one that runs later: the other's result is ready by then in any case.
      const int producer = index->producer[static_cast<size_t>(add.inputs[side])];
      if (producer > best) {
        best = producer;
        best_side = side;
      }
    }
    if (best < 0) continue;
    // The node moves to where the Add was, behind the residual's producer.
    Node fused = std::move(graph->nodes[static_cast<size_t>(best)]);
    MarkRemoved(&graph->nodes[static_cast<size_t>(best)]);
    for (int t : fused.inputs) {
      if (t < 0) continue;
      std::vector<int>& edges = index->consumers[static_cast<size_t>(t)];
      std::replace(edges.begin(), edges.end(), best, n);
    }
    fused.inputs.resize(4, -1);
    fused.inputs[3] = add.inputs[1 - best_side];
    fused.outputs = add.outputs;
    index->producer[static_cast<size_t>(fused.outputs[0])] = n;
    add = std::move(fused);
  }
}

void FuseActivations(Graph* graph, GraphIndex* index) {
  for (Node& node : graph->nodes) {
    if (!IsConvOrGemm(node) || node.outputs.size() != 1 || node.Find("activation") != nullptr) continue;
    const int consumer = index->SoleConsumer(node.outputs[0]);
    if (consumer < 0) continue;
    Node& function = graph->nodes[static_cast<size_t>(consumer)];
    std::vector<float> params;
    if (!ActivationParams(function, &params)) continue;
    node.SetString("activation", function.op);
    if (!params.empty()) node.SetFloats("activation_params", params);
    node.outputs = function.outputs;
    MarkRemoved(&function);
  }
}

}  // namespace

absl::Status FuseHardActivations(Graph* graph) {
  HardActivationFuser(graph).Run();
  return absl::OkStatus();
}

absl::Status FuseResidualAndActivation(Graph* graph) {
  GraphIndex index(*graph);
  FuseResiduals(graph, &index);
  FuseActivations(graph, &index);
  EraseRemovedNodes(graph);
  return absl::OkStatus();
}

}  // namespace tally
