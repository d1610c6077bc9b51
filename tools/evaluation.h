// What eval and compare share: opening data, the float teacher, and one session's score.
#ifndef TALLY_TOOLS_EVALUATION_H_
#define TALLY_TOOLS_EVALUATION_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/calibration/evaluate.h"
#include "tools/cli.h"
#include "tools/common.h"
#include "tools/progress.h"

namespace tally::tools {

struct DataOptions {
  std::string path;
  int64_t offset = 0;
  int64_t limit = -1;  // -1: all
};
void AddDataOptions(CLI::App* app, DataOptions* options);
// `a` and then `b`.
std::vector<std::string> Concat(std::vector<std::string> a, const std::vector<std::string>& b);
absl::StatusOr<Dataset> OpenData(const DataOptions& options, const Model& model);

// What the float model says about the data.
struct Teacher {
  Answers answers;
  std::vector<float> logits;  // first output, sample-major
};
absl::StatusOr<Teacher> MakeTeacher(const Model& model, const SessionSpec& spec, const Dataset& data, int num_threads,
                                    Progress* progress);

struct Score {
  EvalResult result;
  double output_sqnr_db = 0;  // against the teacher's first output; only with one
};
// `teacher` may be null when the data has labels. Error: kUndefinedMetric among others, naming `label`.
absl::StatusOr<Score> ScoreSession(Session* session, const std::string& label, const Dataset& data,
                                   const Teacher* teacher, Progress* progress);

// A metric's value: two decimals of percent, four of a correlation.
std::string ValueText(const std::string& metric, double value);

// "0.31 +- 0.20", or "-" where it is not known.
std::string DropText(const std::optional<PairedDrop>& drop);

// "31.4", or "exact" for infinity.
std::string Decibels(double value);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_EVALUATION_H_
