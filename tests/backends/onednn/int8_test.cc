// The uniform INT8 baseline against the same arithmetic in integers and float64.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/onednn/onednn.h"
#include "runtime/ops/encode.h"
#include "runtime/ops/epilogue.h"
#include "tally/status.h"
#include "tests/backends/onednn/node_harness.h"

namespace tally {
namespace {

using testing::ConvCase;
using testing::ConvVarieties;
using testing::NodeModel;
using testing::SlicedConvs;

constexpr Range kRanges[] = {{0.0f, 6.0f}, {-1.0f, 2.0f}, {-3.0f, -1.0f}};

// A node with random weights, and perhaps bias, residual and activation function.
struct Int8Case {
  NodeModel model;
  std::vector<uint8_t> x;
  std::vector<int8_t> w;
  std::vector<float> scales, bias, residual;
  UniformQuantizer quantizer;
  Activation activation;

  static size_t Count(const Shape& shape) {
    size_t n = 1;
    for (int64_t d : shape) n *= static_cast<size_t>(d);
    return n;
  }

  Int8Case(const std::string& op, uint32_t seed, const Range& range, const Shape& input, const Shape& weight,
           const Shape& output)
      : model(op), x(Count(input)), w(Count(weight)) {
    std::mt19937 rng(seed);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); };
    const auto uniform = [&](size_t count, float low, float high) {
      std::vector<float> values(count);
      for (float& v : values) v = std::uniform_real_distribution<float>(low, high)(rng);
      return values;
    };
    const size_t channels = static_cast<size_t>(weight[0]);
    scales = uniform(pick(0, 1) == 0 ? 1 : channels, 0.001f, 0.02f);
    for (int8_t& v : w) v = static_cast<int8_t>(pick(-127, 127));
    model.AddEncoded("x", input, x).range = range;
    model.AddConstant("w", weight).int8 = Int8Form{scales, Blob::Copy(w.data(), w.size())};
    if (pick(0, 1) == 0) {
      bias = uniform(channels, -3, 3);
      model.AddFloats("b", {weight[0]}, bias);
    } else {
      model.Absent();
    }
    if (pick(0, 2) == 0) {
      residual = uniform(Count(output), -3, 3);
      model.AddActivation("r", output, residual);
    }
    const char* activations[] = {"", "Relu", "Clip", "HardSwish"};
    const std::string name = activations[pick(0, 3)];
    if (!name.empty()) model.node.SetString("activation", name);
    if (name == "Clip") model.node.SetFloats("activation_params", {-1.0f, 4.0f});
    model.SetOutput(output);
    activation = *FusedActivation(model.node);
  }

  // Fixes the encoding and draws the input, once the node's attributes are complete.
  void DrawInput(uint32_t seed, const Range& range) {
    auto compiled = MakeOneDnnBackend()->Compile(model.Context(1));
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    quantizer = MakeUniformQuantizer(range, (*compiled)->int8_max_value());
    std::mt19937 rng(seed + 1);
    for (uint8_t& v : x) {
      v = static_cast<uint8_t>(std::uniform_int_distribution<int>(0, quantizer.max_value)(rng));
    }
    model.SetEncoded(0, x);
  }

  // `sums` over (q - zero point) * w; `magnitudes` bound every intermediate value.
  template <typename ChannelOf>
  void Check(const std::vector<int64_t>& sums, const std::vector<int64_t>& magnitudes, const ChannelOf& channel_of) {
    for (int threads : {1, 3}) {
      const absl::StatusOr<std::vector<float>> got = model.Run(*MakeOneDnnBackend(), threads);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(model.input_encodings[0], Encoding::kInt8);
      ASSERT_EQ(got->size(), sums.size());
      for (size_t i = 0; i < sums.size(); ++i) {
        const size_t o = channel_of(i);
        const double scale = static_cast<double>(quantizer.scale) * scales[scales.size() == 1 ? 0 : o];
        const double b = bias.empty() ? 0 : bias[o];
        const double r = residual.empty() ? 0 : residual[i];
        float expected = static_cast<float>(scale * static_cast<double>(sums[i]) + b + r);
        ApplyActivation(activation, &expected, 1);
        // Half a dozen float32 roundings, each of at most 2^-24 of an intermediate value; HardSwish's slope is below 2.
        const double magnitude = scale * static_cast<double>(magnitudes[i]) + std::fabs(b) + std::fabs(r);
        ASSERT_NEAR((*got)[i], expected, 1e-6 * magnitude + 1e-6)
            << "element " << i << " (" << model.kernel << ", " << threads << " threads)";
      }
    }
  }
};

