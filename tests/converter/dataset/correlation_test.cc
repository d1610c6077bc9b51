#include "converter/calibration/correlation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>

namespace tally {
namespace {

// Pairs with a true correlation of about 0.8, and noisier ones of the same scores.
struct Scores {
  std::vector<double> x, noisy, y;
};
Scores MakeScores(size_t n) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  Scores s;
  for (size_t i = 0; i < n; ++i) {
    s.y.push_back(3 + normal(random));
    s.x.push_back(0.1 * s.y[i] + 0.075 * normal(random));
    s.noisy.push_back(s.x[i] + 0.03 * normal(random));
  }
  return s;
}

double Mean(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

TEST(Correlate, IsPearsonsR) {
  // By hand: deviations -1 0 1 and -1 1 0, products 1, squares 2 and 2.
  const Correlation c = Correlate({1, 2, 3}, {10, 30, 20});
  EXPECT_NEAR(c.r, 0.5, 1e-12);
  EXPECT_NEAR(Mean(c.shares), 0.5, 1e-12);
  EXPECT_NEAR(Correlate({1, 2, 3}, {-2, -4, -6}).r, -1, 1e-12);
}

TEST(Correlate, HasNoValueWhereAllIsTheSame) {
  for (const std::vector<double>& x : {std::vector<double>{1, 1, 1}, {1, 1 + 1e-9, 1}, {0, 0, 0}}) {
    const Correlation c = Correlate(x, {1, 2, 3});
    EXPECT_TRUE(std::isnan(c.r));
    EXPECT_EQ(c.shares.size(), 3u);
    EXPECT_TRUE(std::isnan(Correlate({1, 2, 3}, x).r));
  }
  EXPECT_TRUE(std::isnan(Correlate({1}, {1}).r));
  EXPECT_TRUE(std::isnan(Correlate({}, {}).r));
}

// The error of a mean of shares against what resampling the pairs gives.
TEST(Correlate, SharesGiveTheErrorOfADifferenceThatABootstrapDoes) {
  const size_t n = 400;
  const Scores s = MakeScores(n);
  const Correlation a = Correlate(s.x, s.y), b = Correlate(s.noisy, s.y);
  double square = 0;
  const double difference = a.r - b.r;
  for (size_t i = 0; i < n; ++i) square += std::pow(a.shares[i] - b.shares[i] - difference, 2);
  const double error = std::sqrt(square) / n;
  std::mt19937 random(11);
  std::vector<double> draws;
  for (int draw = 0; draw < 1000; ++draw) {
    Scores d;
    for (size_t i = 0; i < n; ++i) {
      const size_t k = random() % n;
      d.x.push_back(s.x[k]), d.noisy.push_back(s.noisy[k]), d.y.push_back(s.y[k]);
    }
    draws.push_back(Correlate(d.x, d.y).r - Correlate(d.noisy, d.y).r);
  }
  double bootstrap = 0;
  for (double d : draws) bootstrap += std::pow(d - Mean(draws), 2) / 1000;
  // 1,000 draws know their standard deviation to 2 %; the rest is what the first order leaves out.
  EXPECT_NEAR(error, std::sqrt(bootstrap), 0.1 * error);
  EXPECT_GT(difference, 2 * error);
}

TEST(Direction, HasLengthOneOrIsZero) {
  const float x[] = {3, -4}, zero[] = {0, 0}, nan[] = {1, std::nanf("")}, inf[] = {1, INFINITY},
              large[] = {3e38f, 3e38f};
  EXPECT_EQ(Direction(x, 2), (std::vector<float>{0.6f, -0.8f}));
  for (const float* bad : {zero, nan, inf}) EXPECT_EQ(Direction(bad, 2), (std::vector<float>{0, 0}));
  EXPECT_NEAR(Direction(large, 2)[0], std::sqrt(0.5), 1e-6);  // squares do not overflow
}

}  // namespace
}  // namespace tally
