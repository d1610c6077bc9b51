// What a converter may quantize in a float graph: the weights and activations of Conv, Gemm and MatMul, and the tables
// of embeddings (Gather from a constant).
#ifndef TALLY_CONVERTER_SEARCH_TARGETS_H_
#define TALLY_CONVERTER_SEARCH_TARGETS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"

namespace tally {

struct WeightTarget {
  int tensor = -1;
  int64_t channels = 0;         // extent 0
  int64_t per_channel = 0;      // product of the others
  std::vector<int> nodes;       // that multiply by its codes; none: nothing but a table
  std::vector<int> lookups;     // that gather rows of its codes
  bool read_elsewhere = false;  // by other nodes too, which need its float form

  // The first node that reads its codes.
  int reader() const { return nodes.empty() ? lookups[0] : nodes[0]; }
};

struct ActivationTarget {
  int tensor = -1;
  bool network_input = false;  // the network's own input, or that moved about
  // Axis whose extent the weights' input channels run along: 1 for Conv, -1 (the last) for Gemm; 0: none (MatMul).
  int channel_axis = 0;
  std::vector<int> nodes;     // that multiply it
  std::vector<int> weights;   // targets that it is multiplied with
  std::vector<int> partners;  // activation targets that it is multiplied with
};

struct Targets {
  std::vector<WeightTarget> weights;
  std::vector<ActivationTarget> activations;
  // Nodes of these kinds that stay float.
  struct Skipped {
    int node = -1;
    int tensor = -1;
    std::string reason;
  };
  std::vector<Skipped> skipped;
};

// Whether input `input` of the node is read as codes where the tensor has them: the other operand must have them, too.
bool TakesCodes(const Graph& graph, const Node& node, size_t input);

// `excluded`: nodes that are to stay float, with the reason. Errors: kNonFiniteWeight.
absl::StatusOr<Targets> FindTargets(const Graph& graph, const std::map<int, std::string>& excluded = {});

// Per tensor, whether it can hold no negative value: by the operator that produces it (Relu, Clip at 0 or above,
// Sigmoid, Softmax, ..., fused ones too), by movement, pooling or addition of such, or because `inputs_non_negative`,
// one entry per graph input, says so.
std::vector<bool> NonNegativeTensors(const Graph& graph, const std::vector<bool>& inputs_non_negative);

// Per tensor, whether it is an input of the graph or one whose elements only were moved (Reshape, Transpose, ...).
std::vector<bool> NetworkInputTensors(const Graph& graph);

// One extent per symbol of the graph: what `shapes` (one per graph input) give, 1 for batch extents and for the rest.
std::vector<int64_t> SymbolValues(const Graph& graph, const std::vector<Shape>& shapes);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_TARGETS_H_
