#include "tools/simulate_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tally::tools {
namespace {

using nearmem::Comparison;
using nearmem::CountersPerLane;
using nearmem::CycleParts;
using nearmem::DramMode;
using nearmem::EnergyMode;
using nearmem::EnergyPart;
using nearmem::LaneArea;
using nearmem::LaneProgram;
using nearmem::LaneProgramName;
using nearmem::LayerBytes;
using nearmem::LayerRecord;
using nearmem::LayerResult;
using nearmem::MachineRecord;
using nearmem::MappingChoice;
using nearmem::MappingText;
using nearmem::SimulatedMachine;
using nearmem::SramArea;
using nearmem::TotalEnergy;
using nearmem::VaultSpan;

constexpr size_t kRunnersUp = 3;

struct NamedCycles {
  const char* name;
  nearmem::Cycle value;
};
std::vector<NamedCycles> Parts(const CycleParts& c) {
  return {{"compute", c.compute},
          {"spill", c.spill},
          {"post_processing", c.post_processing},
          {"dram_stall", c.dram_stall},
          {"refresh", c.refresh},
          {"noc", c.noc},
          {"link", c.link}};
}

Json CyclesJson(const CycleParts& cycles) {
  Json json = {{"total", cycles.total()}};
  for (const NamedCycles& part : Parts(cycles)) json[part.name] = part.value;
  return json;
}

Json EnergyJson(const std::vector<EnergyPart>& parts) {
  // Whole pJ: exact in any order of addition.
  Json json = {{"total", TotalEnergy(parts)}};
  for (const EnergyPart& part : parts) json[part.name] = part.pj;
  return json;
}

Json BytesJson(const LayerBytes& b) {
  return {{"dram", b.dram()},     {"weights", b.weights}, {"activations", b.activations}, {"residuals", b.residuals},
          {"outputs", b.outputs}, {"padding", b.padding}, {"noc_hops", b.noc_hops},       {"link", b.link}};
}

// Of the DRAM's bandwidth and the lanes, what a layer had and could have had.
struct Roofline {
  double macs_per_byte = 0;   // of DRAM
  double macs_per_cycle = 0;  // of DRAM clocks, all vaults
  double roof = 0;            // at that intensity
  double utilisation = 0;     // of the lanes, by activations that were not zero
};
Roofline RooflineOf(const SimulatedMachine& machine, const LayerRecord& layer, const MachineRecord& m) {
  Roofline r;
  const double macs = static_cast<double>(layer.shape.macs()), cycles = static_cast<double>(m.result.cycles.total());
  const double vaults = machine.config.vaults();
  const double peak = vaults * machine.dram.geometry.burst_bytes / machine.dram.timing.burst;
  const double lanes = vaults * machine.config.lanes.lanes / machine.config.lanes.clock_divider;
  r.macs_per_byte = macs / std::max<double>(1, static_cast<double>(m.result.bytes.dram()));
  r.macs_per_cycle = cycles > 0 ? macs / cycles : 0;
  r.roof = std::min(lanes, r.macs_per_byte * peak);
  r.utilisation = cycles > 0 ? static_cast<double>(m.result.events.lane_steps) / (lanes * cycles) : 0;
  return r;
}

double RowHitRate(const nearmem::DramCounts& dram) {
  const int64_t accesses = dram.reads + dram.writes;
  return accesses == 0 ? 0 : static_cast<double>(dram.row_hits) / static_cast<double>(accesses);
}

bool IsTransfer(const LayerRecord& layer) { return layer.machines[0].mappings.empty(); }

Json SideJson(const SimulationReport& report, const LayerRecord& layer, int machine) {
  const MachineRecord& m = layer.machines[static_cast<size_t>(machine)];
  const SimulatedCost cost = CostOf(report, layer, machine);
  Json json = {{"cycles", CyclesJson(cost.cycles)},
               {"energy_pj", EnergyJson(cost.events)},
               {"energy_pj_flat", EnergyJson(cost.flat)},
               {"bytes", BytesJson(cost.bytes)}};
  if (IsTransfer(layer)) return json;
  const LayerResult& r = m.result;
  const SimulatedMachine& simulated = report.compared.machines[static_cast<size_t>(machine)];
  const Roofline roofline = RooflineOf(simulated, layer, m);
  json["bits"] = {{"weights", m.bits.weight_bits}, {"activations", m.bits.activation_bits}};
  json["dram"] = {{"activates", r.dram.activates}, {"reads", r.dram.reads},       {"writes", r.dram.writes},
                  {"refreshes", r.dram.refreshes}, {"row_hits", r.dram.row_hits}, {"row_hit_rate", RowHitRate(r.dram)}};
  json["events"] = {
      {"lane_steps", r.events.lane_steps}, {"counter_updates", r.events.lanes.updates},
      {"spills", r.events.lanes.spills},   {"drain_multiplies", r.events.lanes.multiplies + r.events.drain_macs},
      {"post_macs", r.events.post_macs},   {"quantized", r.events.quantized}};
  json["roofline"] = {{"macs", layer.shape.macs()},
                      {"macs_per_byte", roofline.macs_per_byte},
                      {"macs_per_cycle", roofline.macs_per_cycle},
                      {"roof_macs_per_cycle", roofline.roof}};
  json["lane_utilisation"] = roofline.utilisation;
  json["vaults_simulated"] = r.distinct_vaults;
  json["mapping"] = MappingText(r.mapping);
  json["runners_up"] = Json::array();
  for (size_t i = 1; i < std::min(m.mappings.size(), kRunnersUp + 1); ++i) {
    json["runners_up"].push_back({{"mapping", MappingText(m.mappings[i].mapping)},
                                  {"estimated_cycles", m.mappings[i].cycles},
                                  {"slower_by", m.mappings[i].cycles / m.mappings[0].cycles}});
  }
  return json;
}

Json TotalJson(const SimulationReport& report, int machine) {
  const SimulatedCost cost = TotalCost(report, machine);
  const SimulatedMachine& m = report.compared.machines[static_cast<size_t>(machine)];
  return {{"lanes", m.config.lanes.lanes},
          {"cycles", CyclesJson(cost.cycles)},
          {"ns", static_cast<double>(cost.cycles.total()) * m.dram.timing.tck_ns},
          {"energy_pj", EnergyJson(cost.events)},
          {"energy_pj_flat", EnergyJson(cost.flat)},
          {"bytes", BytesJson(cost.bytes)}};
}

// Square millimetres of the logic below all vaults.
Json AreaJson(const SimulationReport& report, int machine) {
  const SimulatedMachine& m = report.compared.machines[static_cast<size_t>(machine)];
  const LaneProgram program = m.int8 ? LaneProgram::kMac : report.program;
  const int counters = CountersPerLane(program, report.bits.activation_exponent_bits, report.bits.weight_exponent_bits);
  const double vaults = m.config.vaults() * 1e-6;
  const double lanes = vaults * m.config.lanes.lanes * LaneArea(m.config.lanes, program, counters);
  const double sram = vaults * SramArea(m.config.sram);
  const double post = vaults * m.config.post.macs_per_cycle * m.config.post.mac_um2;
  return {{"total", lanes + sram + post}, {"lanes", lanes}, {"sram", sram}, {"post_processing", post}};
}

Json TotalsJson(const SimulationReport& report) {
  Json json = Json::object();
  for (const Comparison& c : report.compared.comparisons) {
    const Ratios ratios = RatiosOf(report, c);
    json[c.name] = {{"counting", TotalJson(report, c.counting)},
                    {"int8", TotalJson(report, c.int8)},
                    {"speedup", ratios.speedup},
                    {"energy_ratio", ratios.energy},
                    {"energy_ratio_flat", ratios.energy_flat}};
  }
  return json;
}

void AddEnergies(const std::vector<EnergyPart>& from, std::vector<EnergyPart>* to) {
  if (to->empty()) {
    *to = from;
    return;
  }
  for (size_t i = 0; i < from.size(); ++i) (*to)[i].pj += from[i].pj;
}

std::string Microjoules(double pj) { return Fixed(pj * 1e-6, 2); }

}  // namespace

