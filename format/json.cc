#include "format/json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tally {

using Json = nlohmann::json;

absl::StatusOr<Json> ParseJson(const std::string& text, const std::string& file, ErrorId id) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string repeated;
  const auto callback = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      repeated = parsed.get<std::string>();
    }
    return true;
  };
  try {
    Json json = Json::parse(text, callback);
    if (repeated.empty()) return json;
    return MakeError(id, absl::StrCat("key ", Quoted(repeated), " occurs twice"), {file, "", -1, ""});
  } catch (const Json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without the tag, on one line.
    std::string what = e.what();
    if (const size_t end = what.find("] "); end != std::string::npos) what.erase(0, end + 2);
    std::replace(what.begin(), what.end(), '\n', ' ');
    return MakeError(id, absl::StrCat("expected JSON: ", what), {file, "", -1, ""});
  }
}

std::string DescribeJson(const Json& value) {
  if (value.is_string()) return absl::StrCat("string ", Quoted(value.get_ref<const std::string&>()));
  if (value.is_array()) return absl::StrCat("an array of ", value.size());
  if (value.is_object()) return "an object";
  return value.dump();
}

}  // namespace tally
