#include "converter/search/subgraph.h"

#include <algorithm>
#include <set>

#include "converter/passes/passes.h"
#include "format/error.h"

namespace tally {

Cut CutBefore(const Graph& graph, const std::vector<bool>& available, const std::vector<int>& wanted) {
  std::vector<bool> needed(graph.tensors.size());
  for (int t : wanted) needed[static_cast<size_t>(t)] = !available[static_cast<size_t>(t)];
  Cut cut;
  std::set<int> read(wanted.begin(), wanted.end()), produced;
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (std::none_of(node.outputs.begin(), node.outputs.end(),
                     [&](int t) { return t >= 0 && needed[static_cast<size_t>(t)]; })) {
      continue;
    }
    cut.nodes.push_back(static_cast<int>(n));
    produced.insert(node.outputs.begin(), node.outputs.end());
    for (int t : node.inputs) {
      if (t < 0 || graph.tensors[static_cast<size_t>(t)].is_constant()) continue;
      read.insert(t);
      if (!available[static_cast<size_t>(t)]) needed[static_cast<size_t>(t)] = true;
    }
  }
  std::reverse(cut.nodes.begin(), cut.nodes.end());
  for (int t : read) {
    if (produced.count(t) == 0) cut.inputs.push_back(t);
  }
  return cut;
}

absl::StatusOr<Graph> ExtractSubgraph(const Graph& graph, const Cut& cut, const std::vector<int>& outputs,
                                      const std::vector<TensorType>& types) {
  Graph piece;
  piece.name = graph.name;
  piece.tensors = graph.tensors;
  piece.symbols = graph.symbols;
  for (int n : cut.nodes) piece.nodes.push_back(graph.nodes[static_cast<size_t>(n)]);
  piece.inputs = cut.inputs;
  piece.outputs = outputs;
  for (int t : graph.inputs) piece.tensors[static_cast<size_t>(t)].shape.clear();
  for (int t : cut.inputs) {
    Tensor& tensor = piece.tensors[static_cast<size_t>(t)];
    tensor.dtype = types[static_cast<size_t>(t)].dtype;
    tensor.shape = types[static_cast<size_t>(t)].shape;
  }
  TALLY_RETURN_IF_ERROR(RemoveDeadCode(&piece));
  return piece;
}

}  // namespace tally
