// The counting oracle against products of decoded values.
#include "backends/exponent/kernels/histogram/histogram.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/backends/exponent/harness.h"

namespace tally::testing {
namespace {

TEST(Histogram, EqualsTheSumOfProductsOnIntegerGrids) {
  Rng rng(1);
  for (int trial = 0; trial < 300; ++trial) {
    const Codebook a = RandomCodebook(rng), w = RandomCodebook(rng);
    const size_t k = Pick(rng, 200);
    const std::vector<uint8_t> x = RandomCodes(rng, a, k), y = RandomCodes(rng, w, k);
    const std::vector<int32_t> mx = a.SignedMantissas(), my = w.SignedMantissas();
    int64_t expected = 0;
    for (size_t t = 0; t < k; ++t) expected += int64_t{mx[x[t]]} * my[y[t]];
    const PairHistogram histogram(a, w);
    ASSERT_FALSE(histogram.is_real());
    std::vector<int32_t> counters(histogram.counters());
    ASSERT_EQ(histogram.DotInteger(x.data(), y.data(), k, counters.data()), expected) << "trial " << trial;
  }
}

TEST(Histogram, IgnoresNegativeZero) {
  Rng rng(2);
  const Codebook a = RandomCodebook(rng, 3, true, Grid::kQ7), w = RandomCodebook(rng, 3, true, Grid::kQ7);
  const uint8_t x = a.sign_bit(), y = 5;
  const PairHistogram histogram(a, w);
  std::vector<int32_t> counters(histogram.counters());
  EXPECT_EQ(histogram.DotInteger(&x, &y, 1, counters.data()), 0);
}

double NaiveReal(const Codebook& a, const std::vector<uint8_t>& x, const Codebook& w, const std::vector<uint8_t>& y) {
  const std::vector<double> vx = a.Values(), vy = w.Values();
  double sum = 0;
  for (size_t t = 0; t < x.size(); ++t) sum += vx[x[t]] * vy[y[t]];
  return sum;
}

// Float64 sums in another order differ in the last bits: 1e-12 of the sum of magnitudes is ample for 300 terms.
TEST(Histogram, IsCloseToTheSumOfProductsOnTheRealGrid) {
  Rng rng(3);
  for (int trial = 0; trial < 200; ++trial) {
    const bool shared = trial % 2 == 0;
    Codebook a = RandomCodebook(rng, 2 + static_cast<int>(Pick(rng, 6)), trial % 4 < 2, Grid::kReal);
    Codebook w =
        RandomCodebook(rng, 2 + static_cast<int>(Pick(rng, 6)), true, trial % 3 == 0 ? Grid::kQ7 : Grid::kReal);
    if (shared) w.base = a.base;
    if (!shared && w.base == a.base) w.base += 0.005;
    const size_t k = Pick(rng, 300);
    const std::vector<uint8_t> x = RandomCodes(rng, a, k), y = RandomCodes(rng, w, k);
    const PairHistogram histogram(a, w);
    ASSERT_TRUE(histogram.is_real());
    ASSERT_EQ(histogram.is_folded(), shared && w.grid == Grid::kReal);
    std::vector<int32_t> counters(histogram.counters());
    const double scale = 1 + static_cast<double>(k) * a.Values()[static_cast<size_t>(a.magnitudes())] *
                                 w.Values()[static_cast<size_t>(w.magnitudes())];
    EXPECT_NEAR(histogram.DotReal(x.data(), y.data(), k, counters.data()), NaiveReal(a, x, w, y), 1e-12 * scale);
  }
}

// The order of docs/numerics.md, written out for n = 2 (exponents -1, 0, 1).
TEST(Histogram, FoldsInTheContractsOrder) {
  Rng rng(4);
  Codebook a = RandomCodebook(rng, 2, true, Grid::kReal), w = RandomCodebook(rng, 2, true, Grid::kReal);
  a.base = w.base = 1.37;
  a.alpha = 0.3, a.beta = 0.07, w.alpha = 0.9, w.beta = 0.11;
  const std::vector<uint8_t> x = RandomCodes(rng, a, 500), y = RandomCodes(rng, w, 500);
  int sums[5] = {}, of_a[3] = {}, of_w[3] = {}, signs = 0;
  for (size_t t = 0; t < x.size(); ++t) {
    const int i = (x[t] & 3) - 1, j = (y[t] & 3) - 1;
    if (i < 0 || j < 0) continue;
    const int s = ((x[t] ^ y[t]) & 4) != 0 ? -1 : 1;
    sums[i + j] += s;
    of_a[i] += s;
    of_w[j] += s;
    signs += s;
  }
  const double b = 1.37, inverse = 1 / b;
  const double powers[5] = {inverse * inverse, inverse, 1, b, b * b};
  double t1 = 0, t2 = 0, t3 = 0;
  for (int e = 0; e < 5; ++e) t1 += sums[e] * powers[e];
  for (int i = 0; i < 3; ++i) t2 += of_a[i] * powers[i + 1];
  for (int j = 0; j < 3; ++j) t3 += of_w[j] * powers[j + 1];
  double expected = a.alpha * w.alpha * t1;
  expected += a.alpha * w.beta * t2;
  expected += w.alpha * a.beta * t3;
  expected += a.beta * w.beta * signs;
  const PairHistogram histogram(a, w);
  std::vector<int32_t> counters(histogram.counters());
  EXPECT_EQ(histogram.DotReal(x.data(), y.data(), x.size(), counters.data()), expected);
}

}  // namespace
}  // namespace tally::testing
