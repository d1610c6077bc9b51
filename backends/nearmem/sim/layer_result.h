// What a layer did on a machine: events, bytes and time, and what they cost. Plain values.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_LAYER_RESULT_H_
#define TALLY_BACKENDS_NEARMEM_SIM_LAYER_RESULT_H_

#include <cstdint>
#include <vector>

#include "backends/nearmem/sim/accelerator.h"
#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_energy.h"
#include "backends/nearmem/sim/dram_request.h"
#include "backends/nearmem/sim/lane_array.h"
#include "backends/nearmem/sim/mapper.h"
#include "backends/nearmem/sim/vault.h"

namespace tally::nearmem {

// Of all vaults together.
struct LayerEvents {
  LaneEvents lanes;
  int64_t lane_steps = 0;                               // activations times the lanes that see them
  int64_t weight_reads = 0, weight_writes = 0;          // bits of SRAM
  int64_t activation_reads = 0, activation_writes = 0;  // bits; lists of the sorter too
  int64_t accumulator_reads = 0, accumulator_writes = 0;
  int64_t post_macs = 0;   // of results
  int64_t drain_macs = 0;  // of folded counters, on the same unit
  int64_t quantized = 0;   // values

  void Add(const LayerEvents& other);
};

// Moved between a vault's DRAM and its logic, summed over vaults. A payload in bits is rounded up to a byte once.
struct LayerBytes {
  int64_t weights = 0;      // packed bytes times passes
  int64_t activations = 0;  // this layer's input, as often as it is fetched
  int64_t residuals = 0;
  int64_t outputs = 0;
  int64_t padding = 0;   // what bursts hold beyond that
  int64_t noc_hops = 0;  // bytes times links
  int64_t link = 0;

  int64_t dram() const { return weights + activations + residuals + outputs + padding; }
  void Add(const LayerBytes& o) {
    weights += o.weights, activations += o.activations, residuals += o.residuals, outputs += o.outputs;
    padding += o.padding, noc_hops += o.noc_hops, link += o.link;
  }
};

struct LayerResult {
  CycleParts cycles;  // of the slowest vault
  LayerEvents events;
  LayerBytes bytes;
  DramCounts dram;              // of all vaults, over the layer's time
  Cycle vault_cycles = 0;       // vaults times the layer's time
  int64_t distinct_vaults = 0;  // time lines that were simulated
  Mapping mapping;
};

enum class EnergyMode { kEvents, kFlat };

// Components in whole pJ, so that sums are exact in any order.
std::vector<EnergyPart> LayerEnergy(const AcceleratorConfig& config, const DramConfig& dram, LaneProgram program,
                                    const OperandBits& bits, const LayerResult& result, EnergyMode mode);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_LAYER_RESULT_H_
