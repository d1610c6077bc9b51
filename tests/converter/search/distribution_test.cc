#include "converter/search/distribution.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/converter/search/distributions.h"

namespace tally {
namespace {

Distribution DescribeSample(const char* name) {
  const std::vector<float> x = testing::Sample(name, 50000, 3);
  MagnitudeHistogram histogram;
  histogram.Add(x.data(), x.size());
  return Describe(Magnitudes(histogram));
}

// Kolmogorov's distance of 50,000 samples from their own distribution is below 0.01 but for one case in thousands.
TEST(Distribution, FindsTheFamilyThatValuesWereDrawnFrom) {
  const Distribution laplace = DescribeSample("laplace");
  EXPECT_LT(laplace.exponential, 0.01);
  EXPECT_GT(laplace.normal, 0.05);
  EXPECT_GT(laplace.uniform, 0.3);
  const Distribution normal = DescribeSample("normal");
  EXPECT_LT(normal.normal, 0.01);
  EXPECT_GT(normal.exponential, 0.05);
}

TEST(Distribution, CountsSharesUpToItsLimit) {
  const Distribution d = DescribeSample("laplace");
  const double sum = std::accumulate(d.shares.begin(), d.shares.end(), 0.0);
  EXPECT_NEAR(sum, 0.999, 0.001);
  EXPECT_GT(d.shares.front(), 10 * d.shares.back());
}

TEST(Distribution, OfNothingIsEmpty) {
  const Distribution d = Describe(Magnitudes());
  EXPECT_TRUE(d.shares.empty());
  EXPECT_EQ(d.exponential, 0);
}

TEST(Distribution, OfOneValueIsThatValue) {
  const Distribution d = Describe(Magnitudes(std::vector<float>{2, -2, 2}));
  EXPECT_EQ(d.limit, 2);
  EXPECT_EQ(d.shares.back(), 1);
  for (double distance : {d.exponential, d.normal, d.laplace, d.uniform}) EXPECT_TRUE(distance >= 0 && distance <= 1);
}

}  // namespace
}  // namespace tally
