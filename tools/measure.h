// Latency of a session, and peak memory measured in a process of its own.
//
// Peak resident memory never falls within a process, and a child of fork() shares its parent's pages (and hangs in
// OpenMP), so the program starts itself anew for every figure: the child loads the model, runs it a few times and
// reports.
#ifndef TALLY_TOOLS_MEASURE_H_
#define TALLY_TOOLS_MEASURE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tally/tally.h"
#include "tools/common.h"

namespace tally::tools {

// kShapeInput where a shape follows from the value of an input.
absl::Status CheckInputsCanBeMadeUp(const Model& model);

// Inputs and outputs for the shapes that a session has now. Move-only views into its own memory.
class RunBuffers {
 public:
  // Floats are pseudo-random, the same in every run, within the range that calibration recorded for the input, else in
  // [0, 1); integers are zero, which is a valid index.
  RunBuffers(const Session& session, const Model& model);
  RunBuffers(const RunBuffers&) = delete;
  RunBuffers& operator=(const RunBuffers&) = delete;

  const std::vector<NamedView>& inputs() const { return inputs_; }
  const std::vector<NamedMutableView>& outputs() const { return outputs_; }

 private:
  std::vector<std::vector<uint8_t>> storage_;
  std::vector<NamedView> inputs_;
  std::vector<NamedMutableView> outputs_;
};

struct LatencyOptions {
  int64_t warmup_runs = 1;
  int64_t num_runs = 50;  // at least
  double min_secs = 1;    // at least
  double max_secs = 150;  // stops even below num_runs
};

// Microseconds of wall time.
struct Latency {
  int64_t runs = 0;
  double min = 0, median = 0, p90 = 0, mean = 0, stddev = 0;
};

absl::StatusOr<Latency> MeasureLatency(Session* session, const std::vector<NamedView>& inputs,
                                       const std::vector<NamedMutableView>& outputs, const LatencyOptions& options);
Json LatencyJson(const Latency& latency);

// Sets extent 0 of every input to `batch`. Error: kInputShape where it is not dynamic.
absl::Status ResizeBatch(Session* session, int64_t batch);

struct MemoryFigures {
  uint64_t peak_rss_bytes = 0;      // of the whole process
  uint64_t baseline_rss_bytes = 0;  // before the model was loaded: program and libraries
  uint64_t resident_weight_bytes = 0;
  uint64_t arena_bytes = 0;
};

// Runs this program again. Errors: those of loading and running in the child; kOutOfMemory when it cannot be started.
absl::StatusOr<MemoryFigures> MeasureMemory(const std::string& model_path, const SessionSpec& spec, int num_threads,
                                            int64_t batch, const TuningFlags& tuning,
                                            const Dimensions& dimensions = {});

using ModelLoader = std::function<absl::StatusOr<Model>(const std::string& path)>;
// When the process was started by MeasureMemory: measures, prints, sets *exit_status and returns true.
bool RunMeasureChild(int argc, char** argv, const ModelLoader& load, int* exit_status);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_MEASURE_H_
