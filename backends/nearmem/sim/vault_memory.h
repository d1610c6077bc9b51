// The DRAM of a vault behind its prefetch FIFO. Reads are asked for in one order and fetched ahead as far as buffers
// and FIFO have room; writes are posted. Not thread-safe; deterministic.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_VAULT_MEMORY_H_
#define TALLY_BACKENDS_NEARMEM_SIM_VAULT_MEMORY_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

enum class DramMode {
  kEvent,      // command by command
  kClosedForm  // a server of the closed form's rate, for sweeps
};

// What lies in rows of its own.
enum class Region { kWeights, kActivations, kOutputs };

class VaultMemory {
 public:
  virtual ~VaultMemory() = default;

  // Appends reads of bursts first .. first + bursts - 1 of a region; returns the number of the segment, from 0 on.
  // All segments come before the first Arrival.
  virtual int AddReads(Region region, int64_t first, int64_t bursts) = 0;
  // From `at` on there is room for segments 0 .. segment. REQUIRES: `at` does not fall from call to call.
  virtual void Grant(int segment, Cycle at) = 0;
  // Writes `bursts` bursts from `at` on. REQUIRES: `at` does not fall from call to call.
  virtual void Write(int64_t first, int64_t bursts, Cycle at) = 0;
  // When the whole segment has arrived. REQUIRES: it was granted, and no grant or write before that time is still to
  // come. Internal should the channel stop.
  virtual absl::StatusOr<Cycle> Arrival(int segment) = 0;
  // When all is read and written.
  virtual absl::StatusOr<Cycle> Finish() = 0;

  // Cycles of [begin, end) in which an all-bank refresh stopped the channel.
  virtual Cycle Refreshing(Cycle begin, Cycle end) const = 0;
  // REQUIRES: Finish was called; `now` is not before its result. Refreshes that come after it are not among them.
  virtual DramCounts CountsAt(Cycle now) const = 0;
};

// REQUIRES: Validate(config) is OK. Unimplemented where the closed form does not know the machine.
absl::StatusOr<std::unique_ptr<VaultMemory>> MakeVaultMemory(const DramConfig& config, int fifo_bytes, DramMode mode);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_VAULT_MEMORY_H_
