// The file: the header, then a decision per line, "key <tab> chosen <tab> microseconds of each variant, by spaces".
#include "runtime/backend/tuning_cache.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "format/error.h"
#include "format/file_io.h"
#include "format/model_file.h"

namespace tally {
namespace {

constexpr char kHeader[] = "tally tuning 1";
// Far above what the models of one machine need; beyond it the decisions start anew.
constexpr size_t kMaxDecisions = 10000;
constexpr size_t kMaxLine = 2048;
constexpr size_t kMaxFile = kMaxDecisions * kMaxLine;
constexpr size_t kMaxVariants = 64;

std::string Line(const std::string& key, const TuningDecision& decision) {
  return absl::StrCat(key, "\t", decision.chosen, "\t", absl::StrJoin(decision.microseconds, " "));
}

bool ParseLine(const std::string& line, std::string* key, TuningDecision* decision) {
  if (line.size() > kMaxLine) return false;
  const std::vector<std::string> fields = absl::StrSplit(line, '\t');
  const auto is_printable = [](char c) { return absl::ascii_isprint(static_cast<unsigned char>(c)); };
  if (fields.size() != 3 || !std::all_of(fields[0].begin(), fields[0].end(), is_printable)) return false;
  *key = fields[0];
  decision->microseconds.clear();
  for (const std::string& text : std::vector<std::string>(absl::StrSplit(fields[2], ' '))) {
    double us = 0;
    if (!absl::SimpleAtod(text, &us) || !(us >= 0 && us < 1e12)) return false;
    decision->microseconds.push_back(us);
  }
  return decision->microseconds.size() <= kMaxVariants && absl::SimpleAtoi(fields[1], &decision->chosen) &&
         decision->chosen < decision->microseconds.size();
}

}  // namespace

TuningCache& TuningCache::OfProcess() {
  static TuningCache* const cache = new TuningCache;  // outlives every session
  return *cache;
}

std::optional<TuningDecision> TuningCache::Find(const std::string& key) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = decisions_.find(key);
  return it == decisions_.end() ? std::nullopt : std::optional<TuningDecision>(it->second);
}

void TuningCache::Insert(const std::string& key, const TuningDecision& decision) {
  if (Line(key, decision).size() > kMaxLine) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (decisions_.size() >= kMaxDecisions) decisions_.clear();
  decisions_[key] = decision;
}

absl::Status TuningCache::Sync(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kTuningFile);
  std::string old;
  const absl::StatusOr<Blob> read = LoadWholeFile(path, kMaxFile);
  if (read.ok()) old.assign(read->as<char>(), read->size());
  // What is no regular file is neither read nor replaced; one that is too large, or unreadable, starts anew.
  if (GetErrorInfo(read.status()).code == ErrorCodeString(ErrorId::kNotRegular)) return read.status();

  std::string text;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::vector<std::string> lines = absl::StrSplit(old, '\n');
    for (size_t i = 1; lines[0] == kHeader && i < lines.size() && decisions_.size() < kMaxDecisions; ++i) {
      std::string key;
      TuningDecision decision;
      if (ParseLine(lines[i], &key, &decision)) decisions_.emplace(std::move(key), std::move(decision));
    }
    if (decisions_.empty()) return absl::OkStatus();
    text = absl::StrCat(kHeader, "\n");
    for (const auto& [key, decision] : decisions_) absl::StrAppend(&text, Line(key, decision), "\n");
  }
  if (text == old) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(directory, error);  // what went wrong shows when the file is written
  return WriteFileAtomically(path, text.data(), text.size());
}

}  // namespace tally
