#include "converter/search/equalize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backends/all/all.h"
#include "converter/calibration/evaluate.h"
#include "tests/converter/search/toy.h"

namespace tally {
namespace {

using testing::AddFloat;
using testing::AddNode;
using testing::LastNode;
using testing::ToyData;
using testing::ToyNetwork;

std::vector<EqualizablePair> PairsOf(const Graph& graph) {
  const auto targets = FindTargets(graph);
  EXPECT_TRUE(targets.ok()) << targets.status();
  return FindEqualizable(graph, *targets);
}

std::vector<float> Logits(const Graph& graph, const Dataset& data) {
  auto model = Model::FromGraph(graph);
  EXPECT_TRUE(model.ok()) << model.status();
  SessionOptions options;
  options.backends = {"reference"};
  auto session = Session::Create(*model, options, DefaultRegistry());
  EXPECT_TRUE(session.ok()) << session.status();
  EvalOptions eval;
  eval.keep_logits = true;
  auto result = Evaluate(*session, data, eval);
  EXPECT_TRUE(result.ok()) << result.status();
  return result->logits;
}

// 2^-3 .. 2^4.
std::vector<float> EightFactors() {
  std::vector<float> factors;
  for (int c = 0; c < 8; ++c) factors.push_back(std::ldexp(1.0f, c - 3));
  return factors;
}

TEST(FindEqualizable, TakesWhatLayersAloneRead) {
  const Graph toy = ToyNetwork(1);
  const std::vector<EqualizablePair> pairs = PairsOf(toy);
  // c1; behind c2 comes a pool, c3 has a residual and is flattened.
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(toy.nodes[static_cast<size_t>(pairs[0].producer)].name, "c1");
  EXPECT_EQ(pairs[0].weights, std::vector<size_t>{1});
}

TEST(FindEqualizable, LeavesOutWhatMustStayAsItIs) {
  Graph clipped = ToyNetwork(1);
  clipped.nodes[0].SetString("activation", "Clip");
  EXPECT_TRUE(PairsOf(clipped).empty());
  Graph output = ToyNetwork(1);
  output.outputs.push_back(output.nodes[0].outputs[0]);
  EXPECT_TRUE(PairsOf(output).empty());
  Graph residual = ToyNetwork(1);
  residual.nodes[1].inputs = {residual.nodes[1].inputs[0], residual.nodes[1].inputs[1], -1,
                              residual.nodes[0].outputs[0]};
  EXPECT_TRUE(PairsOf(residual).empty());
  Graph shared_bias = ToyNetwork(1);
  shared_bias.nodes[1].inputs.push_back(shared_bias.nodes[0].inputs[2]);
  EXPECT_TRUE(PairsOf(shared_bias).empty());
  Graph shared_weight = ToyNetwork(1);
  AddNode(&shared_weight, "Conv", "again", {shared_weight.inputs[0], shared_weight.nodes[0].inputs[1]});
  EXPECT_TRUE(PairsOf(shared_weight).empty());
}

TEST(ScaleChannels, KeepsEveryBitOfTheFloatNetwork) {
  // Depthwise, grouped and plain.
  for (int64_t group : {8, 2, 1}) {
    Graph graph = ToyNetwork(1);
    Node& node = graph.nodes[1];
    const Tensor depthwise = graph.tensors[static_cast<size_t>(node.inputs[1])];
    std::vector<float> w;
    for (int64_t i = 0; i < 64 / group * 9; ++i)
      w.push_back(depthwise.data.as<float>()[i % 72] + 0.01f * static_cast<float>(i));
    node.inputs[1] = AddFloat(&graph, "w2b", {8, 8 / group, 3, 3}, w);
    node.SetInts("group", {group});
    const auto data = ToyData(graph, 4, /*labelled=*/false, 2);
    ASSERT_TRUE(data.ok()) << data.status();
    const auto targets = FindTargets(graph);
    ASSERT_TRUE(targets.ok()) << targets.status();
    const std::vector<EqualizablePair> pairs = FindEqualizable(graph, *targets);
    ASSERT_EQ(pairs.size(), 1u);
    Graph scaled = graph;
    ScaleChannels(pairs[0], *targets, EightFactors(), &scaled);
    for (int input : {1, 2}) {
      const size_t t = static_cast<size_t>(graph.nodes[0].inputs[static_cast<size_t>(input)]);
      EXPECT_EQ(scaled.tensors[t].data.as<float>()[0], 8 * graph.tensors[t].data.as<float>()[0]);
    }
    EXPECT_EQ(Logits(scaled, *data), Logits(graph, *data)) << "group " << group;
  }
}

TEST(EqualizeChannels, UndoesUnevenChannelsAndNothingElse) {
  const Graph even = ToyNetwork(1);
  const auto targets = FindTargets(even);
  ASSERT_TRUE(targets.ok()) << targets.status();
  Graph uneven = even;
  ScaleChannels(FindEqualizable(even, *targets)[0], *targets, EightFactors(), &uneven);
  const auto data = ToyData(even, 40, /*labelled=*/false, 2);
  ASSERT_TRUE(data.ok()) << data.status();
  auto pool = ThreadPool::Create(1);
  ASSERT_TRUE(pool.ok()) << pool.status();
  const std::shared_ptr<ThreadPool> shared = *std::move(pool);
  const Registry registry = DefaultRegistry();
  const auto make_runner = [&](const Graph& g, const Dataset& samples) {
    return Runner(g, samples, samples, registry, "reference", shared, nullptr);
  };
  const auto equalized = EqualizeChannels(uneven, *data, SearchOptions(), 1, make_runner, shared.get(), nullptr);
  ASSERT_TRUE(equalized.ok()) << equalized.status();
  ASSERT_EQ(equalized->activations.size(), 1u);
  EXPECT_EQ(uneven.tensors[static_cast<size_t>(equalized->activations[0])].name, "c1");
  EXPECT_EQ(Logits(equalized->graph, *data), Logits(uneven, *data));
  // What was made even stays so.
  const auto again = EqualizeChannels(equalized->graph, *data, SearchOptions(), 1, make_runner, shared.get(), nullptr);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->activations.empty());
}

TEST(Convert, EqualizesOnRequest) {
  Graph uneven = ToyNetwork(1);
  const auto targets = FindTargets(uneven);
  ASSERT_TRUE(targets.ok()) << targets.status();
  ScaleChannels(FindEqualizable(uneven, *targets)[0], *targets, EightFactors(), &uneven);
  const auto data = ToyData(uneven, 40, /*labelled=*/false, 2);
  ASSERT_TRUE(data.ok()) << data.status();
  for (bool equalize : {false, true}) {
    ConvertOptions options = testing::OneThread();
    options.equalize = equalize;
    const auto result = Convert(uneven, *data, nullptr, options, DefaultRegistry());
    ASSERT_TRUE(result.ok()) << result.status();
    int equalized = 0;
    for (const TensorReport& t : result->report.tensors) {
      equalized += t.reason.find("channels equalized") != std::string::npos ? 1 : 0;
    }
    EXPECT_EQ(equalized, equalize ? 1 : 0);
    EXPECT_EQ(result->graph.metadata.at("option.equalize"), equalize ? "on" : "off");
  }
}

}  // namespace
}  // namespace tally
