#include "tools/bench.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "backends/all/all.h"
#include "format/error.h"
#include "format/limits.h"
#include "runtime/core/cpu.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

// oneDNN's OpenMP workers spin for some milliseconds after their last region; nothing else is timed meanwhile.
constexpr std::chrono::milliseconds kPause(20);
// Profiled runs are for shares, not for latency: few suffice.
constexpr int64_t kMaxProfiledRuns = 50;

struct BenchResult {
  std::string backend;
  int num_threads = 1;
  double create_us = 0;
  Latency latency;
  SessionStats stats;
  std::vector<NodePlacement> placement;
  std::vector<NodeProfile> profile;  // mean microseconds
  std::optional<MemoryFigures> memory;
};

absl::Status Profile(const Model& model, const SessionSpec& spec, const SessionOptions& base, int64_t batch,
                     const LatencyOptions& latency, std::vector<NodeProfile>* profile) {
  SessionOptions options = base;
  options.backends = spec.backends;
  options.enable_profiling = true;
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, options));
  if (batch > 0) TALLY_RETURN_IF_ERROR(ResizeBatch(&session, batch));
  const RunBuffers buffers(session, model);
  for (int64_t i = 0; i < latency.warmup_runs; ++i) {
    TALLY_RETURN_IF_ERROR(session.Run(buffers.inputs(), buffers.outputs()));
  }
  const int64_t runs = std::clamp<int64_t>(latency.num_runs, 1, kMaxProfiledRuns);
  for (int64_t i = 0; i < runs; ++i) {
    TALLY_RETURN_IF_ERROR(session.Run(buffers.inputs(), buffers.outputs()));
    if (i == 0) *profile = session.profile();
    for (size_t k = 0; i > 0 && k < profile->size(); ++k) {
      (*profile)[k].microseconds += session.profile()[k].microseconds;
    }
  }
  for (NodeProfile& node : *profile) node.microseconds /= static_cast<double>(runs);
  return absl::OkStatus();
}

Json ResultJson(const BenchResult& result) {
  Json json = {{"backend", result.backend},
               {"num_threads", result.num_threads},
               {"source", "measured"},
               {"latency_us", LatencyJson(result.latency)},
               {"runs", result.latency.runs},
               {"create_us", result.create_us},
               {"peak_rss_bytes", nullptr},
               {"baseline_rss_bytes", nullptr},
               {"resident_weight_bytes", result.stats.resident_weight_bytes},
               {"arena_bytes", result.stats.arena_bytes}};
  if (result.memory) {
    json["peak_rss_bytes"] = result.memory->peak_rss_bytes;
    json["baseline_rss_bytes"] = result.memory->baseline_rss_bytes;
  }
  json["placement"] = PlacementJson(result.placement);
  if (!result.profile.empty()) {
    Json nodes = Json::array();
    for (const NodeProfile& p : result.profile) {
      nodes.push_back({{"node", p.node}, {"op", p.op}, {"backend", p.backend}, {"mean_us", p.microseconds}});
    }
    json["profile"] = nodes;
  }
  return json;
}

// `with_environment`: for files that stand alone.
Table ResultTable(const std::vector<BenchResult>& results, bool with_environment) {
  std::vector<std::string> titles = {"backend",         ">threads",      ">median us",  ">min us",
                                     ">p90 us",         ">mean us",      ">stddev us",  ">runs",
                                     ">peak rss bytes", ">weight bytes", ">arena bytes"};
  if (with_environment) titles.insert(titles.end(), {"source", "cpu", "isa", "tally", "commit"});
  Table table(titles);
  const Json environment = EnvironmentJson(1);
  for (const BenchResult& r : results) {
    std::vector<std::string> cells = {r.backend,
                                      absl::StrCat(r.num_threads),
                                      Fixed(r.latency.median, 1),
                                      Fixed(r.latency.min, 1),
                                      Fixed(r.latency.p90, 1),
                                      Fixed(r.latency.mean, 1),
                                      Fixed(r.latency.stddev, 1),
                                      absl::StrCat(r.latency.runs),
                                      r.memory ? absl::StrCat(r.memory->peak_rss_bytes) : "-",
                                      absl::StrCat(r.stats.resident_weight_bytes),
                                      absl::StrCat(r.stats.arena_bytes)};
    if (with_environment) {
      cells.push_back("measured");
      for (const char* key : {"cpu", "isa"}) cells.push_back(environment[key].get<std::string>());
      cells.push_back(Version());
      cells.push_back(environment["commit"].get<std::string>());
    }
    table.Add(std::move(cells));
  }
  return table;
}

