// Times several functions in turns, so that whatever else the machine does strikes all of them alike.
#ifndef TALLY_BENCH_LAYERS_INTERLEAVE_H_
#define TALLY_BENCH_LAYERS_INTERLEAVE_H_

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tally::bench {

struct Contestant {
  std::function<absl::Status(size_t copy)> run;
  size_t copies = 1;  // of its data; a run takes the next one
};

// Microseconds of one run.
struct Times {
  double median = 0, min = 0, p90 = 0;
};

struct InterleaveOptions {
  double min_secs = 0.5;  // of timed runs, of each contestant
  // Wait before a contestant's turn, so that the threads of the one before are asleep.
  bool pause = false;
};

// The first error ends it.
absl::StatusOr<std::vector<Times>> Interleave(const std::vector<Contestant>& contestants,
                                              const InterleaveOptions& options);

}  // namespace tally::bench

#endif  // TALLY_BENCH_LAYERS_INTERLEAVE_H_
