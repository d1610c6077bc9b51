#include "runtime/exec/memory_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "tally/status.h"

namespace tally {
namespace {

RC_GTEST_PROP(MemoryPlan, ValuesThatLiveTogetherNeverOverlap, ()) {
  std::vector<Lifetime> values;
  const size_t count = *rc::gen::inRange<size_t>(0, 40);
  for (size_t i = 0; i < count; ++i) {
    const int first = *rc::gen::inRange(0, 20);
    values.push_back({*rc::gen::inRange<uint64_t>(0, 5000), first, first + *rc::gen::inRange(0, 6)});
  }
  const absl::StatusOr<MemoryPlan> plan = PlanMemory(values, uint64_t{1} << 30);
  RC_ASSERT(plan.ok());
  for (size_t i = 0; i < count; ++i) {
    RC_ASSERT(plan->offsets[i] % 64 == 0);
    RC_ASSERT(plan->offsets[i] + values[i].bytes + 64 <= plan->bytes);
    for (size_t j = 0; j < i; ++j) {
      if (values[i].last < values[j].first || values[j].last < values[i].first) continue;
      const bool apart = plan->offsets[i] + values[i].bytes + 64 <= plan->offsets[j] ||
                         plan->offsets[j] + values[j].bytes + 64 <= plan->offsets[i];
      RC_ASSERT(apart);
    }
  }
}

TEST(MemoryPlan, ReusesMemoryOfTheDead) {
  // A chain: each value lives for two steps, so two places are enough.
  std::vector<Lifetime> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({1000, i, i + 1});
  const absl::StatusOr<MemoryPlan> plan = PlanMemory(chain, 1 << 20);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->bytes, 2u * 1088);
}

TEST(MemoryPlan, RefusesMoreThanTheLimitAndSizesThatWrap) {
  for (uint64_t bytes : {uint64_t{2000}, ~uint64_t{0}, ~uint64_t{0} - 63}) {
    const absl::StatusOr<MemoryPlan> plan = PlanMemory({{bytes, 0, 0}}, 1024);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(GetErrorInfo(plan.status()).code, "TLY-E0504");
  }
}

}  // namespace
}  // namespace tally
