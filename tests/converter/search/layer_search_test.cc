#include "converter/search/layer_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "tests/converter/search/distributions.h"

namespace tally {
namespace {

using testing::Random;
using testing::Sample;

constexpr int64_t kInputs = 48, kChannels = 24, kSamples = 400;

// A fully connected layer whose inputs go together: few common causes, noise, a ReLU. `q` is what a quantized
// predecessor would give instead of `x`.
struct Layer {
  explicit Layer(uint64_t seed)
      : weight(Sample("laplace", kChannels * kInputs, seed)), fit(seed + 1), fresh(seed + 2) {}

  struct Inputs {
    explicit Inputs(uint64_t seed) {
      // The causes are the layer's own, only their strengths are drawn anew.
      const std::vector<float> causes = Sample("normal", 6 * kInputs, 77);
      Random random(seed);
      for (int64_t n = 0; n < kSamples; ++n) {
        double strength[6];
        for (double& s : strength) s = random.Normal();
        for (int64_t i = 0; i < kInputs; ++i) {
          double value = 0.2 * random.Normal() + 0.3;
          for (int64_t c = 0; c < 6; ++c)
            value += strength[c] * static_cast<double>(causes[static_cast<size_t>(c * kInputs + i)]);
          x.push_back(static_cast<float>(std::max(0.0, value)));
          q.push_back(static_cast<float>(std::round(static_cast<double>(x.back()) * 8) / 8));
        }
      }
    }
    std::vector<float> x, q;
  };

  // Per channel, the mean over the samples of what the float layer gives and the quantized one does not, and the sum of
  // squares about that mean over all channels.
  double Loss(const QuantizedWeight& quantized, const Inputs& inputs, std::vector<double>* means) const {
    const std::vector<float> rounded = Decode(quantized);
    double loss = 0;
    means->clear();
    for (int64_t o = 0; o < kChannels; ++o) {
      double sum = 0, squares = 0;
      for (int64_t n = 0; n < kSamples; ++n) {
        double error = 0;
        for (int64_t i = 0; i < kInputs; ++i) {
          const size_t at = static_cast<size_t>(o * kInputs + i), in = static_cast<size_t>(n * kInputs + i);
          error += static_cast<double>(weight[at]) * static_cast<double>(inputs.x[in]) -
                   static_cast<double>(rounded[at]) * static_cast<double>(inputs.q[in]);
        }
        sum += error;
        squares += error * error;
      }
      means->push_back(sum / kSamples);
      loss += squares - sum * sum / kSamples;
    }
    return loss;
  }

  LayerStatistics Statistics() const {
    LayerGeometry geometry;
    geometry.k = kInputs;
    LayerStatistics statistics(geometry, kInputs, kSamples, 5);
    statistics.Add(0, kSamples, fit.x.data(), fit.q.data(), nullptr);
    return statistics;
  }

  std::vector<float> weight;
  Inputs fit, fresh;
};

WeightFitOptions Bits(int exponent_bits) {
  WeightFitOptions options;
  options.exponent_bits = exponent_bits;
  return options;
}

TEST(LayerSearch, LosesFarLessOfTheOutputThanNearestCodesOnInputsItNeverSaw) {
  for (uint64_t seed : {1, 2, 3}) {
    const Layer layer(10 * seed);
    LayerSearch search(layer.weight.data(), kChannels, kInputs, layer.Statistics(), true, nullptr);
    const auto searched = search.Quantize(Bits(3));
    ASSERT_TRUE(searched.ok()) << searched.status();
    const WeightFitter fitter(layer.weight.data(), kChannels, kInputs);
    const auto fit = fitter.Fit(Bits(3));
    ASSERT_TRUE(fit.ok()) << fit.status();
    QuantizedWeight nearest;
    nearest.fit = *fit;
    nearest.codes = fitter.Encode(fit->codebook, fit->channel_scales);
    std::vector<double> means;
    EXPECT_LT(layer.Loss(*searched, layer.fresh, &means), 0.5 * layer.Loss(nearest, layer.fresh, &means)) << seed;
  }
}

TEST(LayerSearch, MeanErrorsAreThoseOfTheSamples) {
  const Layer layer(40);
  LayerSearch search(layer.weight.data(), kChannels, kInputs, layer.Statistics(), true, nullptr);
  const auto searched = search.Quantize(Bits(2));
  ASSERT_TRUE(searched.ok()) << searched.status();
  std::vector<double> expected;
  layer.Loss(*searched, layer.fit, &expected);
  const std::vector<double> means = search.MeanErrors(*searched);
  ASSERT_EQ(means.size(), expected.size());
  // Statistics are added up in float32 over a batch.
  for (size_t o = 0; o < means.size(); ++o) EXPECT_NEAR(means[o], expected[o], 1e-3) << o;
}

TEST(LayerSearch, ErrorsFallWithBits) {
  const Layer layer(50);
  LayerSearch search(layer.weight.data(), kChannels, kInputs, layer.Statistics(), true, nullptr);
  const auto searched = search.Quantize(Bits(3));
  ASSERT_TRUE(searched.ok()) << searched.status();
  double last = 1;
  for (int bits = 2; bits <= 7; ++bits) {
    const auto error = search.ErrorAt(Bits(3), bits);
    ASSERT_TRUE(error.ok()) << error.status();
    EXPECT_GT(*error, 0);
    EXPECT_LT(*error, last) << bits;
    last = *error;
  }
}

TEST(LayerSearch, GivesTheSameOnAnyPool) {
  const Layer layer(60);
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(3);
  LayerSearch alone(layer.weight.data(), kChannels, kInputs, layer.Statistics(), true, nullptr);
  LayerSearch together(layer.weight.data(), kChannels, kInputs, layer.Statistics(), true, pool.get());
  const auto a = alone.Quantize(Bits(3)), b = together.Quantize(Bits(3));
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  EXPECT_EQ(a->codes, b->codes);
  EXPECT_EQ(a->fit.channel_scales, b->fit.channel_scales);
  EXPECT_EQ(a->fit.codebook.Values(), b->fit.codebook.Values());
}

// Nothing that went in is left of a layer whose inputs were all zeros; its weights are still rounded.
TEST(LayerSearch, SurvivesInputsOfZeros) {
  const Layer layer(70);
  LayerGeometry geometry;
  geometry.k = kInputs;
  LayerStatistics statistics(geometry, kInputs, kSamples, 5);
  const std::vector<float> zeros(static_cast<size_t>(kSamples * kInputs), 0.0f);
  statistics.Add(0, kSamples, zeros.data(), zeros.data(), nullptr);
  LayerSearch search(layer.weight.data(), kChannels, kInputs, statistics, true, nullptr);
  const auto searched = search.Quantize(Bits(3));
  ASSERT_TRUE(searched.ok()) << searched.status();
  EXPECT_EQ(searched->codes.size(), layer.weight.size());
  for (double mean : search.MeanErrors(*searched)) EXPECT_EQ(mean, 0);
}

}  // namespace
}  // namespace tally
