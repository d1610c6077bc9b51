// The layers that are measured: their text form, geometry and work.
#ifndef TALLY_BENCH_LAYERS_PROBLEM_H_
#define TALLY_BENCH_LAYERS_PROBLEM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/ops/window.h"

namespace tally::bench {

// A product with constant weights. fc and matmul are 1x1 convolutions over single-pixel images, one per row.
struct Problem {
  std::string text;  // as given
  bool is_conv = false;
  Window2d window;  // of one sample; for matmul window.batch is M

  int64_t macs() const { return window.batch * window.out_channels * window.out_h * window.out_w * window.k(); }
  int64_t inputs() const { return window.batch * window.in_channels * window.in_h * window.in_w; }
  int64_t outputs() const { return window.batch * window.out_channels * window.out_h * window.out_w; }
  int64_t weights() const { return window.out_channels * window.k(); }
};

// "fc:KxN", "matmul:MxKxN" or "conv:CxHxW:OxRxS:stride[:groups[:pad]]"; pad defaults to floor(R / 2).
// Errors: kUsage.
absl::StatusOr<Problem> ParseProblem(const std::string& text);

// One problem a line; blank lines and what follows '#' are skipped. Errors: kUsage with the line, those of reading.
absl::StatusOr<std::vector<Problem>> ReadProblems(const std::string& path);

// The same for `batch` samples.
Problem WithBatch(const Problem& problem, int64_t batch);

}  // namespace tally::bench

#endif  // TALLY_BENCH_LAYERS_PROBLEM_H_