TEST(OneDnnInt8, ConvEqualsUniformArithmeticOverShapesAndZeroPoints) {
  uint32_t seed = 1;
  std::vector<ConvCase> cases = ConvVarieties();
  for (const ConvCase& c : SlicedConvs()) cases.push_back(c);
  // Grouped, with uneven pads up to twice the kernel: oneDNN 2.6.3's own correction for the zero point gives wrong
  // sums.
  cases.push_back({2, 2, 17, 37, 10, 8, 4, 4, 3, 3, 2, 2, 8, 0, 7, 3});
  cases.push_back({1, 16, 1, 1, 8, 2, 2, 4, 1, 2, 2, 3, 5, 8, 1, 6});
  for (const ConvCase& c : cases) {
    for (const Range& range : kRanges) {
      SCOPED_TRACE(absl::StrCat("seed ", ++seed, " input ", ShapeString(c.input()), " weight ", ShapeString(c.weight()),
                                " range ", range.min, "..", range.max));
      Int8Case t("Conv", seed, range, c.input(), c.weight(), c.output());
      c.SetAttributes(&t.model.node);
      t.DrawInput(seed, range);
      const int64_t zero = t.quantizer.zero_point;
      // Padding means the real value 0, hence the zero point: skipped here.
      const auto sums = c.Sum<int64_t>([&](size_t i, size_t j) { return (t.x[i] - zero) * t.w[j]; });
      // The zero point's share is there once for the input, padding included, and once for its correction.
      auto sizes = c.Sum<int64_t>([&](size_t i, size_t j) { return int64_t{t.x[i]} * std::abs(t.w[j]); });
      const size_t taps = c.weights() / static_cast<size_t>(c.out_channels());
      for (size_t i = 0; i < sizes.size(); ++i) {
        for (size_t j = 0; j < taps; ++j) sizes[i] += 2 * zero * std::abs(t.w[c.ChannelOf(i) * taps + j]);
      }
      t.Check(sums, sizes, [&](size_t i) { return c.ChannelOf(i); });
    }
  }
}

TEST(OneDnnInt8, GemmEqualsUniformArithmeticOverTailsAndZeroPoints) {
  uint32_t seed = 1000;
  for (int64_t m : {1, 2, 5, 33}) {
    for (int64_t k : {1, 3, 17, 64, 577}) {
      for (const Range& range : kRanges) {
        const int64_t n = 1 + seed % 70;
        SCOPED_TRACE(absl::StrCat("seed ", ++seed, " m ", m, " k ", k, " n ", n, " min ", range.min));
        Int8Case t("Gemm", seed, range, {m, k}, {n, k}, {m, n});
        t.DrawInput(seed, range);
        std::vector<int64_t> sums, sizes;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            int64_t sum = 0, size = 0;
            for (int64_t l = 0; l < k; ++l) {
              const int64_t q = t.x[static_cast<size_t>(i * k + l)], w = t.w[static_cast<size_t>(j * k + l)];
              sum += (q - t.quantizer.zero_point) * w;
              size += (q + 2 * t.quantizer.zero_point) * std::abs(w);
            }
            sums.push_back(sum);
            sizes.push_back(size);
          }
        t.Check(sums, sizes, [&](size_t i) { return i % static_cast<size_t>(n); });
      }
    }
  }
}

