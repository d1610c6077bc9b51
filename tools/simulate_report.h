// What `tally simulate` says about a network on a near-memory machine, in every form. Functions of a plain value.
#ifndef TALLY_TOOLS_SIMULATE_REPORT_H_
#define TALLY_TOOLS_SIMULATE_REPORT_H_

#include <string>
#include <vector>

#include "backends/nearmem/network.h"
#include "tools/common.h"
#include "tools/table.h"

namespace tally::tools {

struct SimulationReport {
  std::string model;  // its path, or the network's name
  bool synthetic_codes = false;
  nearmem::Machine machine;
  nearmem::LaneProgram program = nearmem::LaneProgram::kBucketed;
  nearmem::DramMode dram_mode = nearmem::DramMode::kEvent;
  nearmem::NetworkBits bits;
  nearmem::ComparedMachines compared;
  std::vector<nearmem::LayerRecord> layers;
  std::string config_hash;  // of everything that the figures follow from but the codes
};

// Cycles, energies and bytes of a layer, or of all of them, on one machine.
struct SimulatedCost {
  nearmem::CycleParts cycles;
  std::vector<nearmem::EnergyPart> events, flat;  // the two modes of DRAM energy
  nearmem::LayerBytes bytes;
};
SimulatedCost CostOf(const SimulationReport& report, const nearmem::LayerRecord& layer, int machine);
SimulatedCost TotalCost(const SimulationReport& report, int machine);

// INT8's cycles over counting's; INT8's energy over counting's.
struct Ratios {
  double speedup = 0, energy = 0, energy_flat = 0;
};
Ratios RatiosOf(const SimulationReport& report, const nearmem::Comparison& comparison);

Json SimulationJson(const SimulationReport& report);
std::string SimulationText(const SimulationReport& report);
std::string SimulationHtml(const SimulationReport& report);
// One row per layer and machine.
std::string SimulationCsv(const SimulationReport& report);
// Chrome's trace format, as Perfetto opens it: a track per layer of the first machine, and the slowest vault's lanes,
// waiting and post-processing.
std::string SimulationTrace(const SimulationReport& report);

// A point of a sweep: its axes, and what its report comes to. Reports have too much of every layer to keep thousands.
struct SweepPoint {
  std::vector<std::pair<std::string, std::string>> axes;
  std::string config_hash;
  Json totals;                                 // as in SimulationJson
  std::vector<std::vector<std::string>> rows;  // a row per comparison
};
SweepPoint MakeSweepPoint(std::vector<std::pair<std::string, std::string>> axes, const SimulationReport& report);
// REQUIRES: at least one point.
Table SweepTable(const std::vector<SweepPoint>& points);

// FNV-1a, 64 bits, as hexadecimal digits.
std::string HashOf(const std::string& text);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_SIMULATE_REPORT_H_
