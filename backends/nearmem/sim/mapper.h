// How a layer is laid over the vaults and lanes: every mapping that fits is estimated, and the one that moves the
// least among the fastest is taken.
// Functions without state.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_MAPPER_H_
#define TALLY_BACKENDS_NEARMEM_SIM_MAPPER_H_

#include <string>
#include <vector>

#include "backends/nearmem/sim/accelerator.h"
#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/layer_shape.h"

namespace tally::nearmem {

// An entry of the bucketed program's list of activations: place and sign.
inline constexpr int64_t kListBytes = 2;

struct Mapping {
  // The vaults' grid: outputs (of all groups) x positions.
  int output_parts = 1, position_parts = 1;
  // The lanes' grid: outputs of one group x positions. Positions in step see their activations at the same k, bucketed
  // ones each in an order of its own, which takes a copy of the weights for each.
  int lanes_k = 1, lanes_p = 1;
  int64_t k_tile = 0;          // of the weights that a buffer holds
  int64_t unit_positions = 0;  // whose activations a buffer holds
  // k is in tiles: positions go by for each of them and their sums wait in the accumulator SRAM. Else k is counted to
  // its end at one set of positions before the next.
  bool parked = false;
  bool weights_stay = false;  // all of a vault's weights fit
};
// "16x1 vaults, 64x1 lanes, k 512, 49 positions, parked".
std::string MappingText(const Mapping& mapping);

struct MappingChoice {
  Mapping mapping;
  double cycles = 0;      // DRAM clocks, estimated
  double dram_bytes = 0;  // per vault, estimated
};

// What one vault does.
struct VaultPart {
  int64_t first_output = 0, outputs = 0;  // over all groups
  int64_t first_position = 0, positions = 0;
};
VaultPart PartOf(const Mapping& mapping, const LayerShape& shape, int vault);

// Elements of one group's input that the windows of `positions` positions from `first` on cover.
int64_t CoveredElements(const LayerShape& shape, int64_t first, int64_t positions);

// Lane cycles that a broadcast takes, because SRAM ports are only so wide.
int64_t CyclesPerStep(const AcceleratorConfig& config, LaneProgram program, const OperandBits& bits, int lanes_k,
                      int lanes_p);

// Whether the activations of a unit must be fetched again for each pass over its outputs.
bool Refetches(const AcceleratorConfig& config, const LayerShape& shape, const OperandBits& bits,
               const Mapping& mapping, int64_t vault_positions);

// All that fit. First the one that moves the fewest bytes among those within 5 % of the fastest, then the others, the
// fastest first. Never empty.
// REQUIRES: a shape without empty extents.
std::vector<MappingChoice> MapLayer(const AcceleratorConfig& config, const DramConfig& dram, LaneProgram program,
                                    const LayerShape& shape, const OperandBits& bits, const OutputTraffic& output);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_MAPPER_H_
