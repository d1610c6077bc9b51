#include "converter/search/weight_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/converter/search/distributions.h"

namespace tally {
namespace {

using testing::Random;
using testing::Sample;

// Rows of normal values whose ranges differ by up to a factor of 100.
std::vector<float> UnevenRows(int64_t channels, int64_t per_channel, uint64_t seed) {
  std::vector<float> w = Sample("normal", static_cast<size_t>(channels * per_channel), seed);
  Random random(seed + 1);
  for (int64_t o = 0; o < channels; ++o) {
    const float scale = static_cast<float>(std::pow(100, random.Uniform() - 0.5));
    for (int64_t k = 0; k < per_channel; ++k) w[static_cast<size_t>(o * per_channel + k)] *= scale;
  }
  return w;
}

TEST(WeightEncoder, ChoosesTheNearestValueOfEveryCodebook) {
  Random random(3);
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    for (int bits = 2; bits <= 7; ++bits) {
      FitOptions options;
      options.exponent_bits = bits;
      options.grid = grid;
      options.is_weight = true;
      const auto fit = FitJoint(Magnitudes(Sample("laplace", 2000, 5)), options);
      ASSERT_TRUE(fit.ok()) << fit.status();
      const Codebook& book = fit->codebook;
      const WeightEncoder encoder(book);
      const std::vector<double> values = book.Values();
      for (int i = 0; i < 2000; ++i) {
        const double x = static_cast<float>(random.Laplace() * (i % 10 == 0 ? 10 : 1));
        const uint8_t code = encoder.Encode(x);
        ASSERT_TRUE(book.is_valid_code(code));
        double nearest = std::fabs(x);
        for (double v : values) nearest = std::min(nearest, std::fabs(x - v));
        // Thresholds of the real grid are rounded to float32.
        EXPECT_LE(std::fabs(x - values[code]), nearest + 1e-6 * std::fabs(x)) << GridName(grid) << bits << " " << x;
      }
      EXPECT_EQ(encoder.Encode(0), 0);
      EXPECT_EQ(encoder.Encode(1e300), book.magnitudes());
      EXPECT_EQ(encoder.Encode(-1e300), book.magnitudes() | book.sign_bit());
    }
  }
}

TEST(WeightFitter, ReportsTheErrorOfTheCodesThatItGives) {
  const std::vector<float> w = UnevenRows(16, 300, 7);
  const WeightFitter fitter(w.data(), 16, 300);
  const auto fit = fitter.Fit({});
  ASSERT_TRUE(fit.ok()) << fit.status();
  const std::vector<uint8_t> codes = fitter.Encode(fit->codebook, fit->channel_scales);
  const std::vector<double> values = fit->codebook.Values();
  double squares = 0, absolutes = 0, signal2 = 0, signal1 = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    ASSERT_TRUE(fit->codebook.is_valid_code(codes[i]));
    const double error = w[i] - values[codes[i]] * static_cast<double>(fit->channel_scales[i / 300]);
    squares += error * error;
    absolutes += std::fabs(error);
    signal2 += static_cast<double>(w[i]) * w[i];
    signal1 += std::fabs(w[i]);
  }
  EXPECT_NEAR(fit->error.relative_mse, squares / signal2, 1e-9);
  EXPECT_NEAR(fit->error.rmae, absolutes / signal1, 1e-9);
}

TEST(WeightFitter, ChannelScalesRescueUnevenRows) {
  const std::vector<float> w = UnevenRows(32, 288, 11);
  const WeightFitter fitter(w.data(), 32, 288);
  WeightFitOptions options;
  const auto scaled = fitter.Fit(options);
  options.channel_scales = false;
  const auto whole = fitter.Fit(options);
  ASSERT_TRUE(scaled.ok() && whole.ok());
  ASSERT_EQ(scaled->channel_scales.size(), 32u);
  EXPECT_TRUE(whole->channel_scales.empty());
  // Normal rows of equal range reach 0.011 at 3 exponent bits (codebook_search_test); scales must get all of them
  // there.
  EXPECT_LT(scaled->error.relative_mse, 0.0115);
  EXPECT_LT(scaled->error.rmae, 0.7 * whole->error.rmae);
  EXPECT_LE(scaled->error.rmae, fitter.UniformRmae(scaled->codebook.stored_bits(), true, true));
}