std::string ProfileMarkdown(const BenchResult& result) {
  double total = 0;
  for (const NodeProfile& p : result.profile) total += p.microseconds;
  std::vector<NodeProfile> sorted = result.profile;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const NodeProfile& a, const NodeProfile& b) { return a.microseconds > b.microseconds; });
  Table table({"node", "op", "backend", ">mean us", ">%"});
  for (const NodeProfile& p : sorted) {
    table.Add({Shown(p.node), p.op, p.backend, Fixed(p.microseconds, 1),
               Fixed(total > 0 ? 100 * p.microseconds / total : 0, 1)});
  }
  return absl::StrCat("\n", result.backend, ", threads ", result.num_threads, ":\n\n", table.Markdown());
}

std::string Format(const BenchOptions& options, const std::string& output, const std::vector<BenchResult>& results,
                   const std::vector<SkippedSession>& skipped) {
  if (output == "csv") return ResultTable(results, true).Csv();
  if (output == "md") {
    std::string text = ResultTable(results, false).Markdown();
    for (const BenchResult& r : results) {
      if (!r.profile.empty()) absl::StrAppend(&text, ProfileMarkdown(r));
    }
    return absl::StrCat(text, SkippedText(skipped), "\nmeasured on ", CpuModelName(), ", Tally ", Version(), "\n");
  }
  const auto dump = [](const Json& json, int indent) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
  };
  if (output == "json") {
    Json report = ReportHeader("bench", options.model, options.num_threads[0]);
    report["results"] = Json::array();
    for (const BenchResult& r : results) report["results"].push_back(ResultJson(r));
    report["skipped"] = SkippedJson(skipped);
    return dump(report, 2);
  }
  // jsonl: every line stands alone.
  std::string text;
  for (const BenchResult& r : results) {
    Json line = ReportHeader("bench", options.model, r.num_threads);
    line.update(ResultJson(r));
    text += dump(line, -1);
  }
  return text;
}

absl::Status ListBackends() {
  const Registry registry = DefaultRegistry();
  Table table({"backend", "library"});
  for (const std::string& name : registry.names()) {
    const std::string version = registry.Find(name)->version();
    table.Add({name, version.empty() ? absl::StrCat("Tally ", Version()) : version});
  }
  Print(table.Text());
  return absl::OkStatus();
}

}  // namespace

void AddBenchOptions(CLI::App* app, BenchOptions* o, const std::string& program) {
  app->add_option("model", o->model, "The .tally file");
  AddList(app, "--backend", &o->backends,
          "Sessions, separated by commas; a+b is one session in order of preference; all = those built, without the "
          "oracle histogram and the simulated nearmem, whose time says nothing")
      ->capture_default_str();
  AddList(app, "--num_threads", &o->num_threads, "Thread counts, separated by commas; 0 = one per CPU")
      ->check(InRange(0, kMaxThreads))
      ->capture_default_str();
  app->add_option("--batch", o->batch, "Samples per run where the batch is dynamic")->check(InRange(1, 1 << 20));
  app->add_option("--warmup_runs", o->latency.warmup_runs, "Runs before timing")
      ->check(InRange(0, 1 << 30))
      ->capture_default_str();
  app->add_option("--num_runs", o->latency.num_runs, "Timed runs, at least")
      ->check(InRange(1, 1 << 30))
      ->capture_default_str();
  app->add_option("--min_secs", o->latency.min_secs, "Seconds of timed runs, at least")
      ->check(InRange(0.0, 1e6))
      ->capture_default_str();
  app->add_flag("--enable_op_profiling", o->enable_op_profiling, "Also report the time of every node");
  app->add_flag("--report_peak_memory_footprint", o->report_peak_memory_footprint,
                "Also measure peak memory, in a process of its own per line (always for json, jsonl, csv)");
  app->add_flag("--require_backend", o->require_backend,
                "A node that no listed backend takes is an error instead of running on the shared operators");
  AddTuning(app, &o->tuning);
  app->add_flag("--list_backends", o->list_backends, "List the backends of this build and stop");
  CLI::Option* output = app->add_option("--output", o->output, "Format")
                            ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}))
                            ->capture_default_str();
  CLI::Option* file = app->add_option("--output_file", o->output_file, "Where to; - is stdout")->capture_default_str();
  app->add_option("--json", o->json, "Short for --output json --output_file FILE; - is stdout")
      ->excludes(output)
      ->excludes(file);
  app->footer(
      absl::StrCat("Inputs are pseudo-random within the ranges that calibration saw. Times are wall time of one "
                   "run.\n\nExamples:\n  ",
                   program, " net.tally --backend exponent,xnnpack --num_threads 1,2\n  ", program,
                   " net.tally --backend all --enable_op_profiling\n  ", program,
                   " net.tally --backend exponent --json result.json"));
}

