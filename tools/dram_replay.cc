// tally_dram_replay: a request trace on the DRAM of a machine, to compare its model with others.
#include "backends/nearmem/sim/dram_replay.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/dram_energy.h"
#include "backends/nearmem/sim/dram_trace.h"
#include "tools/cli.h"
#include "tools/common.h"
#include "tools/gzip.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

using nearmem::CommandName;
using nearmem::DramConfig;
using nearmem::DramCounts;
using nearmem::DramGeometry;
using nearmem::DramIssue;
using nearmem::DramObserver;
using nearmem::DramReplay;
using nearmem::DramRequest;
using nearmem::EnergyPart;
using nearmem::EventEnergy;
using nearmem::FlatEnergy;
using nearmem::LoadMachine;
using nearmem::Machine;
using nearmem::MachinePresets;
using nearmem::ParseTrace;
using nearmem::ReplayTrace;
using nearmem::TotalEnergy;

constexpr uint64_t kMaxTraceBytes = uint64_t{1} << 30;

struct Options {
  std::string machine = "hmc";
  std::string trace;
  int request_bytes = 0;
  std::string json, commands;
};

struct Result {
  std::vector<EnergyPart> events, flat;
  DramReplay replay;
  double ns = 0, gb_s = 0;
};

// An error of the trace's parser, under its code.
absl::Status TraceError(const absl::Status& status, const std::string& path) {
  const ErrorId id = absl::IsResourceExhausted(status) ? ErrorId::kLimitCount : ErrorId::kBadTrace;
  return MakeError(id, std::string(status.message()), {path, "", -1, ""});
}

absl::StatusOr<int> BurstsPerRequest(const DramGeometry& geometry, int request_bytes) {
  if (request_bytes == 0) return 1;
  const int row_bytes = geometry.bursts_per_row * geometry.burst_bytes;
  if (request_bytes % geometry.burst_bytes != 0 || request_bytes > row_bytes) {
    return MakeError(ErrorId::kUsage, absl::StrCat("--request-bytes: expected a multiple of the machine's bursts of ",
                                                   geometry.burst_bytes, " bytes, at most its row of ", row_bytes,
                                                   ", found ", request_bytes));
  }
  return request_bytes / geometry.burst_bytes;
}

absl::StatusOr<Result> Replay(const DramConfig& config, const std::vector<DramRequest>& trace,
                              const DramObserver& observer) {
  Result result;
  TALLY_ASSIGN_OR_RETURN(result.replay, ReplayTrace(config, trace, observer));
  const DramReplay& replay = result.replay;
  result.events = EventEnergy(config, replay.counts, replay.drained_cycles);
  result.flat = FlatEnergy(config, replay.counts, replay.drained_cycles);
  result.ns = static_cast<double>(replay.cycles) * config.timing.tck_ns;
  const double bytes = static_cast<double>(replay.requests) * config.geometry.burst_bytes;
  result.gb_s = replay.cycles > 0 ? bytes / result.ns : 0;
  return result;
}

// "cycle command bank row", '-' for what a command has not.
void AppendCommand(const DramIssue& issue, std::string* text) {
  const auto number = [](int value) { return value < 0 ? std::string("-") : absl::StrCat(value); };
  absl::StrAppend(text, issue.at, " ", CommandName(issue.command), " ", number(issue.bank), " ", number(issue.row),
                  "\n");
}

Json EnergyJson(const std::vector<EnergyPart>& parts) {
  Json json = {{"total", TotalEnergy(parts)}};
  for (const EnergyPart& part : parts) json[part.name] = part.pj;
  return json;
}

Json ReportJson(const Options& options, const Result& result) {
  const DramReplay& replay = result.replay;
  const DramCounts& counts = replay.counts;
  Json report = ReportHeader("dram_replay", "", 1);
  report["source"] = "simulated";
  report["machine"] = options.machine;
  report["trace"] = options.trace;
  report["requests"] = replay.requests;
  report["cycles"] = replay.cycles;
  report["drained_cycles"] = replay.drained_cycles;
  report["ns"] = result.ns;
  report["gb_s"] = result.gb_s;
  report["activates"] = counts.activates;
  report["precharges"] = counts.precharges;
  report["refreshes"] = counts.refreshes;
  // Requests served; those served without a command are in the two keys that follow.
  report["reads"] = counts.reads + counts.forwarded_reads;
  report["writes"] = counts.writes + counts.coalesced_writes;
  report["forwarded_reads"] = counts.forwarded_reads;
  report["coalesced_writes"] = counts.coalesced_writes;
  report["row_hits"] = counts.row_hits;
  report["row_misses"] = counts.row_misses;
  report["row_conflicts"] = counts.row_conflicts;
  report["unused_activates"] = counts.unused_activates;
  report["energy_pj"] = EnergyJson(result.events);
  report["energy_pj_flat"] = EnergyJson(result.flat);
  return report;
}

