// What a backend is: it says which nodes it takes, compiles them, and the compiled nodes run.
//
// A backend is an ordinary object handed to Session::Create through a Registry; applications add their own
// (examples/custom_backend). Backends never negotiate with each other: each input declares the encoding it wants and
// the session inserts the conversions.
#ifndef TALLY_RUNTIME_BACKEND_BACKEND_H_
#define TALLY_RUNTIME_BACKEND_BACKEND_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "format/graph.h"
#include "runtime/core/cpu.h"
#include "runtime/core/thread_pool.h"
#include "tally/types.h"

namespace tally {

// How an input reaches a node.
enum class Encoding : uint8_t {
  kPlain = 0,  // the tensor's dtype
  kCodes = 1,  // one byte per element, by the tensor's codebook (runtime/ops/encode.h)
  kInt8 = 2,   // one uint8 per element, by MakeUniformQuantizer of the tensor's range and the node's max value
};

// One node with everything that is known when a session is planned.
struct NodeContext {
  const Graph& graph;
  const Node& node;
  std::vector<TensorType> inputs;  // concrete; of absent optional inputs an empty float32 type
  std::vector<TensorType> outputs;
  CpuFeatures cpu;  // instruction sets that kernels may use
  int num_threads = 1;

  // The tensor behind input i; null when absent.
  const Tensor* input(size_t i) const {
    return i < node.inputs.size() && node.inputs[i] >= 0 ? &graph.tensors[node.inputs[i]] : nullptr;
  }
};

// Pointers in the order of the node's inputs and outputs. Inputs: in the encoding that the node asked for; null for
// absent ones and for constants without plain form. Buffers of the session have 64 bytes of slack; those that the
// application bound (inputs and outputs of the model) may not.
struct RunArgs {
  const void* const* inputs;
  void* const* outputs;
  uint8_t* scratch;  // scratch_bytes(), 64-byte aligned, shared with other nodes: nothing survives in it
  ThreadPool* pool;  // never null
};

// One node, ready to run. Holds its repacked weights. Run is called by one thread at a time.
class CompiledNode {
 public:
  virtual ~CompiledNode() = default;

  // Computes all outputs. Allocates nothing, checks nothing that compiling could have checked.
  virtual absl::Status Run(const RunArgs& args) = 0;

  // The encoding wanted for input i; asked once, after compiling.
  virtual Encoding input_encoding(size_t) const { return Encoding::kPlain; }
  // Largest uint8 for inputs in kInt8: 255, or 127 where u8 x s8 products would saturate.
  virtual int int8_max_value() const { return 255; }
  virtual size_t scratch_bytes() const { return 0; }
  virtual size_t resident_weight_bytes() const { return 0; }
  // What runs, for the placement: "lookup_gemv_b4", "jit:avx512_core_vnni", ...
  virtual std::string kernel() const = 0;
  virtual std::string isa() const = 0;
};

// One of several ways to compute a node that give the same bits, so that the fastest may be taken (tuner.h).
struct NodeVariant {
  std::string name;     // "lookup", "onednn-codebook"; unique among the backends that may stand in for each other
  std::string version;  // of the library behind it; empty: none
  std::function<absl::StatusOr<std::unique_ptr<CompiledNode>>()> compile;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;

  // OK, or why not: kMissingForm when the model lacks the weight form that this backend needs (then nothing but a file
  // with it helps), kUnsupportedNode for all else. The message is shown to users: "group 3 > 1", "weight has no codes".
  virtual absl::Status Supports(const NodeContext& context) const = 0;

  // REQUIRES: Supports(context) is OK. May still fail (kOutOfMemory, kBackendFailed).
  virtual absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const = 0;

  // The ways in which this backend can compute the node; at least one. The first is that of Compile. They may be called
  // as long as the backend and the context live. REQUIRES: as for Compile.
  virtual std::vector<NodeVariant> Variants(const NodeContext& context) const {
    return {{name(), version(), [this, &context] { return Compile(context); }}};
  }

  // Whether all results equal, bit for bit, those of every other backend that says so. Where a session lists several of
  // them, a node goes to the fastest that takes it.
  virtual bool may_stand_in() const { return false; }

  // Library and version behind the backend, for reports: "oneDNN 2.6.3".
  virtual std::string version() const { return ""; }
};

}  // namespace tally

#endif  // TALLY_RUNTIME_BACKEND_BACKEND_H_
