#include "converter/search/targets.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tally/status.h"
#include "tests/converter/search/toy.h"

namespace tally {
namespace {

using testing::AddFloat;
using testing::AddInput;
using testing::AddNode;
using testing::LastNode;
using testing::ToyNetwork;

TEST(FindTargets, NamesEveryWeightAndActivationOfAProduct) {
  const Graph g = ToyNetwork(1);
  const auto targets = FindTargets(g);
  ASSERT_TRUE(targets.ok()) << targets.status();
  ASSERT_EQ(targets->weights.size(), 4u);
  EXPECT_EQ(targets->weights[0].channels, 8);
  EXPECT_EQ(targets->weights[0].per_channel, 27);
  ASSERT_EQ(targets->activations.size(), 4u);
  EXPECT_TRUE(targets->activations[0].network_input);
  EXPECT_FALSE(targets->activations[1].network_input);
  EXPECT_EQ(targets->activations[3].channel_axis, -1);
  EXPECT_TRUE(targets->skipped.empty());
}

TEST(FindTargets, LeavesOutWhatHasNoConstantWeightOrNoActivation) {
  Graph g;
  const int x = AddInput(&g, "x", {2, 4});
  const int w = AddFloat(&g, "w", {3, 4}, std::vector<float>(12, 0.5f));
  AddNode(&g, "Gemm", "of_two_activations", {x, x});
  AddNode(&g, "Gemm", "of_two_constants", {w, w});
  AddNode(&g, "MatMul", "with_a_constant", {x, w});
  AddNode(&g, "MatMul", "fine", {x, x});
  const auto targets = FindTargets(g);
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_TRUE(targets->weights.empty());
  ASSERT_EQ(targets->skipped.size(), 3u);
  for (const auto& skipped : targets->skipped) EXPECT_FALSE(skipped.reason.empty());
  ASSERT_EQ(targets->activations.size(), 1u);
  EXPECT_EQ(targets->activations[0].partners, std::vector<int>{0});
}

TEST(FindTargets, TakesTablesOfRows) {
  Graph g;
  const int ids = AddInput(&g, "ids", {2});
  g.tensors[static_cast<size_t>(ids)].dtype = DType::kInt64;
  const auto table = [&](const std::string& name, const Shape& shape) {
    return AddFloat(&g, name, shape, std::vector<float>(12, 0.5f));
  };
  const int rows = table("rows", {3, 4}), tied = table("tied", {3, 4});
  AddNode(&g, "Gather", "of_rows", {rows, ids});
  AddNode(&g, "Gather", "again", {rows, ids});
  AddNode(&g, "Gather", "of_columns", {table("columns", {3, 4}), ids});
  LastNode(&g).SetInts("axis", {1});
  AddNode(&g, "Gather", "of_values", {table("values", {12}), ids});
  AddNode(&g, "Gather", "of_an_activation", {AddInput(&g, "x", {3, 4}), ids});
  const int embedded = AddNode(&g, "Gather", "of_tied", {tied, ids});
  AddNode(&g, "Gemm", "scores", {embedded, tied});
  const auto targets = FindTargets(g);
  ASSERT_TRUE(targets.ok()) << targets.status();
  ASSERT_EQ(targets->weights.size(), 2u);
  EXPECT_EQ(targets->weights[0].tensor, rows);
  EXPECT_TRUE(targets->weights[0].nodes.empty());
  EXPECT_EQ(targets->weights[0].lookups, (std::vector<int>{0, 1}));
  EXPECT_EQ(targets->weights[0].reader(), 0);
  EXPECT_EQ(targets->weights[1].tensor, tied);
  EXPECT_EQ(targets->weights[1].nodes, std::vector<int>{6});
  EXPECT_EQ(targets->weights[1].lookups, std::vector<int>{5});
  for (const WeightTarget& w : targets->weights) EXPECT_FALSE(w.read_elsewhere);
  ASSERT_EQ(targets->skipped.size(), 2u);
  EXPECT_EQ(targets->skipped[0].node, 2);
  EXPECT_EQ(targets->skipped[1].node, 3);
  ASSERT_EQ(targets->activations.size(), 1u);
  EXPECT_EQ(targets->activations[0].tensor, embedded);
}

// A layer whose input has no codes needs the weight's float form, whatever other forms it has.
TEST(TakesCodes, NeedsCodesOnBothSides) {
  Graph g;
  const int x = AddInput(&g, "x", {2, 4}), w = AddFloat(&g, "w", {3, 4}, std::vector<float>(12, 0.5f));
  AddNode(&g, "Gemm", "scores", {x, w});
  EXPECT_FALSE(TakesCodes(g, g.nodes[0], 1));
  g.tensors[static_cast<size_t>(x)].codebook = *MakeCodebook(3, true, Grid::kQ7, EncodeRule::kNearest, 1.3, 1, 0.1);
  EXPECT_TRUE(TakesCodes(g, g.nodes[0], 1));
  EXPECT_FALSE(TakesCodes(g, g.nodes[0], 0));
}

TEST(FindTargets, KeepsTheFloatFormOfAWeightThatOthersRead) {
  Graph g;
  const int x = AddInput(&g, "x", {2, 4});
  const int w = AddFloat(&g, "w", {3, 4}, std::vector<float>(12, 0.5f));
  AddNode(&g, "Gemm", "product", {x, w});
  AddNode(&g, "Relu", "reader", {w});
  const auto targets = FindTargets(g);
  ASSERT_TRUE(targets.ok()) << targets.status();
  ASSERT_EQ(targets->weights.size(), 1u);
  EXPECT_TRUE(targets->weights[0].read_elsewhere);
}

TEST(FindTargets, NamesAWeightThatIsNotFinite) {
  Graph g;
  const int x = AddInput(&g, "x", {2, 2});
  AddNode(&g, "Gemm", "product", {x, AddFloat(&g, "poisoned", {1, 2}, {1, std::nanf("")})});
  const auto targets = FindTargets(g);
  EXPECT_EQ(GetErrorInfo(targets.status()).code, "TLY-E0319");
  EXPECT_NE(std::string(targets.status().message()).find("poisoned"), std::string::npos);
}

TEST(NonNegativeTensors, FollowsTheProducers) {
  Graph g;
  const int x = AddInput(&g, "x", {1, 4, 4, 4}), p = AddInput(&g, "p", {1, 4, 4, 4});
  const int relu = AddNode(&g, "Relu", "relu", {x});
  const int clip6 = AddNode(&g, "Clip", "clip6", {x});
  LastNode(&g).SetFloats("min", {0});
  const int clip = AddNode(&g, "Clip", "clip", {x});
  LastNode(&g).SetFloats("min", {-1});
  const int swish = AddNode(&g, "HardSwish", "swish", {x});
  const int sum = AddNode(&g, "Add", "sum", {relu, clip6});
  const int mixed = AddNode(&g, "Add", "mixed", {relu, x});
  const int difference = AddNode(&g, "Sub", "difference", {relu, relu});
  const int concat = AddNode(&g, "Concat", "concat", {relu, x});
  const int pooled = AddNode(&g, "GlobalAveragePool", "pooled", {sum});
  const int moved = AddNode(&g, "Flatten", "moved", {p});
  const int w = AddFloat(&g, "w", {4, 4, 1, 1}, std::vector<float>(16, 1));
  const int conv = AddNode(&g, "Conv", "conv", {relu, w});
  const int fused = AddNode(&g, "Conv", "fused", {x, w});
  LastNode(&g).SetString("activation", "Relu");
  const int leaky = AddNode(&g, "Conv", "leaky", {x, w});
  LastNode(&g).SetString("activation", "LeakyRelu");
  const int fused_clip = AddNode(&g, "Conv", "fused_clip", {x, w});
  LastNode(&g).SetString("activation", "Clip");
  LastNode(&g).SetFloats("activation_params", {0, 6});
  const std::vector<bool> n = NonNegativeTensors(g, {false, true});
  for (int t : {p, relu, clip6, sum, pooled, moved, fused, fused_clip})
    EXPECT_TRUE(n[static_cast<size_t>(t)]) << g.tensors[static_cast<size_t>(t)].name;
  for (int t : {x, clip, swish, mixed, difference, concat, conv, leaky})
    EXPECT_FALSE(n[static_cast<size_t>(t)]) << g.tensors[static_cast<size_t>(t)].name;
}

TEST(SymbolValues, TakesExtentsFromSamplesAndOneForBatches) {
  Graph g;
  g.symbols = {"N", "T"};
  AddInput(&g, "x", {-1, -2, 3});
  EXPECT_EQ(SymbolValues(g, {{5, 7, 3}}), (std::vector<int64_t>{1, 7}));
}

}  // namespace
}  // namespace tally