SimulatedCost CostOf(const SimulationReport& report, const LayerRecord& layer, int machine) {
  const MachineRecord& m = layer.machines[static_cast<size_t>(machine)];
  const SimulatedMachine& s = report.compared.machines[static_cast<size_t>(machine)];
  const auto energy = [&](EnergyMode mode) {
    return nearmem::LayerEnergy(s.config, s.dram, m.program, m.bits, m.result, mode);
  };
  return {m.result.cycles, energy(EnergyMode::kEvents), energy(EnergyMode::kFlat), m.result.bytes};
}

SimulatedCost TotalCost(const SimulationReport& report, int machine) {
  SimulatedCost total;
  for (const LayerRecord& layer : report.layers) {
    const SimulatedCost cost = CostOf(report, layer, machine);
    total.cycles.Add(cost.cycles);
    AddEnergies(cost.events, &total.events);
    AddEnergies(cost.flat, &total.flat);
    total.bytes.Add(cost.bytes);
  }
  return total;
}

Ratios RatiosOf(const SimulationReport& report, const Comparison& comparison) {
  const SimulatedCost counting = TotalCost(report, comparison.counting), int8 = TotalCost(report, comparison.int8);
  const auto ratio = [](double a, double b) { return b > 0 ? a / b : 0; };
  return {ratio(static_cast<double>(int8.cycles.total()), static_cast<double>(counting.cycles.total())),
          ratio(TotalEnergy(int8.events), TotalEnergy(counting.events)),
          ratio(TotalEnergy(int8.flat), TotalEnergy(counting.flat))};
}

