// Samples described by a DATA.json (docs/data.md), read in batches; never more than one batch in memory.
// Untrusted: errors are kBadDataDescription and kBadDataFile with the file's name, expected and actual.
#ifndef TALLY_CONVERTER_CALIBRATION_DATASET_H_
#define TALLY_CONVERTER_CALIBRATION_DATASET_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/ctc.h"
#include "tally/tally.h"

namespace tally {

enum class TargetKind { kNone, kClass, kText, kScore };

// One input of a batch: dense, batch first, already in the model's dtype and layout.
struct BatchInput {
  std::string name;  // the model's
  TensorType type;
  std::vector<uint8_t> data;
  TensorView view() const { return {data.data(), type.dtype, type.shape}; }
};

struct Batch {
  std::vector<BatchInput> inputs;
  // What is right, one per sample, for the kind of target that there is.
  std::vector<int64_t> labels;     // kClass
  std::vector<std::string> texts;  // kText, without spaces at the ends
  std::vector<double> scores;      // kScore: of the pair that the sample belongs to
  std::vector<NamedView> views() const;
};

class Dataset {
 public:
  // Opens the description and what it refers to; checks counts against each other. `model_inputs` resolve the name "*"
  // (the model's only input) and give dtypes and expected sample shapes (a mismatch is kBadDataFile). A shape input
  // belongs to no sample: kShapeInput.
  static absl::StatusOr<Dataset> Open(const std::string& path, const std::vector<TensorInfo>& model_inputs);

  const std::string& name() const;
  // "top1", "ctc_exact", "pearson_of_cosine"; "agreement" when there is no target
  const std::string& metric() const;
  TargetKind target() const;
  int64_t size() const;  // after offset and limit

  // Where targets are scores, samples 2k and 2k + 1 are a pair, and whatever is kept of the samples is whole pairs. A
  // unit is such a pair, else one sample.
  int64_t unit() const { return target() == TargetKind::kScore ? 2 : 1; }

  // Keeps samples offset .. offset + limit - 1 (limit < 0: to the end), of them those with their partner.
  absl::Status Slice(int64_t offset, int64_t limit);
  // Keeps `count` samples (but at least a unit) drawn by `seed`, in their order; all when there are no more.
  void Draw(int64_t count, uint64_t seed);
  // Every stride-th unit from unit `first` on: halves for selection and figure.
  absl::Status Stride(int64_t first, int64_t stride);

  // Takes every stride-th unit out, the last of each stride, and gives those. REQUIRES: 2 <= stride <= size() / unit().
  Dataset HoldBack(int64_t stride);

  // Whether a model with so many classes can have been meant: every label names one of them, or the charset has as
  // many; kBadDataFile says what does not.
  absl::Status CheckClasses(int64_t classes) const;
  const Charset& charset() const;  // of TargetKind::kText

  // What the samples' extents make of the model's dynamic dimensions beside its batch; `symbols`: their names
  // (Graph::symbols). For SessionOptions::dimensions: not every model runs at an extent of 1.
  std::vector<std::pair<std::string, int64_t>> Dimensions(const std::vector<std::string>& symbols) const;

  // Every file that the samples and labels come from, the description first.
  std::vector<std::string> files() const;

  // Samples first .. first + count - 1. REQUIRES: within size().
  absl::StatusOr<Batch> Read(int64_t first, int64_t count) const;

  // xxh3 of all samples and labels as read, in hexadecimal: identifies the calibration data in a model's metadata.
  absl::StatusOr<std::string> Hash() const;

 private:
  struct Impl;
  int64_t units() const { return size() / unit(); }
  // Samples of the units that keeps(unit) names.
  template <typename Keeps>
  std::vector<int64_t> Kept(const Keeps& keeps) const;
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
