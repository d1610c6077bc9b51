// tally compare: one file, one data set, several backends, side by side.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "converter/convert.h"
#include "format/error.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/evaluation.h"
#include "tools/measure.h"
#include "tools/model_input.h"
#include "tools/node_errors.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

struct Options {
  std::string model;
  DataOptions data;
  std::vector<std::string> backends = {"all"};
  int num_threads = 1;
  int64_t error_samples = 4;
  std::vector<std::string> fail_below;
  std::string json, html;
};

struct Demand {
  std::string metric;
  double value = 0;
};

// What is known of one session.
struct Row {
  SessionSpec spec;
  Score score;
  Latency latency;
  MemoryFigures memory;
  std::vector<Capture> captures;  // of the first samples
  std::vector<NodeError> errors;
  std::optional<Divergence> divergence;  // from the first exact session
};

struct Comparison {
  std::vector<Row> rows;
  std::vector<SkippedSession> skipped;
  std::string reference;  // label of the session that errors are measured against
  bool float_reference = false;
  std::string first_exact;  // label of the session that the others of the contract are compared with
  uint64_t file_bytes = 0;
  double compression_vs_int8 = std::numeric_limits<double>::quiet_NaN();
};

absl::StatusOr<std::vector<Demand>> ParseDemands(const std::vector<std::string>& arguments, const std::string& metric) {
  std::vector<Demand> demands;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    Demand demand;
    demand.metric = argument.substr(0, equals);
    const bool known =
        demand.metric == metric || demand.metric == "output_sqnr_db" || demand.metric == "compression_vs_int8";
    if (!known || equals == std::string::npos || !absl::SimpleAtod(argument.substr(equals + 1), &demand.value) ||
        std::isnan(demand.value)) {
      return MakeError(ErrorId::kUsage,
                       absl::StrCat("--fail-below: expected METRIC=VALUE with METRIC one of ", metric,
                                    ", output_sqnr_db, compression_vs_int8, found ", Quoted(argument)));
    }
    demands.push_back(std::move(demand));
  }
  return demands;
}

absl::StatusOr<std::vector<Capture>> CaptureSamples(Session* session, const Dataset& data, int64_t samples) {
  std::vector<Capture> captures;
  for (int64_t i = 0; i < std::min(samples, data.size()); ++i) {
    TALLY_ASSIGN_OR_RETURN(const Batch batch, data.Read(i, 1));
    TALLY_ASSIGN_OR_RETURN(Capture capture, CaptureRun(session, batch));
    captures.push_back(std::move(capture));
  }
  return captures;
}

absl::Status MeasureRow(const Options& options, const ModelInput& input, const Dataset& data, const Teacher* teacher,
                        Session* session, Progress* progress, Row* row) {
  TALLY_ASSIGN_OR_RETURN(row->score, ScoreSession(session, row->spec.label, data, teacher, progress));
  progress->Update(absl::StrCat("measure ", row->spec.label), 0);
  // Leaves the session at one sample, which the latency is of.
  TALLY_ASSIGN_OR_RETURN(row->captures, CaptureSamples(session, data, std::max<int64_t>(options.error_samples, 1)));
  TALLY_ASSIGN_OR_RETURN(const Batch batch, data.Read(0, 1));
  const RunBuffers buffers(*session, input.model);
  LatencyOptions latency;
  latency.num_runs = 20;
  latency.min_secs = 0.2;
  latency.max_secs = 10;
  TALLY_ASSIGN_OR_RETURN(row->latency, MeasureLatency(session, batch.views(), buffers.outputs(), latency));
  TALLY_ASSIGN_OR_RETURN(row->memory, MeasureMemory(input.path, row->spec, options.num_threads, 0, {},
                                                    data.Dimensions(input.model.graph().symbols)));
  return absl::OkStatus();
}

absl::Status CompareErrors(const Options& options, const ModelInput& input, const std::vector<Capture>& reference,
                           Progress* progress, Comparison* comparison) {
  const Row* first_exact = nullptr;
  for (Row& row : comparison->rows) {
    if (IsExact(row.spec)) {
      if (first_exact == nullptr) {
        first_exact = &row;
        comparison->first_exact = row.spec.label;
      } else {
        row.divergence = FirstDivergence(input.model, first_exact->captures, row.captures);
      }
    }
    if (row.spec.label == comparison->reference || options.error_samples == 0) continue;
    progress->Update(absl::StrCat("errors ", row.spec.label), 0);
    TALLY_ASSIGN_OR_RETURN(row.errors,
                           CompareNodes(input.model, reference, row.captures, row.spec, options.num_threads));
  }
  return absl::OkStatus();
}

