// tally simulate: a network on the near-memory machine, counting against INT8.
#include <chrono>
#include <map>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "backends/all/all.h"
#include "backends/nearmem/network.h"
#include "converter/calibration/dataset.h"
#include "format/error.h"
#include "runtime/backend/registry.h"
#include "runtime/dot/folded.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/evaluation.h"
#include "tools/measure.h"
#include "tools/progress.h"
#include "tools/simulate_report.h"

namespace tally::tools {
namespace {

using nearmem::DramMode;
using nearmem::LaneProgram;
using nearmem::LayerRecord;
using nearmem::Machine;

struct Options {
  std::string model, network;
  std::string machine = "hmc";
  std::string lane;  // empty: what the model's grid needs; bucketed for a network
  std::string dram;  // empty: event, closed_form for sweeps
  std::string data;
  double bits = 4;
  uint64_t seed = 1;
  int num_threads = 0;
  std::vector<std::string> sweep;
  std::string json, csv, html, trace;
};

constexpr int kMaxSweep = 4096;

// An axis of a sweep: how a value changes what is simulated.
struct Axis {
  std::string name;
  std::vector<std::string> values;
};

absl::Status SweepError(const std::string& argument, const std::string& detail) {
  return MakeError(ErrorId::kUsage, absl::StrCat("--sweep ", Quoted(argument), ": ", detail));
}

// "lanes=16,32", "bits=3..7".
absl::StatusOr<Axis> ParseAxis(const std::string& argument) {
  const std::vector<std::string> known = {"bits", "lanes", "vaults", "counter_bits", "bandwidth", "fifo", "drain"};
  const size_t equals = argument.find('=');
  Axis axis{argument.substr(0, equals), {}};
  if (equals == std::string::npos || std::find(known.begin(), known.end(), axis.name) == known.end()) {
    return SweepError(argument, absl::StrCat("expected AXIS=VALUE,... or AXIS=FIRST..LAST, AXIS one of ",
                                             absl::StrJoin(known, ", ")));
  }
  for (const std::string& item : std::vector<std::string>(absl::StrSplit(argument.substr(equals + 1), ','))) {
    const std::vector<std::string> ends = absl::StrSplit(item, "..");
    int first = 0, last = 0;
    double value = 0;
    if (ends.size() == 2 && absl::SimpleAtoi(ends[0], &first) && absl::SimpleAtoi(ends[1], &last) && first > 0 &&
        first <= last && last - first < kMaxSweep) {
      for (int v = first; v <= last; ++v) axis.values.push_back(absl::StrCat(v));
    } else if (absl::SimpleAtod(item, &value) && value > 0 && value < 1e9) {
      axis.values.push_back(item);
    } else {
      return SweepError(argument, absl::StrCat("expected numbers above 0 or FIRST..LAST, found ", Quoted(item)));
    }
  }
  return axis;
}

// Changes the machine or the options to a value of an axis.
absl::Status SetAxis(const std::string& axis, const std::string& text, Options* options, Machine* machine) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value)) return MakeError(ErrorId::kInternal, "a value of a sweep is no number");
  nearmem::AcceleratorConfig& a = *machine->accelerator;
  const auto whole = [&](int* to) -> absl::Status {
    if (value != static_cast<int>(value)) return SweepError(absl::StrCat(axis, "=", text), "expected a whole number");
    *to = static_cast<int>(value);
    return absl::OkStatus();
  };
  if (axis == "bits") {
    if (options->network.empty())
      return SweepError("bits", "expected --network with this axis: a model has its own bits");
    options->bits = value;
  } else if (axis == "lanes") {
    TALLY_RETURN_IF_ERROR(whole(&a.lanes.lanes));
  } else if (axis == "counter_bits") {
    TALLY_RETURN_IF_ERROR(whole(&a.lanes.counter_bits));
  } else if (axis == "fifo") {
    TALLY_RETURN_IF_ERROR(whole(&a.fifo_bytes));
  } else if (axis == "drain") {
    TALLY_RETURN_IF_ERROR(whole(&a.lanes.lanes_per_multiplier));
  } else if (axis == "vaults") {
    int vaults = 0;
    TALLY_RETURN_IF_ERROR(whole(&vaults));
    // The mesh that is nearest to a square.
    a.noc.rows = 1;
    for (int r = 1; r * r <= vaults; ++r) a.noc.rows = vaults % r == 0 ? r : a.noc.rows;
    a.noc.columns = vaults / a.noc.rows;
  } else {  // bandwidth, GB/s of a vault
    nearmem::DramTiming& t = machine->dram.timing;
    t.burst = std::max(1, static_cast<int>(machine->dram.geometry.burst_bytes / (value * t.tck_ns) + 0.5));
    t.ccd_s = std::min(t.ccd_s, t.burst);
    t.ccd_l = std::min(t.ccd_l, std::max(t.burst, t.ccd_s));
  }
  for (const absl::Status& valid : {Validate(a), Validate(machine->dram)}) {
    if (!valid.ok()) return SweepError(absl::StrCat(axis, "=", text), std::string(valid.message()));
  }
  return absl::OkStatus();
}