std::string ReportText(const Options& options, const Result& result) {
  const DramReplay& replay = result.replay;
  const DramCounts& counts = replay.counts;
  Table table({"quantity", ">value"});
  table.Add({"requests", absl::StrCat(replay.requests)});
  table.Add({"cycles", absl::StrCat(replay.cycles)});
  table.Add({"ns", Fixed(result.ns, 1)});
  table.Add({"GB/s", Fixed(result.gb_s, 3)});
  table.Add({"activates", absl::StrCat(counts.activates)});
  table.Add({"precharges", absl::StrCat(counts.precharges)});
  table.Add({"refreshes", absl::StrCat(counts.refreshes)});
  table.Add({"reads", absl::StrCat(counts.reads + counts.forwarded_reads)});
  table.Add({"writes", absl::StrCat(counts.writes + counts.coalesced_writes)});
  table.Add({"row hits", absl::StrCat(counts.row_hits)});
  for (const EnergyPart& part : result.events) table.Add({absl::StrCat(part.name, ", nJ"), Fixed(part.pj * 1e-3, 1)});
  table.Add({"all events, nJ", Fixed(TotalEnergy(result.events) * 1e-3, 1)});
  table.Add({"flat, nJ", Fixed(TotalEnergy(result.flat) * 1e-3, 1)});
  return absl::StrCat(options.trace, " on ", options.machine, ", simulated\n\n", table.Text());
}

absl::Status Run(const Options& options) {
  TALLY_RETURN_IF_ERROR(
      CheckOutputs({{"--json", options.json}, {"--commands", options.commands}}, {options.machine, options.trace}));
  TALLY_ASSIGN_OR_RETURN(const Machine machine, LoadMachine(options.machine));
  TALLY_ASSIGN_OR_RETURN(const int bursts, BurstsPerRequest(machine.dram.geometry, options.request_bytes));
  TALLY_ASSIGN_OR_RETURN(const std::string text, ReadMaybeGzip(options.trace, kMaxTraceBytes, ErrorId::kBadTrace));
  const absl::StatusOr<std::vector<DramRequest>> trace = ParseTrace(text, machine.dram.geometry, bursts);
  if (!trace.ok()) return TraceError(trace.status(), options.trace);
  std::string commands;
  DramObserver observer;
  if (!options.commands.empty()) observer = [&](const DramIssue& issue) { AppendCommand(issue, &commands); };
  TALLY_ASSIGN_OR_RETURN(const Result result, Replay(machine.dram, *trace, observer));
  if (!options.commands.empty()) TALLY_RETURN_IF_ERROR(WriteOutput(options.commands, commands));
  if (!options.json.empty()) TALLY_RETURN_IF_ERROR(WriteJson(options.json, ReportJson(options, result)));
  if (options.json != "-" && options.commands != "-") Print(ReportText(options, result));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  PrepareProcess();
  CLI::App app("Replays a trace of DRAM requests on the DRAM of a near-memory machine.", "tally_dram_replay");
  app.set_version_flag("--version", absl::StrCat("tally_dram_replay ", Version()));
  Options o;
  app.add_option("--machine", o.machine, "A machine file, or a preset")->capture_default_str();
  app.add_option("--trace", o.trace, "File of requests, one a line: R|W bank_group bank row column; may be gzipped")
      ->required();
  app.add_option("--request-bytes", o.request_bytes, "Bytes of a request (default: a burst)")
      ->check(InRange(1, 1 << 28));
  app.add_option("--json", o.json, "Report as JSON to this file; - is stdout");
  app.add_option("--commands", o.commands, "Every DRAM command, one a line: cycle command bank row; - is stdout");
  app.footer(absl::StrCat(
      "Requests are offered in order, at most one per DRAM cycle. Cycles count until the last read has its data and\n"
      "the last write is taken over; drained_cycles until it is in its row.\n"
      "Energy by component in pJ, in two modes: per command, and flat per bit. All figures are simulated;\n"
      "docs/nearmem.md says how accurately.\n\n"
      "Presets: ",
      absl::StrJoin(MachinePresets(), ", "),
      "\n\n"
      "Example:\n"
      "  tally_dram_replay --machine hbm2 --trace requests.txt.gz --json -"));
  return RunCommandLine(
      &app, [&] { return Run(o); }, "tally_dram_replay", argc, argv);
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::Main(argc, argv); }
