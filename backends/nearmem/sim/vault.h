// The time line of one vault in one layer: lanes that wait for weights, for activations and for the post-processing
// unit.
//
// A layer is a list of steps. A step counts one tile: some outputs at some positions over some of k. Before it can
// begin, its weights (a *load*, double-buffered unless all of them fit) and the activations of its positions (a *unit*,
// double-buffered) must be there; when k ends, the post-processing unit takes the results over.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_VAULT_H_
#define TALLY_BACKENDS_NEARMEM_SIM_VAULT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/accelerator.h"
#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/vault_memory.h"

namespace tally::nearmem {

// Bursts of the vault's weight stream.
struct VaultLoad {
  int64_t first_burst = 0, bursts = 0;
  bool operator==(const VaultLoad& o) const { return first_burst == o.first_burst && bursts == o.bursts; }
};

// What must be there before the activations of a unit can be used: this vault's share of them (and residuals), read
// from DRAM, and then the network's time, in lane cycles.
struct VaultUnit {
  int64_t share_bursts = 0;
  int64_t noc_cycles = 0;
  bool operator==(const VaultUnit& o) const { return share_bursts == o.share_bursts && noc_cycles == o.noc_cycles; }
};

// In lane cycles. `post` runs beside the next steps.
struct VaultStep {
  int load = 0, unit = 0;
  int64_t count = 0, spill = 0, drain = 0;
  int64_t post = 0;  // 0: k goes on
  int64_t write_bursts = 0;
  bool operator==(const VaultStep& o) const {
    return load == o.load && unit == o.unit && count == o.count && spill == o.spill && drain == o.drain &&
           post == o.post && write_bursts == o.write_bursts;
  }
};

// Equal programs take equal time.
struct VaultProgram {
  std::vector<VaultLoad> loads;  // in the order of their first use
  std::vector<VaultUnit> units;  // in order
  std::vector<VaultStep> steps;
  bool weights_stay = false;  // all loads fit at once

  bool operator==(const VaultProgram& o) const {
    return loads == o.loads && units == o.units && steps == o.steps && weights_stay == o.weights_stay;
  }
};

// Where DRAM cycles went; they add up to the vault's time.
struct CycleParts {
  Cycle compute = 0;          // activations broadcast
  Cycle spill = 0;            // lanes stopped by a counter on its way to its shadow
  Cycle post_processing = 0;  // draining, and waiting for the post-processing unit
  Cycle dram_stall = 0;       // waiting for DRAM, refresh apart
  Cycle refresh = 0;
  Cycle noc = 0;
  Cycle link = 0;  // of transfers to and from the host, which are steps of their own

  Cycle total() const { return compute + spill + post_processing + dram_stall + refresh + noc + link; }
  void Add(const CycleParts& o) {
    compute += o.compute, spill += o.spill, post_processing += o.post_processing;
    dram_stall += o.dram_stall, refresh += o.refresh, noc += o.noc, link += o.link;
  }
};

// For traces: what a track of the vault did.
struct VaultSpan {
  enum class Track { kLanes, kWaiting, kPost } track;
  const char* what;
  Cycle begin, end;
};

struct VaultResult {
  CycleParts cycles;
  DramCounts dram;  // at cycles.total()
};

// `spans`: null, or where to put them. Errors: those of VaultMemory.
absl::StatusOr<VaultResult> RunVault(const AcceleratorConfig& config, const DramConfig& dram, DramMode mode,
                                     const VaultProgram& program, std::vector<VaultSpan>* spans);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_VAULT_H_
