#include "tools/evaluation.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "format/graph.h"
#include "tools/table.h"

namespace tally::tools {
namespace {
constexpr int64_t kMaxSamples = INT64_MAX;
}

void AddDataOptions(CLI::App* app, DataOptions* o) {
  app->add_option("--data", o->path, "The data description (DATA.json, docs/data.md)")->required();
  app->add_option("--offset", o->offset, "Skip this many samples")->check(InRange(int64_t{0}, kMaxSamples));
  app->add_option("--limit", o->limit, "Use at most this many samples [all]")->check(InRange(int64_t{1}, kMaxSamples));
}

std::vector<std::string> Concat(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

absl::StatusOr<Dataset> OpenData(const DataOptions& options, const Model& model) {
  TALLY_ASSIGN_OR_RETURN(Dataset data, Dataset::Open(options.path, model.inputs()));
  if (options.offset > 0 && options.offset >= data.size()) {
    return MakeError(ErrorId::kUsage,
                     absl::StrCat("--offset: expected 0..", data.size() - 1, ", found ", options.offset));
  }
  TALLY_RETURN_IF_ERROR(data.Slice(options.offset, options.limit));
  return data;
}

absl::StatusOr<Teacher> MakeTeacher(const Model& model, const SessionSpec& spec, const Dataset& data, int num_threads,
                                    Progress* progress) {
  SessionOptions options;
  options.dimensions = data.Dimensions(model.graph().symbols);
  options.backends = spec.backends;
  options.num_threads = num_threads;
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, options));
  Teacher teacher;
  EvalOptions eval;
  eval.keep_logits = true;  // without labels the model agrees with itself
  eval.progress = [&](int64_t done, int64_t total) {
    progress->Update("eval float model", static_cast<double>(done) / static_cast<double>(total));
  };
  TALLY_ASSIGN_OR_RETURN(EvalResult result, Evaluate(session, data, eval));
  teacher.answers = std::move(result.answers);
  teacher.logits = std::move(result.logits);
  return teacher;
}

absl::StatusOr<Score> ScoreSession(Session* session, const std::string& label, const Dataset& data,
                                   const Teacher* teacher, Progress* progress) {
  EvalOptions options;
  options.keep_logits = teacher != nullptr;
  if (teacher != nullptr) options.teacher = &teacher->answers;
  options.progress = [&](int64_t done, int64_t total) {
    progress->Update(absl::StrCat("eval ", label), static_cast<double>(done) / static_cast<double>(total));
  };
  Score score;
  TALLY_ASSIGN_OR_RETURN(score.result, Evaluate(*session, data, options));
  TALLY_RETURN_IF_ERROR(AddWhere(CheckDefined(score.result), {data.files()[0], "", -1, label}));
  if (teacher != nullptr) {
    if (teacher->logits.size() != score.result.logits.size()) {
      return MakeError(ErrorId::kInternal, "the float model gave another number of outputs");
    }
    score.output_sqnr_db = SqnrDb(teacher->logits.data(), score.result.logits.data(), score.result.logits.size());
    score.result.logits = {};
  }
  return score;
}

std::string ValueText(const std::string& metric, double value) {
  return Fixed(value, metric == "pearson_of_cosine" ? 4 : 2);
}

std::string DropText(const std::optional<PairedDrop>& drop) {
  return drop ? absl::StrCat(Fixed(drop->drop, 2), " +- ", Fixed(drop->standard_error, 2)) : "-";
}

std::string Decibels(double value) { return std::isinf(value) && value > 0 ? "exact" : Fixed(value, 1); }

}  // namespace tally::tools
