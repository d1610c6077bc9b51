#include "runtime/exec/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {

absl::StatusOr<MemoryPlan> PlanMemory(const std::vector<Lifetime>& values, uint64_t limit) {
  MemoryPlan plan;
  plan.offsets.resize(values.size(), 0);
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a].bytes > values[b].bytes; });
  // Placed values in order of offset.
  struct Placed {
    uint64_t begin, end;
    size_t value;
  };
  std::vector<Placed> placed;
  for (size_t v : order) {
    uint64_t size = 0;
    if (!CheckedAdd<uint64_t>(values[v].bytes, kSlack, &size) || !CheckedAlignUp(size, kAlignment, &size)) {
      return MakeError(ErrorId::kLimitArena, absl::StrCat("a value of ", values[v].bytes, " bytes"));
    }
    uint64_t offset = 0;
    for (const Placed& p : placed) {
      const Lifetime& other = values[p.value];
      if (other.last < values[v].first || values[v].last < other.first) continue;
      if (p.begin >= offset && p.begin - offset >= size) break;
      offset = std::max(offset, p.end);
    }
    uint64_t end = 0;
    if (!CheckedAdd(offset, size, &end) || end > limit) {
      return MakeError(ErrorId::kLimitArena,
                       absl::StrCat("activations need more than ", offset, " + ", size, " bytes, limit ", limit));
    }
    plan.offsets[v] = offset;
    plan.bytes = std::max(plan.bytes, end);
    const Placed entry{offset, end, v};
    placed.insert(std::upper_bound(placed.begin(), placed.end(), entry,
                                   [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
                  entry);
  }
  return plan;
}

}  // namespace tally
