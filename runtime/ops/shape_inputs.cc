#include "runtime/ops/shape_inputs.h"

#include <algorithm>

#include "runtime/ops/op.h"

namespace tally {

std::vector<bool> FindShapeInputs(const Graph& graph) {
  std::vector<bool> needed(graph.tensors.size(), false);  // by value
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const OpDef* def = FindOp(node->op);
    const bool all = node->op != "Shape" && std::any_of(node->outputs.begin(), node->outputs.end(), [&](int t) {
                       return t >= 0 && needed[static_cast<size_t>(t)];
                     });
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      const bool wanted = all || (def != nullptr && IsShapedBy(*def, i));
      if (wanted && node->inputs[i] >= 0) needed[static_cast<size_t>(node->inputs[i])] = true;
    }
  }
  std::vector<bool> shape_inputs;
  for (int t : graph.inputs) {
    shape_inputs.push_back(needed[static_cast<size_t>(t)] && MayBeShapeInput(graph.tensors[static_cast<size_t>(t)]));
  }
  return shape_inputs;
}

}  // namespace tally
