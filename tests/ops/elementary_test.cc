// The functions of elementary.h against long double libm: correctly rounded on everything tried.
#include "runtime/ops/elementary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

namespace tally {
namespace {

using Wide = long double;

// In units of the last place of the rounded exact value; 0 where the result is that value.
double UlpError(float actual, Wide exact) {
  const float rounded = static_cast<float>(exact);
  if (actual == rounded || (std::isnan(actual) && std::isnan(rounded))) return 0;
  if (!std::isfinite(actual) || !std::isfinite(rounded)) return 1e9;
  const float next = std::nextafter(std::fabs(rounded), INFINITY);
  return static_cast<double>(std::fabs(static_cast<Wide>(actual) - exact) / (next - std::fabs(rounded)));
}

Wide Softplus(Wide x) { return x > 100 ? x : std::log1p(std::exp(x)); }

struct Function {
  const char* name;
  float (*ours)(float);
  Wide (*exact)(Wide);
};
constexpr Function kFunctions[] = {
    {"log", LogF, std::log},           {"sin", SinF, std::sin},
    {"cos", CosF, std::cos},           {"tan", TanF, std::tan},
    {"asin", AsinF, std::asin},        {"acos", AcosF, std::acos},
    {"atan", AtanF, std::atan},        {"sinh", SinhF, std::sinh},
    {"cosh", CoshF, std::cosh},        {"asinh", AsinhF, std::asinh},
    {"acosh", AcoshF, std::acosh},     {"atanh", AtanhF, std::atanh},
    {"softplus", SoftplusF, Softplus}, {"expm1", ExpMinusOneF, std::expm1},
};

TEST(Elementary, StaysWithinOneUlp) {
  std::mt19937 random(1);
  for (const Function& f : kFunctions) {
    for (int i = 0; i < 200000; ++i) {
      const uint32_t bits = static_cast<uint32_t>(random());
      // Every other value is any float at all, the rest lie where the functions vary most.
      float x = static_cast<float>(static_cast<int>(bits % 2000001) - 1000000) / (i % 4 == 1 ? 1e6f : 5e4f);
      if (i % 2 == 0) std::memcpy(&x, &bits, sizeof(x));
      if (std::isnan(x)) continue;
      ASSERT_LE(UlpError(f.ours(x), f.exact(x)), 1) << f.name << "(" << x << ") = " << f.ours(x);
    }
  }
}

TEST(Elementary, NotANumberStaysOne) {
  for (const Function& f : kFunctions) EXPECT_TRUE(std::isnan(f.ours(std::nanf("")))) << f.name;
}

TEST(Elementary, PowerIsExactOrWithinOneUlpOfFloat32) {
  std::mt19937 random(2);
  for (int i = 0; i < 200000; ++i) {
    float x = static_cast<float>(random() % 100000) / 1000.0f;
    float y = static_cast<float>(static_cast<int>(random() % 20000) - 10000) / 1000.0f;
    if (i % 5 == 0) {
      x = -x;
      y = std::rint(y);
    }
    ASSERT_LE(UlpError(static_cast<float>(PowD(x, y)), std::pow(static_cast<Wide>(x), static_cast<Wide>(y))), 1)
        << x << " ^ " << y;
  }
  EXPECT_EQ(PowD(3, 30), 205891132094649.0);
}

TEST(Elementary, PowerHasTheSpecialCasesOfC) {
  constexpr double kOdd[] = {0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 100, INFINITY, -INFINITY, NAN};
  for (double x : kOdd) {
    for (double y : kOdd) {
      const double expected = std::pow(x, y);
      const double actual = PowD(x, y);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(actual)) << x << " ^ " << y;
      } else {
        // Only special values and exact powers are here: at most the rounding of twelve products.
        EXPECT_TRUE(actual == expected || std::fabs(actual - expected) <= 1e-14 * std::fabs(expected))
            << x << " ^ " << y << ": " << actual;
        EXPECT_EQ(std::signbit(actual), std::signbit(expected)) << x << " ^ " << y;
      }
    }
  }
}

}  // namespace
}  // namespace tally