// Everything that the figures follow from, but the codes.
std::string ConfigText(const Options& options, const Machine& machine, const SimulationReport& report) {
  std::string text =
      absl::StrCat(machine.name, ";", LaneProgramName(report.program), ";", static_cast<int>(report.dram_mode), ";",
                   options.network, ";", options.network.empty() ? 0 : options.bits, ";", options.seed);
  for (const nearmem::MachineConstant& c : machine.constants) absl::StrAppend(&text, ";", c.key, "=", c.value);
  const nearmem::AcceleratorConfig& a = *machine.accelerator;
  absl::StrAppend(&text, ";", a.lanes.lanes, ";", a.lanes.counter_bits, ";", a.lanes.lanes_per_multiplier, ";",
                  a.noc.columns, "x", a.noc.rows, ";", a.fifo_bytes, ";", machine.dram.timing.burst);
  return text;
}

// The program that the model's grids need: folded where any product is on the real grid.
LaneProgram ProgramOf(const Graph& graph) {
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.codes && tensor.codes->codebook.grid == Grid::kReal) return LaneProgram::kFolded;
  }
  return LaneProgram::kBucketed;
}

std::optional<LaneProgram> AskedProgram(const Options& options) {
  if (options.lane.empty()) return std::nullopt;
  return options.lane == "folded" ? LaneProgram::kFolded : LaneProgram::kBucketed;
}

// Runs the model once and collects its layers.
absl::StatusOr<std::vector<LayerRecord>> SimulateModel(const Options& options, const Model& model,
                                                       const SimulationReport& report,
                                                       const std::function<void(double)>& progress) {
  TALLY_RETURN_IF_ERROR(CheckInputsCanBeMadeUp(model));
  nearmem::Options backend;
  backend.machines = report.compared.machines;
  backend.program = AskedProgram(options);
  backend.recorder = std::make_shared<nearmem::Recorder>();
  backend.record_spans = !options.trace.empty();
  Registry registry = DefaultRegistry();
  registry.Add(MakeNearmemBackend(backend));
  SessionOptions session_options;
  session_options.backends = {"nearmem"};
  session_options.num_threads = options.num_threads;
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, session_options, registry));
  const RunBuffers buffers(session, model);
  std::map<std::string, int64_t> elements;  // of every tensor that the run produced
  size_t produced = 0, all = 0;
  for (const Node& node : model.graph().nodes) all += node.outputs.size();
  session.set_observer([&](const std::string&, const std::string& tensor, const TensorView& value) {
    elements[tensor] = TensorType{value.dtype, value.shape}.elements();
    if (progress) progress(static_cast<double>(++produced) / static_cast<double>(all));
  });
  for (const TensorInfo& input : session.inputs()) {
    elements[input.name] = TensorType{input.dtype, input.shape}.elements();
  }
  if (options.data.empty()) {
    TALLY_RETURN_IF_ERROR(session.Run(buffers.inputs(), buffers.outputs()));
  } else {
    DataOptions data_options;
    data_options.path = options.data;
    TALLY_ASSIGN_OR_RETURN(const Dataset data, OpenData(data_options, model));
    TALLY_ASSIGN_OR_RETURN(const Batch batch, data.Read(0, 1));
    TALLY_RETURN_IF_ERROR(session.Run(batch.views(), buffers.outputs()));
  }
  const Graph& graph = model.graph();
  const std::vector<LayerRecord> layers = backend.recorder->Take();
  if (layers.empty()) {
    std::string reason = "it has no product of codes";
    for (const NodePlacement& p : session.placement()) {
      if (!p.refused.empty()) reason = absl::StrCat(Quoted(p.node), ": ", p.refused[0].reason);
    }
    return MakeError(ErrorId::kUnsupportedNode, absl::StrCat("nearmem takes no node of this model: ", reason));
  }
  return WithTransfers(
      graph, layers,
      [&](int tensor) {
        const auto it = elements.find(graph.tensors[static_cast<size_t>(tensor)].name);
        return it == elements.end() ? 0 : it->second;
      },
      report.compared.machines);
}

