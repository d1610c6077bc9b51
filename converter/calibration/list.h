// What accompanies samples: lists with "file label" per line, and right answers (classes, texts, scores) of lists and
// .npy files.
// Functions without state. Untrusted: errors are kBadDataFile and those of reading a file.
#ifndef TALLY_CONVERTER_CALIBRATION_LIST_H_
#define TALLY_CONVERTER_CALIBRATION_LIST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tally {

struct ListLine {
  std::string file;
  std::optional<int64_t> label;
};

// Columns are separated by spaces or tabs; empty lines are skipped; at most 64 MiB.
absl::StatusOr<std::vector<ListLine>> ReadList(const std::string& path);

// Class per sample, `label_offset` added, all at least 0: integers of an .npy file of shape [N] (or [N, 1]), or the
// second column of a list.
absl::StatusOr<std::vector<int64_t>> ReadLabels(const std::string& path, int64_t label_offset);

// Lines without what ends them ("\n", "\r\n"); the last may lack it. At most 64 MiB.
absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path);

// Numbers of an .npy file of shape [N] (or [N, 1]), all finite.
absl::StatusOr<std::vector<double>> ReadScores(const std::string& path);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_LIST_H_