absl::StatusOr<Comparison> Compare(const Options& options, const ModelInput& input,
                                   const std::vector<SessionSpec>& specs, const Dataset& data) {
  Comparison comparison;
  comparison.file_bytes = input.file_bytes;
  if (!input.is_onnx) {
    TALLY_ASSIGN_OR_RETURN(const BitStatistics bits, ComputeBitStatistics(input.model.graph()));
    if (bits.weight_stored_bits > 0) comparison.compression_vs_int8 = 8 / bits.weight_stored_bits;
  }
  Progress progress;
  const Dimensions dimensions = data.Dimensions(input.model.graph().symbols);
  // The float model where the file holds it, else the first session that can be.
  std::optional<Teacher> teacher;
  std::vector<Capture> reference;
  const auto use_as_reference = [&](const SessionSpec& spec) -> absl::Status {
    comparison.reference = spec.label;
    TALLY_ASSIGN_OR_RETURN(teacher, MakeTeacher(input.model, spec, data, options.num_threads, &progress));
    SessionOptions session_options;
    session_options.dimensions = dimensions;
    session_options.backends = spec.backends;
    session_options.num_threads = options.num_threads;
    TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(input.model, session_options));
    TALLY_ASSIGN_OR_RETURN(reference, CaptureSamples(&session, data, options.error_samples));
    return absl::OkStatus();
  };
  if (const absl::StatusOr<SessionSpec> spec = FloatSpec(input, dimensions); spec.ok()) {
    comparison.float_reference = true;
    TALLY_RETURN_IF_ERROR(use_as_reference(*spec));
  } else if (ExitStatus(spec.status()) != 6) {
    return spec.status();
  }
  SessionOptions session_options;
  session_options.dimensions = dimensions;
  session_options.num_threads = options.num_threads;
  const auto body = [&](const SessionSpec& spec, Session& session) -> absl::Status {
    if (!teacher) TALLY_RETURN_IF_ERROR(use_as_reference(spec));
    Row row;
    row.spec = spec;
    TALLY_RETURN_IF_ERROR(MeasureRow(options, input, data, &*teacher, &session, &progress, &row));
    comparison.rows.push_back(std::move(row));
    return absl::OkStatus();
  };
  TALLY_ASSIGN_OR_RETURN(comparison.skipped, ForEachSession(input.model, specs, session_options, body));
  TALLY_RETURN_IF_ERROR(CompareErrors(options, input, reference, &progress, &comparison));
  return comparison;
}

Table SummaryTable(const Comparison& comparison) {
  const std::string metric = comparison.rows[0].score.result.metric;
  Table table({"backend", ">" + metric, ">samples", ">output SQNR dB", ">latency us", ">peak memory",
               ">weights in memory", ">file", ">vs int8", "bits"});
  for (const Row& row : comparison.rows) {
    const std::string bits = !IsExact(row.spec)                         ? "no contract"
                             : row.spec.label == comparison.first_exact ? "the contract's"
                             : row.divergence.has_value()               ? "DIFFER"
                                                                        : "the same";
    table.Add({row.spec.label, ValueText(metric, row.score.result.value), absl::StrCat(row.score.result.samples),
               row.spec.label == comparison.reference ? "reference" : Decibels(row.score.output_sqnr_db),
               Fixed(row.latency.median, 1), Bytes(static_cast<double>(row.memory.peak_rss_bytes)),
               Bytes(static_cast<double>(row.memory.resident_weight_bytes)),
               Bytes(static_cast<double>(comparison.file_bytes)), Fixed(comparison.compression_vs_int8, 2), bits});
  }
  return table;
}

// The first node that diverges between backends of the contract, or that none does.
std::string DivergenceText(const Comparison& comparison) {
  std::string text;
  for (const Row& row : comparison.rows) {
    if (!IsExact(row.spec) || row.spec.label == comparison.first_exact) continue;
    if (row.divergence) {
      absl::StrAppend(&text, row.spec.label, " against ", comparison.first_exact, ": first diverging node ",
                      Shown(row.divergence->node), " (sample ", row.divergence->sample, ", largest difference ",
                      row.divergence->max_abs, ")\n");
    } else {
      absl::StrAppend(&text, row.spec.label, " against ", comparison.first_exact, ": the same bits in every node\n");
    }
  }
  return text;
}

