// Makes the errors of this project: absl::Status with a stable code and a location.
#ifndef TALLY_FORMAT_ERROR_H_
#define TALLY_FORMAT_ERROR_H_

#include <string>

#include "tally/status.h"

namespace tally {

// One entry per error, in format/error_codes.inc. The number is exit status * 100 + index, so 301 prints as
// "TLY-E0301" and ends the command line with exit status 3.
enum class ErrorId : int {
#define TALLY_ERROR(id, number, status, text) id = number,
#include "format/error_codes.inc"
#undef TALLY_ERROR
};

// "TLY-E0301".
std::string ErrorCodeString(ErrorId id);

struct Where {
  std::string file;
  std::string section;
  int64_t offset = -1;
  std::string subject;  // pass names from files through Quoted() first
};

// A status whose message reads "TLY-E0301: <file>: <section>: byte <offset>: <subject>: <detail>" (absent parts left
// out). `detail` names the expected and the actual value. The absl code comes from the table.
absl::Status MakeError(ErrorId id, const std::string& detail, const Where& where = {});

// `status` with the parts of `where` that it lacks filled in; OK stays OK. Used by callers that know the file name.
absl::Status AddWhere(const absl::Status& status, const Where& where);

// A name from an untrusted file, fit for a message: quoted, non-printable bytes escaped, cut at 64 characters.
std::string Quoted(const std::string& name);

}  // namespace tally

#define TALLY_CONCAT_(a, b) a##b
#define TALLY_CONCAT(a, b) TALLY_CONCAT_(a, b)

// Returns from the enclosing function when `expr` is an error.
#define TALLY_RETURN_IF_ERROR(expr)                                      \
  do {                                                                   \
    if (absl::Status tally_s_ = (expr); !tally_s_.ok()) return tally_s_; \
  } while (false)

// TALLY_ASSIGN_OR_RETURN(auto x, MakeX());
#define TALLY_ASSIGN_OR_RETURN(lhs, expr) TALLY_ASSIGN_OR_RETURN_(TALLY_CONCAT(tally_so_, __LINE__), lhs, expr)
#define TALLY_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return tmp.status();           \
  lhs = std::move(*tmp)

#endif  // TALLY_FORMAT_ERROR_H_
