// How many values Range gives; shared by inference and evaluation.
#ifndef TALLY_RUNTIME_OPS_RANGE_H_
#define TALLY_RUNTIME_OPS_RANGE_H_

#include <cstdint>

namespace tally {

// max(0, ceil((limit - start) / delta)), at most 2^62. REQUIRES: delta is not 0.
int64_t RangeLength(double start, double limit, double delta);
int64_t RangeLength(int64_t start, int64_t limit, int64_t delta);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_RANGE_H_
