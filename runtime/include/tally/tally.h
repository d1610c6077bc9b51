// Tally: run models whose weights and activations are exponents.
//
//   absl::StatusOr<tally::Model> model = tally::Model::Load("digits.tally");
//   tally::SessionOptions options;
//   options.backends = {"exponent"};
//   absl::StatusOr<tally::Session> session = tally::Session::Create(*model, options);
//   absl::Status status = session->Run({{"input", view}}, {{"logits", out}});
//
// Thread safety: a Model is immutable and may be shared by any number of threads and sessions; it lives on while a
// session uses it. A Session takes one call at a time: a second concurrent Run gets TLY-E7003, not a race.
// No exception leaves this API; no function prints.
#ifndef TALLY_TALLY_H_
#define TALLY_TALLY_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tally/limits.h"
#include "tally/status.h"
#include "tally/types.h"

namespace tally {

class Registry;
class ThreadPool;
struct Graph;

// "0.1.0".
TALLY_API const char* Version();

// Name and type of a model's input or output. A negative extent is dynamic.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kFloat32;
  Shape shape;
  // An input from whose value shapes follow (Reshape's shape, Range's limit, ...): a scalar or a vector.
  bool is_shape_input = false;
  // False: an output whose type follows from values of shape inputs that are not known yet; then `shape` is empty and
  // `dtype` says nothing.
  bool shape_known = true;
};

struct LoadModelOptions {
  Limits limits;
  bool use_mmap = false;  // see docs/format.md: a mapped file must not be truncated while the model lives
};

// A verified model.
class TALLY_API Model {
 public:
  // Reads and verifies a .tally file. Errors: see docs/errors.md, "bad input", "I/O", "resources", "unsupported".
  static absl::StatusOr<Model> Load(const std::string& path, const LoadModelOptions& options = {});
  // The same from memory; the bytes are copied.
  static absl::StatusOr<Model> Parse(const void* data, size_t size, const LoadModelOptions& options = {});
  // From a graph built in memory (the converter's, or an application's own); verified like a file.
  static absl::StatusOr<Model> FromGraph(Graph graph, const Limits& limits = {});

  const std::vector<TensorInfo>& inputs() const;
  // As with extents 1 (or 64) for dynamic ones, and unknown where they follow from values; ask the session.
  const std::vector<TensorInfo>& outputs() const;
  const Graph& graph() const;  // format/graph.h
  const Limits& limits() const;

 private:
  struct Impl;
  explicit Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
  friend class Session;
};

