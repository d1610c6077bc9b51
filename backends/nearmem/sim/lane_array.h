// The counting lanes of a vault: each holds the counters of one output, all see the activations that are broadcast.
// Counts are exact: a narrow counter that would overflow is first added to its 32-bit shadow (a spill).
// Not thread-safe.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_LANE_ARRAY_H_
#define TALLY_BACKENDS_NEARMEM_SIM_LANE_ARRAY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/nearmem/sim/accelerator.h"

namespace tally::nearmem {

// A nonzero activation of a window.
struct Activation {
  int32_t k = 0;         // its place in the window
  int16_t exponent = 0;  // from the smallest on
  int16_t sign = 1;
};

// What lanes did.
struct LaneEvents {
  int64_t updates = 0;  // of counters
  int64_t pairs = 0;    // of nonzero codes
  int64_t spills = 0;
  int64_t multiplies = 0;  // in draining buckets
};

class LaneArray {
 public:
  // Mantissas: bucketed; 2^n - 1 each.
  LaneArray(LaneProgram program, int counter_bits, int activation_exponent_bits, int weight_exponent_bits,
            std::vector<int32_t> activation_mantissas, std::vector<int32_t> weight_mantissas);

  // The weights of `lanes` outputs: codes[k][lane], the sign above the exponent bits.
  void Load(const uint8_t* codes, int64_t k, int lanes);

  // Bucketed: adds sum M_a M_w of the window to acc[lane]. `activations` are in order of their exponent; buckets that
  // hold none are left out. Returns the buckets that were drained.
  int CountBuckets(const Activation* activations, size_t count, int64_t* acc, LaneEvents* events);

  // Folded: Clear, then any number of parts of the window, then read the counters.
  void Clear();
  void CountFolded(const Activation* activations, size_t count, LaneEvents* events);
  // Counters of i + j, i, j and the signs, in this order; valid until the next call.
  struct Folded {
    const int32_t* of_sum;
    const int32_t* of_a;
    const int32_t* of_w;
    int32_t signs;
  };
  Folded ReadFolded(int lane);

 private:
  // Adds `delta` to a counter; spills first when it would overflow.
  void Update(size_t counter, int delta, LaneEvents* events) {
    const int32_t value = narrow_[counter] + delta;
    if (value > max_ || value < min_) {
      shadow_[counter] += narrow_[counter];
      narrow_[counter] = delta;
      spilled_ = true;
      ++events->spills;
    } else {
      narrow_[counter] = value;
    }
  }
  void CountBucket(const Activation* begin, const Activation* end, LaneEvents* events);
  // `count`: activations in the bucket.
  void DrainBucket(int exponent, int64_t count, int64_t* acc, LaneEvents* events);

  const size_t a_count_, w_count_;
  const std::vector<int32_t> a_mantissas_, w_mantissas_;
  const int32_t max_, min_;
  const size_t stride_;  // counters of a lane; 0 takes what zero weights add, which is nothing
  int lanes_ = 0;
  uint8_t slot_of_[256];  // by code: 1 + exponent, 0 for zero
  int8_t sign_of_[256];
  std::vector<uint8_t> slots_;  // [k][lane]
  std::vector<int8_t> signs_;
  std::vector<int32_t> nonzero_;  // weights of row k
  std::vector<int32_t> narrow_, shadow_;
  bool spilled_ = false;          // some shadow is not zero
  int64_t largest_mantissa_ = 0;  // of the weights
  std::vector<int32_t> read_;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_LANE_ARRAY_H_
