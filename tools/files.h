// The files that a command writes: checked before any work, written whole or not at all.
#ifndef TALLY_TOOLS_FILES_H_
#define TALLY_TOOLS_FILES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace tally::tools {

// Keeps keys in the order in which they were added.
using Json = nlohmann::ordered_json;

// Prints to stdout. Failures show at the end, in FinishStdout.
void Print(const std::string& text);
// kWriteFailed when anything that was printed did not arrive.
absl::Status FinishStdout();

// "-" is stdout. Regular files are written atomically; devices and pipes directly.
absl::Status WriteOutput(const std::string& path, const std::string& text);
absl::Status WriteJson(const std::string& path, const Json& json);

struct OutputPath {
  std::string option;  // for messages: "--json"
  std::string path;    // empty: not asked for
  // kText may also be stdout ("-"), a device or a pipe. kFolder is made where it does not exist; two may be the same.
  enum class Kind { kText, kFile, kFolder } kind = Kind::kText;
};

// Whether all of `outputs` can be written, as far as can be told before it is done: none is one of `inputs` or another
// output under whatever name (kSameFile); an existing file, or else the folder of a new one, may be written
// (kPermission, kNotFound, kNotRegular); at most one is stdout (kUsage). Inputs that do not exist are ignored.
absl::Status CheckOutputs(const std::vector<OutputPath>& outputs, const std::vector<std::string>& inputs);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_FILES_H_
