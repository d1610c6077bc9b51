// The oracle itself, against values worked out by hand or from the definition; what it refuses; data movement.
#include "backends/reference/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/node_runner.h"

namespace tally {
namespace {

using testing::Floats;
using testing::Inputs;
using testing::Int64s;
using testing::MakeNode;
using testing::MakePool;
using testing::RunBackend;
using testing::Value;

std::vector<float> RunNode(const Node& node, const Inputs& inputs) {
  const auto result = RunBackend(*MakeReferenceBackend(), node, inputs, MakePool(1).get());
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? (*result)[0].list<float>() : std::vector<float>();
}

using List = std::vector<float>;

List Ramp(size_t count) {
  List values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return values;
}

TEST(ReferenceTest, ConvSumsTapsInsideTheImageAndZerosOutside) {
  Node node = MakeNode("Conv");
  node.SetInts("pads", {1, 1, 1, 1});
  // 3 x 3 of ones over 0 .. 8 with a border of zeros.
  EXPECT_EQ(RunNode(node, {Floats({1, 1, 3, 3}, Ramp(9)), Floats({1, 1, 3, 3}, List(9, 1.0f))}),
            (List{8, 15, 12, 21, 36, 27, 20, 33, 24}));
}

TEST(ReferenceTest, ConvHonoursStrideDilationAsymmetricPadsAndGroups) {
  Node node = MakeNode("Conv");
  node.SetInts("group", {2});
  node.SetInts("strides", {2});
  node.SetInts("dilations", {2});
  node.SetInts("pads", {1, 0});
  // Positions -1, 1, 3 of each channel: taps (start, start + 2), weights (1, 10) and (2, 20).
  EXPECT_EQ(RunNode(node, {Floats({1, 2, 5}, Ramp(10)), Floats({2, 1, 2}, {1, 10, 2, 20})}), (List{10, 31, 120, 172}));
}

TEST(ReferenceTest, ConvAddsBiasThenResidualThenActivates) {
  Node node = MakeNode("Conv");
  node.SetString("activation", "Clip");
  node.SetFloats("activation_params", {-1.0f, 50.0f});
  EXPECT_EQ(RunNode(node, {Floats({1, 1, 2, 2}, {1, 2, 3, 4}), Floats({2, 1, 1, 1}, {1, -10}), Floats({2}, {0.5f, 1}),
                           Floats({1, 2, 2, 2}, {1, 1, 1, 100, 0, 20, 0, 0})}),
            (List{2.5f, 3.5f, 4.5f, 50, -1, 1, -1, -1}));
}

TEST(ReferenceTest, GemmMultipliesByRowsOfItsWeight) {
  EXPECT_EQ(RunNode(MakeNode("Gemm"),
                    {Floats({2, 3}, {1, 2, 3, 4, 5, 6}), Floats({2, 3}, {1, 0, 1, 0, 1, 10}), Floats({2}, {0.5f, -1})}),
            (List{4.5f, 31, 10.5f, 64}));
}

TEST(ReferenceTest, MatMulBroadcastsLeadingExtents) {
  // a[2,1,1,2], b[3,2,1] -> [2,3,1,1].
  EXPECT_EQ(RunNode(MakeNode("MatMul"), {Floats({2, 1, 1, 2}, {1, 2, 3, 4}), Floats({3, 2, 1}, {1, 0, 0, 1, 1, 1})}),
            (List{1, 2, 3, 3, 4, 7}));
  EXPECT_EQ(RunNode(MakeNode("MatMul"), {Floats({2}, {1, 2}), Floats({2, 2}, {1, 2, 3, 4})}), (List{7, 10}));
  EXPECT_EQ(RunNode(MakeNode("MatMul"), {Floats({2, 2}, {1, 2, 3, 4}), Floats({2}, {1, 10})}), (List{21, 43}));
}

TEST(ReferenceTest, SumsAreNotRoundedToFloatOnTheWay) {
  // In float32 every 1 would vanish beside 2^25.
  List x(101, 1.0f);
  x[0] = 33554432.0f;
  List y = RunNode(MakeNode("Gemm"), {Floats({1, 101}, x), Floats({1, 101}, List(101, 1.0f))});
  EXPECT_EQ(y[0], 33554532.0f);
}

TEST(ReferenceTest, PoolsIgnorePaddingUnlessItCounts) {
  Node node = MakeNode("MaxPool");
  node.SetInts("kernel_shape", {2, 2});
  node.SetInts("pads", {1, 1, 0, 0});
  node.SetInts("strides", {2, 2});
  const Value x = Floats({1, 1, 3, 3}, {-1, -2, -3, -4, -5, -6, -7, -8, -9});
  EXPECT_EQ(RunNode(node, {x}), (List{-1, -2, -4, -5}));
  node.op = "AveragePool";
  EXPECT_EQ(RunNode(node, {x}), (List{-1, -2.5f, -5.5f, -7}));
  node.SetInts("count_include_pad", {1});
  EXPECT_EQ(RunNode(node, {x}), (List{-0.25f, -1.25f, -2.75f, -7}));
}

TEST(ReferenceTest, CeilModeHangsOverTheEndWithoutCountingIt) {
  Node node = MakeNode("AveragePool");
  node.SetInts("kernel_shape", {2});
  node.SetInts("strides", {2});
  node.SetInts("ceil_mode", {1});
  node.SetInts("count_include_pad", {1});
  EXPECT_EQ(RunNode(node, {Floats({1, 1, 3}, {2, 4, 10})}), (List{3, 10}));
}

TEST(ReferenceTest, GlobalPoolsReduceAllSpatialExtents) {
  const Value x = Floats({1, 2, 1, 3}, {1, 2, 6, -1, -5, -3});
  EXPECT_EQ(RunNode(MakeNode("GlobalAveragePool"), {x}), (List{3, -3}));
  EXPECT_EQ(RunNode(MakeNode("GlobalMaxPool"), {x}), (List{6, -1}));
}

TEST(ReferenceTest, ActivationsFollowTheirDefinitions) {
  const List x = {-4, -1, 0, 1, 4};
  const auto run = [&x](const Node& node) { return RunNode(node, {Floats({5}, x)}); };
  EXPECT_EQ(run(MakeNode("Relu")), (List{0, 0, 0, 1, 4}));
  Node clip = MakeNode("Clip");
  EXPECT_EQ(run(clip), x);
  clip.SetFloats("min", {-2});
  clip.SetFloats("max", {3});
  EXPECT_EQ(run(clip), (List{-2, -1, 0, 1, 3}));
  EXPECT_EQ(run(MakeNode("LeakyRelu")), (List{4 * -0.01f, -0.01f, 0, 1, 4}));
  EXPECT_EQ(run(MakeNode("HardSwish")), (List{-0.0f, static_cast<float>(-1.0 / 3), 0, static_cast<float>(2.0 / 3), 4}));
  Node hard = MakeNode("HardSigmoid");
  hard.SetFloats("alpha", {0.25f});
  EXPECT_EQ(run(hard), (List{0, 0.25f, 0.5f, 0.75f, 1}));
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_FLOAT_EQ(run(MakeNode("Sigmoid"))[i], 1 / (1 + std::exp(-x[i])));
    EXPECT_FLOAT_EQ(run(MakeNode("Tanh"))[i], std::tanh(x[i]));
  }
}

TEST(ReferenceTest, ArithmeticBroadcasts) {
  const Value a = Floats({2, 1}, {1, 10});
  const Value b = Floats({3}, {1, 2, 4});
  EXPECT_EQ(RunNode(MakeNode("Add"), {a, b}), (List{2, 3, 5, 11, 12, 14}));
  EXPECT_EQ(RunNode(MakeNode("Sub"), {a, b}), (List{0, -1, -3, 9, 8, 6}));
  EXPECT_EQ(RunNode(MakeNode("Mul"), {a, b}), (List{1, 2, 4, 10, 20, 40}));
  EXPECT_EQ(RunNode(MakeNode("Div"), {a, b}), (List{1, 0.5f, 0.25f, 10, 5, 2.5f}));
}

TEST(ReferenceTest, SoftmaxRunsAlongItsAxisOrOverAllThatFollow) {
  const float ln3 = std::log(3.0f);
  const Value x = Floats({1, 2, 2}, {0, ln3, ln3, 0});
  Node node = MakeNode("Softmax");
  const List along_last = RunNode(node, {x});
  EXPECT_FLOAT_EQ(along_last[0], 0.25f);
  EXPECT_FLOAT_EQ(along_last[1], 0.75f);
  node.SetInts("axis", {1});
  EXPECT_FLOAT_EQ(RunNode(node, {x})[0], 0.25f);
  EXPECT_FLOAT_EQ(RunNode(node, {x})[1], 0.75f);
  node.SetInts("flatten", {1});
  EXPECT_FLOAT_EQ(RunNode(node, {x})[0], 0.125f);
}

TEST(ReferenceTest, ReduceMeanAndBatchNormalization) {
  const Value x = Floats({2, 3}, {1, 2, 3, 5, 6, 7});
  EXPECT_EQ(RunNode(MakeNode("ReduceMean"), {x}), (List{4}));
  EXPECT_EQ(RunNode(MakeNode("ReduceMean"), {x, Int64s({1}, {0})}), (List{3, 4, 5}));
  EXPECT_EQ(RunNode(MakeNode("ReduceMean"), {x, Int64s({1}, {-1})}), (List{2, 6}));
  Node node = MakeNode("BatchNormalization");
  node.SetFloats("epsilon", {1.0f});
  EXPECT_EQ(RunNode(node, {x, Floats({3}, {2, 2, 3}), Floats({3}, {0, 1, 0}), Floats({3}, {1, 2, 3}),
                           Floats({3}, {3, 0, 8})}),
            (List{0, 1, 0, 4, 9, 4}));
}

TEST(ReferenceTest, DataMovementIsTheSharedOperators) {
  const Value x = Floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(RunNode(MakeNode("Transpose"), {x}), (List{1, 4, 2, 5, 3, 6}));
  Node concat = MakeNode("Concat");
  concat.SetInts("axis", {1});
  EXPECT_EQ(RunNode(concat, {x, Floats({2, 1}, {0, 9})}), (List{1, 2, 3, 0, 4, 5, 6, 9}));
}

TEST(ReferenceTest, TakesEveryOperator) {
  const auto backend = MakeReferenceBackend();
  EXPECT_EQ(backend->name(), "reference");
  const Graph graph;
  for (const OpDef* def : AllOps()) {
    const Node node = MakeNode(def->name);
    const NodeContext context{graph, node, {}, {}, CpuFeatures(), 1};
    EXPECT_TRUE(backend->Supports(context).ok()) << def->name;
    const auto compiled = backend->Compile(context);
    ASSERT_TRUE(compiled.ok());
    EXPECT_EQ((*compiled)->kernel(), "reference");
    EXPECT_EQ((*compiled)->isa(), "scalar");
  }
  const Node unknown = MakeNode("Frobnicate");
  EXPECT_EQ(GetErrorInfo(backend->Supports({graph, unknown, {}, {}, CpuFeatures(), 1})).code, "TLY-E0609");
}

TEST(ReferenceTest, RefusesWeightsWithoutFloatForm) {
  Graph graph;
  graph.AddTensor(Tensor());
  Tensor weight;
  weight.name = "fc.weight";
  weight.shape = {2, 3};
  weight.int8 = Int8Form{{1.0f}, Blob::Copy("abcdef", 6)};
  graph.AddTensor(weight);
  Node node = MakeNode("Gemm");
  node.inputs = {0, 1};
  const NodeContext context{graph, node, {}, {}, CpuFeatures(), 1};
  const auto backend = MakeReferenceBackend();
  const absl::Status status = backend->Supports(context);
  EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0606");
  EXPECT_NE(std::string(status.message()).find("\"fc.weight\" has no float32 form; convert with --keep float"),
            std::string::npos)
      << status;
  graph.tensors[1].has_data = true;
  EXPECT_TRUE(backend->Supports(context).ok());
}

}  // namespace
}  // namespace tally
