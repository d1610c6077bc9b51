// A burst that a channel is asked for, what it says when it is done, and what it did for it. Plain values.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_REQUEST_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_REQUEST_H_

#include <cstdint>
#include <functional>

#include "backends/nearmem/sim/dram_config.h"

namespace tally::nearmem {

struct DramAddress {
  int bank_group = 0;
  int bank = 0;  // within its group
  int row = 0;
  int column = 0;  // in bursts
};

inline bool operator==(const DramAddress& a, const DramAddress& b) {
  return a.bank_group == b.bank_group && a.bank == b.bank && a.row == b.row && a.column == b.column;
}

struct DramRequest {
  DramAddress address;
  bool is_write = false;
  int64_t id = 0;  // the caller's, returned in the completion
};

// `done`: the last beat of a read has arrived, or a write was taken over by the controller (writes are posted). May lie
// in the future when it is reported.
struct DramCompletion {
  int64_t id = 0;
  Cycle done = 0;
  bool is_write = false;
};

enum class DramCommand {
  kActivate,
  kPrecharge,
  kRead,
  kWrite,
  kReadAuto,  // with auto-precharge
  kWriteAuto,
  kPrechargeAll,
  kRefreshAll,
  kRefreshBank
};

// "ACT", "PRE", "RD", "WR", "RDA", "WRA", "PREA", "REF", "REFB".
const char* CommandName(DramCommand command);

inline bool IsColumn(DramCommand command) {
  return command >= DramCommand::kRead && command <= DramCommand::kWriteAuto;
}
inline bool IsWrite(DramCommand command) {
  return command == DramCommand::kWrite || command == DramCommand::kWriteAuto;
}

// A command on the command bus. `bank` counts through the bank groups; -1: all.
struct DramIssue {
  Cycle at = 0;
  DramCommand command = DramCommand::kActivate;
  int bank = -1;
  int row = -1;
  int64_t request = -1;  // the id of a column command's request
};
using DramObserver = std::function<void(const DramIssue&)>;

// What happened so far. Every column command either finds its row opened by an earlier one (a hit) or is the first of
// its activation, and an activation whose row closes unused is counted: reads + writes = row_hits + activates -
// unused_activates, once no row is open and unused.
struct DramCounts {
  int64_t activates = 0;
  int64_t precharges = 0;         // explicit ones; auto-precharges are not commands
  int64_t refreshes = 0;          // all-bank, or per-bank
  int64_t reads = 0, writes = 0;  // column commands
  int64_t row_hits = 0;
  int64_t row_misses = 0;     // activations of a bank that was closed for another reason than the next
  int64_t row_conflicts = 0;  // activations of a bank whose row was closed because a request needed another one
  int64_t unused_activates = 0;
  int64_t forwarded_reads = 0;   // served from a waiting write
  int64_t coalesced_writes = 0;  // absorbed by a waiting write
  Cycle active_cycles = 0;       // with at least one row open

  // Of channels together.
  void Add(const DramCounts& o) {
    activates += o.activates, precharges += o.precharges, refreshes += o.refreshes;
    reads += o.reads, writes += o.writes;
    row_hits += o.row_hits, row_misses += o.row_misses, row_conflicts += o.row_conflicts;
    unused_activates += o.unused_activates;
    forwarded_reads += o.forwarded_reads, coalesced_writes += o.coalesced_writes;
    active_cycles += o.active_cycles;
  }
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_REQUEST_H_
