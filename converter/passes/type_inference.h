// Element types and shapes of all tensors of a graph whose symbols are bound to trial extents, node by node.
// Rewrites that need extents look at two bindings with different extents per symbol: what is equal under both does not
// depend on a symbol.
#ifndef TALLY_CONVERTER_PASSES_TYPE_INFERENCE_H_
#define TALLY_CONVERTER_PASSES_TYPE_INFERENCE_H_

#include <deque>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// What evaluation may still spend; a constant graph in a small file must cost neither endless memory nor endless time.
struct EvaluationBudget {
  uint64_t bytes = 0;  // of results
  uint64_t steps = 0;  // elements read and multiply-adds made
};

// Computes a node from the values of its inputs (entries of absent inputs are ignored). Outputs are plain constants
// without names; empty, and the budget untouched, when the node needs more than that. Errors: what inference or
// evaluation reports.
absl::StatusOr<std::vector<Tensor>> EvaluateNode(const Node& node, const std::vector<const Tensor*>& inputs,
                                                 EvaluationBudget* budget, ThreadPool* pool);

class TypeInference {
 public:
  // Two bindings are enough: 0 and 1. Symbols that occur only as extent 0 of inputs (batches) are small, others are of
  // the size of images and sequences, so that windows fit.
  TypeInference(const Graph& graph, int binding);

  // Types (and, where they follow from shapes, the values) of a node's outputs; nodes come in order. A node that cannot
  // be inferred leaves its outputs unknown: a session reports why, with real extents.
  void Visit(const Node& node);
  void VisitAll();

  // Null: unknown.
  const TensorType* type(int tensor) const;
  // A plain constant, or what followed from shapes. Null: neither.
  const Tensor* value(int tensor) const;

 private:
  struct Entry {
    std::optional<TensorType> type;
    std::optional<Tensor> value;  // computed from shapes
  };
  Entry& At(int tensor) const;

  const Graph& graph_;
  // Grows with the graph (constants are entered when asked for); a deque, so that what is handed out stays where it is.
  mutable std::deque<Entry> entries_;
  std::unique_ptr<ThreadPool> pool_;
};

// Both bindings over the whole graph.
class SymbolicTypes {
 public:
  explicit SymbolicTypes(const Graph& graph);
  // Known to have the same type whatever the symbols are.
  bool Same(int a, int b) const;
  // -1: unknown.
  int Rank(int tensor) const;
  // The last extent where it does not depend on a symbol; -1: unknown.
  int64_t LastExtent(int tensor) const;

 private:
  TypeInference first_;
  TypeInference second_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_PASSES_TYPE_INFERENCE_H_
