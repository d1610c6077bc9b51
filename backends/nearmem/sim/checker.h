// Keeps the first mistake of a configuration; messages begin with the field ("timing.refi: expected ..., found ...").
#ifndef TALLY_BACKENDS_NEARMEM_SIM_CHECKER_H_
#define TALLY_BACKENDS_NEARMEM_SIM_CHECKER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tally::nearmem {

class Checker {
 public:
  void Int(const char* field, int value, int min, int max) {
    Expect(field, value >= min && value <= max, absl::StrCat("an integer in ", min, "..", max), value);
  }
  void Number(const char* field, double value, double min, double max) {
    Expect(field, value >= min && value <= max, absl::StrCat("a number in ", min, "..", max), value);
  }
  template <typename T>
  void Expect(const char* field, bool holds, const std::string& expected, T found) {
    if (holds || !status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(field, ": expected ", expected, ", found ", found));
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_CHECKER_H_
