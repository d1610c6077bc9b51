// Places values with known lifetimes in one arena so that none overlaps another that is alive at the same time.
#ifndef TALLY_RUNTIME_EXEC_MEMORY_PLAN_H_
#define TALLY_RUNTIME_EXEC_MEMORY_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace tally {

// A value that is alive from step `first` to step `last`, both included.
struct Lifetime {
  uint64_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<uint64_t> offsets;  // per value, 64-byte aligned
  uint64_t bytes = 0;             // of the arena
};

// Greedy by size: large values first, each at the lowest offset that is free for its whole life. Every value gets 64
// bytes of slack, for kernels that read past the end. Error: kLimitArena.
absl::StatusOr<MemoryPlan> PlanMemory(const std::vector<Lifetime>& values, uint64_t limit);

}  // namespace tally

#endif  // TALLY_RUNTIME_EXEC_MEMORY_PLAN_H_
