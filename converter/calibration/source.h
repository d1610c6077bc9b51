// One input of the model and where its samples come from: an .npy file or images, and how they become what the model
// takes. Immutable after OpenSource; safe to share between threads. Untrusted: errors as in dataset.h.
#ifndef TALLY_CONVERTER_CALIBRATION_SOURCE_H_
#define TALLY_CONVERTER_CALIBRATION_SOURCE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/description.h"
#include "converter/calibration/npy.h"
#include "tally/tally.h"

namespace tally {

// How one sample is read: a view of height x width x channels into the source, and the order in which it is written.
// Arrays without a layout are one row of `width` values with one channel.
struct Geometry {
  int64_t height = 1, width = 1, channels = 1;
  int64_t stride_h = 0, stride_w = 0, stride_c = 0;  // elements of the source
  int64_t start = 0;                                 // of the crop
  bool reverse_channels = false;
  bool channels_first = false;

  int64_t elements() const { return height * width * channels; }
};

// Space that reading one sample after the other takes only once.
struct SampleScratch {
  std::vector<uint8_t> raw;
  std::vector<double> values;
};

struct Source {
  InputDescription description;
  TensorInfo model;  // extent 0 is the batch
  std::string path;  // of the array or the list
  std::optional<NpyFile> npy;
  std::vector<std::string> images;
  Extent2d image_size;  // every image's; 0 = any that holds the crop
  Geometry geometry;    // of images of any size only the extents count
  Shape sample_shape;   // after reshape
  int64_t count = 0;

  int64_t sample_bytes() const { return geometry.elements() * static_cast<int64_t>(DTypeSize(model.dtype)); }
  // Writes one sample in the model's type. REQUIRES: sample_bytes() of space.
  absl::Status Read(int64_t sample, SampleScratch* scratch, uint8_t* out) const;
};

// Opens what `input` names, `subject` in messages of the description at `path`, and compares it with what the model
// takes.
absl::StatusOr<Source> OpenSource(const InputDescription& input, const TensorInfo& model, const std::string& path,
                                  const std::string& subject);

// `relative` as seen from the folder that holds `file`.
std::string Beside(const std::string& file, const std::string& relative);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_SOURCE_H_
