// The operators: what each accepts, the shapes it gives, and one shared float implementation.
//
// The shared implementation is part of the exactness contract: every output element is computed in one fixed order of
// float32 operations with our own exp, tanh and erf, so its bits depend neither on the CPU nor on the thread count.
// Backends refer to operators by name; FindOp is the sole list of what a model may contain.
#ifndef TALLY_RUNTIME_OPS_OP_H_
#define TALLY_RUNTIME_OPS_OP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "format/graph.h"
#include "format/limits.h"
#include "runtime/core/thread_pool.h"
#include "runtime/ops/row_kernels.h"
#include "tally/types.h"

namespace tally {

// What inference sees of a node. Types are concrete (no symbols).
struct InferContext {
  const Node& node;
  std::vector<const TensorType*> inputs;  // null: absent optional input
  // Values of inputs that are known before the run (plain constants and what follows from shapes); else null.
  std::vector<const void*> values;

  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
};

struct EvalContext {
  const Node& node;
  std::vector<TensorView> inputs;  // data == nullptr: absent, or a weight without plain form
  std::vector<MutableTensorView> outputs;
  ThreadPool* pool = nullptr;        // never null when running in a session
  const RowKernels* rows = nullptr;  // null: the portable ones
};

// Checks the node's attributes and input types, and appends one type per output. Every size is computed with checked
// arithmetic. Errors: kBadAttribute, kBadNodeInputs, kBadShape (the caller adds the node's name).
using InferFn = absl::Status (*)(const InferContext&, std::vector<TensorType>* outputs);
// Computes all outputs. Inference has passed, so that only data-dependent errors remain (Gather index out of range).
// Allocates nothing.
using EvalFn = absl::Status (*)(const EvalContext&);

struct OpDef {
  const char* name;
  int min_inputs;
  int max_inputs;  // -1: any number
  int min_outputs;
  int max_outputs;  // -1: any number
  // Names and kinds of attributes, "axis:int strides:ints alpha:float auto_pad:string"; any other is kBadAttribute.
  // Kinds: string, ints, floats; int and float, a list of exactly one; flag, an int that is 0 or 1. No float is NaN.
  const char* attributes;
  // Element types that input 0 may have, a set of runtime/ops/element_types.h; InferNode checks it.
  unsigned types;
  InferFn infer;
  EvalFn eval;
  // Inputs and meaning, for docs/operators.md.
  const char* note;
  // Output is the input's bytes under another shape (Reshape, Identity, ...): sessions alias instead of copying.
  bool is_view = false;
  // Inputs whose values the output's shape follows from (Reshape's shape, ...), one bit each: inference needs them.
  unsigned shaped_by = 0;
};

inline bool IsShapedBy(const OpDef& def, size_t input) { return input < 32 && (def.shaped_by >> input & 1) != 0; }

// Null when there is no such operator.
TALLY_API const OpDef* FindOp(const std::string& name);
// All of them, sorted by name.
std::vector<const OpDef*> AllOps();

// "float32, int64", or "any".
std::string TypeNames(unsigned types);

// What needs no types: counts of inputs and outputs, and the attributes, against `def`.
absl::Status CheckNode(const OpDef& def, const InferContext& context);

// CheckNode, then def.infer, then the limits on rank and extents of inputs and outputs. Replaces *outputs.
absl::Status InferNode(const OpDef& def, const InferContext& context, std::vector<TensorType>* outputs);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_OP_H_
