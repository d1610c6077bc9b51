#include "converter/search/codebook_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "tests/converter/search/distributions.h"

namespace tally {
namespace {

using testing::Random;
using testing::Sample;

const char* const kDistributions[] = {"normal", "laplace", "student4", "relu"};

Magnitudes Collect(const std::vector<float>& x) {
  MagnitudeHistogram histogram;
  histogram.Add(x.data(), x.size());
  return Magnitudes(histogram);
}

struct Reference {
  double mse = 0, rmae = 0;
};

// Value by value, with the run-time encoder (activations) or the nearest magnitude (weights).
Reference MeasureDirectly(const std::vector<float>& x, const Codebook& book, bool is_weight) {
  const Encoder encoder(book);
  const std::vector<double> values = book.Values();
  double squares = 0, absolutes = 0, signal2 = 0, signal1 = 0;
  for (float v : x) {
    double decoded;
    if (is_weight) {
      decoded = 0;
      for (int c = 0; c < book.code_count(); ++c) {
        if (std::fabs(v - values[static_cast<size_t>(c)]) < std::fabs(v - decoded))
          decoded = values[static_cast<size_t>(c)];
      }
    } else {
      decoded = values[encoder.Encode(v)];
    }
    squares += (v - decoded) * (v - decoded);
    absolutes += std::fabs(v - decoded);
    signal2 += static_cast<double>(v) * v;
    signal1 += std::fabs(static_cast<double>(v));
  }
  return {squares / signal2, absolutes / signal1};
}

Codebook MakeAt(int bits, Grid grid, double base, double ratio, double clip) {
  const int r = (1 << (bits - 1)) - 1;
  const double alpha = clip * (1 - ratio) / (std::pow(base, r) - std::pow(base, -r));
  const auto book =
      MakeCodebook(bits, true, grid, EncodeRule::kNearest, base, alpha, clip * ratio - alpha * std::pow(base, -r));
  EXPECT_TRUE(book.ok()) << book.status();
  return *book;
}

TEST(Magnitudes, HistogramKeepsExactTotalsAndOrder) {
  const std::vector<float> x = Sample("student4", 100000, 1);
  const Magnitudes compact = Collect(x), exact(x);
  EXPECT_LT(compact.bins(), 8192u);
  EXPECT_EQ(compact.total().weight, exact.total().weight);
  EXPECT_NEAR(compact.total().sum / exact.total().sum, 1, 1e-12);
  EXPECT_NEAR(compact.total().squares / exact.total().squares, 1, 1e-12);
  EXPECT_NEAR(compact.max() / exact.max(), 1, 0.004);
  for (double t : {0.0, 1e-9, 0.01, 1.0, 5.0, 1e9}) {
    EXPECT_NEAR(compact.prefix(compact.BinsUpTo(t)).weight, exact.prefix(exact.BinsUpTo(t)).weight,
                0.004 * static_cast<double>(x.size()))
        << t;
  }
}

TEST(Magnitudes, LeavesOutZerosAndNonFiniteValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0, -0.0f, inf, -inf, std::nanf(""), 2, -2, 1e-45f};
  for (const Magnitudes& m : {Magnitudes(x), Collect(x)}) {
    ASSERT_EQ(m.bins(), 2u);
    EXPECT_EQ(m.max(), 2);
    EXPECT_EQ(m.total().weight, 3);
  }
}

TEST(Magnitudes, CountsBinsUpToAnyBound) {
  Random random(7);
  std::vector<float> x = Sample("student4", 500, 3);
  for (size_t i = 0; i < 100; ++i) x.push_back(static_cast<float>(std::exp(60 * random.Uniform() - 30)));
  x.push_back(1e-45f);
  x.push_back(FLT_MAX);
  const Magnitudes m(x);
  std::set<double> distinct;
  for (float v : x) distinct.insert(std::fabs(v));
  const std::vector<double> sorted(distinct.begin(), distinct.end());
  std::vector<double> bounds = {-1, -0.0, 0, 1e-320, 1e300, std::numeric_limits<double>::infinity()};
  for (double v : sorted) bounds.insert(bounds.end(), {v, std::nextafter(v, 0.0), std::nextafter(v, 1e300)});
  for (int i = 0; i < 1000; ++i) bounds.push_back(std::exp(70 * random.Uniform() - 35));
  for (double t : bounds) {
    ASSERT_EQ(m.BinsUpTo(t), static_cast<size_t>(std::upper_bound(sorted.begin(), sorted.end(), t) - sorted.begin()))
        << t;
  }
}

TEST(MeasureFit, AgreesWithEncodingEveryValue) {
  const std::vector<float> x = Sample("laplace", 4000, 5);
  const Magnitudes exact(x), compact = Collect(x);
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    for (int bits : {2, 3, 5, 7}) {
      const Codebook book = MakeAt(bits, grid, 1 + 1.0 / bits, 0.03, 5);
      for (bool is_weight : {false, true}) {
        const Reference direct = MeasureDirectly(x, book, is_weight);
        const FitError measured = MeasureFit(exact, book, is_weight);
        EXPECT_NEAR(measured.relative_mse, direct.mse, 1e-6 * direct.mse) << GridName(grid) << bits << is_weight;
        EXPECT_NEAR(measured.rmae, direct.rmae, 1e-6 * direct.rmae) << GridName(grid) << bits << is_weight;
        // Bins are 0.4 % wide, a fifth of a step at 7 bits.
        EXPECT_NEAR(MeasureFit(compact, book, is_weight).relative_mse, direct.mse, 0.02 * direct.mse);
      }
    }
  }
}

