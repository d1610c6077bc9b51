// Samples described by a DATA.json (docs/data.md), read in batches; never more than one batch in memory.
// Untrusted: errors are kBadDataDescription and kBadDataFile with the file's name, expected and actual.
#ifndef TALLY_CONVERTER_CALIBRATION_DATASET_H_
#define TALLY_CONVERTER_CALIBRATION_DATASET_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tally/tally.h"

namespace tally {

enum class TargetKind { kNone, kClass };

// One input of a batch: dense, batch first, already in the model's dtype and layout.
struct BatchInput {
  std::string name;  // the model's
  TensorType type;
  std::vector<uint8_t> data;
  TensorView view() const { return {data.data(), type.dtype, type.shape}; }
};

struct Batch {
  std::vector<BatchInput> inputs;
  std::vector<int64_t> labels;  // TargetKind::kClass: one per sample
  std::vector<NamedView> views() const;
};

class Dataset {
 public:
  // Opens the description and what it refers to; checks counts against each other. `model_inputs` resolve the name "*"
  // (the model's only input) and give dtypes and expected sample shapes (a mismatch is kBadDataFile).
  static absl::StatusOr<Dataset> Open(const std::string& path, const std::vector<TensorInfo>& model_inputs);

  const std::string& name() const;
  const std::string& metric() const;  // "top1"; "agreement" when there is no target
  TargetKind target() const;
  int64_t size() const;  // after offset and limit

  // Keeps samples offset .. offset + limit - 1 (limit < 0: to the end).
  absl::Status Slice(int64_t offset, int64_t limit);
  // Keeps `count` samples drawn by `seed`, in their order; all when there are no more.
  void Draw(int64_t count, uint64_t seed);
  // Every stride-th sample from `first` on: halves for selection and figure.
  absl::Status Stride(int64_t first, int64_t stride);

  // Takes every stride-th sample out, the last of each stride, and gives those. REQUIRES: 2 <= stride <= size().
  Dataset HoldBack(int64_t stride);

  // Whether every label names one of `classes`; kBadDataFile names the first that does not.
  absl::Status CheckLabels(int64_t classes) const;

  // Every file that the samples and labels come from, the description first.
  std::vector<std::string> files() const;

  // Samples first .. first + count - 1. REQUIRES: within size().
  absl::StatusOr<Batch> Read(int64_t first, int64_t count) const;

  // xxh3 of all samples and labels as read, in hexadecimal: identifies the calibration data in a model's metadata.
  absl::StatusOr<std::string> Hash() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
  std::vector<int64_t> samples_;  // indices kept
};

// Reads an .npy file (version 1..3, C order, any numeric dtype) whole. Errors: kBadDataFile.
struct NpyArray {
  std::string descr;  // "<f4"
  Shape shape;
  std::vector<uint8_t> data;
};
absl::StatusOr<NpyArray> ReadNpy(const std::string& path);
// Converts to `dtype` (values that do not fit are kBadDataFile).
absl::StatusOr<std::vector<uint8_t>> ConvertNpy(const NpyArray& array, DType dtype, const std::string& path);
absl::Status WriteNpy(const std::string& path, const TensorView& view);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_DATASET_H_
