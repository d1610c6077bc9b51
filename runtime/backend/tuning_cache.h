// What measuring decided, by key: in memory for the sessions of a process, and in a file for later ones.
// Safe to share between threads.
#ifndef TALLY_RUNTIME_BACKEND_TUNING_CACHE_H_
#define TALLY_RUNTIME_BACKEND_TUNING_CACHE_H_

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace tally {

struct TuningDecision {
  size_t chosen = 0;
  std::vector<double> microseconds;  // per variant
};

class TuningCache {
 public:
  // The one that sessions share.
  static TuningCache& OfProcess();

  std::optional<TuningDecision> Find(const std::string& key) const;
  // REQUIRES: `key` holds no tab and no line break. One that is too long for a line of the file is not kept.
  void Insert(const std::string& key, const TuningDecision& decision);

  // Makes memory and the file of `directory` hold both their decisions; memory wins where they differ. The file is
  // untrusted text: lines that are no decisions are ignored. Errors: those of reading and writing; a file that is not
  // there yet is none.
  absl::Status Sync(const std::string& directory);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, TuningDecision> decisions_;
};

// The file within a cache directory. Another layout gets another name, so that versions do not overwrite each other.
inline constexpr char kTuningFile[] = "tally-tuning-1.txt";

}  // namespace tally

#endif  // TALLY_RUNTIME_BACKEND_TUNING_CACHE_H_
