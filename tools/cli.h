// The command line around CLI11: spellings, help, errors, exit status.
#ifndef TALLY_TOOLS_CLI_H_
#define TALLY_TOOLS_CLI_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tally::tools {

// What a subcommand does once its options are parsed.
using Action = std::function<absl::Status()>;

// An option that takes one value each time it is given, and values separated by commas.
template <typename T>
CLI::Option* AddList(CLI::App* app, const std::string& name, std::vector<T>* values, const std::string& help) {
  return app->add_option(name, *values, help)->delimiter(',')->allow_extra_args(false);
}

// A number within [min, max], NaN excluded; for CLI::Option::check.
CLI::Validator InRange(int64_t min, int64_t max);
CLI::Validator InRange(double min, double max);
inline CLI::Validator InRange(int min, int max) { return InRange(int64_t{min}, int64_t{max}); }

// --num_threads of every command: 0 (one per CPU) to the most that a session takes.
void AddThreads(CLI::App* app, int* num_threads);

// Long options of `app` and its subcommands are found whether they are typed with '-' or with '_'.
std::vector<std::string> NormaliseArguments(const CLI::App& app, const std::vector<std::string>& arguments);

// Parses and runs `action`, which the parse sets. An option or argument that was given as an empty text is kUsage.
// Errors are one line on stderr, "<program>: TLY-E....: ...". Returns the exit status; output that stdout did not take
// is an error too.
int RunCommandLine(CLI::App* app, const Action& action, const std::string& program, int argc, char** argv);

// Closed standard streams are replaced so that no file that is opened later takes their number, and a reader that
// went away is an error of write instead of a signal. Called first in main.
void PrepareProcess();

// "3MB" -> 3,000,000: a number with an optional B, kB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024), in
// any case. Error: kUsage.
absl::StatusOr<uint64_t> ParseBytes(const std::string& text);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_CLI_H_
