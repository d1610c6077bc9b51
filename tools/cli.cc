#include "tools/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <map>
#include <new>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "format/error.h"
#include "format/limits.h"
#include "tools/files.h"

namespace tally::tools {
namespace {

std::string Canonical(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

void CollectOptions(const CLI::App& app, std::map<std::string, std::string>* names) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) (*names)[Canonical(name)] = name;
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) CollectOptions(*sub, names);
}

int Report(const std::string& program, const absl::Status& status) {
  std::string message(status.message());
  if (GetErrorInfo(status).code.empty()) message = absl::StrCat(ErrorCodeString(ErrorId::kInternal), ": ", message);
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "%s: %s\n", program.c_str(), message.c_str());
  return ExitStatus(status);
}

absl::Status UsageError(const CLI::App& app, const std::string& program, const std::string& what) {
  std::string command = program;
  for (const CLI::App* sub : app.get_subcommands()) absl::StrAppend(&command, " ", sub->get_name());
  return MakeError(ErrorId::kUsage, absl::StrCat(what, "; see ", command, " --help"));
}

absl::Status CheckGiven(const CLI::App& app, const std::string& program) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& value : option->results()) {
      if (value.empty()) return UsageError(app, program, option->get_name() + ": expected a value, found an empty one");
    }
  }
  for (const CLI::App* sub : app.get_subcommands()) TALLY_RETURN_IF_ERROR(CheckGiven(*sub, program));
  return absl::OkStatus();
}

// CLI11 would only say that a subcommand is required.
absl::Status CheckSubcommand(const CLI::App& app, const std::vector<std::string>& arguments,
                             const std::string& program) {
  const std::vector<const CLI::App*> subs = app.get_subcommands([](const CLI::App*) { return true; });
  if (subs.empty() || arguments.empty() || arguments[0].empty() || arguments[0][0] == '-') return absl::OkStatus();
  std::vector<std::string> names;
  for (const CLI::App* sub : subs) names.push_back(sub->get_name());
  if (std::find(names.begin(), names.end(), arguments[0]) != names.end()) return absl::OkStatus();
  return UsageError(app, program,
                    absl::StrCat("expected one of ", absl::StrJoin(names, ", "), ", found ", Quoted(arguments[0])));
}

template <typename T, typename Parse>
CLI::Validator RangeValidator(T min, T max, const Parse& parse) {
  const std::string range = absl::StrCat(min, "..", max);
  const auto check = [=](const std::string& text) {
    T value = 0;
    if (parse(text, &value) && value >= min && value <= max) return std::string();
    return absl::StrCat("expected ", range, ", found ", Quoted(text));
  };
  return CLI::Validator(check, range);
}

}  // namespace

CLI::Validator InRange(int64_t min, int64_t max) {
  return RangeValidator(min, max,
                        [](const std::string& text, int64_t* value) { return absl::SimpleAtoi(text, value); });
}

CLI::Validator InRange(double min, double max) {
  return RangeValidator(min, max, [](const std::string& text, double* value) { return absl::SimpleAtod(text, value); });
}

void AddThreads(CLI::App* app, int* num_threads) {
  app->add_option("--num_threads", *num_threads, "0 = one per CPU")
      ->check(InRange(0, kMaxThreads))
      ->capture_default_str();
}

std::vector<std::string> NormaliseArguments(const CLI::App& app, const std::vector<std::string>& arguments) {
  std::map<std::string, std::string> names;
  CollectOptions(app, &names);
  std::vector<std::string> normalised = arguments;
  for (std::string& argument : normalised) {
    if (argument == "--") break;
    if (argument.size() < 3 || argument.compare(0, 2, "--") != 0) continue;
    const size_t end = std::min(argument.find('='), argument.size());
    const auto name = names.find(Canonical(argument.substr(2, end - 2)));
    if (name != names.end()) argument.replace(2, end - 2, name->second);
  }
  return normalised;
}

int RunCommandLine(CLI::App* app, const Action& action, const std::string& program, int argc, char** argv) {
  try {
    std::vector<std::string> arguments = NormaliseArguments(*app, {argv + std::min(argc, 1), argv + argc});
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
    absl::Status status;
    try {
      status = CheckSubcommand(*app, {arguments.rbegin(), arguments.rend()}, program);
      if (status.ok()) {
        app->parse(arguments);
        status = CheckGiven(*app, program);
      }
      if (status.ok()) status = action();
    } catch (const CLI::CallForHelp&) {
      // The subcommand that was named prints its own help.
      Print(app->help());
    } catch (const CLI::CallForVersion& version) {
      Print(absl::StrCat(version.what(), "\n"));
    } catch (const CLI::ParseError& error) {
      status = UsageError(*app, program, error.what());
    }
    const absl::Status finished = FinishStdout();
    if (status.ok()) status = finished;
    return status.ok() ? 0 : Report(program, status);
  } catch (const std::bad_alloc&) {
    return Report(program, MakeError(ErrorId::kOutOfMemory, "out of memory"));
  } catch (const std::exception& error) {
    return Report(program, MakeError(ErrorId::kInternal, error.what()));
  }
}

void PrepareProcess() {
  std::signal(SIGPIPE, SIG_IGN);
  // A file that grows beyond a limit is an error of its write.
  std::signal(SIGXFSZ, SIG_IGN);
  for (int fd = 0; fd <= 2; ++fd) {
    // Read-only for the outputs, so that writing to a stream that the caller closed still fails.
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) std::_Exit(4);
  }
}

absl::StatusOr<uint64_t> ParseBytes(const std::string& text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789.", 0), text.size());
  const std::string unit = absl::AsciiStrToLower(text.substr(digits));
  const std::map<std::string, double> units = {{"", 1},
                                               {"b", 1},
                                               {"k", 1e3},
                                               {"kb", 1e3},
                                               {"m", 1e6},
                                               {"mb", 1e6},
                                               {"g", 1e9},
                                               {"gb", 1e9},
                                               {"kib", 1024},
                                               {"mib", 1024 * 1024},
                                               {"gib", 1024.0 * 1024 * 1024}};
  const auto factor = units.find(unit);
  double number = 0;
  // 2^62: far above any file, far below what the conversion overflows at.
  if (factor == units.end() || !absl::SimpleAtod(text.substr(0, digits), &number) || !(number > 0) ||
      number * factor->second > std::ldexp(1.0, 62)) {
    return MakeError(ErrorId::kUsage,
                     absl::StrCat("expected a size such as 3000000, 3MB or 2.5MiB, found ", Quoted(text)));
  }
  return static_cast<uint64_t>(number * factor->second);
}

}  // namespace tally::tools