Json SimulationJson(const SimulationReport& report) {
  Json json = ReportHeader("simulate", report.model, 1);
  // Figures do not depend on it, and reports are the same at any.
  json["environment"].erase("threads");
  json["source"] = "simulated";
  json["machine"] = {{"name", report.machine.name}, {"description", report.machine.description}};
  json["lane"] = LaneProgramName(report.program);
  json["dram_mode"] = report.dram_mode == DramMode::kEvent ? "event" : "closed_form";
  json["codes"] = report.synthetic_codes ? "synthetic" : "of the model";
  json["config_hash"] = report.config_hash;
  json["bits"] = {{"weight_stored_bits_mean", report.bits.weight_bits_mean},
                  {"weight_exponent_bits_max", report.bits.weight_exponent_bits},
                  {"activation_exponent_bits_max", report.bits.activation_exponent_bits}};
  json["totals"] = TotalsJson(report);
  json["area_mm2"] = Json::object();
  for (const Comparison& c : report.compared.comparisons) {
    json["area_mm2"][c.name] = {{"counting", AreaJson(report, c.counting)}, {"int8", AreaJson(report, c.int8)}};
  }
  json["layers"] = Json::array();
  for (const LayerRecord& layer : report.layers) {
    // The first comparison's two sides: counting here, INT8 below it.
    Json entry = {{"name", layer.node}, {"op", layer.op}};
    entry.update(SideJson(report, layer, report.compared.comparisons[0].counting));
    entry["int8"] = SideJson(report, layer, report.compared.comparisons[0].int8);
    json["layers"].push_back(std::move(entry));
  }
  return json;
}

std::string SimulationText(const SimulationReport& report) {
  const Comparison& first = report.compared.comparisons[0];
  Table layers({"layer", "op", ">MACs", ">bits w/a", ">cycles", ">int8", ">speedup", ">uJ", ">int8 uJ", ">KB",
                ">hits %", ">lanes %", "bound by"});
  for (const LayerRecord& layer : report.layers) {
    const SimulatedCost counting = CostOf(report, layer, first.counting), int8 = CostOf(report, layer, first.int8);
    const MachineRecord& m = layer.machines[static_cast<size_t>(first.counting)];
    const std::vector<NamedCycles> parts = Parts(counting.cycles);
    const auto most = std::max_element(parts.begin(), parts.end(),
                                       [](const NamedCycles& a, const NamedCycles& b) { return a.value < b.value; });
    const bool transfer = IsTransfer(layer);
    const SimulatedMachine& machine = report.compared.machines[static_cast<size_t>(first.counting)];
    layers.Add({Shown(layer.node, 28), layer.op, transfer ? "" : absl::StrCat(layer.shape.macs()),
                transfer ? "" : absl::StrCat(m.bits.weight_bits, "/", m.bits.activation_bits),
                absl::StrCat(counting.cycles.total()), absl::StrCat(int8.cycles.total()),
                Fixed(static_cast<double>(int8.cycles.total()) /
                          static_cast<double>(std::max<nearmem::Cycle>(1, counting.cycles.total())),
                      2),
                Microjoules(TotalEnergy(counting.events)), Microjoules(TotalEnergy(int8.events)),
                Fixed(static_cast<double>(transfer ? counting.bytes.link : counting.bytes.dram()) * 1e-3, 1),
                transfer ? "" : Fixed(100 * RowHitRate(m.result.dram), 1),
                transfer ? "" : Fixed(100 * RooflineOf(machine, layer, m).utilisation, 1), most->name});
  }
  Table totals({"comparison", ">lanes", ">int8 lanes", ">cycles", ">int8", ">us", ">int8 us", ">speedup", ">uJ",
                ">int8 uJ", ">energy ratio", ">flat uJ", ">int8 flat uJ", ">ratio flat"});
  for (const Comparison& c : report.compared.comparisons) {
    const SimulatedCost counting = TotalCost(report, c.counting), int8 = TotalCost(report, c.int8);
    const Ratios ratios = RatiosOf(report, c);
    const double us = report.machine.dram.timing.tck_ns * 1e-3;
    const auto lanes = [&](int m) {
      return absl::StrCat(report.compared.machines[static_cast<size_t>(m)].config.lanes.lanes);
    };
    totals.Add({c.name, lanes(c.counting), lanes(c.int8), absl::StrCat(counting.cycles.total()),
                absl::StrCat(int8.cycles.total()), Fixed(us * static_cast<double>(counting.cycles.total()), 1),
                Fixed(us * static_cast<double>(int8.cycles.total()), 1), Fixed(ratios.speedup, 3),
                Microjoules(TotalEnergy(counting.events)), Microjoules(TotalEnergy(int8.events)),
                Fixed(ratios.energy, 3), Microjoules(TotalEnergy(counting.flat)), Microjoules(TotalEnergy(int8.flat)),
                Fixed(ratios.energy_flat, 3)});
  }
  return absl::StrCat(
      report.model, " on ", report.machine.name, ", lanes ", LaneProgramName(report.program), ", simulated",
      report.synthetic_codes ? "; published shapes, SYNTHETIC codes" : "", "\n", Fixed(report.bits.weight_bits_mean, 2),
      " mean stored bits of the weights; cycles of ", report.machine.dram.timing.tck_ns, " ns\n\n", layers.Text(), "\n",
      totals.Text(),
      "\nspeedup, energy ratio: INT8 over counting; above 1 counting wins. flat: DRAM priced per bit.\n");
}