// The sanitizers, which would take ten times as long, search a coarser grid.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kBases = 80, kRatios = 25, kClips = 25;
#else
constexpr int kBases = 200, kRatios = 50, kClips = 50;
#endif
class JointAgainstExhaustive : public ::testing::TestWithParam<std::tuple<const char*, int, int>> {};

TEST_P(JointAgainstExhaustive, ComesWithinOnePercent) {
  const auto [name, bits, seed] = GetParam();
  const Magnitudes x = Collect(Sample(name, 50000, static_cast<uint64_t>(seed)));
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    FitOptions options;
    options.exponent_bits = bits;
    options.grid = grid;
    const auto fit = FitJoint(x, options);
    ASSERT_TRUE(fit.ok()) << fit.status();
    const int r = (1 << (bits - 1)) - 1;
    double best = 1;
    for (int i = 0; i < kBases; ++i) {
      const double base =
          std::exp(std::exp(std::log(0.05) + (std::log(12.0) - std::log(0.05)) * i / (kBases - 1)) / (2 * r));
      for (int j = 0; j < kRatios; ++j) {
        const double ratio = 0.002 * std::pow(350, static_cast<double>(j) / (kRatios - 1));
        for (int k = 0; k < kClips; ++k) {
          const double clip = x.max() * std::pow(0.05, static_cast<double>(k) / (kClips - 1));
          best = std::min(best, MeasureFit(x, MakeAt(bits, grid, base, ratio, clip), false).relative_mse);
        }
      }
    }
    EXPECT_LE(fit->error.relative_mse, 1.01 * best) << GridName(grid);
    RecordProperty(GridName(grid), std::to_string(fit->error.relative_mse / best));
  }
}

INSTANTIATE_TEST_SUITE_P(All, JointAgainstExhaustive,
                         ::testing::Combine(::testing::ValuesIn(kDistributions), ::testing::Values(2, 3, 4, 5),
                                            ::testing::Values(11, 12, 13)));

TEST(FitJoint, NeverLosesToUniformLevelsOfEqualStoredBits) {
  for (const char* name : kDistributions) {
    const Magnitudes x = Collect(Sample(name, 30000, 17));
    for (int bits = 2; bits <= 7; ++bits) {
      FitOptions options;
      options.exponent_bits = bits;
      options.is_signed = std::string(name) != "relu";
      options.grid = Grid::kReal;
      const auto fit = FitJoint(x, options);
      ASSERT_TRUE(fit.ok()) << fit.status();
      const int levels = UniformLevels(fit->codebook.stored_bits(), options.is_signed);
      const double clipped = FitUniformClipped(x, levels).error.relative_mse;
      // Uniform levels are a codebook whose base approaches 1.
      EXPECT_LE(fit->error.relative_mse, 1.01 * clipped) << name << bits;
      EXPECT_LE(clipped, FitUniformMax(x, levels).error.relative_mse) << name << bits;
    }
  }
}

TEST(FitJoint, BeatsTheGreedySearchOnLaplaceData) {
  const Magnitudes x = Collect(Sample("laplace", 100000, 23));
  FitOptions options;
  options.exponent_bits = 3;
  options.grid = Grid::kReal;
  const auto joint = FitJoint(x, options), greedy = FitDnateq(x, options);
  ASSERT_TRUE(joint.ok() && greedy.ok());
  EXPECT_LT(joint->error.rmae, 0.8 * greedy->error.rmae);
}

TEST(FitJoint, KeepsAGivenBase) {
  const Magnitudes x = Collect(Sample("normal", 20000, 29));
  for (double base : {1.05, 1.3, 2.0}) {
    FitOptions options;
    options.base = base;
    options.grid = Grid::kReal;
    const auto fit = FitJoint(x, options);
    ASSERT_TRUE(fit.ok()) << fit.status();
    EXPECT_EQ(fit->codebook.base, base);
  }
}

