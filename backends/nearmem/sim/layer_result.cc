#include "backends/nearmem/sim/layer_result.h"

#include <cmath>

namespace tally::nearmem {
namespace {

double D(int64_t value) { return static_cast<double>(value); }

}  // namespace

void LayerEvents::Add(const LayerEvents& o) {
  lanes.updates += o.lanes.updates;
  lanes.pairs += o.lanes.pairs;
  lanes.spills += o.lanes.spills;
  lanes.multiplies += o.lanes.multiplies;
  lane_steps += o.lane_steps;
  weight_reads += o.weight_reads;
  weight_writes += o.weight_writes;
  activation_reads += o.activation_reads;
  activation_writes += o.activation_writes;
  accumulator_reads += o.accumulator_reads;
  accumulator_writes += o.accumulator_writes;
  post_macs += o.post_macs;
  drain_macs += o.drain_macs;
  quantized += o.quantized;
}

std::vector<EnergyPart> LayerEnergy(const AcceleratorConfig& config, const DramConfig& dram, LaneProgram program,
                                    const OperandBits& bits, const LayerResult& result, EnergyMode mode) {
  const LayerEvents& e = result.events;
  const LaneConfig& l = config.lanes;
  std::vector<EnergyPart> parts;
  const auto in_dram = mode == EnergyMode::kEvents ? EventEnergy(dram, result.dram, result.vault_cycles)
                                                   : FlatEnergy(dram, result.dram, result.vault_cycles);
  for (const EnergyPart& part : in_dram) parts.push_back({"dram_" + part.name, part.pj});
  const double word_bits = 8.0 * config.sram.word_bytes;
  parts.push_back({"sram", (D(e.weight_reads + e.activation_reads + e.accumulator_reads) * config.sram.read_pj +
                            D(e.weight_writes + e.activation_writes + e.accumulator_writes) * config.sram.write_pj) /
                               word_bits});
  const double counter = l.counters == CounterKind::kSram ? l.sram_counter_pj : l.counter_pj_per_bit * l.counter_bits;
  double lanes = program == LaneProgram::kMac ? D(e.lane_steps) * l.mac_pj : D(e.lanes.updates) * counter;
  if (program == LaneProgram::kFolded) lanes += D(e.lanes.pairs) * l.adder_pj;
  parts.push_back({"lanes", lanes});
  parts.push_back({"registers", D(e.lane_steps) * (bits.weight_bits + bits.activation_bits) * l.register_pj_per_bit});
  parts.push_back({"spills", D(e.lanes.spills) * l.spill_pj});
  parts.push_back({"drain", D(e.lanes.multiplies) * l.mac_pj + D(e.drain_macs) * config.post.mac_pj});
  parts.push_back({"post_processing", D(e.post_macs) * config.post.mac_pj});
  parts.push_back({"quantizer", D(e.quantized) * config.post.quantizer_pj});
  parts.push_back({"noc", 8 * D(result.bytes.noc_hops) * config.noc.pj_per_bit_hop});
  parts.push_back({"link", 8 * D(result.bytes.link) * config.link.pj_per_bit});
  for (EnergyPart& part : parts) part.pj = std::round(part.pj);
  return parts;
}

}  // namespace tally::nearmem
