// What one DRAM channel is: its banks, its timing, how its controller queues, schedules, refreshes and closes pages.
// An HMC vault, an HBM channel and an HBM2 pseudo-channel are the same thing with other numbers; the numbers live in
// machine files (backends/nearmem/machine.h), none in here.
// Plain values; safe to share between threads.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_CONFIG_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_CONFIG_H_

#include <cstdint>
#include <limits>
#include <optional>

#include "absl/status/status.h"

namespace tally::nearmem {

// Time in DRAM clock cycles from the start of the simulation.
using Cycle = int64_t;
inline constexpr Cycle kNever = std::numeric_limits<Cycle>::max();

struct DramGeometry {
  int bank_groups = 0;
  int banks_per_group = 0;
  int rows = 0;  // per bank
  int bursts_per_row = 0;
  int burst_bytes = 0;
  // Pseudo-channels that share the row command bus and the refresh sequencer; the simulated one is the first.
  int pseudo_channels = 0;

  int banks() const { return bank_groups * banks_per_group; }
};

// JEDEC's parameters without their "t", in cycles; `_s` between bank groups, `_l` within one.
struct DramTiming {
  double tck_ns = 0;
  int burst = 0;  // the data bus is busy for
  int cl = 0, cwl = 0;
  int rcd_read = 0, rcd_write = 0;
  int rp = 0, ras = 0;
  int rrd_s = 0, rrd_l = 0, faw = 0;
  int ccd_s = 0, ccd_l = 0;
  int wtr_s = 0, wtr_l = 0, wr = 0;
  int rtp = 0;         // read to precharge
  int rtp_auto = 0;    // read with auto-precharge to the start of that precharge
  int turnaround = 0;  // bubble on the data bus between a read and a write
  int act_cycles = 0;  // an activate occupies the row command bus for; it takes effect with the last of them
  // All-bank refresh.
  int rfc = 0;   // to activate
  int refi = 0;  // interval
  // Per-bank refresh.
  int rfc_bank = 0;   // to activate of that bank
  int rrefd = 0;      // to activate of another bank
  int refi_bank = 0;  // interval

  int rc() const { return ras + rp; }
};

enum class PagePolicy {
  kOpen,      // a row stays open until a request needs another one
  kClosed,    // every access carries an auto-precharge
  kClosedCap  // after `column_cap` accesses the row closes as soon as timing allows, or with the next access
};

enum class RefreshMode { kNone, kAllBank, kPerBank };

// How requests wait.
enum class QueueKind {
  // A transaction queue feeds a short command queue per bank, one transaction a cycle; banks take turns, each offers
  // its oldest ready command. A due refresh stops the banks that it needs at once.
  kPerBank,
  // One read and one write buffer are scheduled as a whole: the oldest ready command wins (FR-FCFS). A due refresh
  // stops all requests but those whose row is already being opened.
  kShared
};

enum class WriteMode {
  kInOrder,  // reads and writes share the transaction queue
  kDrain     // writes are posted to a buffer of their own and drained between two watermarks
};

struct DramController {
  QueueKind queues = QueueKind::kPerBank;
  WriteMode writes = WriteMode::kInOrder;
  PagePolicy page_policy = PagePolicy::kOpen;
  RefreshMode refresh = RefreshMode::kNone;
  bool dual_command_bus = false;  // a row and a column command in one cycle
  int read_queue = 0;             // entries; with kInOrder of reads and writes together
  // kPerBank.
  int bank_queue = 0;     // entries per bank
  int row_hit_limit = 0;  // after so many accesses a row may close although further hits wait
  // kDrain: draining starts at `drain_high` writes, or at `drain_idle` when no read waits. With kShared it ends below
  // `drain_low` once reads wait; with kPerBank it moves what the buffer held at the start.
  int write_queue = 0, drain_high = 0, drain_idle = 0, drain_low = 0;
  int column_cap = 0;  // kClosedCap
};

// Serial links and the crossbar between them and a vault, as a host sees an HMC. Logic inside the stack has none.
struct DramLinks {
  int links = 0;
  int queue_depth = 0;     // packets per link and at the vault's quadrant, each direction
  int flit_bytes = 0;      // one more flit carries header and tail
  int crossbar_flits = 0;  // moved per cycle and port
};

// Energies in pJ, powers in mW, of one channel.
struct DramEnergy {
  // Mode `events`.
  double activate_pj = 0;            // a row opened and closed
  double read_pj = 0, write_pj = 0;  // one burst
  double io_pj_per_bit = 0;          // beyond the stack; 0 for logic inside it
  double refresh_pj = 0;             // one refresh command of the machine's kind
  double active_standby_mw = 0, precharge_standby_mw = 0;
  // Mode `flat`.
  double flat_pj_per_bit = 0;
  double flat_background_mw = 0;
};

struct DramConfig {
  DramGeometry geometry;
  DramTiming timing;
  DramController controller;
  std::optional<DramLinks> links;
  DramEnergy energy;

  // While the data bus never rests.
  double peak_gb_s() const { return geometry.burst_bytes / (timing.tck_ns * timing.burst); }
};

// OK when a channel can be built and always makes progress. Else InvalidArgument; the message begins with the field,
// spelt as in machine files ("timing.refi: ..."), and says what was expected and found.
absl::Status Validate(const DramConfig& config);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_CONFIG_H_
