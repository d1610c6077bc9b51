// Graphs that the search must not stumble over.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "backends/all/all.h"
#include "converter/convert.h"
#include "converter/passes/graph_util.h"
#include "tests/converter/search/toy.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::AddFloat;
using testing::AddInput;
using testing::AddNode;
using testing::CodeOf;
using testing::DataOf;
using testing::LastNode;
using testing::OneThread;
using testing::TensorOf;
using testing::ToyData;
using testing::ToyNetwork;

TEST(Convert, SaysWhereLayersCannotRunSampleBySample) {
  // A fixed batch of two whose samples end up side by side.
  Graph g;
  g.name = "transposed";
  const int x = AddInput(&g, "input", {2, 3});
  const int t = AddNode(&g, "Transpose", "columns", {x});
  LastNode(&g).SetInts("perm", {1, 0});
  const int product = AddNode(&g, "Gemm", "mix", {t, AddFloat(&g, "w", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})});
  const int back = AddNode(&g, "Transpose", "rows", {product});
  LastNode(&g).SetInts("perm", {1, 0});
  g.outputs = {back};
  const auto data = ToyData(g, 8, /*labelled=*/false, 5);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto fallen_back = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(fallen_back.ok()) << fallen_back.status();
  EXPECT_EQ(fallen_back->graph.metadata.at("option.rounding"), "nearest");
  ConvertOptions options = OneThread();
  options.rounding = Rounding::kCompensated;
  const auto result = Convert(g, *data, nullptr, options, DefaultRegistry());
  EXPECT_EQ(CodeOf(result.status()), "TLY-E0201") << result.status();
  EXPECT_NE(result.status().message().find("rounding nearest"), std::string::npos) << result.status();
}

TEST(Convert, SurvivesActivationsThatAreNotFinite) {
  // x / mean(x): 0 / 0 on a silent sample.
  Graph g;
  g.name = "normalized";
  g.symbols = {"N"};
  const int x = AddInput(&g, "input", {-1, 6});
  const int mean = AddNode(&g, "ReduceMean", "mean", {x, g.AddTensor(MakeInt64Constant("axes", {1}))});
  LastNode(&g).SetInts("keepdims", {1});
  const int ratio = AddNode(&g, "Div", "ratio", {x, mean});
  std::vector<float> w(30);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  g.outputs = {AddNode(&g, "Gemm", "scores", {ratio, AddFloat(&g, "w", {5, 6}, w)})};
  std::vector<float> values(40 * 6);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i < 6 ? 0 : 2 + std::cos(static_cast<float>(i * i));
  const auto data = DataOf(g, values, 40, {});
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(TensorOf(result->graph, "w").codes.has_value());
  EXPECT_TRUE(ValidateGraph(result->graph).ok());
}

TEST(Convert, TakesVectorsWithoutABatch) {
  Graph g;
  g.name = "vectors";
  const int x = AddInput(&g, "input", {1, 8});
  const int axes = g.AddTensor(MakeInt64Constant("axes", {0}));
  const int flat = AddNode(&g, "Squeeze", "flat", {x, axes});
  const auto weight = [&](const std::string& name, int64_t rows, int64_t columns) {
    std::vector<float> w(static_cast<size_t>(rows * columns));
    for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(3 * i + 1));
    return AddFloat(&g, name, {rows, columns}, w);
  };
  const int first = AddNode(&g, "Gemm", "first", {flat, weight("w1", 6, 8)});
  const int second = AddNode(&g, "Gemm", "second", {first, weight("w2", 4, 6)});
  g.outputs = {AddNode(&g, "Unsqueeze", "scores", {second, axes})};
  const auto data = ToyData(g, 24, /*labelled=*/false, 3);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(TensorOf(result->graph, "w2").codes.has_value());
}

TEST(Convert, OneInputsFixedBatchIsThatOfAll) {
  Graph g;
  g.name = "two inputs";
  g.symbols = {"N"};
  std::vector<float> w(40);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  const int a = AddInput(&g, "a", {-1, 8}), b = AddInput(&g, "b", {1, 5});
  const int from_a = AddNode(&g, "Gemm", "from_a", {a, AddFloat(&g, "w_a", {5, 8}, w)});
  const int sum = AddNode(&g, "Add", "sum", {from_a, b});
  g.outputs = {AddNode(&g, "Gemm", "scores", {sum, AddFloat(&g, "w_b", {8, 5}, w)})};
  const std::string folder = testing::TempDir();
  std::string inputs;
  for (int t : g.inputs) {
    const Tensor& input = g.tensors[static_cast<size_t>(t)];
    std::vector<float> x(static_cast<size_t>(24 * input.shape[1]));
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(i * i));
    ASSERT_TRUE(WriteNpy(folder + "/" + input.name + ".npy", {x.data(), DType::kFloat32, {24, input.shape[1]}}).ok());
    inputs += (inputs.empty() ? "" : ",") + (R"({"name": ")" + input.name) + R"(", "kind": "npy", "path": ")" +
              input.name + R"(.npy"})";
  }
  std::ofstream(folder + "/data.json") << R"({"name": "two", "target": {"kind": "none"}, "inputs": [)" << inputs
                                       << "]}";
  const auto data =
      Dataset::Open(folder + "/data.json", {{"a", DType::kFloat32, {-1, 8}}, {"b", DType::kFloat32, {1, 5}}});
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(TensorOf(result->graph, "w_b").codes.has_value());
}

