#include "converter/calibration/list.h"

#include <cmath>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "converter/calibration/dataset.h"
#include "converter/calibration/npy.h"
#include "format/checked.h"
#include "format/error.h"
#include "format/model_file.h"

namespace tally {
namespace {

constexpr uint64_t kMaxListBytes = uint64_t{64} << 20;

absl::Status BadFile(const std::string& path, const std::string& detail) {
  return MakeError(ErrorId::kBadDataFile, detail, {path, "", -1, ""});
}

bool EndsWithNpy(const std::string& path) { return path.size() >= 4 && path.compare(path.size() - 4, 4, ".npy") == 0; }

// An array of `what`, one per sample: a column [N, 1] is as good as a vector.
absl::StatusOr<NpyArray> ReadVector(const std::string& path, const char* what) {
  TALLY_ASSIGN_OR_RETURN(NpyArray array, ReadNpy(path));
  if (array.shape.empty() || array.shape.size() > 2 || (array.shape.size() == 2 && array.shape[1] != 1)) {
    return BadFile(path, absl::StrCat("expected ", what, " of shape [N], found ", ShapeString(array.shape)));
  }
  return array;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(const Blob blob, ReadWholeFile(path, kMaxListBytes));
  const absl::string_view text(reinterpret_cast<const char*>(blob.data()), blob.size());
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  for (std::string& line : lines) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
  }
  return lines;
}

absl::StatusOr<std::vector<ListLine>> ReadList(const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(const std::vector<std::string> text, ReadLines(path));
  std::vector<ListLine> lines;
  int64_t number = 0;
  for (const std::string& line : text) {
    ++number;
    const std::vector<std::string> fields = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (fields.empty()) continue;
    if (fields.size() > 2) {
      return BadFile(path,
                     absl::StrCat("line ", number, ": expected \"file label\", found ", fields.size(), " columns"));
    }
    ListLine entry{fields[0], std::nullopt};
    if (fields.size() == 2) {
      int64_t label = 0;
      if (!absl::SimpleAtoi(fields[1], &label)) {
        return BadFile(path, absl::StrCat("line ", number, ": expected an integer label, found ", Quoted(fields[1])));
      }
      entry.label = label;
    }
    lines.push_back(std::move(entry));
  }
  return lines;
}

absl::StatusOr<std::vector<int64_t>> ReadLabels(const std::string& path, int64_t label_offset) {
  std::vector<int64_t> labels;
  if (EndsWithNpy(path)) {
    TALLY_ASSIGN_OR_RETURN(const NpyArray array, ReadVector(path, "labels"));
    TALLY_ASSIGN_OR_RETURN(const NpyType type, ParseNpyType(array.descr, path));
    if (type.kind == 'f') return BadFile(path, absl::StrCat("expected integer labels, found ", Quoted(array.descr)));
    TALLY_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, ConvertNpy(array, DType::kInt64, path));
    labels.resize(bytes.size() / sizeof(int64_t));
    if (!labels.empty()) std::memcpy(labels.data(), bytes.data(), bytes.size());
  } else {
    TALLY_ASSIGN_OR_RETURN(const std::vector<ListLine> lines, ReadList(path));
    for (size_t i = 0; i < lines.size(); ++i) {
      if (!lines[i].label) return BadFile(path, absl::StrCat("sample ", i, ": expected a label, found none"));
      labels.push_back(*lines[i].label);
    }
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    int64_t label = 0;
    if (!CheckedAdd(labels[i], label_offset, &label) || label < 0) {
      return BadFile(path, absl::StrCat("sample ", i, ": expected a class of at least 0, found ", labels[i],
                                        " with label_offset ", label_offset));
    }
    labels[i] = label;
  }
  return labels;
}

absl::StatusOr<std::vector<double>> ReadScores(const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(const NpyArray array, ReadVector(path, "scores"));
  TALLY_ASSIGN_OR_RETURN(const NpyType type, ParseNpyType(array.descr, path));
  std::vector<double> scores(array.data.size() / static_cast<size_t>(type.bytes));
  NpyToDoubles(type, array.data.data(), static_cast<int64_t>(scores.size()), scores.data());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i])) continue;
    return BadFile(path, absl::StrCat("score ", i, ": expected a finite number, found ", scores[i]));
  }
  return scores;
}

}  // namespace tally
