// Small helpers that the rewrites share: who produces and who consumes a tensor, unused names, constants.
#ifndef TALLY_CONVERTER_PASSES_GRAPH_UTIL_H_
#define TALLY_CONVERTER_PASSES_GRAPH_UTIL_H_

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "format/graph.h"

namespace tally {

// Producers and consumers by node index. A snapshot: a rewrite that changes edges keeps it up to date itself.
struct GraphIndex {
  explicit GraphIndex(const Graph& graph);

  std::vector<int> producer;                // -1: graph input or constant
  std::vector<std::vector<int>> consumers;  // one entry per edge
  std::vector<bool> is_output;

  // The node that consumes `tensor`, when that is its only use; else -1.
  int SoleConsumer(int tensor) const {
    const std::vector<int>& nodes = consumers[static_cast<size_t>(tensor)];
    return nodes.size() == 1 && !is_output[static_cast<size_t>(tensor)] ? nodes[0] : -1;
  }
};

// Gives names that nothing else has.
class NameSet {
 public:
  NameSet() = default;
  static NameSet OfTensors(const Graph& graph);
  static NameSet OfNodes(const Graph& graph);

  // `wanted`, or `wanted` with "_1", "_2", ... appended; taken from then on.
  std::string Unique(const std::string& wanted);
  // False when it was taken already.
  bool Take(const std::string& name) { return names_.insert(name).second; }

 private:
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int> next_suffix_;  // so that many equal wishes do not try the same suffixes again
};

// Rewrites mark a node for removal by emptying its operator; this drops the marked ones.
inline void MarkRemoved(Node* node) { *node = Node(); }
inline bool IsRemoved(const Node& node) { return node.op.empty(); }
void EraseRemovedNodes(Graph* graph);

// The values of a plain float32 constant; null for anything else (including index -1).
const float* ConstantFloats(const Graph& graph, int tensor);
// True, and the value, for a plain float32 constant of one element and rank <= 1.
bool ConstantScalar(const Graph& graph, int tensor, float* value);

// A plain constant with a fresh buffer, written through *values.
Tensor MakeFloatConstant(const std::string& name, Shape shape, float** values);
Tensor MakeInt64Constant(const std::string& name, const std::vector<int64_t>& values);

// The transpose of a plain float32 matrix (rank 2), each value multiplied by `factor` in float64.
Tensor TransposedMatrix(const Tensor& matrix, double factor);

// Points input `input` of `node` at `constant`. When the constant it replaces has no other use (`uses` == 1), its data
// is exchanged in place and the name stays; otherwise a tensor with a derived name is added. Returns the tensor's
// index.
int ReplaceConstantInput(Graph* graph, NameSet* names, Node* node, size_t input, size_t uses, Tensor constant);

inline int InputOrAbsent(const Node& node, size_t i) { return i < node.inputs.size() ? node.inputs[i] : -1; }
inline bool IsConvOrGemm(const Node& node) { return node.op == "Conv" || node.op == "Gemm"; }
// Nothing follows the bias yet, so that something linear can still be merged into it.
inline bool HasNoFusedTail(const Node& node) {
  return InputOrAbsent(node, 3) < 0 && node.Find("activation") == nullptr;
}

}  // namespace tally

#endif  // TALLY_CONVERTER_PASSES_GRAPH_UTIL_H_
