// Greedy CTC (connectionist temporal classification): from scores per step and class to a text.
// Charset is immutable and safe to share between threads. Untrusted: errors are kBadDataFile and those of reading.
#ifndef TALLY_CONVERTER_CALIBRATION_CTC_H_
#define TALLY_CONVERTER_CALIBRATION_CTC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tally {

// What the classes of a text recognizer mean. All but `blank` are, in their order, the lines of a file and then a
// space; with blank 0, that is, class k is line k (the first is 1), and the last class is the space.
class Charset {
 public:
  Charset() = default;
  static absl::StatusOr<Charset> Read(const std::string& path, int64_t blank);

  int64_t blank() const { return blank_; }
  // kBadDataFile unless a model with so many classes can be meant.
  absl::Status CheckClasses(int64_t classes) const;
  // Without spaces at its ends; nothing where a step had no answer. REQUIRES: classes are below what CheckClasses
  // passed, and not the blank.
  std::optional<std::string> Text(const std::vector<int32_t>& classes) const;

 private:
  std::string path_;
  int64_t blank_ = 0;
  std::vector<std::string> characters_;  // by class, empty for the blank
};

// The class of the largest score at every step (ArgMax's -1 where there is none), repeats merged and then without
// `blank`; -1: without leaving out a class. `scores`: steps x classes.
std::vector<int32_t> GreedyCtc(const float* scores, int64_t steps, int64_t classes, int64_t blank);

std::string WithoutOuterSpaces(const std::string& text);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_CTC_H_
