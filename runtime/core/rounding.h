// Integer division of sizes. backends/nearmem/sim has its own: it includes nothing of ours.
#ifndef TALLY_RUNTIME_CORE_ROUNDING_H_
#define TALLY_RUNTIME_CORE_ROUNDING_H_

#include <cstdint>

namespace tally {

// REQUIRES: a >= 0, b > 0, a + b fits.
inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace tally

#endif  // TALLY_RUNTIME_CORE_ROUNDING_H_
