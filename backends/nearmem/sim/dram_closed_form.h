// Cycles of regular access patterns without simulating them, for sweeps.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_CLOSED_FORM_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_CLOSED_FORM_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/dram_config.h"

namespace tally::nearmem {

enum class Regularity {
  kStream,         // all bursts of a row, rows over all banks
  kStreamOneBank,  // all bursts of a row, row after row of one bank
  kRandom,         // bursts of random rows and banks
  kRandomOneBank   // bursts of random rows of one bank
};

// Cycles of `requests` reads (or writes alone) that are always at hand. With N requests, a row of C bursts and B banks:
//   stream            N * max(burst, ccd_s), open pages
//   stream, one bank  N / C * max(rc, rcd + (C - 1) * max(burst, ccd_l) + rtp + rp), open pages
//   random            N * max(burst, ccd_s, rrd_s, faw / 4, rc / B); also streams on closed pages
//   random, one bank  N * rc; also streams of one bank on closed pages
// with ccd_l for ccd_s where there is one bank group; times 1 / (1 - (rfc + rp + rcd) / refi) with all-bank refresh. An
// upper bound of what banks reach in parallel: random banks collide, which only the event model sees. Unimplemented for
// per-bank refresh and a column cap.
// REQUIRES: Validate(config) is OK.
absl::StatusOr<double> ClosedFormCycles(const DramConfig& config, Regularity regularity, int64_t requests);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_CLOSED_FORM_H_