// Without VNNI oneDNN adds two products in 16 bits: 255 * 127 * 2 would saturate, so the backend asks for 127 there.
TEST(OneDnnInt8, LargestOperandsDoNotSaturate) {
  const int64_t k = 64;
  NodeModel model("Gemm");
  model.AddEncoded("x", {1, k}, {}).range = Range{0, 1};
  const std::vector<int8_t> w(static_cast<size_t>(8 * k), 127);
  model.AddConstant("w", {8, k}).int8 = Int8Form{{1.0f}, Blob::Copy(w.data(), w.size())};
  model.SetOutput({1, 8});
  auto compiled = MakeOneDnnBackend()->Compile(model.Context(1));
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const int largest = (*compiled)->int8_max_value();
  const char* cap = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (cap != nullptr && std::string(cap) == "AVX2") {
    EXPECT_EQ(largest, 127);
  }
  model.SetEncoded(0, std::vector<uint8_t>(static_cast<size_t>(k), static_cast<uint8_t>(largest)));
  const auto got = model.Run(*MakeOneDnnBackend(), 1);
  ASSERT_TRUE(got.ok()) << got.status();
  const float scale = MakeUniformQuantizer({0, 1}, largest).scale;
  // Three roundings to float32.
  for (float y : *got) EXPECT_NEAR(y, scale * static_cast<float>(largest) * 127.0f * k, 3e-7 * 127 * k);
}

TEST(OneDnnInt8, EmptyBatchGivesEmptyOutput) {
  NodeModel model("Gemm");
  model.AddEncoded("x", {0, 4}, {}).range = Range{0, 1};
  model.AddConstant("w", {2, 4}).int8 = Int8Form{{1.0f}, Blob::Copy("12345678", 8)};
  model.SetOutput({0, 2});
  const auto got = model.Run(*MakeOneDnnBackend(), 1);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(got->empty());
}

TEST(OneDnnInt8, RefusesWithTheReason) {
  const auto refusal = [](const auto& change) {
    NodeModel model("Gemm");
    model.AddEncoded("x", {1, 4}, std::vector<uint8_t>(4)).range = Range{0, 1};
    model.AddConstant("w", {2, 4}).int8 = Int8Form{{1.0f}, Blob::Copy("12345678", 8)};
    model.SetOutput({1, 2});
    change(&model);
    const absl::Status status = MakeOneDnnBackend()->Supports(model.Context(1));
    EXPECT_FALSE(status.ok());
    return absl::StrCat(GetErrorInfo(status).code, " ", std::string(status.message()));
  };
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal([](NodeModel* m) {
                m->graph.tensors[1].int8.reset();
                m->graph.tensors[1].has_data = true;
              }),
              AllOf(HasSubstr("TLY-E0606"), HasSubstr("weight \"w\" has no int8 form; convert with --keep int8")));
  // Where others have the form, this one was left float.
  EXPECT_THAT(refusal([](NodeModel* m) {
                const Int8Form form = *m->graph.tensors[1].int8;
                m->AddConstant("other", {2, 4}).int8 = form;
                m->node.inputs.pop_back();
                m->graph.tensors[1].int8.reset();
                m->graph.tensors[1].has_data = true;
              }),
              AllOf(HasSubstr("TLY-E0609"), HasSubstr("weight \"w\" was left float")));
  EXPECT_THAT(refusal([](NodeModel* m) { m->graph.tensors[0].range.reset(); }),
              AllOf(HasSubstr("TLY-E0606"), HasSubstr("input \"x\" has no calibrated range")));
  EXPECT_THAT(refusal([](NodeModel* m) { m->graph.tensors[0].range->max = NAN; }), HasSubstr("not finite"));
  EXPECT_THAT(refusal([](NodeModel* m) { m->node.op = "MatMul"; }), AllOf(HasSubstr("TLY-E0609"), HasSubstr("MatMul")));
}

}  // namespace
}  // namespace tally
