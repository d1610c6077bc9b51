// Integer division of sizes.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_ROUNDING_H_
#define TALLY_BACKENDS_NEARMEM_SIM_ROUNDING_H_

#include <cstdint>

namespace tally::nearmem {

// REQUIRES: a >= 0, b > 0, a + b fits.
inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_ROUNDING_H_
