#include "converter/search/bit_allocation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/converter/search/distributions.h"

namespace tally {
namespace {

using testing::Random;

// Errors fall to about a quarter per bit, as quantization errors do.
std::vector<BitItem> RandomItems(Random* random) {
  std::vector<BitItem> items(1 + random->Bits() % 12);
  for (BitItem& item : items) {
    item.elements = static_cast<double>(1 + random->Bits() % 100000);
    const int sign = static_cast<int>(random->Bits() % 2);
    double error = random->Uniform();
    for (int bits = 2; bits <= 7; ++bits) {
      item.options.push_back({bits, bits + sign, error, std::sqrt(error)});
      error *= 0.2 + 0.1 * random->Uniform();
    }
  }
  return items;
}

double TotalError(const std::vector<BitItem>& items, const Allocation& allocation) {
  double error = 0;
  for (size_t i = 0; i < items.size(); ++i) error += items[i].options[allocation[i]].error;
  return error;
}

TEST(BitAllocation, NeverExceedsTheBudgetAndIsMissingOnlyWhenTheFewestBitsDo) {
  Random random(1);
  for (int trial = 0; trial < 500; ++trial) {
    const std::vector<BitItem> items = RandomItems(&random);
    double elements = 0;
    for (const BitItem& item : items) elements += item.elements;
    const double budget = elements * (1 + 8 * random.Uniform());
    const bool possible = TotalBits(items, Allocation(items.size(), 0)) <= budget;
    for (const auto& allocation : {AllocateUniform(items, budget), AllocateLeastError(items, budget)}) {
      ASSERT_EQ(allocation.has_value(), possible);
      if (allocation) {
        EXPECT_LE(TotalBits(items, *allocation), budget * (1 + 1e-9));
      }
    }
  }
}

// Every combination of a few items.
TEST(BitAllocation, LeastErrorIsTheLeast) {
  Random random(4);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<BitItem> items = RandomItems(&random);
    items.resize(std::min<size_t>(items.size(), 5));
    double elements = 0;
    // Errors as they are measured: not convex, and now and then higher with more bits.
    for (BitItem& item : items) {
      item.elements = static_cast<double>(1 + random.Bits() % 4) * 1000;
      elements += item.elements;
      for (BitOption& option : item.options) option.error *= 0.5 + random.Uniform();
    }
    const double budget = std::floor(elements / 1000 * (4 + 3 * random.Uniform())) * 1000;
    const auto found = AllocateLeastError(items, budget);
    ASSERT_TRUE(found);
    double best = std::numeric_limits<double>::infinity();
    Allocation each(items.size(), 0);
    while (true) {
      if (TotalBits(items, each) <= budget) best = std::min(best, TotalError(items, each));
      size_t i = 0;
      while (i < each.size() && ++each[i] == items[i].options.size()) each[i++] = 0;
      if (i == each.size()) break;
    }
    EXPECT_LE(TotalError(items, *found), best * (1 + 1e-12)) << trial;
    EXPECT_LE(TotalBits(items, *found), budget * (1 + 1e-9)) << trial;
  }
}

TEST(BitAllocation, LeastErrorGivesTheSmallerSumOfErrors) {
  Random random(2);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<BitItem> items = RandomItems(&random);
    // Equal sizes, so that what remains of the budget cannot decide.
    double bits = 0;
    for (BitItem& item : items) item.elements = 1000, bits += 1000 * (3 + static_cast<double>(random.Bits() % 4));
    const auto uniform = AllocateUniform(items, bits), least = AllocateLeastError(items, bits);
    ASSERT_TRUE(uniform && least);
    EXPECT_LE(TotalError(items, *least), TotalError(items, *uniform) * (1 + 1e-9)) << trial;
  }
}

TEST(BitAllocation, ItemsOutsideTheBudgetGetTheMostBits) {
  Random random(3);
  std::vector<BitItem> items = RandomItems(&random);
  items.push_back(items[0]);
  items.back().elements = 0;
  for (BitOption& option : items.back().options) option.error = 0.5;  // more bits bring nothing
  for (const auto& allocation : {AllocateUniform(items, 1e9), AllocateLeastError(items, 1e9)}) {
    ASSERT_TRUE(allocation);
    EXPECT_EQ(allocation->back(), items.back().options.size() - 1);
  }
}

TEST(BitAllocation, ThresholdTakesTheFewestBitsThatMeetIt) {
  const std::vector<BitItem> items = {{1, {{2, 3, 0, 0.4}, {3, 4, 0, 0.2}, {4, 5, 0, 0.1}}}};
  EXPECT_EQ(AllocateByThreshold(items, 0.5), Allocation{0});
  EXPECT_EQ(AllocateByThreshold(items, 0.2), Allocation{1});
  EXPECT_EQ(AllocateByThreshold(items, 0.01), Allocation{2});
}

}  // namespace
}  // namespace tally
