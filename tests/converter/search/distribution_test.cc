#include "converter/search/distribution.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/converter/search/distributions.h"

namespace tally {
namespace {

Distribution DescribeValues(const std::vector<float>& x) {
  MagnitudeHistogram histogram;
  histogram.Add(x.data(), x.size());
  return Describe(Magnitudes(histogram));
}

Distribution DescribeSample(const char* name) { return DescribeValues(testing::Sample(name, 50000, 3)); }

// Kolmogorov's distance of 50,000 samples from their own distribution is below 0.01 but for one case in thousands.
TEST(Distribution, FindsTheFamilyThatValuesWereDrawnFrom) {
  const Distribution laplace = DescribeSample("laplace");
  EXPECT_LT(laplace.exponential, 0.01);
  EXPECT_GT(laplace.normal, 0.05);
  EXPECT_GT(laplace.uniform, 0.3);
  const Distribution normal = DescribeSample("normal");
  EXPECT_LT(normal.normal, 0.01);
  EXPECT_GT(normal.exponential, 0.05);
  // |x| itself, away from zero; the histogram's cells grow with |x|, hence the wider bound.
  testing::Random random(4);
  std::vector<float> x(50000);
  for (float& v : x) v = static_cast<float>(6 + random.Laplace());
  const Distribution about_median = DescribeValues(x);
  EXPECT_LT(about_median.laplace, 0.02);
  EXPECT_GT(about_median.normal, 0.3);
  for (float& v : x) v = static_cast<float>(2 * random.Uniform() - 1);
  const Distribution uniform = DescribeValues(x);
  EXPECT_LT(uniform.uniform, 0.01);
  EXPECT_GT(uniform.laplace, 0.05);
  EXPECT_GT(uniform.normal, 0.05);
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
