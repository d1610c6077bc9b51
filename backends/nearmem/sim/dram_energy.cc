#include "backends/nearmem/sim/dram_energy.h"

namespace tally::nearmem {
namespace {

double Bits(const DramConfig& config, const DramCounts& counts) {
  return 8.0 * config.geometry.burst_bytes * static_cast<double>(counts.reads + counts.writes);
}

}  // namespace

std::vector<EnergyPart> EventEnergy(const DramConfig& config, const DramCounts& counts, Cycle cycles) {
  const DramEnergy& e = config.energy;
  // mW * ns = pJ
  const double active_ns = static_cast<double>(counts.active_cycles) * config.timing.tck_ns;
  const double closed_ns = static_cast<double>(cycles - counts.active_cycles) * config.timing.tck_ns;
  return {{"activate", e.activate_pj * static_cast<double>(counts.activates)},
          {"read", e.read_pj * static_cast<double>(counts.reads)},
          {"write", e.write_pj * static_cast<double>(counts.writes)},
          {"io", e.io_pj_per_bit * Bits(config, counts)},
          {"refresh", e.refresh_pj * static_cast<double>(counts.refreshes)},
          {"background", e.active_standby_mw * active_ns + e.precharge_standby_mw * closed_ns}};
}

std::vector<EnergyPart> FlatEnergy(const DramConfig& config, const DramCounts& counts, Cycle cycles) {
  const DramEnergy& e = config.energy;
  return {{"access", e.flat_pj_per_bit * Bits(config, counts)},
          {"background", e.flat_background_mw * static_cast<double>(cycles) * config.timing.tck_ns}};
}

double TotalEnergy(const std::vector<EnergyPart>& parts) {
  double total = 0;
  for (const EnergyPart& part : parts) total += part.pj;
  return total;
}

}  // namespace tally::nearmem