TEST(Convert, MindsEveryOutput) {
  // The second head hangs on layers of its own.
  Graph g = ToyNetwork(1);
  std::vector<float> w(3 * 8 * 9);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  const int head = AddNode(&g, "Conv", "head", {g.nodes[0].outputs[0], AddFloat(&g, "w_head", {3, 8, 3, 3}, w)});
  g.outputs.push_back(head);
  const auto data = ToyData(g, 40, /*labelled=*/false, 2);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  for (const TensorReport& t : result->report.tensors) {
    if (t.tensor != "w_head") continue;
    ASSERT_FALSE(t.output_errors.empty());
    EXPECT_GT(t.output_errors.begin()->second, 0);
    EXPECT_GT(t.codebook.exponent_bits, 2);
  }
}

TEST(Convert, RoundsLayersToNearestThatAreTooWideForCovariances) {
  Graph g;
  g.name = "wide";
  g.symbols = {"N"};
  const int x = AddInput(&g, "input", {-1, 5000});
  std::vector<float> w(2 * 5000);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  g.outputs = {AddNode(&g, "Gemm", "scores", {x, AddFloat(&g, "w", {2, 5000}, w)})};
  const auto data = ToyData(g, 20, /*labelled=*/false, 3);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  for (const TensorReport& t : result->report.tensors) {
    if (t.is_weight) {
      EXPECT_NE(t.reason.find("5000 columns are too many"), std::string::npos) << t.reason;
    }
  }
}

// ids [N,3] -> table [20,6] -> Gemm with a weight of its own, or the table itself.
Graph TextNetwork(bool tied) {
  Graph g;
  g.name = "text";
  g.symbols = {"N"};
  const int ids = AddInput(&g, "ids", {-1, 3});
  g.tensors[static_cast<size_t>(ids)].dtype = DType::kInt64;
  std::vector<float> values(20 * 6);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i * i));
  const int table = AddFloat(&g, "table", {20, 6}, values);
  const int embedded = AddNode(&g, "Gather", "embedded", {table, ids});
  std::reverse(values.begin(), values.end());
  g.outputs = {AddNode(&g, "Gemm", "scores", {embedded, tied ? table : AddFloat(&g, "w", {20, 6}, values)})};
  return g;
}

TEST(Convert, StoresTablesAsCodes) {
  for (const bool tied : {false, true}) {
    const Graph g = TextNetwork(tied);
    std::vector<float> ids(40 * 3);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<float>(i * 7 % 20);
    const auto data = DataOf(g, ids, 40, {});
    ASSERT_TRUE(data.ok()) << data.status();
    for (const bool keeps : {false, true}) {
      ConvertOptions options = OneThread();
      options.keep_int8 = options.keep_float = keeps;
      const auto result = Convert(g, *data, nullptr, options, DefaultRegistry());
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_LE(result->report.weight_bits_mean, 4);
      const Tensor& table = TensorOf(result->graph, "table");
      EXPECT_TRUE(table.codes.has_value());
      EXPECT_EQ(table.has_data, keeps);
      EXPECT_EQ(table.int8.has_value(), keeps);
      // With a product of its own it is rounded for that.
      const TensorReport& report = result->report.tensors[0];
      EXPECT_EQ(report.tensor, "table");
      EXPECT_EQ(report.node, tied ? "scores" : "embedded");
      EXPECT_EQ(report.reason.find("a table") != std::string::npos, !tied) << report.reason;
      EXPECT_GT(report.output_errors.begin()->second, 0);
      ASSERT_FALSE(result->graph.golden.empty());
    }
  }
}

TEST(Convert, LeavesInFloatWhatItCannotQuantize) {
  Graph g;
  g.symbols = {"N"};
  const int x = AddInput(&g, "x", {-1, 4});
  const int w = AddFloat(&g, "w", {4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  const int y = AddNode(&g, "Gemm", "y", {x, w});
  const int table = AddFloat(&g, "table", {4, 4}, std::vector<float>(16, 0.25f));
  g.outputs = {AddNode(&g, "MatMul", "z", {y, table})};
  const auto data = ToyData(g, 16, false, 8);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  const TensorReport& last = result->report.tensors.back();
  EXPECT_EQ(last.node, "z");
  EXPECT_EQ(last.codebook.exponent_bits, 0);
  EXPECT_NE(last.reason.find("constant"), std::string::npos);
  // 16 elements at 4 bits or less and 16 at 32.
  const auto bits = ComputeBitStatistics(result->graph);
  ASSERT_TRUE(bits.ok()) << bits.status();
  EXPECT_GT(bits->weight_stored_bits, 17);
  EXPECT_LE(bits->weight_stored_bits, 18);
}

TEST(Convert, ConstantAndZeroWeightsAreNoProblem) {
  Graph g;
  g.symbols = {"N"};
  const int x = AddInput(&g, "x", {-1, 4});
  const int zero = AddFloat(&g, "zero", {4, 4}, std::vector<float>(16, 0.0f));
  const int ones = AddFloat(&g, "ones", {2, 4}, std::vector<float>(8, 1.0f));
  const int y = AddNode(&g, "Gemm", "y", {x, zero});
  const int relu = AddNode(&g, "Relu", "relu", {y});
  g.outputs = {AddNode(&g, "Gemm", "z", {relu, ones})};
  const auto data = ToyData(g, 16, false, 9);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(g, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(ValidateGraph(result->graph).ok());
}

}  // namespace
}  // namespace tally