std::string SimulationCsv(const SimulationReport& report) {
  std::vector<std::string> titles = {"config_hash", "machine", "program",     "lanes",           "layer",
                                     "op",          "macs",    "weight_bits", "activation_bits", "cycles"};
  const SimulatedCost sample = CostOf(report, report.layers[0], 0);
  for (const NamedCycles& part : Parts(sample.cycles)) titles.push_back(absl::StrCat("cycles_", part.name));
  titles.push_back("energy_pj");
  for (const EnergyPart& part : sample.events) titles.push_back(absl::StrCat("energy_pj_", part.name));
  titles.insert(titles.end(),
                {"energy_pj_flat", "dram_bytes", "weight_bytes", "activation_bytes", "padding_bytes", "link_bytes",
                 "row_hit_rate", "lane_utilisation", "macs_per_byte", "macs_per_cycle", "roof_macs_per_cycle"});
  Table table(titles);
  for (size_t i = 0; i < report.compared.machines.size(); ++i) {
    const SimulatedMachine& machine = report.compared.machines[i];
    for (const LayerRecord& layer : report.layers) {
      const MachineRecord& m = layer.machines[i];
      const SimulatedCost cost = CostOf(report, layer, static_cast<int>(i));
      const Roofline roofline = RooflineOf(machine, layer, m);
      std::vector<std::string> cells = {report.config_hash,
                                        report.machine.name,
                                        IsTransfer(layer) ? "transfer" : LaneProgramName(m.program),
                                        absl::StrCat(machine.config.lanes.lanes),
                                        layer.node,
                                        layer.op,
                                        absl::StrCat(layer.shape.macs()),
                                        absl::StrCat(m.bits.weight_bits),
                                        absl::StrCat(m.bits.activation_bits),
                                        absl::StrCat(cost.cycles.total())};
      for (const NamedCycles& part : Parts(cost.cycles)) cells.push_back(absl::StrCat(part.value));
      cells.push_back(absl::StrFormat("%.0f", TotalEnergy(cost.events)));
      for (const EnergyPart& part : cost.events) cells.push_back(absl::StrFormat("%.0f", part.pj));
      cells.push_back(absl::StrFormat("%.0f", TotalEnergy(cost.flat)));
      for (const int64_t bytes :
           {cost.bytes.dram(), cost.bytes.weights, cost.bytes.activations, cost.bytes.padding, cost.bytes.link}) {
        cells.push_back(absl::StrCat(bytes));
      }
      for (const double value : {RowHitRate(m.result.dram), roofline.utilisation, roofline.macs_per_byte,
                                 roofline.macs_per_cycle, roofline.roof}) {
        cells.push_back(absl::StrCat(value));
      }
      table.Add(std::move(cells));
    }
  }
  return table.Csv();
}

