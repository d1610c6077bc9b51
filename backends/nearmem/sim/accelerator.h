// The logic layer below the DRAM: lanes, SRAM, post-processing, network and link of one machine, with the energy and
// area of each. Numbers live in machine files (backends/nearmem/machine.h), none in here.
// Plain values; safe to share between threads.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_ACCELERATOR_H_
#define TALLY_BACKENDS_NEARMEM_SIM_ACCELERATOR_H_

#include <cstdint>

#include "absl/status/status.h"

namespace tally::nearmem {

// What the lanes of a vault do with an activation that is broadcast to them.
enum class LaneProgram {
  kBucketed,  // activations in order of exponent: 2^n_w - 1 signed counters, drained at the end of each exponent
  kFolded,    // in their own order: counters of i + j, i, j and the signs, drained at the end
  kMac        // INT8 multiply-accumulate: the baseline
};
// "bucketed", "folded", "int8".
const char* LaneProgramName(LaneProgram program);

enum class CounterKind { kFlipFlop, kSram };

// Lanes of a vault. Energies in pJ per event, areas in square micrometres.
struct LaneConfig {
  int lanes = 0;
  int clock_divider = 0;  // DRAM clock cycles of one lane cycle
  CounterKind counters = CounterKind::kFlipFlop;
  int counter_bits = 0;            // of a narrow counter, with its sign; overflow spills to a 32-bit shadow
  int lanes_per_multiplier = 0;    // of those that drain buckets
  int sorter_codes = 0;            // that the sorter of the bucketed program passes per cycle, twice each
  bool skip_zeros = false;         // an activation that is zero in all positions takes no step, whatever the program
  double mac_pj = 0, mac_um2 = 0;  // 8-bit multiply, 32-bit add
  double counter_pj_per_bit = 0, counter_um2_per_bit = 0;
  double sram_counter_pj = 0, sram_um2_per_bit = 0;  // an update, in place of flip-flops
  double adder_pj = 0, adder_um2 = 0;                // of exponents
  double register_pj_per_bit = 0;
  double spill_pj = 0;
};

struct SramConfig {
  int activation_bytes = 0, weight_bytes = 0, accumulator_bytes = 0;  // per vault
  int port_bytes = 0;                                                 // read per cycle
  int word_bytes = 0;
  double read_pj = 0, write_pj = 0;  // of a word
  double um2_per_byte = 0;
};

struct PostConfig {
  int macs_per_cycle = 0;  // float32
  double mac_pj = 0, mac_um2 = 0;
  int quantizer_values = 0;  // encoded per cycle
  double quantizer_pj = 0;
};

// A mesh of columns x rows vaults, XY routing, multicast along the tree of the routes.
struct NocConfig {
  int columns = 0, rows = 0;
  int bytes_per_cycle = 0;  // of a link, per lane cycle
  int hop_cycles = 0;       // lane cycles
  double pj_per_bit_hop = 0;
};

// Between the stack and its host.
struct LinkConfig {
  double gb_s = 0;
  double pj_per_bit = 0;
};

struct AcceleratorConfig {
  LaneConfig lanes;
  SramConfig sram;
  PostConfig post;
  NocConfig noc;
  LinkConfig link;
  int fifo_bytes = 0;  // prefetched beyond what the buffers have room for

  int vaults() const { return noc.columns * noc.rows; }
};

// Like Validate of DramConfig: the message begins with the field as machine files spell it ("lanes.lanes: ...").
absl::Status Validate(const AcceleratorConfig& config);

// Counters of a lane for n_a and n_w exponent bits; 0 for kMac.
int CountersPerLane(LaneProgram program, int activation_exponent_bits, int weight_exponent_bits);

// Square micrometres of one lane that has room for `counters`, and of what a vault has besides its lanes.
double LaneArea(const LaneConfig& lanes, LaneProgram program, int counters);
double SramArea(const SramConfig& sram);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_ACCELERATOR_H_
