// Cuts a piece out of a graph, so that it can run by itself.
#ifndef TALLY_CONVERTER_SEARCH_SUBGRAPH_H_
#define TALLY_CONVERTER_SEARCH_SUBGRAPH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"

namespace tally {

// The nodes that compute `wanted` from tensors that `available` marks (constants aside), and what they read.
struct Cut {
  std::vector<int> nodes;   // indices, in order
  std::vector<int> inputs;  // activations read from outside, rising
};
Cut CutBefore(const Graph& graph, const std::vector<bool>& available, const std::vector<int>& wanted);

// A graph of these nodes alone. Every input gets its concrete type of `types` (one per tensor of `graph`); inputs and
// outputs keep their names, tensors nobody reads are gone. Weights are shared, not copied.
absl::StatusOr<Graph> ExtractSubgraph(const Graph& graph, const Cut& cut, const std::vector<int>& outputs,
                                      const std::vector<TensorType>& types);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_SUBGRAPH_H_