// Set from any thread to stop a run between two nodes.
class CancellationToken {
 public:
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  void Reset() { cancelled_.store(false, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

enum class LogLevel { kInfo, kWarning };

// How a node's kernel, or its backend, is chosen among those that give the same bits.
enum class Tuning {
  kMeasure,  // they run on made-up data while the session is planned; the process remembers which was fastest
  kRules,    // by kind and shape of the node and the order of backends: always the same, and no clock is read
};

struct SessionOptions {
  // In order of preference. Those that give the same bits (exponent, onednn-codebook) share the nodes out by speed, the
  // first of them has the margin; see Tuning. A node that none takes runs on the shared float operators ("ops" in the
  // placement).
  std::vector<std::string> backends = {"exponent"};
  // Makes such a node an error (kRefused). Nodes that cost nothing (views, folded ones) are no such nodes.
  bool require_backend = false;
  int num_threads = 1;  // 0: one per CPU
  // Shared by sessions that take turns, so that idle workers of one do not take the other's CPUs; then num_threads is
  // not read (runtime/core/thread_pool.h). Null: a pool of the session's own.
  std::shared_ptr<ThreadPool> thread_pool;
  // Extents for dynamic dimensions by symbol name ("N", ...); batches start at 1, others at what the calibration data
  // had, or 1 where nothing is known. Resize changes them.
  std::vector<std::pair<std::string, int64_t>> dimensions;
  Tuning tuning = Tuning::kMeasure;
  double tuning_seconds = 0.5;  // of measuring in each planning, about; then rules decide
  // A directory for a small file that keeps what was measured, by CPU, for later processes. Empty: none is kept.
  std::string cache_dir;
  bool enable_profiling = false;
  // Keeps every intermediate tensor readable after Run, at the price of memory.
  bool keep_intermediates = false;
  std::function<void(LogLevel, const std::string&)> log;
};

// Where one node runs, and why not elsewhere.
struct NodePlacement {
  struct Refusal {
    std::string backend;
    std::string reason;
  };
  std::string node;
  std::string op;
  std::string backend;  // "ops": the shared float operators
  std::string kernel;
  std::string isa;
  std::string why;  // this kernel: "only kernel", "rule", "measured 12.1 us, bitsliced 20.3 us"; empty for "ops"
  std::vector<Refusal> refused;
};

// Wall time of one step of the last run.
struct NodeProfile {
  std::string node;  // "encode:<tensor>" for a conversion
  std::string op;
  std::string backend;
  double microseconds = 0;
};

struct SessionStats {
  uint64_t arena_bytes = 0;            // activations and scratch
  uint64_t resident_weight_bytes = 0;  // repacked weights held by the compiled nodes
  uint64_t nan_encoded = 0;            // NaN inputs that were encoded as zero, since Create
  uint64_t negative_encoded = 0;       // negative values met in non-negative tensors, since Create
};

struct NamedView {
  std::string name;
  TensorView view;
};
struct NamedMutableView {
  std::string name;
  MutableTensorView view;
};

struct RunOptions {
  const CancellationToken* cancellation = nullptr;
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

// Called after each node of the graph with every tensor that the node produced (plain form).
using Observer = std::function<void(const std::string& node, const std::string& tensor, const TensorView& value)>;

// A planned and compiled model.
class TALLY_API Session {
 public:
  // Plans and compiles with the backends that this library was built with. Errors: kUnknownBackend, kBadThreadCount,
  // kMissingForm, kMissingIsa, kRefused, kLimitArena, ... A model with shape inputs is planned when their values are
  // given, in Prepare or Run, which then have these errors, too.
  static absl::StatusOr<Session> Create(const Model& model, const SessionOptions& options = {});
  // The same with the application's registry (runtime/backend/registry.h).
  static absl::StatusOr<Session> Create(const Model& model, const SessionOptions& options, const Registry& registry);

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Runs once. Every input must be given, in the model's dtype and the session's shape; outputs that are not asked for
  // are not copied out. Views are read and written in place and must not overlap. Allocates nothing after the first
  // run, unless a shape input has another value than before: then it plans and compiles anew first, outputs() change,
  // and outputs of other shapes are kInputShape (run without outputs and read tensor(), or Prepare).
  // Errors: kMissingInput, kUnknownTensorName, kInputDType, kInputShape, kCancelled, kDeadline, kSessionBusy; for
  // values that make no valid shape those of the node, kBadNodeInputs, kBadShape, kLimitTensor, kLimitArena, ...
  // After an error the outputs' contents are unspecified and the session stays usable.
  absl::Status Run(const std::vector<NamedView>& inputs, const std::vector<NamedMutableView>& outputs,
                   const RunOptions& options = {});

  // Plans and compiles anew for other input shapes. On error the session keeps its old shapes. Values of shape inputs
  // belong to the old shapes and are forgotten with them.
  absl::Status Resize(const std::vector<std::pair<std::string, Shape>>& input_shapes);

  // Resize to the shapes of these inputs, and planning for the values of the shape inputs, which must be among them
  // (no other is read). A Run with the same then allocates nothing, and outputs() say what it gives. Errors: those of
  // Resize and Run; the session then keeps its old shapes and values.
  absl::Status Prepare(const std::vector<NamedView>& inputs);

  const std::vector<TensorInfo>& inputs() const;        // concrete
  const std::vector<TensorInfo>& outputs() const;       // concrete, but for shapes that are not known yet
  const std::vector<NodePlacement>& placement() const;  // empty while values of shape inputs are not known
  const std::vector<NodeProfile>& profile() const;      // of the last run; needs enable_profiling
  SessionStats stats() const;
  int num_threads() const;

  // A tensor of the last run by name, valid until the next; needs keep_intermediates for tensors that are not outputs.
  absl::StatusOr<TensorView> tensor(const std::string& name) const;
  // Observes every run until set again; an empty function stops. Costs memory like keep_intermediates does not: values
  // are shown while they are alive.
  void set_observer(Observer observer);

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Names of the backends that this library was built with.
TALLY_API std::vector<std::string> AvailableBackends();

}  // namespace tally

#endif  // TALLY_TALLY_H_
