// Our exp, sigmoid, tanh and erf against libm in float64, over every sign and exponent of float32.
#include "runtime/ops/math.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/node_runner.h"

namespace tally {
namespace {

using testing::UlpError;

struct Worst {
  double error = 0;
  float at = 0;
};

template <typename Fn, typename Exact>
Worst LargestError(const Fn& fn, const Exact& exact) {
  Worst worst;
  testing::Rng rng(1);
  for (uint32_t high = 0; high < 512; ++high) {
    for (int i = 0; i < 6000; ++i) {
      // The ends of the binade, then random mantissas.
      const uint32_t mantissa = i == 0 ? 0 : i == 1 ? 1 : i == 2 ? 0x7FFFFF : static_cast<uint32_t>(rng()) & 0x7FFFFF;
      const float x = BitsToFloat(high << 23 | mantissa);
      const double error = UlpError(fn(x), exact(static_cast<double>(x)));
      if (!(error <= worst.error)) worst = {error, x};
    }
  }
  return worst;
}

double ExactSigmoid(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }

// The bounds are what exhaustive runs over all 2^32 floats gave, rounded up: 0.98, 2.4, 1.4, 1.4.
TEST(MathTest, ExpIsWithinOneUlpEverywhere) {
  const Worst w = LargestError(ExpF, [](double x) { return std::exp(x); });
  EXPECT_LE(w.error, 1) << "at " << w.at;
}

TEST(MathTest, SigmoidIsWithinThreeUlpEverywhere) {
  const Worst w = LargestError(SigmoidF, ExactSigmoid);
  EXPECT_LE(w.error, 3) << "at " << w.at;
}

TEST(MathTest, TanhIsWithinTwoUlpEverywhere) {
  const Worst w = LargestError(TanhF, [](double x) { return std::tanh(x); });
  EXPECT_LE(w.error, 2) << "at " << w.at;
}

TEST(MathTest, ErfIsWithinTwoUlpEverywhere) {
  const Worst w = LargestError(ErfF, [](double x) { return std::erf(x); });
  EXPECT_LE(w.error, 2) << "at " << w.at;
}

TEST(MathTest, SpecialValues) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ExpF(0), 1);
  EXPECT_EQ(ExpF(infinity), infinity);
  EXPECT_EQ(ExpF(-infinity), 0);
  EXPECT_EQ(ExpF(-103.9f), std::numeric_limits<float>::denorm_min());
  EXPECT_TRUE(std::isnan(ExpF(nan)));
  EXPECT_EQ(SigmoidF(0), 0.5f);
  EXPECT_EQ(SigmoidF(infinity), 1);
  EXPECT_EQ(SigmoidF(-infinity), 0);
  EXPECT_TRUE(std::isnan(SigmoidF(nan)));
  EXPECT_EQ(testing::Bits(TanhF(-0.0f)), testing::Bits(-0.0f));
  EXPECT_EQ(TanhF(-infinity), -1);
  EXPECT_TRUE(std::isnan(TanhF(nan)));
  EXPECT_EQ(testing::Bits(ErfF(-0.0f)), testing::Bits(-0.0f));
  EXPECT_EQ(ErfF(infinity), 1);
  EXPECT_TRUE(std::isnan(ErfF(nan)));
}

TEST(MathTest, RoundToIntRoundsHalfToEven) {
  for (const float x : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 16382.5f, 0.49999997f, 4194303.0f, -4194303.0f}) {
    EXPECT_EQ(static_cast<float>(RoundToInt(x)), std::nearbyint(x)) << x;
  }
}

}  // namespace
}  // namespace tally