std::string ReferenceText(const Options& options, const Comparison& comparison) {
  return comparison.float_reference
             ? absl::StrCat("errors are against the float model on ", comparison.reference, ", ", options.error_samples,
                            " samples")
             : absl::StrCat("errors are against ", comparison.reference,
                            ", because the file does not hold the float model (convert --keep float)");
}

// Sessions of the contract that gave the same bits as the first are not repeated.
std::vector<const Row*> RowsWithErrors(const Comparison& comparison) {
  std::vector<const Row*> rows;
  for (const Row& row : comparison.rows) {
    const bool repeats = IsExact(row.spec) && row.spec.label != comparison.first_exact && !row.divergence;
    if (!row.errors.empty() && !repeats) rows.push_back(&row);
  }
  return rows;
}

Table ErrorTable(const std::vector<const Row*>& rows) {
  // Without codebooks (an ONNX file) no node has an error of its own.
  const bool isolated = std::any_of(rows.begin(), rows.end(), [](const Row* row) {
    return std::any_of(row->errors.begin(), row->errors.end(),
                       [](const NodeError& e) { return e.isolated_db.has_value(); });
  });
  std::vector<std::string> titles = {"node", "op"};
  for (const Row* row : rows) {
    if (isolated) titles.push_back(absl::StrCat(">", row->spec.label, " alone dB"));
    titles.push_back(absl::StrCat(">", isolated ? "" : row->spec.label + " ", "so far dB"));
  }
  Table table(titles);
  for (size_t i = 0; !rows.empty() && i < rows[0]->errors.size(); ++i) {
    std::vector<std::string> cells = {Shown(rows[0]->errors[i].node, 40), rows[0]->errors[i].op};
    for (const Row* row : rows) {
      const NodeError& error = row->errors[i];
      if (isolated) cells.push_back(error.isolated_db ? Decibels(*error.isolated_db) : "");
      cells.push_back(Decibels(error.cumulative_db));
    }
    table.Add(std::move(cells));
  }
  return table;
}

Json RowJson(const Comparison& comparison, const Row& row) {
  Json json = {{"backend", row.spec.label},
               {"metric", row.score.result.metric},
               {"value", Number(row.score.result.value)},
               {"samples", row.score.result.samples},
               {"output_sqnr_db", Number(row.score.output_sqnr_db)},
               {"source", "measured"},
               {"latency_us", LatencyJson(row.latency)},
               {"runs", row.latency.runs},
               {"peak_rss_bytes", row.memory.peak_rss_bytes},
               {"baseline_rss_bytes", row.memory.baseline_rss_bytes},
               {"resident_weight_bytes", row.memory.resident_weight_bytes},
               {"exact_contract", IsExact(row.spec)}};
  if (IsExact(row.spec)) {
    json["first_diverging_node"] = row.divergence ? Json(row.divergence->node) : Json(nullptr);
  }
  Json nodes = Json::array();
  for (const NodeError& e : row.errors) {
    nodes.push_back({{"node", e.node},
                     {"op", e.op},
                     {"tensor", e.tensor},
                     {"isolated_sqnr_db", e.isolated_db ? Number(*e.isolated_db) : Json(nullptr)},
                     {"cumulative_sqnr_db", Number(e.cumulative_db)},
                     {"max_abs", Number(e.max_abs)}});
  }
  json["nodes"] = nodes;
  return json;
}

Json Report(const Options& options, const Dataset& data, const Comparison& comparison) {
  Json report = ReportHeader("compare", options.model, options.num_threads);
  report["data"] = {{"name", data.name()}, {"path", options.data.path}, {"samples", data.size()}};
  report["file_bytes"] = comparison.file_bytes;
  report["compression_vs_int8"] = Number(comparison.compression_vs_int8);
  report["reference"] = {{"backend", comparison.reference}, {"float_model", comparison.float_reference}};
  report["results"] = Json::array();
  for (const Row& row : comparison.rows) report["results"].push_back(RowJson(comparison, row));
  report["skipped"] = SkippedJson(comparison.skipped);
  return report;
}

