// What a replay or a layer cost: energy by component. Two modes, which differ by a factor of 2 to 3 and are both
// reported: `events` prices every command, `flat` every bit.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_ENERGY_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_ENERGY_H_

#include <string>
#include <vector>

#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

struct EnergyPart {
  std::string name;
  double pj;
};

// Components in pJ over the first `cycles` of a channel.
// "activate", "read", "write", "io", "refresh", "background".
std::vector<EnergyPart> EventEnergy(const DramConfig& config, const DramCounts& counts, Cycle cycles);
// "access", "background".
std::vector<EnergyPart> FlatEnergy(const DramConfig& config, const DramCounts& counts, Cycle cycles);

// The sum in the order of the parts, so that a reader who adds them up gets the same number.
double TotalEnergy(const std::vector<EnergyPart>& parts);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_ENERGY_H_
