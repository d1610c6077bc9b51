// JSON texts from outside: descriptions of data and of machines. Functions without state.
#ifndef TALLY_FORMAT_JSON_H_
#define TALLY_FORMAT_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "format/error.h"
#include "nlohmann/json.hpp"

namespace tally {

// `file` is for messages. Error: `id` for what is no JSON, and for repeated keys, of which a parser would silently keep
// the last.
absl::StatusOr<nlohmann::json> ParseJson(const std::string& text, const std::string& file, ErrorId id);

// What was found, for messages; short, because it ends up on one line: "string \"a\"", "an array of 3", "1.5".
std::string DescribeJson(const nlohmann::json& value);

}  // namespace tally

#endif  // TALLY_FORMAT_JSON_H_
