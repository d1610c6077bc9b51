#include "converter/calibration/ctc.h"

#include "absl/strings/str_cat.h"
#include "converter/calibration/evaluate.h"
#include "converter/calibration/list.h"
#include "format/error.h"

namespace tally {

absl::StatusOr<Charset> Charset::Read(const std::string& path, int64_t blank) {
  TALLY_ASSIGN_OR_RETURN(std::vector<std::string> characters, ReadLines(path));
  characters.push_back(" ");
  if (blank > static_cast<int64_t>(characters.size())) {
    return MakeError(ErrorId::kBadDataFile,
                     absl::StrCat("expected at least ", blank - 1, " lines, because class ", blank,
                                  " is the blank, found ", characters.size() - 1),
                     {path, "", -1, ""});
  }
  characters.insert(characters.begin() + blank, "");
  Charset charset;
  charset.path_ = path;
  charset.blank_ = blank;
  charset.characters_ = std::move(characters);
  return charset;
}

absl::Status Charset::CheckClasses(int64_t classes) const {
  const int64_t expected = static_cast<int64_t>(characters_.size());
  if (classes == expected) return absl::OkStatus();
  return MakeError(ErrorId::kBadDataFile,
                   absl::StrCat("expected a model with ", expected, " classes (", expected - 2,
                                " lines, the blank and the space), found ", classes),
                   {path_, "", -1, ""});
}

std::optional<std::string> Charset::Text(const std::vector<int32_t>& classes) const {
  std::string text;
  for (int32_t c : classes) {
    if (c < 0) return std::nullopt;
    text += characters_[static_cast<size_t>(c)];
  }
  return WithoutOuterSpaces(text);
}

std::vector<int32_t> GreedyCtc(const float* scores, int64_t steps, int64_t classes, int64_t blank) {
  std::vector<int32_t> sequence;
  int64_t last = -2;  // no class
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t answer = ArgMax(scores + s * classes, classes);
    if (answer != last && (answer != blank || blank < 0)) sequence.push_back(static_cast<int32_t>(answer));
    last = answer;
  }
  return sequence;
}

std::string WithoutOuterSpaces(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

}  // namespace tally