std::string SimulationTrace(const SimulationReport& report) {
  Json events = Json::array();
  const double us = report.machine.dram.timing.tck_ns * 1e-3;
  constexpr int kLayers = 1, kTracks = 2;  // threads of the one process
  const auto name = [&](int thread, const char* text) {
    events.push_back({{"ph", "M"}, {"pid", 1}, {"tid", thread}, {"name", "thread_name"}, {"args", {{"name", text}}}});
  };
  events.push_back({{"ph", "M"},
                    {"pid", 1},
                    {"name", "process_name"},
                    {"args", {{"name", report.model + " on " + report.machine.name}}}});
  name(kLayers, "layers");
  name(kTracks, "slowest vault: lanes");
  name(kTracks + 1, "slowest vault: waiting");
  name(kTracks + 2, "slowest vault: post-processing");
  nearmem::Cycle start = 0;
  const auto add = [&](int thread, const std::string& what, nearmem::Cycle begin, nearmem::Cycle end) {
    if (end <= begin) return;
    events.push_back({{"ph", "X"},
                      {"pid", 1},
                      {"tid", thread},
                      {"name", what},
                      {"ts", us * static_cast<double>(begin)},
                      {"dur", us * static_cast<double>(end - begin)}});
  };
  for (const LayerRecord& layer : report.layers) {
    const nearmem::Cycle cycles = layer.machines[0].result.cycles.total();
    add(kLayers, layer.node, start, start + cycles);
    for (const VaultSpan& span : layer.spans) {
      add(kTracks + static_cast<int>(span.track), span.what, start + span.begin, start + span.end);
    }
    start += cycles;
  }
  const Json trace = {
      {"displayTimeUnit", "ns"},
      {"otherData", {{"model", report.model}, {"machine", report.machine.name}, {"source", "simulated"}}},
      {"traceEvents", std::move(events)}};
  return trace.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

SweepPoint MakeSweepPoint(std::vector<std::pair<std::string, std::string>> axes, const SimulationReport& report) {
  SweepPoint point{std::move(axes), report.config_hash, TotalsJson(report), {}};
  for (const Comparison& c : report.compared.comparisons) {
    const SimulatedCost counting = TotalCost(report, c.counting), int8 = TotalCost(report, c.int8);
    const Ratios ratios = RatiosOf(report, c);
    std::vector<std::string> cells = {report.config_hash, report.model, report.machine.name,
                                      LaneProgramName(report.program)};
    for (const auto& [axis, value] : point.axes) cells.push_back(value);
    const double tck = report.machine.dram.timing.tck_ns;
    const auto lanes = [&](int m) {
      return absl::StrCat(report.compared.machines[static_cast<size_t>(m)].config.lanes.lanes);
    };
    cells.insert(
        cells.end(),
        {absl::StrCat(report.bits.weight_bits_mean), absl::StrCat(report.machine.dram.peak_gb_s()), c.name,
         lanes(c.counting), lanes(c.int8), absl::StrCat(counting.cycles.total()), absl::StrCat(int8.cycles.total()),
         absl::StrCat(tck * static_cast<double>(counting.cycles.total())),
         absl::StrCat(tck * static_cast<double>(int8.cycles.total())), absl::StrCat(ratios.speedup),
         absl::StrFormat("%.0f", TotalEnergy(counting.events)), absl::StrFormat("%.0f", TotalEnergy(int8.events)),
         absl::StrCat(ratios.energy), absl::StrFormat("%.0f", TotalEnergy(counting.flat)),
         absl::StrFormat("%.0f", TotalEnergy(int8.flat)), absl::StrCat(ratios.energy_flat),
         absl::StrCat(counting.bytes.dram()), absl::StrCat(int8.bytes.dram())});
    point.rows.push_back(std::move(cells));
  }
  return point;
}

Table SweepTable(const std::vector<SweepPoint>& points) {
  std::vector<std::string> titles = {"config_hash", "model", "machine", "program"};
  for (const auto& [axis, value] : points[0].axes) titles.push_back(axis);
  titles.insert(titles.end(),
                {"weight_bits_mean", "gb_s_per_vault", "comparison", "lanes", "int8_lanes", "cycles", "int8_cycles",
                 "ns", "int8_ns", "speedup", "energy_pj", "int8_energy_pj", "energy_ratio", "energy_pj_flat",
                 "int8_energy_pj_flat", "energy_ratio_flat", "dram_bytes", "int8_dram_bytes"});
  Table table(titles);
  for (const SweepPoint& point : points) {
    for (const std::vector<std::string>& row : point.rows) table.Add(row);
  }
  return table;
}

std::string HashOf(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return absl::StrFormat("%016x", hash);
}

}  // namespace tally::tools