// `model`: null for a network.
absl::StatusOr<SimulationReport> Simulate(const Options& options, const Machine& machine, const Model* model,
                                          const std::function<void(double)>& progress) {
  SimulationReport report;
  report.model = model != nullptr ? options.model : options.network;
  report.synthetic_codes = model == nullptr;
  report.machine = machine;
  const std::string dram = !options.dram.empty() ? options.dram : options.sweep.empty() ? "event" : "closed_form";
  report.dram_mode = dram == "event" ? DramMode::kEvent : DramMode::kClosedForm;
  report.program =
      AskedProgram(options).value_or(model != nullptr ? ProgramOf(model->graph()) : LaneProgram::kBucketed);
  const nearmem::SyntheticOptions synthetic{options.bits, report.program, options.seed};
  report.bits = model != nullptr ? nearmem::BitsOf(model->graph()) : nearmem::BitsOf(options.network, synthetic);
  report.compared = nearmem::Compare(machine, report.program, report.bits, report.dram_mode);
  report.config_hash = HashOf(ConfigText(options, machine, report));
  if (model != nullptr) {
    TALLY_ASSIGN_OR_RETURN(report.layers, SimulateModel(options, *model, report, progress));
  } else {
    TALLY_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Create(options.num_threads));
    TALLY_ASSIGN_OR_RETURN(report.layers, nearmem::SimulateNetwork(options.network, synthetic, report.compared.machines,
                                                                   pool.get(), !options.trace.empty(), progress));
  }
  return report;
}

absl::StatusOr<std::vector<SweepPoint>> Sweep(const Options& options, const std::vector<Axis>& axes,
                                              const Machine& machine, const Model* model, Progress* progress) {
  size_t count = 1;
  for (const Axis& axis : axes) {
    count *= axis.values.size();
    if (count > kMaxSweep) return SweepError(axis.name, absl::StrCat("expected at most ", kMaxSweep, " points in all"));
  }
  std::vector<SweepPoint> points;
  for (size_t i = 0; i < count; ++i) {
    Options changed = options;
    Machine changed_machine = machine;
    std::vector<std::pair<std::string, std::string>> at;
    size_t rest = i;
    for (const Axis& axis : axes) {
      const std::string& value = axis.values[rest % axis.values.size()];
      rest /= axis.values.size();
      TALLY_RETURN_IF_ERROR(SetAxis(axis.name, value, &changed, &changed_machine));
      at.emplace_back(axis.name, value);
    }
    progress->Update("sweep", static_cast<double>(i) / static_cast<double>(count));
    TALLY_ASSIGN_OR_RETURN(const SimulationReport report, Simulate(changed, changed_machine, model, nullptr));
    points.push_back(MakeSweepPoint(std::move(at), report));
  }
  return points;
}

Json SweepJson(const Options& options, const std::vector<SweepPoint>& points) {
  Json json = ReportHeader("simulate", options.model.empty() ? options.network : options.model, 1);
  json["environment"].erase("threads");
  json["source"] = "simulated";
  json["sweep"] = Json::array();
  for (const SweepPoint& point : points) {
    Json entry = {{"axes", Json::object()}, {"config_hash", point.config_hash}, {"totals", point.totals}};
    for (const auto& [axis, value] : point.axes) entry["axes"][axis] = value;
    json["sweep"].push_back(std::move(entry));
  }
  return json;
}

