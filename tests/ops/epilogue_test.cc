// The epilogue gives the same bits fused as its steps do one by one, and activations the same bits in any position.
#include "runtime/ops/epilogue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "runtime/ops/math.h"
#include "tests/ops/node_runner.h"

namespace tally {
namespace {

using testing::Bits;
using testing::Floats;
using testing::MakeNode;
using testing::Rng;
using testing::RunShared;

struct Named {
  const char* op;
  std::vector<float> params;
  std::vector<std::pair<const char*, float>> attributes;  // the same as attributes of the stand-alone operator
};

std::vector<Named> AllActivations() {
  return {{"Relu", {}, {}},        {"Clip", {-0.5f, 6.0f}, {{"min", -0.5f}, {"max", 6.0f}}},
          {"Clip", {}, {}},        {"LeakyRelu", {0.1f}, {{"alpha", 0.1f}}},
          {"LeakyRelu", {}, {}},   {"Sigmoid", {}, {}},
          {"Tanh", {}, {}},        {"HardSigmoid", {0.3f, 0.4f}, {{"alpha", 0.3f}, {"beta", 0.4f}}},
          {"HardSigmoid", {}, {}}, {"HardSwish", {}, {}}};
}

Node Fused(const Named& named) {
  Node node = MakeNode("Conv");
  node.SetString("activation", named.op);
  if (!named.params.empty()) node.SetFloats("activation_params", named.params);
  return node;
}

Node Standalone(const Named& named) {
  Node node = MakeNode(named.op);
  for (const auto& [name, value] : named.attributes) node.SetFloats(name, {value});
  return node;
}

float Scalar(const Activation& activation, float x) {
  ApplyActivation(activation, &x, 1);
  return x;
}

template <typename Acc>
void ExpectFusedEqualsSteps(const Named& named, size_t count, size_t channel_step, bool with_scale, bool with_bias,
                            bool with_residual, Rng& rng) {
  std::vector<Acc> acc(count);
  for (Acc& a : acc) a = static_cast<Acc>(testing::Pick(rng, -2'000'000'000, 2'000'000'000));
  std::vector<float> scale(count + 1), bias(count + 1), residual(count);
  for (float& v : scale) v = testing::PickFloat(rng, 1e-10f, 2e-9f);
  for (float& v : bias) v = testing::PickFloat(rng, -2, 2);
  for (float& v : residual) v = testing::PickFloat(rng, -2, 2);
  EpilogueRow row;
  row.scale = with_scale ? scale.data() : nullptr;
  row.bias = with_bias ? bias.data() : nullptr;
  row.channel_step = channel_step;
  row.residual = with_residual ? residual.data() : nullptr;
  row.activation = *FusedActivation(Fused(named));
  std::vector<float> out(count, -77);
  FinishRow(acc.data(), count, row, out.data());
  std::vector<float> in_place = residual;
  if (with_residual) {
    row.residual = in_place.data();
    FinishRow(acc.data(), count, row, in_place.data());
  }
  for (size_t i = 0; i < count; ++i) {
    volatile float t = static_cast<float>(acc[i]);
    if (with_scale) t = t * scale[i * channel_step];
    if (with_bias) t = t + bias[i * channel_step];
    if (with_residual) t = t + residual[i];
    ASSERT_EQ(Bits(out[i]), Bits(Scalar(row.activation, t))) << named.op << ", element " << i << " of " << count;
    if (with_residual) {
      ASSERT_EQ(Bits(in_place[i]), Bits(out[i])) << "out == residual, element " << i;
    }
  }
}

TEST(EpilogueTest, FinishRowEqualsItsStepsOneByOne) {
  Rng rng(11);
  for (const Named& named : AllActivations()) {
    for (size_t count = 0; count <= 70; ++count) {
      const bool scale = count % 2 == 0, bias = count % 3 != 0, residual = count % 5 < 3;
      ExpectFusedEqualsSteps<int32_t>(named, count, count % 2, true, bias, residual, rng);
      ExpectFusedEqualsSteps<int64_t>(named, count, 1 - count % 2, true, bias, residual, rng);
      ExpectFusedEqualsSteps<double>(named, count, count % 2, scale, bias, residual, rng);
      ExpectFusedEqualsSteps<float>(named, count, count % 2, false, bias, residual, rng);
    }
  }
  for (const size_t count : {511u, 512u, 513u, 2000u}) {
    ExpectFusedEqualsSteps<int32_t>(AllActivations()[0], count, 1, true, true, true, rng);
    ExpectFusedEqualsSteps<int64_t>(AllActivations()[5], count, 0, true, true, true, rng);
  }
}

TEST(EpilogueTest, WideAccumulatorsAreRoundedOnce) {
  // 2^60 + 2^36 + 1 lies just above a midpoint between two floats: through float64 it would round down to even.
  const int64_t acc[1] = {(int64_t{1} << 60) + (int64_t{1} << 36) + 1};
  const float one = 1;
  EpilogueRow row;
  row.scale = &one;
  float out = 0;
  FinishRow(acc, 1, row, &out);
  EXPECT_EQ(out, std::nextafter(0x1p60f, 0x1p61f));
}

TEST(EpilogueTest, FusedActivationEqualsTheOperatorOfItsOwn) {
  Rng rng(12);
  std::vector<float> x(1000);
  for (float& v : x) v = testing::PickFloat(rng, -12, 12);
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {0.0f, -0.0f, infinity, -infinity, 1e-42f, -1e-42f, 3e38f, -3e38f};
  x.insert(x.begin() + 3, special.begin(), special.end());
  const Shape shape = {static_cast<int64_t>(x.size())};
  for (const Named& named : AllActivations()) {
    const auto alone = RunShared(Standalone(named), {Floats(shape, x)});
    ASSERT_TRUE(alone.ok()) << alone.status();
    EpilogueRow row;
    row.activation = *FusedActivation(Fused(named));
    std::vector<float> fused(x.size());
    FinishRow(x.data(), x.size(), row, fused.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(Bits(fused[i]), Bits((*alone)[0].as<float>()[i])) << named.op << " of " << x[i];
    }
  }
}

TEST(EpilogueTest, ConvWithFusedTailEqualsSeparateNodes) {
  Rng rng(13);
  const testing::Value x = testing::RandomFloats(rng, {2, 5, 9, 11});
  const testing::Value weight = testing::RandomFloats(rng, {7, 5, 3, 3});
  const testing::Value bias = testing::RandomFloats(rng, {7});
  const testing::Value residual = testing::RandomFloats(rng, {2, 7, 7, 9});
  for (const Named& named : AllActivations()) {
    const auto fused = RunShared(Fused(named), {x, weight, bias, residual});
    const auto conv = RunShared(MakeNode("Conv"), {x, weight, bias});
    ASSERT_TRUE(fused.ok() && conv.ok());
    const auto sum = RunShared(MakeNode("Add"), {(*conv)[0], residual});
    const auto separate = RunShared(Standalone(named), {(*sum)[0]});
    EXPECT_EQ((*fused)[0].bytes, (*separate)[0].bytes) << named.op;
  }
}

TEST(EpilogueTest, GemmWithFusedTailEqualsSeparateNodes) {
  Rng rng(14);
  const testing::Value x = testing::RandomFloats(rng, {3, 50});
  const testing::Value weight = testing::RandomFloats(rng, {70, 50});
  const testing::Value bias = testing::RandomFloats(rng, {70});
  const testing::Value residual = testing::RandomFloats(rng, {3, 70});
  for (const Named& named : AllActivations()) {
    Node node = Fused(named);
    node.op = "Gemm";
    const auto fused = RunShared(node, {x, weight, bias, residual});
    const auto product = RunShared(MakeNode("Gemm"), {x, weight});
    ASSERT_TRUE(fused.ok() && product.ok());
    const auto biased = RunShared(MakeNode("Add"), {(*product)[0], bias});
    const auto sum = RunShared(MakeNode("Add"), {(*biased)[0], residual});
    const auto separate = RunShared(Standalone(named), {(*sum)[0]});
    EXPECT_EQ((*fused)[0].bytes, (*separate)[0].bytes) << named.op;
  }
}

TEST(EpilogueTest, NanPassesEveryActivation) {
  for (const Named& named : AllActivations()) {
    const Activation activation = *FusedActivation(Fused(named));
    EXPECT_TRUE(std::isnan(Scalar(activation, std::nanf("")))) << named.op;
  }
  EXPECT_EQ(Bits(Scalar({ActivationKind::kRelu}, -0.0f)), Bits(-0.0f));
  // Low above high: high wins, as in ONNX.
  EXPECT_EQ(Scalar({ActivationKind::kClip, 5, 1}, 3), 1);
}

TEST(EpilogueTest, BadFusedActivationsAreErrors) {
  Node node = MakeNode("Conv");
  EXPECT_EQ(FusedActivation(node)->kind, ActivationKind::kNone);
  node.SetString("activation", "Softmax");
  EXPECT_EQ(GetErrorInfo(FusedActivation(node).status()).code, "TLY-E0315");
  node.SetString("activation", "Clip");
  node.SetFloats("activation_params", {1.0f});
  EXPECT_EQ(GetErrorInfo(FusedActivation(node).status()).code, "TLY-E0315");
  node.SetFloats("activation_params", {1.0f, std::nanf("")});
  EXPECT_EQ(GetErrorInfo(FusedActivation(node).status()).code, "TLY-E0315");
  node.SetFloats("activation_params", {1.0f, 2.0f});
  EXPECT_EQ(FusedActivation(node)->b, 2.0f);
  node.Remove("activation");
  EXPECT_EQ(GetErrorInfo(FusedActivation(node).status()).code, "TLY-E0315");
}

}  // namespace
}  // namespace tally
