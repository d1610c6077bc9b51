// XNNPACK's float32 operators against plain float64 loops.
#include "backends/xnnpack/xnnpack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/ops/epilogue.h"
#include "tally/status.h"
#include "tests/backends/onednn/node_harness.h"

namespace tally {
namespace {

using testing::ConvCase;
using testing::ConvVarieties;
using testing::NodeModel;

size_t Count(const Shape& shape) {
  size_t n = 1;
  for (int64_t d : shape) n *= static_cast<size_t>(d);
  return n;
}

struct FloatCase {
  NodeModel model;
  std::vector<float> x, w, bias, residual;
  Activation activation;

  FloatCase(const std::string& op, uint32_t seed, const Shape& input, const Shape& weight, const Shape& output)
      : model(op) {
    std::mt19937 rng(seed);
    const auto pick = [&](int high) { return std::uniform_int_distribution<int>(0, high)(rng); };
    const auto uniform = [&](size_t count) {
      std::vector<float> values(count);
      for (float& v : values) v = std::uniform_real_distribution<float>(-2, 2)(rng);
      return values;
    };
    x = uniform(Count(input));
    w = uniform(Count(weight));
    model.AddActivation("x", input, x);
    model.AddFloats("w", weight, w);
    if (pick(1) == 0) {
      bias = uniform(static_cast<size_t>(weight[0]));
      model.AddFloats("b", {weight[0]}, bias);
    } else {
      model.Absent();
    }
    if (pick(2) == 0) {
      residual = uniform(Count(output));
      model.AddActivation("r", output, residual);
    }
    const char* activations[] = {"", "Relu", "Clip", "HardSwish", "Clip"};
    const int choice = pick(4);
    if (choice > 0) model.node.SetString("activation", activations[choice]);
    if (choice == 2) model.node.SetFloats("activation_params", {-1.0f, 4.0f});
    // Bounds that XNNPACK refuses go through the shared implementation.
    if (choice == 4) model.node.SetFloats("activation_params", {1.0f, 1.0f});
    model.SetOutput(output);
    activation = *FusedActivation(model.node);
  }

  template <typename ChannelOf>
  void Check(const std::vector<double>& sums, const std::vector<double>& magnitudes, const ChannelOf& channel_of) {
    for (int threads : {1, 2}) {
      const absl::StatusOr<std::vector<float>> got = model.Run(*MakeXnnpackBackend(), threads);
      ASSERT_TRUE(got.ok()) << got.status();
      ASSERT_EQ(got->size(), sums.size());
      for (size_t i = 0; i < sums.size(); ++i) {
        const double b = bias.empty() ? 0 : bias[channel_of(i)];
        const double r = residual.empty() ? 0 : residual[i];
        float expected = static_cast<float>(sums[i] + b + r);
        ApplyActivation(activation, &expected, 1);
        // Sums of at most some thousand float32 products, relative to the sum of their magnitudes.
        const double tolerance = 1e-5 * (magnitudes[i] + std::fabs(b) + std::fabs(r));
        ASSERT_NEAR((*got)[i], expected, tolerance) << "element " << i << ", " << threads << " threads";
      }
    }
  }
};

TEST(Xnnpack, ConvEqualsPlainLoopsOverShapes) {
  uint32_t seed = 1;
  for (const ConvCase& c : ConvVarieties()) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      SCOPED_TRACE(
          absl::StrCat("seed ", ++seed, " input ", ShapeString(c.input()), " weight ", ShapeString(c.weight())));
      FloatCase t("Conv", seed, c.input(), c.weight(), c.output());
      c.SetAttributes(&t.model.node);
      const auto sums = c.Sum<double>([&](size_t i, size_t j) { return static_cast<double>(t.x[i]) * t.w[j]; });
      const auto sizes =
          c.Sum<double>([&](size_t i, size_t j) { return std::fabs(static_cast<double>(t.x[i]) * t.w[j]); });
      t.Check(sums, sizes, [&](size_t i) { return c.ChannelOf(i); });
    }
  }
}

TEST(Xnnpack, GemmEqualsPlainLoopsOverTails) {
  uint32_t seed = 1000;
  for (int64_t m : {1, 2, 7, 33}) {
    for (int64_t k : {1, 3, 16, 65, 577}) {
      for (int64_t n : {1, 10, 16, 67}) {
        SCOPED_TRACE(absl::StrCat("seed ", ++seed, " m ", m, " k ", k, " n ", n));
        const Shape input = m == 33 ? Shape{3, 11, k} : Shape{m, k};
        const Shape output = m == 33 ? Shape{3, 11, n} : Shape{m, n};
        FloatCase t("Gemm", seed, input, {n, k}, output);
        std::vector<double> sums, sizes;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < k; ++l) {
              const double product =
                  static_cast<double>(t.x[static_cast<size_t>(i * k + l)]) * t.w[static_cast<size_t>(j * k + l)];
              sum += product;
              size += std::fabs(product);
            }
            sums.push_back(sum);
            sizes.push_back(size);
          }
        t.Check(sums, sizes, [&](size_t i) { return i % static_cast<size_t>(n); });
      }
    }
  }
}

TEST(Xnnpack, EmptyBatchGivesEmptyOutput) {
  NodeModel model("Gemm");
  model.AddActivation("x", {0, 4}, {});
  model.AddFloats("w", {2, 4}, std::vector<float>(8));
  model.SetOutput({0, 2});
  const auto got = model.Run(*MakeXnnpackBackend(), 1);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(got->empty());
}

TEST(Xnnpack, RefusesWithTheReason) {
  const auto refusal = [](const auto& change) {
    NodeModel model("Conv");
    model.AddActivation("x", {1, 1, 4, 4}, std::vector<float>(16));
    model.AddFloats("w", {1, 1, 1, 1}, std::vector<float>(1));
    model.SetOutput({1, 1, 4, 4});
    change(&model);
    const absl::Status status = MakeXnnpackBackend()->Supports(model.Context(1));
    EXPECT_FALSE(status.ok());
    return absl::StrCat(GetErrorInfo(status).code, " ", std::string(status.message()));
  };
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal([](NodeModel* m) {
                m->graph.tensors[1].has_data = false;
                m->graph.tensors[1].int8 = Int8Form{{1.0f}, Blob::Copy("1", 1)};
              }),
              AllOf(HasSubstr("TLY-E0606"), HasSubstr("weight \"w\" has no float32 form; convert with --keep float")));
  EXPECT_THAT(refusal([](NodeModel* m) { m->graph.tensors[1].has_data = false; }),
              AllOf(HasSubstr("TLY-E0609"), HasSubstr("weight \"w\" is not constant")));
  EXPECT_THAT(refusal([](NodeModel* m) { m->node.op = "Softmax"; }), HasSubstr("Softmax"));
  EXPECT_THAT(refusal([](NodeModel* m) {
                m->node.SetInts("pads", {int64_t{1} << 30, 0, 0, 0});
                m->node.SetInts("strides", {int64_t{1} << 30, 1});
              }),
              HasSubstr("1073741824 > 1048576"));
}

}  // namespace
}  // namespace tally
