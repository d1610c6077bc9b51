// Rewrites that only remove: dead code, identities, nodes over constants.
#include <algorithm>
#include <utility>

#include "converter/passes/graph_util.h"
#include "converter/passes/passes.h"
#include "converter/passes/type_inference.h"
#include "format/error.h"

namespace tally {
namespace {

// Of all folded constants together. 2^34 steps take about 10 seconds.
constexpr EvaluationBudget kFolding = {uint64_t{1} << 30, uint64_t{1} << 34};

absl::Status WithNode(const absl::Status& status, const Node& node) {
  return AddWhere(status, {"", "", -1, "node " + Quoted(node.name) + " (" + Quoted(node.op) + ")"});
}

}  // namespace

absl::Status RemoveDeadCode(Graph* graph) {
  std::vector<bool> needed(graph->tensors.size(), false);
  for (int t : graph->outputs) needed[static_cast<size_t>(t)] = true;
  for (auto node = graph->nodes.rbegin(); node != graph->nodes.rend(); ++node) {
    const bool used = std::any_of(node->outputs.begin(), node->outputs.end(),
                                  [&](int t) { return t >= 0 && needed[static_cast<size_t>(t)]; });
    if (!used) {
      MarkRemoved(&*node);
      continue;
    }
    for (int t : node->inputs) {
      if (t >= 0) needed[static_cast<size_t>(t)] = true;
    }
    for (int t : node->outputs) {
      if (t >= 0) needed[static_cast<size_t>(t)] = true;
    }
  }
  EraseRemovedNodes(graph);
  // A model's inputs are part of its interface, used or not.
  for (int t : graph->inputs) needed[static_cast<size_t>(t)] = true;

  std::vector<int> moved(graph->tensors.size(), -1);
  size_t kept = 0;
  for (size_t t = 0; t < graph->tensors.size(); ++t) {
    if (!needed[t]) continue;
    moved[t] = static_cast<int>(kept);
    if (kept != t) graph->tensors[kept] = std::move(graph->tensors[t]);
    ++kept;
  }
  graph->tensors.resize(kept);
  const auto renumber = [&](std::vector<int>* indices) {
    for (int& t : *indices) {
      if (t >= 0) t = moved[static_cast<size_t>(t)];
    }
  };
  for (Node& node : graph->nodes) {
    renumber(&node.inputs);
    renumber(&node.outputs);
  }
  renumber(&graph->inputs);
  renumber(&graph->outputs);
  return absl::OkStatus();
}

absl::Status RemoveIdentities(Graph* graph) {
  const GraphIndex index(*graph);
  std::vector<bool> is_output = index.is_output;
  // What stands for a tensor from now on.
  std::vector<int> stand_in(graph->tensors.size());
  for (size_t t = 0; t < stand_in.size(); ++t) stand_in[t] = static_cast<int>(t);
  for (Node& node : graph->nodes) {
    for (int& t : node.inputs) {
      if (t >= 0) t = stand_in[static_cast<size_t>(t)];
    }
    if (node.op != "Identity" || node.inputs.size() != 1 || node.outputs.size() != 1) continue;
    const size_t from = static_cast<size_t>(node.inputs[0]);
    const size_t to = static_cast<size_t>(node.outputs[0]);
    if (is_output[to]) {
      // A copy of an input, a constant or another output stays; else the producer's tensor takes the output's name.
      if (index.producer[from] < 0 || is_output[from]) continue;
      is_output[from] = true;
      std::swap(graph->tensors[from].name, graph->tensors[to].name);
    }
    stand_in[to] = static_cast<int>(from);
    MarkRemoved(&node);
  }
  for (int& t : graph->outputs) t = stand_in[static_cast<size_t>(t)];
  EraseRemovedNodes(graph);
  return absl::OkStatus();
}

absl::Status FoldConstants(Graph* graph) {
  TALLY_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Create(1));
  const GraphIndex index(*graph);
  EvaluationBudget budget = kFolding;
  for (Node& node : graph->nodes) {
    std::vector<const Tensor*> inputs;
    bool foldable = !node.inputs.empty();
    for (int t : node.inputs) {
      inputs.push_back(t >= 0 ? &graph->tensors[static_cast<size_t>(t)] : nullptr);
      foldable = foldable && (t < 0 || inputs.back()->has_data);
    }
    for (int t : node.outputs) {
      // A session computes its outputs; it does not hand out constants.
      foldable = foldable && t >= 0 && !index.is_output[static_cast<size_t>(t)];
    }
    if (!foldable) continue;
    absl::StatusOr<std::vector<Tensor>> values = EvaluateNode(node, inputs, &budget, pool.get());
    if (!values.ok()) return WithNode(values.status(), node);
    if (values->size() != node.outputs.size()) continue;
    for (size_t i = 0; i < values->size(); ++i) {
      Tensor& output = graph->tensors[static_cast<size_t>(node.outputs[i])];
      (*values)[i].name = output.name;
      output = std::move((*values)[i]);
    }
    MarkRemoved(&node);
  }
  EraseRemovedNodes(graph);
  return absl::OkStatus();
}

}  // namespace tally