TEST(FitJoint, MoreBitsNeverHurt) {
  for (const char* name : kDistributions) {
    const Magnitudes x = Collect(Sample(name, 30000, 31));
    for (Grid grid : {Grid::kQ7, Grid::kQ14}) {
      double last = 1;
      for (int bits = 2; bits <= 7; ++bits) {
        FitOptions options;
        options.exponent_bits = bits;
        options.grid = grid;
        const auto fit = FitJoint(x, options);
        ASSERT_TRUE(fit.ok()) << fit.status();
        EXPECT_LT(fit->error.relative_mse, last) << name << bits;
        last = fit->error.relative_mse;
      }
    }
  }
}

// Whatever the tensor holds, both strategies on every grid give a codebook that passes the file format's rules.
TEST(Fits, AreValidForDegenerateTensors) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<std::vector<float>> tensors = {
      {},
      {0, 0, 0},
      {0.37f},
      {-2, 2, 2, -2, 0},
      {1e-45f},
      {1e-40f, -3e-41f, 0},
      {FLT_MAX, -FLT_MAX},
      {FLT_MAX, FLT_MIN, 1e-45f},
      {1, 1.0000001f},
      {1e-20f, 1e20f},
      {inf, -inf, std::nanf("")},
      {36, 0.001f, 0.001f, 0.001f, 0.002f, 0.0015f},
  };
  std::vector<float> ramp;
  for (int i = 0; i < 1000; ++i) ramp.push_back(static_cast<float>(i) - 500);
  tensors.push_back(ramp);
  for (size_t t = 0; t < tensors.size(); ++t) {
    for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
      for (EncodeRule rule : {EncodeRule::kNearest, EncodeRule::kLog}) {
        for (int bits = 2; bits <= 7; ++bits) {
          FitOptions options;
          options.exponent_bits = bits;
          options.grid = grid;
          options.rule = rule;
          for (const Magnitudes& x : {Magnitudes(tensors[t]), Collect(tensors[t])}) {
            const auto joint = FitJoint(x, options), dnateq = FitDnateq(x, options);
            for (const auto* fit : {&joint, &dnateq}) {
              ASSERT_TRUE(fit->ok()) << fit->status() << " tensor " << t << " " << GridName(grid) << bits;
              EXPECT_TRUE((*fit)->codebook.Validate().ok());
              EXPECT_TRUE(std::isfinite((*fit)->error.rmae) && std::isfinite((*fit)->error.relative_mse));
            }
          }
        }
      }
    }
  }
}

TEST(Fits, AreValidForRandomTensorsOfAnyScale) {
  Random random(41);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> x(1 + random.Bits() % 50);
    const double scale = std::pow(10, 70 * random.Uniform() - 35), spread = 20 * random.Uniform();
    for (float& v : x) {
      v = static_cast<float>(scale * std::exp(spread * (random.Uniform() - 0.5)) * (random.Uniform() < 0.5 ? -1 : 1));
    }
    FitOptions options;
    options.exponent_bits = 2 + static_cast<int>(random.Bits() % 6);
    options.grid = static_cast<Grid>(random.Bits() % 3);
    options.is_weight = random.Uniform() < 0.5;
    const auto joint = FitJoint(Magnitudes(x), options), dnateq = FitDnateq(Magnitudes(x), options);
    ASSERT_TRUE(joint.ok()) << joint.status() << " trial " << trial;
    ASSERT_TRUE(dnateq.ok()) << dnateq.status() << " trial " << trial;
    EXPECT_TRUE(joint->codebook.Validate().ok() && dnateq->codebook.Validate().ok());
  }
}

TEST(Fits, RepresentASingleMagnitudeExactly) {
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    FitOptions options;
    options.grid = grid;
    const auto fit = FitJoint(Magnitudes(std::vector<float>{-0.3f, 0.3f, 0, 0.3f}), options);
    ASSERT_TRUE(fit.ok()) << fit.status();
    EXPECT_LT(fit->error.rmae, 1e-6) << GridName(grid);
  }
}

TEST(UniformFits, CountLevelsByStoredBits) {
  EXPECT_EQ(UniformLevels(4, true), 7);
  EXPECT_EQ(UniformLevels(4, false), 15);
  EXPECT_EQ(UniformLevels(8, true), 127);
}

TEST(UniformFits, AreExactOnUniformLevels) {
  std::vector<float> x;
  for (int i = -7; i <= 7; ++i) x.push_back(static_cast<float>(i) * 0.5f);
  EXPECT_LT(FitUniformMax(Magnitudes(x), 7).error.rmae, 1e-12);
  EXPECT_LT(FitUniformClipped(Magnitudes(x), 7).error.rmae, 1e-3);
}

}  // namespace
}  // namespace tally
