#include "converter/search/compensated.h"

#include <gtest/gtest.h>

#include <cmath>

#include "converter/search/cholesky.h"
#include "converter/search/codebook_refit.h"
#include "converter/search/random.h"

namespace tally {
namespace {

RowMatrix RandomMatrix(Eigen::Index rows, Eigen::Index columns, uint64_t seed) {
  RowMatrix m(rows, columns);
  // A sum of four uniform numbers is normal enough.
  for (Eigen::Index i = 0; i < m.size(); ++i) {
    double sum = 0;
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(NextRandom(&seed) >> 11) * 0x1p-53 - 0.5;
    m.data()[i] = sum;
  }
  return m;
}

// Of inputs that go together: a few common causes and some noise.
RowMatrix CorrelatedCovariance(Eigen::Index k, uint64_t seed) {
  const RowMatrix causes = RandomMatrix(k, 8, seed);
  RowMatrix covariance = causes * causes.transpose();
  covariance.diagonal().array() += 0.05;
  return covariance;
}

Codebook FourBits() {
  const auto codebook = MakeCodebook(3, true, Grid::kQ7, EncodeRule::kNearest, 1.5, 0.1, 0.02);
  EXPECT_TRUE(codebook.ok()) << codebook.status();
  return *codebook;
}

std::unique_ptr<ThreadPool> Pool(int threads) { return *ThreadPool::Create(threads); }

TEST(Cholesky, FactorsAcrossBlocksTheSameOnAnyPool) {
  for (Eigen::Index k : {1, 5, 96, 97, 250}) {
    const RowMatrix a = CorrelatedCovariance(k, 7);
    RowMatrix alone = a, together = a;
    ASSERT_TRUE(Cholesky(&alone, nullptr)) << k;
    ASSERT_TRUE(Cholesky(&together, Pool(3).get())) << k;
    EXPECT_TRUE(alone == together) << k;
    // float64 and a condition number below 1e4.
    EXPECT_LT((alone * alone.transpose() - a).cwiseAbs().maxCoeff(), 1e-10) << k;
    EXPECT_EQ(RowMatrix(alone.triangularView<Eigen::StrictlyUpper>()).cwiseAbs().sum(), 0) << k;
  }
}

TEST(Cholesky, RefusesWhatIsNotPositiveDefinite) {
  RowMatrix a = RowMatrix::Identity(120, 120);
  a(110, 110) = -1;
  EXPECT_FALSE(Cholesky(&a, nullptr));
}

TEST(Cholesky, RefusesWhatIsNotFinite) {
  for (double value : {std::nan(""), HUGE_VAL}) {
    RowMatrix a = RowMatrix::Identity(120, 120);
    a(110, 110) = value;
    EXPECT_FALSE(Cholesky(&a, nullptr)) << value;
    RowMatrix b = RowMatrix::Identity(120, 120);
    b(110, 3) = b(3, 110) = value;
    EXPECT_FALSE(Cholesky(&b, nullptr)) << value;
  }
}

TEST(CompensatedRounding, IsNearestRoundingWhenInputsAreIndependent) {
  const RowMatrix weights = RandomMatrix(5, 70, 3);
  const Codebook codebook = FourBits();
  const WeightEncoder encoder(codebook);
  RowMatrix covariance = RowMatrix::Zero(70, 70);
  for (Eigen::Index i = 0; i < 70; ++i) covariance(i, i) = 1 + static_cast<double>(i % 7);
  std::vector<uint8_t> codes(5 * 70);
  RowMatrix rounded;
  RoundingOrder(covariance, 0, nullptr)
      .Round(weights, encoder, codebook.Values(), nullptr, nullptr, codes.data(), &rounded);
  for (Eigen::Index i = 0; i < weights.size(); ++i) {
    ASSERT_EQ(codes[static_cast<size_t>(i)], encoder.Encode(weights.data()[i])) << i;
    ASSERT_EQ(rounded.data()[i], codebook.Values()[codes[static_cast<size_t>(i)]]) << i;
  }
}

TEST(CompensatedRounding, LosesMuchLessOutputThanNearestAndTheSameOnAnyPool) {
  const Eigen::Index rows = 37, k = 130;
  const RowMatrix weights = RandomMatrix(rows, k, 5), covariance = CorrelatedCovariance(k, 11);
  const Codebook codebook = FourBits();
  const WeightEncoder encoder(codebook);
  std::vector<double> scales;
  for (Eigen::Index r = 0; r < rows; ++r) scales.push_back(0.7 + 0.02 * static_cast<double>(r));
  RowMatrix nearest(rows, k);
  for (Eigen::Index r = 0; r < rows; ++r) {
    for (Eigen::Index c = 0; c < k; ++c) {
      const double scale = scales[static_cast<size_t>(r)];
      nearest(r, c) = codebook.Values()[encoder.Encode(weights(r, c) / scale)] * scale;
    }
  }
  const RoundingOrder order(covariance, 0.01, nullptr);
  std::vector<uint8_t> first;
  for (int threads : {0, 1, 3}) {
    std::vector<uint8_t> codes(static_cast<size_t>(rows * k));
    RowMatrix rounded;
    const auto pool = threads == 0 ? nullptr : Pool(threads);
    order.Round(weights, encoder, codebook.Values(), scales.data(), pool.get(), codes.data(), &rounded);
    // Eight causes behind 130 inputs: most of an error can be made up for.
    EXPECT_LT(OutputError(weights, rounded, covariance), 0.25 * OutputError(weights, nearest, covariance));
    for (uint8_t code : codes) ASSERT_TRUE(codebook.is_valid_code(code));
    if (first.empty()) first = codes;
    EXPECT_EQ(codes, first) << threads << " threads";
  }
}

TEST(CompensatedRounding, SurvivesInputsThatNeverVary) {
  const RowMatrix weights = RandomMatrix(2, 6, 9);
  const Codebook codebook = FourBits();
  std::vector<uint8_t> codes(12);
  RowMatrix rounded;
  RoundingOrder(RowMatrix::Zero(6, 6), 0.01, nullptr)
      .Round(weights, WeightEncoder(codebook), codebook.Values(), nullptr, nullptr, codes.data(), &rounded);
  for (size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(codes[i], WeightEncoder(codebook).Encode(weights.data()[i]));
  }
}

TEST(RefitWeights, KeepsTheWeightsWhenTheInputsAreTheSameAndRecoversThemWhenScaled) {
  const RowMatrix weights = RandomMatrix(3, 40, 13);
  Moments moments;
  moments.qq = CorrelatedCovariance(40, 17);
  moments.xq = moments.qq;
  EXPECT_LT((RefitWeights(weights, moments, 0.1, nullptr) - weights).cwiseAbs().maxCoeff(), 1e-9);
  // q = x / 2: twice the weights, but for the ridge.
  moments.qq /= 4;
  moments.xq /= 2;
  EXPECT_LT((RefitWeights(weights, moments, 1e-9, nullptr) - 2 * weights).cwiseAbs().maxCoeff(), 1e-5);
}

// im2col of a padded, strided convolution against sums taken by hand.
TEST(LayerStatistics, CovarianceOfDepthwiseColumns) {
  LayerGeometry geometry;
  Window2d window;
  window.batch = 4;
  window.in_channels = window.out_channels = window.group = 2;
  window.in_h = window.in_w = 3;
  window.kernel_h = window.kernel_w = 2;
  window.pad_top = window.pad_left = 1;
  window.stride_h = window.stride_w = 2;
  window.out_h = window.out_w = 2;
  geometry.window = window;
  geometry.groups = 2;
  geometry.k = 4;
  const RowMatrix x = RandomMatrix(4, 18, 19);
  const std::vector<float> values(x.data(), x.data() + x.size());
  LayerStatistics statistics(geometry, 18, 4, 1);
  statistics.Add(0, 4, values.data(), values.data(), Pool(2).get());
  const std::vector<Moments> moments = statistics.All(false);
  ASSERT_EQ(moments.size(), 2u);
  EXPECT_TRUE(statistics.HeldBack(false).empty());  // too few samples
  for (int g = 0; g < 2; ++g) {
    RowMatrix expected = RowMatrix::Zero(4, 4);
    for (int n = 0; n < 4; ++n) {
      for (int p = 0; p < 4; ++p) {
        Eigen::VectorXd column(4);
        for (int tap = 0; tap < 4; ++tap) {
          const int h = p / 2 * 2 - 1 + tap / 2, w = p % 2 * 2 - 1 + tap % 2;
          const bool inside = h >= 0 && w >= 0;
          column[tap] = inside ? static_cast<double>(values[static_cast<size_t>(n * 18 + g * 9 + h * 3 + w)]) : 0;
        }
        expected += column * column.transpose() / 16;
      }
    }
    // Products are summed in float32.
    EXPECT_LT((moments[static_cast<size_t>(g)].qq - expected).cwiseAbs().maxCoeff(), 1e-6) << g;
    EXPECT_EQ(moments[static_cast<size_t>(g)].positions, 16);
  }
}

// Weights that are exactly another codebook's values, with that one's codes: least squares finds it.
TEST(RefitCodebook, FindsTheCodebookThatWeightsCameFrom) {
  const Codebook truth = FourBits();
  Codebook start = truth;
  for (int32_t& m : start.mantissas) m = std::min(127, m + 4);
  const Eigen::Index rows = 24, k = 60;
  std::vector<uint8_t> codes(static_cast<size_t>(rows * k));
  std::vector<float> scales;
  uint64_t seed = 5;
  for (Eigen::Index r = 0; r < rows; ++r) scales.push_back(0.5f + 0.05f * static_cast<float>(r));
  RowMatrix weights(rows, k);
  for (Eigen::Index i = 0; i < weights.size(); ++i) {
    uint8_t code = static_cast<uint8_t>(NextRandom(&seed) % 16);
    if (!truth.is_valid_code(code)) code = 0;
    codes[static_cast<size_t>(i)] = code;
    weights.data()[i] = truth.Values()[code] * static_cast<double>(scales[static_cast<size_t>(i / k)]);
  }
  Moments moments;
  moments.qq = CorrelatedCovariance(k, 21);
  for (int threads : {1, 3}) {
    const auto refit = RefitCodebook(start, codes, scales, {weights}, {moments}, Pool(threads).get());
    ASSERT_TRUE(refit.has_value());
    EXPECT_TRUE(refit->Validate().ok()) << refit->Validate();
    EXPECT_EQ(refit->mantissas, truth.mantissas);
    EXPECT_NEAR(static_cast<double>(refit->scale / truth.scale), 1, 1e-5);
  }
}

TEST(RefitCodebook, LeavesAloneWhatItCannotFit) {
  const RowMatrix weights = RandomMatrix(2, 6, 1);
  Moments still;
  still.qq = RowMatrix::Zero(6, 6);
  EXPECT_FALSE(RefitCodebook(FourBits(), std::vector<uint8_t>(12, 1), {}, {weights}, {still}, Pool(1).get()));
  const auto real = MakeCodebook(3, true, Grid::kReal, EncodeRule::kNearest, 1.5, 0.1, 0.02);
  ASSERT_TRUE(real.ok());
  still.qq.setIdentity();
  EXPECT_FALSE(RefitCodebook(*real, std::vector<uint8_t>(12, 1), {}, {weights}, {still}, Pool(1).get()));
}

}  // namespace
}  // namespace tally
