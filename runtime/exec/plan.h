// A plan: what a session runs for one set of input extents, and of values of shape inputs. Built once, then
// only pointers of the application's buffers change. Building it does all validation, placement, compiling and memory
// planning; running it checks nothing twice.
#ifndef TALLY_RUNTIME_EXEC_PLAN_H_
#define TALLY_RUNTIME_EXEC_PLAN_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/graph.h"
#include "runtime/backend/backend.h"
#include "runtime/backend/tuner.h"
#include "runtime/core/aligned_buffer.h"
#include "runtime/ops/encode.h"
#include "runtime/ops/row_kernels.h"
#include "tally/tally.h"

namespace tally {

// One buffer: a tensor in one encoding. Views (Reshape, ...) share the value of the tensor that they look at.
struct Value {
  // kBound: the application's input buffer. kConstant: bytes of the model or of the plan.
  enum class Home : uint8_t { kArena, kBound, kConstant };
  int tensor = -1;
  Encoding encoding = Encoding::kPlain;
  int int8_max_value = 0;  // of encoding kInt8
  Home home = Home::kArena;
  uint64_t bytes = 0;
  int first = 0, last = 0;  // steps in which it is alive
  const void* constant = nullptr;
};

struct Step {
  enum class Kind : uint8_t { kNode, kView, kEncodeCodes, kEncodeInt8 };
  Kind kind = Kind::kNode;
  int node = -1;    // kNode, kView
  int tensor = -1;  // conversions
  std::unique_ptr<CompiledNode> compiled;
  std::optional<Encoder> encoder;
  UniformQuantizer quantizer;
  std::vector<int> inputs;  // values; -1: absent, or a constant without plain form
  std::vector<int> outputs;
  // Resolved addresses of the above, for RunArgs.
  std::vector<const void*> input_data;
  std::vector<void*> output_data;
  uint8_t* scratch = nullptr;
};

struct Plan {
  // False: values of shape inputs are missing, so that only inputs, outputs and shape_inputs are filled in.
  bool complete = false;
  std::vector<int64_t> symbol_values;
  std::vector<size_t> shape_inputs;  // among the inputs
  std::vector<TensorType> types;     // per tensor
  std::vector<Blob> known;           // values of shape inputs and what was computed while planning, kept alive
  std::vector<Value> values;
  std::vector<int> plain;  // per tensor: its value in plain encoding, or -1
  std::vector<Step> steps;
  std::vector<NodePlacement> placement;  // per node of the graph
  const RowKernels* rows = nullptr;      // of the encoding steps
  AlignedBuffer arena;
  std::vector<void*> home_data;   // per value: address in the arena or constant; null when bound
  std::vector<const void*> data;  // per value: address in use
  std::vector<TensorInfo> inputs, outputs;
  uint64_t resident_weight_bytes = 0;

  // Lets every step read and write `address` for `value`.
  void Bind(int value, void* address);

 private:
  friend class Planner;
  struct Use {
    int step;
    bool output;
    int argument;
  };
  std::vector<std::vector<Use>> uses_;  // per value; filled for inputs and outputs of the model
};

// REQUIRES: one value per symbol; `shape_values` as for InferGraph; `backends` outlive the plan.
absl::StatusOr<std::unique_ptr<Plan>> BuildPlan(const Graph& graph, const Limits& limits,
                                                const std::vector<int64_t>& symbol_values,
                                                const std::vector<Blob>& shape_values, const SessionOptions& options,
                                                const std::vector<std::shared_ptr<const Backend>>& backends,
                                                const CpuFeatures& cpu, int num_threads, Tuner* tuner);

}  // namespace tally

#endif  // TALLY_RUNTIME_EXEC_PLAN_H_
