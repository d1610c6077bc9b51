// Errors of the public API: an absl::Status that carries a stable code.
//
// Every error that the library returns names what was expected and what was found, and carries a code such as
// "TLY-E0301" whose first two digits are the exit status that the command line maps it to. docs/errors.md lists them.
#ifndef TALLY_STATUS_H_
#define TALLY_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tally/types.h"

namespace tally {

// Where an error was found. Fields that do not apply stay empty (offset: -1).
struct ErrorInfo {
  std::string code;     // "TLY-E0301"
  std::string file;     // path as given
  std::string section;  // "header", "metadata", "weights", ...
  int64_t offset = -1;  // bytes from the start of the file
  std::string subject;  // node or tensor, escaped
};

// The stable code and location of `status`; an empty code when it is OK or comes from elsewhere.
TALLY_API ErrorInfo GetErrorInfo(const absl::Status& status);

// The exit status of the command line for `status`: 0 ok, 1 a comparison failed, 2 usage, 3 bad input, 4 I/O,
// 5 resources, 6 unsupported, 70 internal.
TALLY_API int ExitStatus(const absl::Status& status);

}  // namespace tally

#endif  // TALLY_STATUS_H_