absl::Status RunSweep(const Options& options, const Machine& machine, const Model* model) {
  std::vector<Axis> axes;
  for (const std::string& argument : options.sweep) {
    TALLY_ASSIGN_OR_RETURN(Axis axis, ParseAxis(argument));
    axes.push_back(std::move(axis));
  }
  if (!options.html.empty() || !options.trace.empty()) {
    return MakeError(ErrorId::kUsage, "--sweep: expected --csv or --json with it, found --html or --trace");
  }
  Progress progress;
  TALLY_ASSIGN_OR_RETURN(const std::vector<SweepPoint> points, Sweep(options, axes, machine, model, &progress));
  progress.Clear();
  const Table table = SweepTable(points);
  if (!options.csv.empty()) TALLY_RETURN_IF_ERROR(WriteOutput(options.csv, table.Csv()));
  if (!options.json.empty()) TALLY_RETURN_IF_ERROR(WriteJson(options.json, SweepJson(options, points)));
  if (options.csv != "-" && options.json != "-") Print(table.Text());
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  if (options.model.empty() == options.network.empty()) {
    return MakeError(ErrorId::kUsage, "expected a .tally file or --network, one of them; see tally simulate --help");
  }
  std::vector<std::string> inputs = {options.machine};
  if (!options.model.empty()) inputs.push_back(options.model);
  if (!options.data.empty()) inputs.push_back(options.data);
  TALLY_RETURN_IF_ERROR(CheckOutputs(
      {{"--json", options.json}, {"--csv", options.csv}, {"--html", options.html}, {"--trace", options.trace}},
      inputs));
  TALLY_ASSIGN_OR_RETURN(const Machine machine, nearmem::LoadAccelerator(options.machine));
  std::optional<Model> model;
  if (!options.model.empty()) {
    TALLY_ASSIGN_OR_RETURN(model, LoadTally(options.model));
  }
  if (!options.sweep.empty()) return RunSweep(options, machine, model ? &*model : nullptr);
  Progress progress;
  TALLY_ASSIGN_OR_RETURN(
      const SimulationReport report,
      Simulate(options, machine, model ? &*model : nullptr, [&](double share) { progress.Update("simulate", share); }));
  progress.Clear();
  if (!options.csv.empty()) TALLY_RETURN_IF_ERROR(WriteOutput(options.csv, SimulationCsv(report)));
  if (!options.html.empty()) TALLY_RETURN_IF_ERROR(WriteOutput(options.html, SimulationHtml(report)));
  if (!options.trace.empty()) TALLY_RETURN_IF_ERROR(WriteOutput(options.trace, SimulationTrace(report)));
  if (!options.json.empty()) TALLY_RETURN_IF_ERROR(WriteJson(options.json, SimulationJson(report)));
  const bool quiet = options.json == "-" || options.csv == "-" || options.html == "-" || options.trace == "-";
  if (!quiet) Print(SimulationText(report));
  return absl::OkStatus();
}

}  // namespace

void AddSimulate(CLI::App* app, Action* action) {
  CLI::App* sub = app->add_subcommand(
      "simulate", "Simulate a model on the near-memory machine: counting exponents against INT8, cycles and energy");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally file");
  sub->add_option("--network", o->network, "Published layer shapes with made-up codes instead of a model")
      ->check(CLI::IsMember(nearmem::NetworkNames()));
  sub->add_option("--machine", o->machine, "A machine file, or a preset (hmc, hbm2)")->capture_default_str();
  sub->add_option("--lane", o->lane,
                  "What the lanes run: bucketed (integer grids), folded (real grid, one base per layer) [what the "
                  "model's grid needs]")
      ->check(CLI::IsMember({"bucketed", "folded"}));
  sub->add_option("--dram", o->dram,
                  "event: every DRAM command; closed_form: rates alone [event; closed_form for sweeps]")
      ->check(CLI::IsMember({"event", "closed_form"}));
  sub->add_option("--data", o->data, "A DATA.json: simulate its first sample instead of pseudo-random input");
  sub->add_option("--bits", o->bits, "With --network: mean stored bits of the weights")
      ->check(InRange(3.0, 8.0))
      ->capture_default_str();
  sub->add_option("--seed", o->seed, "With --network: of the codes")->capture_default_str();
  sub->add_option("--num_threads", o->num_threads, "0 = one per CPU; figures do not depend on it")
      ->check(InRange(0, 256))
      ->capture_default_str();
  sub->add_option(
      "--sweep", o->sweep,
      "AXIS=VALUE,... or AXIS=FIRST..LAST, any number: every combination; axes: bits (with --network), lanes, "
      "vaults, counter_bits, bandwidth (GB/s per vault), fifo (bytes), drain (lanes per multiplier)");
  sub->add_option("--json", o->json, "Report as JSON to this file; - is stdout");
  sub->add_option("--csv", o->csv, "A row per layer and machine, or per point of the sweep; - is stdout");
  sub->add_option("--html", o->html, "A self-contained page with roofline, energy and cycles; - is stdout");
  sub->add_option("--trace", o->trace, "Time line in Chrome's trace format, for Perfetto; - is stdout");
  sub->footer(
      "Every figure is simulated; docs/nearmem.md describes the machine and how accurate it is. Counting and INT8 run\n"
      "on the same machine: with equal lanes (iso_lane), with as many INT8 lanes as fit the counting lanes' area\n"
      "(iso_area), and each with the fewest lanes that keep up with its DRAM (iso_bandwidth).\n"
      "\n"
      "Examples:\n"
      "  tally simulate net.tally\n"
      "  tally simulate net.tally --machine hbm2 --json report.json --html report.html --trace trace.json\n"
      "  tally simulate --network resnet50 --bits 4\n"
      "  tally simulate --network alexnet --sweep bits=3..7 lanes=16,32,64 --csv sweep.csv");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
