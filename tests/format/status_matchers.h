// Expectations on absl::Status by stable code. Header-only.
#ifndef TALLY_TESTS_FORMAT_STATUS_MATCHERS_H_
#define TALLY_TESTS_FORMAT_STATUS_MATCHERS_H_

#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "format/error.h"

namespace tally::testing {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// The stable code, "OK", or the text of a status without code.
inline std::string CodeOf(const absl::Status& status) {
  if (status.ok()) return "OK";
  const std::string code = GetErrorInfo(status).code;
  return code.empty() ? std::string(status.message()) : code;
}

}  // namespace tally::testing

#define TALLY_EXPECT_OK(expr)                                            \
  do {                                                                   \
    const absl::Status tally_status_ = ::tally::testing::StatusOf(expr); \
    EXPECT_TRUE(tally_status_.ok()) << tally_status_;                    \
  } while (false)

#define TALLY_ASSERT_OK(expr)                                            \
  do {                                                                   \
    const absl::Status tally_status_ = ::tally::testing::StatusOf(expr); \
    ASSERT_TRUE(tally_status_.ok()) << tally_status_;                    \
  } while (false)

#define TALLY_EXPECT_ERROR(id, expr)                                                                   \
  do {                                                                                                 \
    const absl::Status tally_status_ = ::tally::testing::StatusOf(expr);                               \
    EXPECT_EQ(::tally::ErrorCodeString(id), ::tally::testing::CodeOf(tally_status_)) << tally_status_; \
  } while (false)

#endif  // TALLY_TESTS_FORMAT_STATUS_MATCHERS_H_
