// The parsed form of a DATA.json (docs/data.md): what it says, before any file that it names is opened.
// A plain value. The text is untrusted: every mistake is kBadDataDescription with the key, what was expected and what
// was found; unknown and repeated keys are mistakes too, because a misspelt key that is silently ignored changes
// figures.
#ifndef TALLY_CONVERTER_CALIBRATION_DESCRIPTION_H_
#define TALLY_CONVERTER_CALIBRATION_DESCRIPTION_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"

namespace tally {

// Order of the axes of one image sample; kNone: an array without such axes.
enum class Layout { kNone, kChannelsLast, kChannelsFirst };

struct Extent2d {
  int64_t height = 0;
  int64_t width = 0;
};

struct InputDescription {
  enum class Kind { kNpy, kImageList };
  std::string name;  // the model's, or "*"
  Kind kind = Kind::kNpy;
  std::string path;  // as written, relative to the description
  Layout from_layout = Layout::kNone;
  Layout to_layout = Layout::kNone;
  double scale = 1;
  std::vector<double> mean;    // empty: 0; one entry: for all channels
  std::vector<double> stddev;  // empty: 1; one entry: for all channels
  bool reverse_channels = false;
  std::optional<Extent2d> size;
  std::optional<Extent2d> crop;
  std::optional<Shape> reshape;  // of one sample

  bool has_arithmetic() const { return scale != 1 || !mean.empty() || !stddev.empty(); }
};

struct DataDescription {
  std::string name;
  std::vector<InputDescription> inputs;  // at least one
  TargetKind target = TargetKind::kNone;
  std::string target_path;
  int64_t label_offset = 0;  // of classes
  std::string charset_path;  // of texts
  int64_t blank = 0;
  std::string metric;  // the target's
  int64_t offset = 0;
  int64_t limit = -1;  // -1: to the end
};

// `path` is for messages. Error: kBadDataDescription.
absl::StatusOr<DataDescription> ParseDescription(const std::string& text, const std::string& path);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_DESCRIPTION_H_