absl::Status RunBench(const BenchOptions& options) {
  if (options.list_backends) return ListBackends();
  if (options.model.empty()) return MakeError(ErrorId::kUsage, "expected a .tally file, found no argument; see --help");
  const std::string output = options.json.empty() ? options.output : "json";
  const std::string output_file = options.json.empty() ? options.output_file : options.json;
  TALLY_ASSIGN_OR_RETURN(std::vector<SessionSpec> specs, ParseBackends(options.backends));
  // How long a simulation takes says nothing of the machine that it simulates.
  const auto is_simulated = [](const SessionSpec& spec) { return spec.optional && spec.label == "nearmem"; };
  specs.erase(std::remove_if(specs.begin(), specs.end(), is_simulated), specs.end());
  TALLY_ASSIGN_OR_RETURN(const Model model, LoadTally(options.model));
  TALLY_RETURN_IF_ERROR(CheckInputsCanBeMadeUp(model));
  TALLY_RETURN_IF_ERROR(
      CheckOutputs({{options.json.empty() ? "--output_file" : "--json", output_file}}, {options.model}));

  Progress progress;
  std::vector<BenchResult> results;
  std::vector<SkippedSession> skipped;
  const double total = static_cast<double>(options.num_threads.size() * specs.size());
  for (int threads : options.num_threads) {
    SessionOptions session_options;
    session_options.num_threads = threads;
    session_options.require_backend = options.require_backend;
    SetTuning(options.tuning, &session_options);
    using Clock = std::chrono::steady_clock;
    Clock::time_point start = Clock::now();
    const auto body = [&](const SessionSpec& spec, Session& session) -> absl::Status {
      BenchResult result;
      result.backend = spec.label;
      result.num_threads = session.num_threads();
      result.create_us = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
      progress.Update("bench", static_cast<double>(results.size()) / total);
      if (options.batch > 0) TALLY_RETURN_IF_ERROR(ResizeBatch(&session, options.batch));
      const RunBuffers buffers(session, model);
      TALLY_ASSIGN_OR_RETURN(result.latency,
                             MeasureLatency(&session, buffers.inputs(), buffers.outputs(), options.latency));
      result.stats = session.stats();
      result.placement = session.placement();
      std::this_thread::sleep_for(kPause);
      if (options.enable_op_profiling) {
        TALLY_RETURN_IF_ERROR(Profile(model, spec, session_options, options.batch, options.latency, &result.profile));
      }
      if (options.report_peak_memory_footprint || output != "md") {
        TALLY_ASSIGN_OR_RETURN(result.memory,
                               MeasureMemory(options.model, spec, threads, options.batch, options.tuning));
      }
      results.push_back(std::move(result));
      start = Clock::now();
      return absl::OkStatus();
    };
    TALLY_ASSIGN_OR_RETURN(skipped, ForEachSession(model, specs, session_options, body));
  }
  progress.Clear();
  return WriteOutput(output_file, Format(options, output, results, skipped));
}

}  // namespace tally::tools
