// The shared operators against the float64 oracle on random shapes, and against themselves at other thread counts.
#include <gtest/gtest.h>

#include <cmath>

#include "backends/reference/reference.h"
#include "tests/ops/node_runner.h"

namespace tally {
namespace {

using testing::Floats;
using testing::Inputs;
using testing::MakeNode;
using testing::MakePool;
using testing::Outputs;
using testing::Pick;
using testing::RandomFloats;
using testing::Rng;
using testing::RunBackend;
using testing::RunShared;
using testing::UlpError;
using testing::Value;

class ComputeTest : public ::testing::Test {
 protected:
  // The shared result at 1 thread. Every tenth call checks that other thread counts give the same bits; more would only
  // measure how threads wait for each other where there are fewer CPUs than threads.
  static Value Shared(const Node& node, const Inputs& inputs) {
    static int calls = 0;
    const auto result = RunShared(node, inputs);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return {};
    if (calls++ % 10 == 0) ExpectSameBitsAtAnyThreadCount(node, inputs, (*result)[0]);
    return (*result)[0];
  }

  static void ExpectSameBitsAtAnyThreadCount(const Node& node, const Inputs& inputs, const Value& expected) {
    for (const int threads : {1, 2, 5}) {
      const auto pool = MakePool(threads);
      const auto again = RunShared(node, inputs, pool.get());
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_EQ((*again)[0].bytes, expected.bytes) << Describe(node, inputs) << " differs at " << threads << " threads";
    }
  }

  static Value Oracle(const Node& node, const Inputs& inputs) {
    const auto result = RunBackend(*MakeReferenceBackend(), node, inputs, MakePool(1).get());
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? (*result)[0] : Value();
  }

  static std::string Describe(const Node& node, const Inputs& inputs) {
    std::string text = node.op;
    for (const auto& input : inputs) text += " " + (input.has_value() ? ShapeString(input->type.shape) : "-");
    for (const Attribute& a : node.attributes) {
      text += " " + a.name + "=" + a.string;
      for (int64_t v : a.ints) text += std::to_string(v) + ",";
      for (float v : a.floats) text += std::to_string(v) + ",";
    }
    return text;
  }

  // 4 ulp: the contract's bound for element-wise operators (the functions alone reach 3).
  static void ExpectWithinUlps(const Node& node, const Inputs& inputs, double ulps = 4) {
    const Value shared = Shared(node, inputs);
    const Value oracle = Oracle(node, inputs);
    ASSERT_EQ(shared.type, oracle.type);
    for (size_t i = 0; i < shared.bytes.size() / sizeof(float); ++i) {
      ASSERT_LE(UlpError(shared.as<float>()[i], oracle.as<float>()[i]), ulps)
          << Describe(node, inputs) << ": element " << i << " is " << shared.as<float>()[i] << ", oracle "
          << oracle.as<float>()[i];
    }
  }

