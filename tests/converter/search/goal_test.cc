// Bits for a goal: means, a size, a loss.
#include "converter/goal.h"

#include <gtest/gtest.h>

#include "backends/all/all.h"
#include "converter/convert.h"
#include "format/model_file.h"
#include "tests/converter/search/toy.h"

namespace tally {
namespace {

using testing::AddFloat;
using testing::AddInput;
using testing::AddNode;
using testing::CodeOf;
using testing::ConvertToy;
using testing::OneThread;
using testing::TensorOf;
using testing::ToyData;
using testing::ToyNetwork;

TEST(StaysWithin, SparesOneStandardErrorOfEitherDrop) {
  const PairedDrop none = {0, 0}, far = {5, 0.1};
  struct {
    PairedDrop counted, expected;
    int64_t samples;
    bool within;
  } const cases[] = {
      {{0.4, 0.5}, far, 1000, true},          // proven by counting
      {{0.6, 0.5}, far, 1000, false},         // not so, and the expected drop is beyond
      {{0.6, 0.5}, {0.5, 0.2}, 1000, true},   // expected to be within
      {{0.6, 0.5}, {0.9, 0.2}, 1000, false},  // expected, but with nothing to spare
      {{1.4, 0.5}, {0.5, 0.2}, 1000, true},   // counted beyond, within its error
      {{1.9, 0.5}, none, 1000, true},         // counted beyond, within two
      {{2.1, 0.5}, none, 1000, false},        // counting speaks against it
      {none, far, 32, false},                 // no change among 32 proves nothing: one would be 3 points
      {none, far, 200, true},                 // one would be half a point
      {none, {0.2, 0.1}, 32, true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(StaysWithin(c.counted, c.expected, c.samples, 1), c.within)
        << c.counted.drop << " " << c.expected.drop << " " << c.samples;
  }
}

TEST(Convert, TargetsAreUpperBounds) {
  for (double target : {3.0, 3.7, 4.5, 6.01, 8.0}) {
    ConvertOptions options = OneThread();
    options.target_bits = target;
    options.activation_target_bits = target + 0.5;
    const auto result = ConvertToy(options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_LE(result->report.weight_bits_mean, target);
    EXPECT_LE(result->report.activation_bits_mean, target + 0.5);
  }
  ConvertOptions options = OneThread();
  options.target_bits = 2.5;  // signed weights need 3
  EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0201");
}

TEST(Convert, TargetSizeBoundsTheFile) {
  ConvertOptions options = OneThread();
  options.weight_bits = 8;
  const auto large = ConvertToy(options);
  ASSERT_TRUE(large.ok()) << large.status();
  options.weight_bits.reset();
  options.target_size = SerializeModel(large->graph)->size() - 300;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(SerializeModel(result->graph)->size(), *options.target_size);
  EXPECT_GT(result->report.weight_bits_mean, 4);
  options.target_size = 100;
  EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0201");
}

TEST(Convert, MeasuresTheFrontForTheReportAlone) {
  ConvertOptions options = OneThread();
  const auto plain = ConvertToy(options);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(plain->report.steps.empty());
  options.front_points = 3;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->report.steps.size(), 3u);
  EXPECT_EQ(result->report.steps[0].weight_bits, 8);
  EXPECT_EQ(result->report.steps[2].weight_bits, 3);
  EXPECT_GT(result->report.steps[0].value, result->report.steps[2].value);
  EXPECT_EQ(*SerializeModel(result->graph), *SerializeModel(plain->graph));
}

TEST(Convert, MaxDropTakesFewerBitsTheMoreMayBeLost) {
  double last = 9;
  for (double drop : {0.0, 10.0, 100.0}) {
    ConvertOptions options = OneThread();
    options.max_drop = drop;
    const auto result = ConvertToy(options);
    ASSERT_TRUE(result.ok()) << result.status();
    if (result->report.goal_reached) {
      // Counting may overrule an expected drop by two standard errors only.
      EXPECT_LE(result->report.drop.drop - 2 * result->report.drop.standard_error, drop);
      EXPECT_DOUBLE_EQ(result->report.drop.drop, result->report.float_value - result->report.quantized_value);
    }
    // More than 6 only where the goal is out of reach with them.
    EXPECT_LE(result->report.activation_bits_mean, drop == 0 ? 8 : 6);
    EXPECT_LE(result->report.weight_bits_mean, last);
    EXPECT_FALSE(result->report.steps.empty());
    last = result->report.weight_bits_mean;
  }
  EXPECT_EQ(last, 3);  // anything goes: the fewest
}

// Eight layers, the second of which reads values that differ in their last bits only: 1000 and a little.
Graph NeedsAFloatLayer() {
  Graph g;
  g.name = "delicate";
  g.symbols = {"N"};
  const auto diagonal = [&](const std::string& name, float value, float rest) {
    std::vector<float> w(100, rest);
    for (size_t i = 0; i < 10; ++i) w[i * 11] = value;
    return AddFloat(&g, name, {10, 10}, w);
  };
  int x = AddInput(&g, "input", {-1, 10});
  x = AddNode(&g, "Gemm", "up",
              {x, diagonal("w_up", 0.01f, 0), AddFloat(&g, "b_up", {10}, std::vector<float>(10, 1000))});
  x = AddNode(&g, "Gemm", "down",
              {x, diagonal("w_down", 1, 0), AddFloat(&g, "b_down", {10}, std::vector<float>(10, -1000))});
  for (int i = 0; i < 6; ++i) {
    const std::string name = "g" + std::to_string(i);
    x = AddNode(&g, "Gemm", name, {x, diagonal("w_" + name, i == 0 ? 100.0f : 1.0f, 0.03f)});
  }
  g.outputs = {x};
  return g;
}

TEST(Convert, LeavesALayerFloatThatKeepsTheGoalOutOfReach) {
  const Graph graph = NeedsAFloatLayer();
  const auto data = ToyData(graph, 60, /*labelled=*/false, 5);
  ASSERT_TRUE(data.ok()) << data.status();
  ConvertOptions options = OneThread();
  options.max_drop = 10;
  const auto result = Convert(graph, *data, nullptr, options, DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->report.goal_reached);
  EXPECT_EQ(result->graph.metadata.at("max_drop_reached"), "yes");
  int left = 0;
  for (const TensorReport& t : result->report.tensors) {
    if (t.reason.find("stays float32") == std::string::npos) continue;
    EXPECT_EQ(t.node, "down");
    EXPECT_TRUE(t.is_weight);
    EXPECT_EQ(t.elements, 100);
    EXPECT_NE(t.reason.find("out of reach"), std::string::npos) << t.reason;
    ++left;
  }
  EXPECT_EQ(left, 1);
  const Tensor& weight = TensorOf(result->graph, "w_down");
  EXPECT_FALSE(weight.codes.has_value());
  EXPECT_TRUE(weight.has_data);
  EXPECT_GT(result->report.weight_bits_mean, 32.0 / 8);  // of eight equal layers one counts 32
}

TEST(Convert, MaxDropNeedsScores) {
  Graph g;
  g.name = "regression";
  g.symbols = {"N"};
  const int x = AddInput(&g, "input", {-1, 4});
  g.outputs = {AddNode(&g, "Gemm", "value", {x, AddFloat(&g, "w", {1, 4}, {1, 2, 3, 4})})};
  const auto data = ToyData(g, 20, /*labelled=*/false, 3);
  ASSERT_TRUE(data.ok()) << data.status();
  ConvertOptions options = OneThread();
  options.max_drop = 1;
  const auto result = Convert(g, *data, nullptr, options, DefaultRegistry());
  EXPECT_EQ(CodeOf(result.status()), "TLY-E0201") << result.status();
}

TEST(Convert, SaysWhenMaxDropIsOutOfReach) {
  // Agreement with the float model on every sample is too much for activations of three bits.
  ConvertOptions options = OneThread();
  options.max_drop = 0;
  options.activation_bits = 3;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->report.goal_reached);
  EXPECT_EQ(result->graph.metadata.at("max_drop_reached"), "no");
  EXPECT_LT(result->report.quantized_value, result->report.float_value);
}

TEST(Convert, LabelsOfEvalDecideWhereGiven) {
  const Graph graph = ToyNetwork(5);
  const auto calibration = ToyData(graph, 20, false, 6), eval = ToyData(graph, 30, true, 7);
  ASSERT_TRUE(calibration.ok() && eval.ok());
  const auto result = Convert(graph, *calibration, &*eval, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->report.metric, "top1");
  EXPECT_EQ(result->report.selection_samples, 30);
}

}  // namespace
}  // namespace tally
