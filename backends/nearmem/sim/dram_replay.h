// Replays a trace as fast as the channel takes it: at most one request per DRAM cycle, in order.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_REPLAY_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_REPLAY_H_

#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

struct DramReplay {
  // Until the last completion: the data of the last read, or the acceptance of the last (posted) write.
  Cycle cycles = 0;
  // Until the last posted write is in its row as well.
  Cycle drained_cycles = 0;
  int64_t requests = 0;
  DramCounts counts;  // at drained_cycles
};

// REQUIRES: every address lies within the geometry. Errors: those of Validate(config); Internal should the channel stop
// although requests wait.
// `observer`, unless empty, is called with every command.
absl::StatusOr<DramReplay> ReplayTrace(const DramConfig& config, const std::vector<DramRequest>& trace,
                                       const DramObserver& observer = {});

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_REPLAY_H_
