// Chooses among the variants of a node by running each. All give the same bits, so the choice is one of speed alone.
//
// Variants take turns on made-up operands. Between runs a buffer as large as the L2 cache is read, as the layers in
// between do in a running model, and then the operands, which the layer before has just written. The shortest run of
// each counts, because other work on the machine only adds; a run that lost its CPU in between does not, because a
// spinning pool then waits for whole time slices. One tuner serves one plan, from one thread.
#ifndef TALLY_RUNTIME_BACKEND_TUNER_H_
#define TALLY_RUNTIME_BACKEND_TUNER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/backend/backend.h"
#include "runtime/backend/tuning_cache.h"
#include "runtime/core/aligned_buffer.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// What is read before and after each run.
struct TunerClock {
  double seconds = 0;
  int64_t preemptions = 0;  // of threads of this process, by others
};

struct TunerOptions {
  bool measure = true;    // false: the first variant is taken, nothing runs and no clock is read
  double seconds = 0.5;   // for all nodes together, beside compiling the variants that are taken by rule
  std::string cache_dir;  // of a file of decisions; empty: none
  TuningCache* cache = &TuningCache::OfProcess();
  std::function<TunerClock()> clock;  // null: the machine's
  std::function<void(const std::string&)> warn;
};

class Tuner {
 public:
  // `pool` outlives the tuner.
  Tuner(TunerOptions options, ThreadPool* pool) : options_(std::move(options)), pool_(pool), left_(options_.seconds) {}

  struct Choice {
    std::unique_ptr<CompiledNode> node;
    size_t variant = 0;
    std::string why;  // for users: "only kernel", "rule", "measured 12.1 us, bitsliced 20.3 us", "cached: measured ..."
  };
  // The first variant is the rule's: it stays unless another is clearly faster, and decides where nothing can be
  // measured. One that fails to compile or run is out of the race; the error is the first one's when all fail.
  // REQUIRES: at least one variant.
  absl::StatusOr<Choice> Choose(const NodeContext& context, const std::vector<NodeVariant>& variants);

  // Writes new decisions to the file; failure is a warning.
  void Save();

 private:
  class Trial;
  TunerClock Now() const;
  absl::StatusOr<Choice> Measure(const NodeContext& context, const std::vector<NodeVariant>& variants,
                                 const std::string& key);
  // Runs them in turns. Empty, or why the first one is taken unmeasured.
  std::string Race(const NodeContext& context, std::vector<Trial>* trials);
  absl::Status RunOnce(Trial* trial);
  void SyncCache();

  TunerOptions options_;
  ThreadPool* pool_;
  double left_;  // seconds
  bool has_read_file_ = false;
  bool has_news_ = false;
  AlignedBuffer evicting_;
};

}  // namespace tally

#endif  // TALLY_RUNTIME_BACKEND_TUNER_H_