  // 1e-5 of the sum of magnitudes, which the oracle computes from absolute values: a float32 sum of n terms errs by at
  // most about n * 2^-24 of it, and n here is at most a few hundred.
  static void ExpectWithinMagnitude(const Node& node, const Inputs& inputs, Node plain) {
    const Value shared = Shared(node, inputs);
    const Value oracle = Oracle(node, inputs);
    Inputs magnitudes;
    for (const auto& input : inputs) {
      magnitudes.push_back(input.has_value() && input->type.dtype == DType::kFloat32
                               ? std::optional<Value>(testing::Abs(*input))
                               : input);
    }
    const Value sums = Oracle(plain, magnitudes);
    ASSERT_EQ(shared.type, oracle.type);
    for (size_t i = 0; i < shared.bytes.size() / sizeof(float); ++i) {
      ASSERT_NEAR(shared.as<float>()[i], oracle.as<float>()[i], 1e-5 * sums.as<float>()[i] + 1e-30)
          << Describe(node, inputs) << ": element " << i;
    }
  }
};

Node WithoutActivation(Node node) {
  node.Remove("activation");
  node.Remove("activation_params");
  return node;
}

void AddRandomActivation(Rng& rng, Node* node) {
  const int64_t kind = Pick(rng, 0, 5);
  if (kind == 1) node->SetString("activation", "Relu");
  if (kind == 2) {
    node->SetString("activation", "Clip");
    node->SetFloats("activation_params", {0.0f, 6.0f});
  }
  if (kind == 3) node->SetString("activation", "Tanh");
}

TEST_F(ComputeTest, ConvMatchesTheOracleOnRandomGeometry) {
  for (int round = 0; round < 400; ++round) {
    Rng rng(static_cast<unsigned>(1000 + round));
    const bool one_dimensional = Pick(rng, 0, 3) == 0;
    const size_t dims = one_dimensional ? 1 : 2;
    const int64_t group = Pick(rng, 1, 3);
    const int64_t group_in = Pick(rng, 0, 3) == 0 ? 1 : Pick(rng, 1, 40);
    const int64_t group_out = Pick(rng, 0, 4) == 0 ? Pick(rng, 60, 70) : Pick(rng, 1, 9);
    Shape x = {Pick(rng, 1, 2), group * group_in};
    Shape weight = {group * group_out, group_in};
    std::vector<int64_t> strides, dilations, pads(2 * dims);
    for (size_t i = 0; i < dims; ++i) {
      const int64_t kernel = Pick(rng, 1, 4);
      const int64_t dilation = Pick(rng, 1, 2);
      pads[i] = Pick(rng, 0, 3);
      pads[i + dims] = Pick(rng, 0, 3);
      const int64_t least = std::max<int64_t>(1, (kernel - 1) * dilation + 1 - pads[i] - pads[i + dims]);
      x.push_back(Pick(rng, least, 20));
      weight.push_back(kernel);
      strides.push_back(Pick(rng, 1, 3));
      dilations.push_back(dilation);
    }
    Node node = MakeNode("Conv");
    node.SetInts("group", {group});
    node.SetInts("strides", strides);
    node.SetInts("dilations", dilations);
    node.SetInts("pads", pads);
    AddRandomActivation(rng, &node);
    Inputs inputs = {RandomFloats(rng, x), RandomFloats(rng, weight)};
    const auto types = testing::InferTypes(node, inputs);
    ASSERT_TRUE(types.ok()) << types.status();
    if (Pick(rng, 0, 1) == 1) {
      inputs.push_back(RandomFloats(rng, {group * group_out}));
      if (Pick(rng, 0, 1) == 1) inputs.push_back(RandomFloats(rng, (*types)[0].shape));
    }
    ExpectWithinMagnitude(node, inputs, WithoutActivation(node));
    if (HasFatalFailure()) return;
  }
}

// Sizes with many tasks per operator, so that threads really share the work.
TEST_F(ComputeTest, LargeOperatorsGiveTheSameBitsAtAnyThreadCount) {
  Rng rng(15);
  Node pool = MakeNode("AveragePool");
  pool.SetInts("kernel_shape", {3, 3});
  Node depthwise = MakeNode("Conv");
  depthwise.SetInts("group", {24});
  Node column_softmax = MakeNode("Softmax");
  column_softmax.SetInts("axis", {1});
  const Value image = RandomFloats(rng, {2, 24, 60, 60});
  const std::vector<std::pair<Node, Inputs>> cases = {
      {MakeNode("Conv"), {image, RandomFloats(rng, {80, 24, 3, 3})}},
      {depthwise, {image, RandomFloats(rng, {24, 1, 3, 3})}},
      {MakeNode("Gemm"), {RandomFloats(rng, {130, 100}), RandomFloats(rng, {300, 100})}},
      {MakeNode("MatMul"), {RandomFloats(rng, {3, 130, 100}), RandomFloats(rng, {100, 200})}},
      {pool, {image}},
      {MakeNode("GlobalAveragePool"), {image}},
      {MakeNode("Softmax"), {RandomFloats(rng, {500, 100})}},
      {column_softmax, {image}},
      {MakeNode("Tanh"), {image}},
      {MakeNode("Mul"), {image, RandomFloats(rng, {24, 1, 1})}},
      {MakeNode("ReduceMean"), {image, testing::Int64s({2}, {0, 3})}},
      {MakeNode("ReduceMean"), {image, testing::Int64s({2}, {0, 1})}}};
  for (const auto& [node, inputs] : cases) {
    const auto result = RunShared(node, inputs);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSameBitsAtAnyThreadCount(node, inputs, (*result)[0]);
  }
}

TEST_F(ComputeTest, DepthwiseConvMatchesTheOracleBeyondOneBlockOfColumns) {
  for (const int64_t multiplier : {1, 2}) {
    for (const int64_t stride : {1, 2}) {
      Rng rng(20);
      Node node = MakeNode("Conv");
      node.SetInts("group", {3});
      node.SetInts("pads", {1, 2, 0, 1});
      node.SetInts("strides", {1, stride});
      const Inputs inputs = {RandomFloats(rng, {2, 3, 4, 700}), RandomFloats(rng, {3 * multiplier, 1, 2, 5})};
      ExpectWithinMagnitude(node, inputs, node);
    }
  }
}

TEST_F(ComputeTest, ConvOfEmptyExtentsGivesEmptyOutputs) {
  Node node = MakeNode("Conv");
  const Value weight = Floats({4, 3, 1, 1}, std::vector<float>(12, 1.0f));
  EXPECT_EQ(Shared(node, {Floats({0, 3, 5, 5}, {}), weight}).type.shape, (Shape{0, 4, 5, 5}));
  // No input channels: nothing but the bias.
  const Value y = Shared(node, {Floats({1, 0, 2, 2}, {}), Floats({2, 0, 1, 1}, {}), Floats({2}, {1.5f, -2.0f})});
  EXPECT_EQ(y.list<float>(), (std::vector<float>{1.5f, 1.5f, 1.5f, 1.5f, -2, -2, -2, -2}));
}

TEST_F(ComputeTest, GemmMatchesTheOracle) {
  for (int round = 0; round < 150; ++round) {
    Rng rng(static_cast<unsigned>(2000 + round));
    const int64_t depth = Pick(rng, 0, 5) == 0 ? Pick(rng, 0, 3) : Pick(rng, 1, 200);
    const int64_t columns = Pick(rng, 1, 150);
    Shape x = {depth};
    for (int64_t i = Pick(rng, 0, 2); i > 0; --i) x.insert(x.begin(), Pick(rng, 1, 12));
    Shape y = x;
    y.back() = columns;
    Node node = MakeNode("Gemm");
    AddRandomActivation(rng, &node);
    Inputs inputs = {RandomFloats(rng, x), RandomFloats(rng, {columns, depth})};
    if (Pick(rng, 0, 1) == 1) {
      inputs.push_back(RandomFloats(rng, {columns}));
      if (Pick(rng, 0, 1) == 1) inputs.push_back(RandomFloats(rng, y));
    }
    ExpectWithinMagnitude(node, inputs, WithoutActivation(node));
    if (HasFatalFailure()) return;
  }
}

TEST_F(ComputeTest, WeightsWithoutPlainFormAreAnError) {
  for (const char* op : {"Conv", "Gemm"}) {
    Node node = MakeNode(op);
    const Shape weight = op[0] == 'C' ? Shape{2, 3, 1, 1} : Shape{2, 3};
    const Shape x = op[0] == 'C' ? Shape{1, 3, 1, 1} : Shape{1, 3};
    const std::vector<float> data(3, 1.0f);
    std::vector<float> y(2);
    EvalContext context{node,
                        {{data.data(), DType::kFloat32, x}, {nullptr, DType::kFloat32, weight}},
                        {{y.data(), DType::kFloat32, {1, 2}}},
                        nullptr};
    EXPECT_EQ(GetErrorInfo(FindOp(op)->eval(context)).code, "TLY-E0606");
  }
}

TEST_F(ComputeTest, MatMulMatchesTheOracleOverBroadcasts) {
  const std::vector<std::pair<Shape, Shape>> cases = {{{5, 7}, {7, 9}},
                                                      {{7}, {7}},
                                                      {{7}, {7, 70}},
                                                      {{65, 7}, {7}},
                                                      {{2, 3, 5, 7}, {7, 4}},
                                                      {{3, 5, 7}, {2, 1, 7, 4}},
                                                      {{2, 1, 5, 70}, {1, 3, 70, 130}},
                                                      {{7}, {3, 7, 4}},
                                                      {{3, 5, 7}, {7}},
                                                      {{4, 0}, {0, 3}},
                                                      {{0, 5, 7}, {1, 7, 2}},
                                                      {{1, 200}, {200, 100}}};
  Rng rng(30);
  for (const auto& [a, b] : cases) {
    const Node node = MakeNode("MatMul");
    ExpectWithinMagnitude(node, {RandomFloats(rng, a), RandomFloats(rng, b)}, node);
  }
}

TEST_F(ComputeTest, PoolsMatchTheOracleOnRandomGeometry) {
  for (int round = 0; round < 300; ++round) {
    Rng rng(static_cast<unsigned>(3000 + round));
    const bool is_max = Pick(rng, 0, 1) == 1;
    const size_t dims = static_cast<size_t>(Pick(rng, 1, 2));
    Node node = MakeNode(is_max ? "MaxPool" : "AveragePool");
    Shape x = {Pick(rng, 1, 2), Pick(rng, 1, 4)};
    std::vector<int64_t> kernel, strides, dilations, pads(2 * dims);
    for (size_t i = 0; i < dims; ++i) {
      kernel.push_back(Pick(rng, 1, 4));
      dilations.push_back(is_max ? Pick(rng, 1, 3) : 1);
      strides.push_back(Pick(rng, 1, 3));
      const int64_t extent = (kernel[i] - 1) * dilations[i] + 1;
      pads[i] = Pick(rng, 0, extent - 1);
      pads[i + dims] = Pick(rng, 0, extent - 1);
      x.push_back(Pick(rng, std::max<int64_t>(1, extent - pads[i] - pads[i + dims]),
                       i + 1 < dims || round % 20 > 1 ? 20
                       : round % 20 == 0              ? 600
                                                      : 3000));
    }
    node.SetInts("kernel_shape", kernel);
    node.SetInts("strides", strides);
    node.SetInts("pads", pads);
    if (is_max) node.SetInts("dilations", dilations);
    node.SetInts("ceil_mode", {Pick(rng, 0, 1)});
    if (!is_max) node.SetInts("count_include_pad", {Pick(rng, 0, 1)});
    const Inputs inputs = {RandomFloats(rng, x)};
    if (!testing::InferTypes(node, inputs).ok()) continue;
    if (is_max) {
      ExpectWithinUlps(node, inputs, 0);
    } else {
      ExpectWithinMagnitude(node, inputs, node);
    }
    if (HasFatalFailure()) return;
  }
}

TEST_F(ComputeTest, PoolWorkIsBoundedByTheInputNotByTheKernel) {
  // A window of 10^9 x 10^9 over a tiny image: finishes at once or never.
  const int64_t huge = 1'000'000'000;
  for (const char* op : {"MaxPool", "AveragePool"}) {
    Node node = MakeNode(op);
    node.SetInts("kernel_shape", {huge, huge});
    node.SetInts("pads", {huge / 2, huge / 2, huge / 2, huge / 2});
    node.SetInts("strides", {huge, huge});
    ExpectWithinUlps(node, {Floats({1, 1, 2, 2}, {1, 2, 3, 4})}, 1);
  }
}

TEST_F(ComputeTest, MaximaOfWindowsWithNanAreNan) {
  std::vector<float> x(64, 1.0f);
  x[9] = std::nanf("");
  Node node = MakeNode("MaxPool");
  node.SetInts("kernel_shape", {2, 2});
  node.SetInts("strides", {2, 2});
  const Value y = Shared(node, {Floats({1, 1, 8, 8}, x)});
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(std::isnan(y.as<float>()[i]), i == 0) << i;
  EXPECT_TRUE(std::isnan(Shared(MakeNode("GlobalMaxPool"), {Floats({1, 1, 8, 8}, x)}).as<float>()[0]));
}

// The fast way takes strides of 1 and 2, another one all else; the bits of a maximum must not tell which it was.
TEST_F(ComputeTest, MaximaOfZerosHaveTheSameSignAtEveryStride) {
  for (const std::vector<float>& window :
       std::vector<std::vector<float>>{{-1, 0.0f, -0.0f, -1}, {0.0f, -1, -1, -0.0f}}) {
    for (int64_t stride = 1; stride <= 3; ++stride) {
      Node node = MakeNode("MaxPool");
      node.SetInts("kernel_shape", {2, 2});
      node.SetInts("strides", {1, stride});
      const Value y = Shared(node, {Floats({1, 1, 2, 2}, window)});
      // Column after column: the zero of the first one stays.
      EXPECT_EQ(std::signbit(y.as<float>()[0]), std::signbit(window[0] == 0 ? window[0] : window[2])) << stride;
    }
  }
}

TEST_F(ComputeTest, GlobalPoolsMatchTheOracle) {
  Rng rng(40);
  for (const Shape& shape :
       std::vector<Shape>{{1, 3, 7, 7}, {2, 5, 1}, {2, 3, 15, 17}, {1, 2, 2, 3, 4}, {0, 3, 2, 2}}) {
    const Inputs inputs = {RandomFloats(rng, shape)};
    ExpectWithinMagnitude(MakeNode("GlobalAveragePool"), inputs, MakeNode("GlobalAveragePool"));
    ExpectWithinUlps(MakeNode("GlobalMaxPool"), inputs, 0);
  }
}

TEST_F(ComputeTest, ActivationsMatchTheOracleOnRandomShapes) {
  Rng rng(50);
  for (const char* op : {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh"}) {
    for (const Shape& shape : std::vector<Shape>{{}, {1}, {17}, {3, 5, 7}, {0, 3}, {40'001}}) {
      Node node = MakeNode(op);
      if (node.op == "Clip") {
        node.SetFloats("min", {-1});
        node.SetFloats("max", {1.5f});
      }
      ExpectWithinUlps(node, {RandomFloats(rng, shape, -20, 20)});
    }
  }
  // These two cancel near the ends of their ramps, so the bound is absolute: an ulp of the largest term, 1.
  for (const char* op : {"HardSigmoid", "HardSwish"}) {
    const Node node = MakeNode(op);
    const Inputs inputs = {RandomFloats(rng, {5000}, -4, 4)};
    const Value shared = Shared(node, inputs);
    const Value oracle = Oracle(node, inputs);
    for (size_t i = 0; i < 5000; ++i) ASSERT_NEAR(shared.as<float>()[i], oracle.as<float>()[i], 4 * 6e-8 * 4);
  }
}

TEST_F(ComputeTest, ArithmeticMatchesTheOracleBitForBitOverBroadcasts) {
  const std::vector<std::pair<Shape, Shape>> cases = {{{}, {}},
                                                      {{5}, {}},
                                                      {{}, {5}},
                                                      {{3, 4}, {3, 4}},
                                                      {{3, 4}, {4}},
                                                      {{3, 1}, {1, 4}},
                                                      {{2, 3, 4, 5}, {3, 1, 1}},
                                                      {{3, 1, 1}, {2, 3, 4, 5}},
                                                      {{2, 1, 4, 1}, {1, 3, 1, 5}},
                                                      {{2, 3, 1, 1, 4, 5}, {1, 3, 2, 1, 4, 1}},
                                                      {{0, 3}, {3}},
                                                      {{1, 200, 300}, {200, 1}},
                                                      {{70'001}, {70'001}}};
  Rng rng(60);
  for (const char* op : {"Add", "Sub", "Mul", "Div"}) {
    for (const auto& [a, b] : cases) {
      ExpectWithinUlps(MakeNode(op), {RandomFloats(rng, a), RandomFloats(rng, b)}, 0);
      const auto random = [&rng](const Shape& shape) {
        std::vector<int64_t> v(static_cast<size_t>(TensorType{DType::kInt64, shape}.elements()));
        for (int64_t& x : v) x = static_cast<int64_t>(static_cast<uint64_t>(rng()) << 32 | rng()) | 1;
        return v;
      };
      const std::vector<int64_t> va = random(a), vb = random(b);
      const Inputs wide = {testing::Int64s(a, va), testing::Int64s(b, vb)};
      EXPECT_EQ(Shared(MakeNode(op), wide).bytes, Oracle(MakeNode(op), wide).bytes);
      const Inputs narrow = {testing::Int32s(a, std::vector<int32_t>(va.begin(), va.end())),
                             testing::Int32s(b, std::vector<int32_t>(vb.begin(), vb.end()))};
      EXPECT_EQ(Shared(MakeNode(op), narrow).bytes, Oracle(MakeNode(op), narrow).bytes);
    }
  }
}

TEST_F(ComputeTest, IntegersWrapAndTruncate) {
  const int32_t low = std::numeric_limits<int32_t>::min();
  const int32_t high = std::numeric_limits<int32_t>::max();
  const auto run = [](const char* op, int32_t a, int32_t b) {
    return Shared(MakeNode(op), {testing::Int32s({1}, {a}), testing::Int32s({1}, {b})}).as<int32_t>()[0];
  };
  EXPECT_EQ(run("Add", high, 1), low);
  EXPECT_EQ(run("Sub", low, 1), high);
  EXPECT_EQ(run("Mul", high, 2), -2);
  EXPECT_EQ(run("Div", low, -1), low);
  EXPECT_EQ(run("Div", -7, 2), -3);
  EXPECT_EQ(run("Div", 7, -2), -3);
}

TEST_F(ComputeTest, IntegerDivisionByZeroIsAnErrorUnlessThereIsNoOutput) {
  const auto pool = MakePool(1);
  for (const bool wide : {false, true}) {
    const auto divide = [&](const Shape& shape, const std::vector<int64_t>& a) {
      const std::vector<int32_t> narrow(a.begin(), a.end());
      const Value x = wide ? testing::Int64s(shape, a) : testing::Int32s(shape, narrow);
      const Value y = wide ? testing::Int64s({1}, {0}) : testing::Int32s({1}, {0});
      const absl::Status shared = RunShared(MakeNode("Div"), {x, y}, pool.get()).status();
      const absl::Status oracle = RunBackend(*MakeReferenceBackend(), MakeNode("Div"), {x, y}, pool.get()).status();
      EXPECT_EQ(shared.message(), oracle.message());
      return GetErrorInfo(shared).code;
    };
    EXPECT_EQ(divide({2}, {1, 2}), "TLY-E0316");
    EXPECT_EQ(divide({0}, {}), "");
  }
}

TEST_F(ComputeTest, SoftmaxMatchesTheOracleAlongAnyAxis) {
  Rng rng(70);
  for (const Shape& shape : std::vector<Shape>{{1}, {1000}, {4, 37}, {3, 5, 70}, {2, 3, 4, 5}, {0, 3}}) {
    for (int64_t axis = -static_cast<int64_t>(shape.size()); axis < static_cast<int64_t>(shape.size()); ++axis) {
      for (const int64_t flatten : {0, 1}) {
        Node node = MakeNode("Softmax");
        node.SetInts("axis", {axis});
        node.SetInts("flatten", {flatten});
        const Inputs inputs = {RandomFloats(rng, shape, -10, 10)};
        const Value shared = Shared(node, inputs);
        const Value oracle = Oracle(node, inputs);
        // Relative, because every term is positive: exp 1 ulp, its argument's rounding (|x - max| <= 20: 16 ulp of
        // 2^-24 each way), sum and division.
        for (size_t i = 0; i < shared.bytes.size() / sizeof(float); ++i) {
          ASSERT_NEAR(shared.as<float>()[i], oracle.as<float>()[i], 1e-5 * oracle.as<float>()[i])
              << Describe(node, inputs) << ": element " << i;
        }
      }
    }
  }
}

TEST_F(ComputeTest, SoftmaxSurvivesLargeInputsAndSpreadsNanOverItsRowOnly) {
  const Value y = Shared(MakeNode("Softmax"), {Floats({3, 2}, {1e30f, 1e30f, -3e38f, 0, std::nanf(""), 1})});
  EXPECT_EQ(y.as<float>()[0], 0.5f);
  EXPECT_EQ(y.as<float>()[2], 0.0f);
  EXPECT_EQ(y.as<float>()[3], 1.0f);
  EXPECT_TRUE(std::isnan(y.as<float>()[4]) && std::isnan(y.as<float>()[5]));
}

TEST_F(ComputeTest, ReduceMeanMatchesTheOracleOverEverySetOfAxes) {
  Rng rng(80);
  for (const Shape& shape :
       std::vector<Shape>{{7}, {5, 33}, {3, 4, 50}, {2, 3, 4, 5}, {2, 1, 3, 2, 1, 4}, {3, 2, 300}}) {
    for (unsigned mask = 0; mask < 1u << shape.size(); ++mask) {
      std::vector<int64_t> axes;
      for (size_t d = 0; d < shape.size(); ++d) {
        if ((mask >> d & 1) != 0)
          axes.push_back(static_cast<int64_t>(d) - (d % 2 == 0 ? 0 : static_cast<int64_t>(shape.size())));
      }
      Node node = MakeNode("ReduceMean");
      node.SetInts("keepdims", {static_cast<int64_t>(mask % 3 == 0)});
      node.SetInts("noop_with_empty_axes", {static_cast<int64_t>(mask % 2)});
      Inputs inputs = {RandomFloats(rng, shape)};
      if (mask != 0) inputs.push_back(testing::Int64s({static_cast<int64_t>(axes.size())}, axes));
      ExpectWithinMagnitude(node, inputs, node);
    }
  }
  Node noop = MakeNode("ReduceMean");
  noop.SetInts("noop_with_empty_axes", {1});
  const Value x = RandomFloats(rng, {3, 4});
  EXPECT_EQ(Shared(noop, {x}).bytes, x.bytes);
}

TEST_F(ComputeTest, BatchNormalizationMatchesTheOracle) {
  Rng rng(90);
  for (const Shape& shape : std::vector<Shape>{{3, 4}, {2, 5, 9}, {2, 3, 5, 7}, {0, 3, 2, 2}}) {
    const Shape channels = {shape[1]};
    Node node = MakeNode("BatchNormalization");
    node.SetFloats("epsilon", {1e-3f});
    const Inputs inputs = {RandomFloats(rng, shape), RandomFloats(rng, channels), RandomFloats(rng, channels),
                           RandomFloats(rng, channels), RandomFloats(rng, channels, 0.5f, 2)};
    const Value shared = Shared(node, inputs);
    const Value oracle = Oracle(node, inputs);
    // Terms of at most (2 + 2) * 2 / sqrt(0.5) + 2 < 14, five roundings of 2^-24 each.
    for (size_t i = 0; i < shared.bytes.size() / sizeof(float); ++i) {
      ASSERT_NEAR(shared.as<float>()[i], oracle.as<float>()[i], 14 * 5 * 6e-8);
    }
  }
}

}  // namespace
}  // namespace tally
