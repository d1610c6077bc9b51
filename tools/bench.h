// `tally bench` and the stand-alone tally_benchmark_model: latency and memory of sessions on random inputs.
#ifndef TALLY_TOOLS_BENCH_H_
#define TALLY_TOOLS_BENCH_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/cli.h"
#include "tools/common.h"
#include "tools/measure.h"

namespace tally::tools {

struct BenchOptions {
  std::string model;
  std::vector<std::string> backends = {"exponent"};
  std::vector<int> num_threads = {1};
  int64_t batch = 0;  // 0: as the model says
  LatencyOptions latency;
  bool enable_op_profiling = false;
  bool report_peak_memory_footprint = false;
  bool require_backend = false;
  TuningFlags tuning;
  bool list_backends = false;
  std::string output = "md";
  std::string output_file = "-";
  std::string json;  // = output "json" to this file
};

// Adds options, description and examples to `app`; `program` is what the examples type.
void AddBenchOptions(CLI::App* app, BenchOptions* options, const std::string& program);

absl::Status RunBench(const BenchOptions& options);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_BENCH_H_
