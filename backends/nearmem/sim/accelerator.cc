#include "backends/nearmem/sim/accelerator.h"

#include "backends/nearmem/sim/checker.h"

namespace tally::nearmem {
namespace {

constexpr double kMaxEnergy = 1e12;
constexpr double kMaxArea = 1e12;
constexpr int kMaxSram = 1 << 28;

void CheckLanes(const LaneConfig& l, Checker* check) {
  check->Int("lanes.lanes", l.lanes, 1, 4096);
  check->Int("lanes.clock_divider", l.clock_divider, 1, 1024);
  check->Int("lanes.counter_bits", l.counter_bits, 2, 32);
  check->Int("lanes.lanes_per_multiplier", l.lanes_per_multiplier, 1, 4096);
  check->Int("lanes.sorter_codes", l.sorter_codes, 1, 4096);
  check->Number("lanes.mac_pj", l.mac_pj, 0, kMaxEnergy);
  check->Number("lanes.mac_um2", l.mac_um2, 1e-3, kMaxArea);
  check->Number("lanes.counter_pj_per_bit", l.counter_pj_per_bit, 0, kMaxEnergy);
  check->Number("lanes.counter_um2_per_bit", l.counter_um2_per_bit, 0, kMaxArea);
  check->Number("lanes.sram_counter_pj", l.sram_counter_pj, 0, kMaxEnergy);
  check->Number("lanes.sram_um2_per_bit", l.sram_um2_per_bit, 0, kMaxArea);
  check->Number("lanes.adder_pj", l.adder_pj, 0, kMaxEnergy);
  check->Number("lanes.adder_um2", l.adder_um2, 0, kMaxArea);
  check->Number("lanes.register_pj_per_bit", l.register_pj_per_bit, 0, kMaxEnergy);
  check->Number("lanes.spill_pj", l.spill_pj, 0, kMaxEnergy);
}

void CheckSram(const SramConfig& s, Checker* check) {
  check->Int("sram.activation_bytes", s.activation_bytes, 64, kMaxSram);
  check->Int("sram.weight_bytes", s.weight_bytes, 64, kMaxSram);
  check->Int("sram.accumulator_bytes", s.accumulator_bytes, 0, kMaxSram);
  check->Int("sram.port_bytes", s.port_bytes, 1, 1 << 16);
  check->Int("sram.word_bytes", s.word_bytes, 1, 1 << 16);
  check->Number("sram.read_pj", s.read_pj, 0, kMaxEnergy);
  check->Number("sram.write_pj", s.write_pj, 0, kMaxEnergy);
  check->Number("sram.um2_per_byte", s.um2_per_byte, 0, kMaxArea);
}

}  // namespace

const char* LaneProgramName(LaneProgram program) {
  switch (program) {
    case LaneProgram::kBucketed: return "bucketed";
    case LaneProgram::kFolded: return "folded";
    case LaneProgram::kMac: break;
  }
  return "int8";
}

absl::Status Validate(const AcceleratorConfig& config) {
  Checker check;
  CheckLanes(config.lanes, &check);
  CheckSram(config.sram, &check);
  check.Int("post.macs_per_cycle", config.post.macs_per_cycle, 1, 4096);
  check.Number("post.mac_pj", config.post.mac_pj, 0, kMaxEnergy);
  check.Number("post.mac_um2", config.post.mac_um2, 0, kMaxArea);
  check.Int("post.quantizer_values", config.post.quantizer_values, 1, 4096);
  check.Number("post.quantizer_pj", config.post.quantizer_pj, 0, kMaxEnergy);
  check.Int("noc.columns", config.noc.columns, 1, 16);
  check.Int("noc.rows", config.noc.rows, 1, 16);
  check.Int("noc.bytes_per_cycle", config.noc.bytes_per_cycle, 1, 1 << 16);
  check.Int("noc.hop_cycles", config.noc.hop_cycles, 0, 1 << 16);
  check.Number("noc.pj_per_bit_hop", config.noc.pj_per_bit_hop, 0, kMaxEnergy);
  check.Number("link.gb_s", config.link.gb_s, 1e-3, 1e6);
  check.Number("link.pj_per_bit", config.link.pj_per_bit, 0, kMaxEnergy);
  check.Int("prefetch.fifo_bytes", config.fifo_bytes, 64, 1 << 24);
  return check.status();
}

int CountersPerLane(LaneProgram program, int activation_exponent_bits, int weight_exponent_bits) {
  const int a = (1 << activation_exponent_bits) - 1, w = (1 << weight_exponent_bits) - 1;
  switch (program) {
    case LaneProgram::kBucketed: return w;
    case LaneProgram::kFolded: return (a + w - 1) + a + w + 1;
    case LaneProgram::kMac: break;
  }
  return 0;
}

double LaneArea(const LaneConfig& lanes, LaneProgram program, int counters) {
  if (program == LaneProgram::kMac) return lanes.mac_um2;
  const bool sram = lanes.counters == CounterKind::kSram;
  const double bits = static_cast<double>(counters) * lanes.counter_bits;
  const double area = bits * (sram ? lanes.sram_um2_per_bit : lanes.counter_um2_per_bit);
  return program == LaneProgram::kFolded ? area + lanes.adder_um2 : area + lanes.mac_um2 / lanes.lanes_per_multiplier;
}

double SramArea(const SramConfig& sram) {
  return sram.um2_per_byte * (static_cast<double>(sram.activation_bytes) + sram.weight_bytes + sram.accumulator_bytes);
}

}  // namespace tally::nearmem