TEST(WeightFitter, DropsScalesThatGainNothing) {
  // Every row holds the same values.
  std::vector<float> w;
  const std::vector<float> row = Sample("normal", 500, 13);
  for (int o = 0; o < 4; ++o) w.insert(w.end(), row.begin(), row.end());
  const auto fit = WeightFitter(w.data(), 4, 500).Fit({});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_TRUE(fit->channel_scales.empty());
}

TEST(WeightFitter, DnateqKeepsOneScalePerTensor) {
  const std::vector<float> w = UnevenRows(8, 100, 17);
  WeightFitOptions options;
  options.dnateq = true;
  const auto fit = WeightFitter(w.data(), 8, 100).Fit(options);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_TRUE(fit->channel_scales.empty());
}

TEST(WeightFitter, DegenerateWeightsGetValidForms) {
  Random random(19);
  std::vector<float> dead = Sample("normal", 8 * 9, 23);
  for (size_t k = 9; k < 27; ++k) dead[k] = 0;
  for (size_t k = 27; k < 36; ++k) dead[k] *= 1e-30f;
  struct Case {
    std::vector<float> w;
    int64_t channels;
  };
  const std::vector<Case> cases = {
      {{}, 0},
      {{}, 4},
      {{0, 0, 0, 0}, 2},
      {{0.5f}, 1},
      {{-0.5f, 0.5f, 0.5f, 0.5f}, 4},
      {{1e-45f, 0, 1e-42f, 1}, 2},
      {{3e38f, -3e38f, 1, 0}, 2},
      {{1e-40f, 2e-40f, 1e-41f, 3e-40f}, 2},
      {dead, 8},
  };
  for (size_t c = 0; c < cases.size(); ++c) {
    const std::vector<float>& w = cases[c].w;
    const int64_t channels = cases[c].channels;
    const int64_t per_channel = channels == 0 ? 0 : static_cast<int64_t>(w.size()) / channels;
    const WeightFitter fitter(w.data(), channels, per_channel);
    for (int bits = 2; bits <= 7; ++bits) {
      for (Grid grid : {Grid::kQ7, Grid::kReal}) {
        WeightFitOptions options;
        options.exponent_bits = bits;
        options.grid = grid;
        const auto fit = fitter.Fit(options);
        ASSERT_TRUE(fit.ok()) << fit.status() << " case " << c;
        EXPECT_TRUE(fit->codebook.Validate().ok());
        for (float s : fit->channel_scales) EXPECT_TRUE(std::isnormal(s) && s > 0);
        for (uint8_t code : fitter.Encode(fit->codebook, fit->channel_scales)) {
          EXPECT_TRUE(fit->codebook.is_valid_code(code));
        }
        EXPECT_TRUE(std::isfinite(fit->error.rmae));
      }
    }
    EXPECT_TRUE(std::isfinite(fitter.UniformRmae(4, true, true)));
    for (float s : MakeInt8Form(w.data(), channels, per_channel).scales) EXPECT_TRUE(std::isnormal(s) && s > 0);
  }
}

TEST(WeightFitter, NonNegativeWeightsSpendNoSignBit) {
  const std::vector<float> w = Sample("relu", 400, 29);
  const auto fit = WeightFitter(w.data(), 4, 100).Fit({});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_EQ(fit->codebook.stored_bits(), fit->codebook.exponent_bits);
}

TEST(MakeInt8Form, ErrsByAtMostHalfAStep) {
  const std::vector<float> w = UnevenRows(5, 40, 31);
  const Int8Form form = MakeInt8Form(w.data(), 5, 40);
  ASSERT_EQ(form.scales.size(), 5u);
  for (size_t i = 0; i < w.size(); ++i) {
    const float scale = form.scales[i / 40];
    EXPECT_LE(std::fabs(w[i] - scale * form.values.as<int8_t>()[i]), 0.50001f * scale);
  }
}

}  // namespace
}  // namespace tally