std::string Html(const Options& options, const Comparison& comparison) {
  return HtmlPage(absl::StrCat("compare ", options.model),
                  absl::StrCat(SummaryTable(comparison).Html(), "<pre>", EscapeHtml(DivergenceText(comparison)),
                               EscapeHtml(SkippedText(comparison.skipped)), "</pre><h2>Errors per node</h2><p>",
                               EscapeHtml(ReferenceText(options, comparison)), "</p>\n",
                               ErrorTable(RowsWithErrors(comparison)).Html(), EnvironmentHtml(options.num_threads)));
}

absl::Status CheckDemands(const std::vector<Demand>& demands, const Comparison& comparison) {
  for (const Demand& demand : demands) {
    for (const Row& row : comparison.rows) {
      const double value = demand.metric == "output_sqnr_db"        ? row.score.output_sqnr_db
                           : demand.metric == "compression_vs_int8" ? comparison.compression_vs_int8
                                                                    : row.score.result.value;
      // NaN (nothing to measure) fails too.
      if (!(value >= demand.value)) {
        return MakeError(
            ErrorId::kComparisonFailed,
            absl::StrCat(row.spec.label, ": ", demand.metric, ": expected at least ", demand.value, ", found ", value));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  TALLY_ASSIGN_OR_RETURN(const ModelInput input, OpenModel(options.model));
  TALLY_ASSIGN_OR_RETURN(const std::vector<SessionSpec> specs, ParseBackendsFor(input, options.backends));
  TALLY_ASSIGN_OR_RETURN(const Dataset data, OpenData(options.data, input.model));
  TALLY_RETURN_IF_ERROR(
      CheckOutputs({{"--json", options.json}, {"--html", options.html}}, Concat(input.files, data.files())));
  TALLY_ASSIGN_OR_RETURN(const std::vector<Demand> demands, ParseDemands(options.fail_below, data.metric()));
  TALLY_ASSIGN_OR_RETURN(const Comparison comparison, Compare(options, input, specs, data));
  if (options.json != "-" && options.html != "-") {
    const std::string notes = DivergenceText(comparison) + SkippedText(comparison.skipped);
    const Table errors = ErrorTable(RowsWithErrors(comparison));
    Print(absl::StrCat(
        SummaryTable(comparison).Text(), notes.empty() ? "" : "\n", notes,
        errors.empty() ? "" : absl::StrCat("\n", ReferenceText(options, comparison), "\n", errors.Text())));
  }
  if (!options.json.empty()) TALLY_RETURN_IF_ERROR(WriteJson(options.json, Report(options, data, comparison)));
  if (!options.html.empty()) TALLY_RETURN_IF_ERROR(WriteOutput(options.html, Html(options, comparison)));
  return CheckDemands(demands, comparison);
}

}  // namespace

void AddCompare(CLI::App* app, Action* action) {
  CLI::App* sub =
      app->add_subcommand("compare", "Compare backends: metric, latency, memory, size and the error of every node");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally or .onnx file")->required();
  AddDataOptions(sub, &o->data);
  AddList(sub, "--backend", &o->backends,
          "Sessions, separated by commas; a+b is one session; all = those built, without the slow "
          "oracle histogram")
      ->capture_default_str();
  AddThreads(sub, &o->num_threads);
  sub->add_option("--error-samples", o->error_samples, "Samples for the errors per node; 0 = skip them")
      ->check(InRange(0, 1024))
      ->capture_default_str();
  AddList(
      sub, "--fail-below", &o->fail_below,
      "METRIC=VALUE: exit status 1 when a backend is below; METRIC: the data's, output_sqnr_db, compression_vs_int8");
  sub->add_option("--json", o->json, "Also write everything as JSON; - is stdout");
  sub->add_option("--html", o->html, "Also write a self-contained page; - is stdout");
  sub->footer(
      "alone: SQNR of a node that gets the reference's inputs; so far: with everything before it quantized too.\n"
      "Backends of the exactness contract (exponent, onednn-codebook, histogram, nearmem) are compared bit for bit.\n"
      "Latency is of one sample; peak memory is of a process of its own per backend.\n"
      "\n"
      "Examples:\n"
      "  tally compare net.tally --data data.json --backend all --limit 500\n"
      "  tally compare net.tally --data data.json --backend exponent --fail-below top1=90 --html net.html");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
