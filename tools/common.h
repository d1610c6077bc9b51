// What the subcommands share: the environment that every report carries, and which sessions to open.
// Functions without state.
#ifndef TALLY_TOOLS_COMMON_H_
#define TALLY_TOOLS_COMMON_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tally/tally.h"
#include "tools/cli.h"
#include "tools/files.h"

namespace tally::tools {

inline constexpr int kSchemaVersion = 1;

// {cpu, isa, isas, cpus, threads, versions {tally, <backend>...}, commit, compiler}; `num_threads` as asked for, 0 =
// all.
Json EnvironmentJson(int num_threads);
// {schema_version, command, model, environment}: the start of every report.
Json ReportHeader(const std::string& command, const std::string& model, int num_threads);
// The environment as a table for HTML pages.
std::string EnvironmentHtml(int num_threads);
// A number, or null where JSON has none (NaN, infinity).
Json Number(double value);

Json PlacementJson(const std::vector<NodePlacement>& placement);
std::string PlacementText(const std::vector<NodePlacement>& placement);

// --tuning and --cache_dir of the commands whose speed matters.
struct TuningFlags {
  std::string tuning = "measure";
  std::string cache_dir;
};
void AddTuning(CLI::App* app, TuningFlags* flags);
// Warnings go to stderr.
void SetTuning(const TuningFlags& flags, SessionOptions* options);

// Extents of dynamic dimensions, as in SessionOptions.
using Dimensions = std::vector<std::pair<std::string, int64_t>>;

// One session that the user asked for.
struct SessionSpec {
  std::string label;                  // "exponent", "exponent+xnnpack"
  std::vector<std::string> backends;  // in order of preference
  // From "all": a session that this file cannot have is skipped with its reason instead of ending the command.
  bool optional = false;
};

// A comma (or a further argument) separates sessions, '+' joins backends of one, "all" stands for those built, but
// for the oracle `histogram`, which is slow and must be named.
// Errors: kUnknownBackend, which lists what there is; kUsage for a backend that is twice in one session.
absl::StatusOr<std::vector<SessionSpec>> ParseBackends(const std::vector<std::string>& arguments);

// Whether all of the session's backends must return the same bits (docs/numerics.md).
bool IsExact(const SessionSpec& spec);

struct SkippedSession {
  std::string label;
  std::string reason;
};

// Whether a file that Model::Load refused with this error is one by the name of .onnx that is no .tally file.
bool IsOnnxFile(const std::string& path, const absl::Status& error);
// Model::Load; the error for an ONNX file says what to do with it.
absl::StatusOr<Model> LoadTally(const std::string& path);

// Creates the sessions one after the other and calls `body` with each; only one lives at a time, because libraries with
// thread pools of their own disturb each other. Optional ones that cannot be (the file lacks a form, the backend takes
// no node) are returned as skipped. The first error ends it. When every session was skipped: kMissingForm if that is
// why they all were, else kUnsupportedNode.
absl::StatusOr<std::vector<SkippedSession>> ForEachSession(
    const Model& model, const std::vector<SessionSpec>& specs, const SessionOptions& options,
    const std::function<absl::Status(const SessionSpec&, Session&)>& body);
Json SkippedJson(const std::vector<SkippedSession>& skipped);
std::string SkippedText(const std::vector<SkippedSession>& skipped);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_COMMON_H_
