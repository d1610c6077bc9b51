// Runs a session over a dataset, batch by batch, so that never more than one batch is in memory.
#ifndef TALLY_CONVERTER_CALIBRATION_BATCHES_H_
#define TALLY_CONVERTER_CALIBRATION_BATCHES_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "tally/tally.h"

namespace tally {

// What one run gave. A batch may be padded with copies of its last sample: only the first `count` samples are real.
struct BatchResult {
  const Batch& batch;
  int64_t first = 0;  // index of the batch's first sample
  int64_t count = 0;
  int64_t batch_size = 0;  // of the run, copies included
  // The first is sample-major.
  const std::vector<TensorView>& outputs;
  int64_t output_per_sample = 0;  // of the first
};

// Resizes the session to the sample's shapes with `batch` samples per run where the model's batch is dynamic and memory
// allows, else with the model's own number; returns which.
absl::StatusOr<int64_t> FitSession(Session& session, const Batch& sample, int64_t batch);

// Repeats the last of `count` samples until there are `batch`.
void PadBatch(Batch* samples, int64_t count, int64_t batch);

// Fits the session to the samples' shapes, with `batch` samples per run where the model's batch is dynamic, else with
// the model's own number. `batch` 0: so many that their inputs take about 4 MiB, at most 32. `before` (may be null)
// sees a batch before it is run. Errors: kBadDataFile when there is no sample; those of Read, Resize and Run and of
// `after`.
absl::Status RunInBatches(Session& session, const Dataset& data, int64_t batch,
                          const std::function<absl::Status(const Batch& batch, int64_t first, int64_t count)>& before,
                          const std::function<absl::Status(const BatchResult&)>& after);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_BATCHES_H_
