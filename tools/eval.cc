// tally eval: the metric of a data set, per backend.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "format/graph.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/evaluation.h"
#include "tools/model_input.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

struct Options {
  std::string model;
  DataOptions data;
  std::vector<std::string> backends;
  int num_threads = 1;
  bool require_backend = false;
  TuningFlags tuning;
  std::string json;
};

bool IsFloat(const std::string& backend) { return backend == "xnnpack" || backend == "reference"; }

// The table, and the same as JSON. With a float backend among the sessions, what the others lose against the first
// such, paired by sample.
std::string Tabulate(const std::vector<std::pair<std::string, Score>>& scores, bool with_sqnr, Json* results) {
  const auto base =
      std::find_if(scores.begin(), scores.end(), [](const auto& labelled) { return IsFloat(labelled.first); });
  const bool with_drop = base != scores.end() && scores.size() > 1;
  std::vector<std::string> titles = {"backend", "metric", ">value", ">samples", ">ms/sample"};
  if (with_drop) {
    titles.push_back(absl::StrCat(">drop from ", base->first));
    titles.push_back(">agreement %");
  }
  if (with_sqnr) titles.push_back(">output SQNR dB");
  Table table(titles);
  for (const auto& [label, score] : scores) {
    const EvalResult& r = score.result;
    const double ms = r.seconds * 1000 / static_cast<double>(r.samples);
    std::vector<std::string> row = {label, r.metric, ValueText(r.metric, r.value), absl::StrCat(r.samples),
                                    Fixed(ms, 3)};
    Json result = {{"backend", label},     {"metric", r.metric},  {"value", Number(r.value)},
                   {"samples", r.samples}, {"ms_per_sample", ms}, {"source", "measured"}};
    if (with_drop && label == base->first) row.insert(row.end(), 2, "");
    if (with_drop && label != base->first) {
      const PairedDrop paired = ComparePaired(base->second.result, r);
      const double agreement = Agreement(base->second.result, r);
      row.push_back(DropText(paired));
      row.push_back(Fixed(agreement, 2));
      result["agreement"] = {{"with", base->first}, {"percent", agreement}};
      result["drop"] = {{"from", base->first}, {"points", paired.drop}, {"standard_error", paired.standard_error}};
    }
    if (with_sqnr) {
      row.push_back(Decibels(score.output_sqnr_db));
      result["output_sqnr_db"] = Number(score.output_sqnr_db);
    }
    table.Add(std::move(row));
    results->push_back(std::move(result));
  }
  return table.Text();
}

absl::Status Run(const Options& options) {
  TALLY_ASSIGN_OR_RETURN(const ModelInput input, OpenModel(options.model));
  TALLY_ASSIGN_OR_RETURN(const std::vector<SessionSpec> specs, ParseBackendsFor(input, options.backends));
  TALLY_ASSIGN_OR_RETURN(const Dataset data, OpenData(options.data, input.model));
  TALLY_RETURN_IF_ERROR(CheckOutputs({{"--json", options.json}}, Concat(input.files, data.files())));
  SessionOptions session_options;
  session_options.dimensions = data.Dimensions(input.model.graph().symbols);
  session_options.num_threads = options.num_threads;
  session_options.require_backend = options.require_backend;
  SetTuning(options.tuning, &session_options);

  Progress progress;
  std::optional<Teacher> teacher;
  if (data.target() == TargetKind::kNone) {
    TALLY_ASSIGN_OR_RETURN(const SessionSpec spec, FloatSpec(input, session_options.dimensions));
    TALLY_ASSIGN_OR_RETURN(teacher, MakeTeacher(input.model, spec, data, options.num_threads, &progress));
  }
  std::vector<std::pair<std::string, Score>> scores;
  Json report = ReportHeader("eval", options.model, options.num_threads);
  report["data"] = {{"name", data.name()}, {"path", options.data.path}, {"samples", data.size()}};
  report["results"] = Json::array();
  const auto body = [&](const SessionSpec& spec, Session& session) -> absl::Status {
    TALLY_ASSIGN_OR_RETURN(const Score score,
                           ScoreSession(&session, spec.label, data, teacher ? &*teacher : nullptr, &progress));
    scores.emplace_back(spec.label, score);
    return absl::OkStatus();
  };
  TALLY_ASSIGN_OR_RETURN(const std::vector<SkippedSession> skipped,
                         ForEachSession(input.model, specs, session_options, body));
  progress.Clear();
  const std::string text = Tabulate(scores, teacher.has_value(), &report["results"]);
  report["skipped"] = SkippedJson(skipped);
  if (options.json != "-") Print(text + SkippedText(skipped));
  return options.json.empty() ? absl::OkStatus() : WriteJson(options.json, report);
}

}  // namespace

void AddEval(CLI::App* app, Action* action) {
  CLI::App* sub = app->add_subcommand("eval", "Score a model on labelled data, per backend");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally or .onnx file")->required();
  AddDataOptions(sub, &o->data);
  AddList(sub, "--backend", &o->backends,
          "Sessions, separated by commas; a+b is one session; all = those built, without the slow "
          "oracle histogram "
          "[exponent; xnnpack for .onnx]");
  AddThreads(sub, &o->num_threads);
  sub->add_flag("--require_backend", o->require_backend,
                "A node that no listed backend takes is an error instead of running on the shared operators");
  AddTuning(sub, &o->tuning);
  sub->add_option("--json", o->json, "Also write the results as JSON; - is stdout");
  sub->footer(
      "Values are percent for top1 and ctc_exact, r for pearson_of_cosine. Beside a float backend, the others show\n"
      "their drop from it in points (100 r), with the standard error of the paired difference, and in how many "
      "percent\n"
      "of the samples their answer is its (of embeddings: the mean cosine in percent). Data without labels is scored "
      "by\n"
      "agreement with the float model (the file must hold it: convert --keep float).\n"
      "ms/sample includes reading the data.\n"
      "\n"
      "Examples:\n"
      "  tally eval net.tally --data data.json --backend exponent,xnnpack\n"
      "  tally eval net.onnx --data data.json --backend xnnpack --limit 500 --json -");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
