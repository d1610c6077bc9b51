// Sessions that measure, on real backends: the choice shows in the placement and never in the results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "backends/all/all.h"
#include "format/bit_packing.h"
#include "tally/tally.h"
#include "tests/exec/graph_builder.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::GraphBuilder;

Codebook Book(int exponent_bits, bool is_signed) {
  return *MakeCodebook(exponent_bits, is_signed, Grid::kQ7, EncodeRule::kNearest, 1.4, 0.05, 0);
}

void AddWeight(GraphBuilder* b, const std::string& name, const Shape& shape) {
  Tensor t;
  t.name = name;
  t.shape = shape;
  CodeForm form;
  form.codebook = Book(3, true);
  std::vector<uint8_t> codes(t.elements());
  std::minstd_rand random(7);
  for (uint8_t& c : codes) {
    do c = static_cast<uint8_t>(random() % 16);
    while (!form.codebook.is_valid_code(c));
  }
  uint8_t* packed = nullptr;
  form.packed = Blob::Allocate(static_cast<size_t>(PackedBytes(codes.size(), 4)), &packed);
  PackBits(codes.data(), codes.size(), 4, packed);
  t.codes = form;
  b->graph.AddTensor(t);
}

// Conv, Relu inside; then Gemm with a bias on activations of few levels, which counting takes as well.
Graph CodesGraph() {
  GraphBuilder b;
  b.Input("x", {-1, 4, 6, 6});
  AddWeight(&b, "w1", {8, 4, 3, 3});
  AddWeight(&b, "w2", {10, 288});
  b.Constant<float>("bias", DType::kFloat32, {10}, std::vector<float>(10, 0.5f));
  Node& conv = b.Add("Conv", {"x", "w1"}, {"y"});
  conv.SetInts("pads", {1, 1, 1, 1});
  b.Add("Relu", {"y"}, {"r"});
  b.Add("Flatten", {"r"}, {"f"});
  b.Add("Gemm", {"f", "w2", "bias"}, {"z"});
  b.Output("z");
  b.graph.tensors[0].codebook = Book(4, true);
  b.graph.tensors[static_cast<size_t>(b.graph.FindTensor("f"))].codebook = Book(3, false);
  return b.graph;
}

struct Ran {
  std::vector<NodePlacement> placement;  // of Conv and Gemm
  std::vector<float> z;
};

Ran RunOn(const SessionOptions& options) {
  Ran ran;
  absl::StatusOr<Model> model = Model::FromGraph(CodesGraph());
  EXPECT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Session> session = Session::Create(*model, options);
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return ran;
  for (const NodePlacement& p : session->placement()) {
    if (p.op == "Conv" || p.op == "Gemm") ran.placement.push_back(p);
  }
  std::vector<float> x(144);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) / 10 - 0.6f;
  ran.z.resize(10);
  const absl::Status status = session->Run({{"x", {x.data(), DType::kFloat32, {1, 4, 6, 6}}}},
                                           {{"z", {ran.z.data(), DType::kFloat32, {1, 10}}}});
  EXPECT_TRUE(status.ok()) << status;
  return ran;
}

SessionOptions On(std::vector<std::string> backends) {
  SessionOptions options;
  options.backends = std::move(backends);
  return options;
}

std::vector<std::vector<std::string>> Combinations() {
  const std::vector<std::string> built = AvailableBackends();
  std::vector<std::vector<std::string>> combinations = {{"exponent"}};
  if (std::find(built.begin(), built.end(), "onednn-codebook") != built.end()) {
    combinations.push_back({"exponent", "onednn-codebook"});
    combinations.push_back({"onednn-codebook", "exponent"});
  }
  return combinations;
}

TEST(Tuning, EveryChoiceGivesTheSameBitsAndItsReason) {
  SessionOptions oracle = On({"histogram"});
  const std::vector<float> expected = RunOn(oracle).z;
  for (const std::vector<std::string>& backends : Combinations()) {
    for (const Tuning tuning : {Tuning::kRules, Tuning::kMeasure}) {
      for (const int threads : {1, 2}) {
        SessionOptions options = On(backends);
        options.tuning = tuning;
        options.num_threads = threads;
        const Ran ran = RunOn(options);
        EXPECT_EQ(ran.z, expected);
        ASSERT_EQ(ran.placement.size(), 2u);
        for (const NodePlacement& p : ran.placement) {
          EXPECT_NE(p.why, "") << p.node;
          if (tuning == Tuning::kRules) {
            EXPECT_EQ(p.backend, backends[0]);
            EXPECT_THAT(p.why, ::testing::AnyOf("rule", "only kernel"));
          }
        }
      }
    }
  }
}

TEST(Tuning, ALaterSessionChoosesAlike) {
  for (const std::vector<std::string>& backends : Combinations()) {
    const Ran first = RunOn(On(backends)), second = RunOn(On(backends));
    for (size_t i = 0; i < first.placement.size(); ++i) {
      const NodePlacement &a = first.placement[i], &b = second.placement[i];
      // What a busy machine did not let be measured is tried again.
      if (a.why.rfind("rule", 0) == 0) continue;
      EXPECT_EQ(a.backend, b.backend);
      EXPECT_EQ(a.kernel, b.kernel);
      EXPECT_THAT(b.why, ::testing::AnyOf("only kernel", ::testing::StartsWith("cached: measured")));
    }
  }
}

TEST(Tuning, NoTimeMeansTheRule) {
  SessionOptions options = On(Combinations().back());
  options.dimensions = {{"N", 3}};  // shapes that no other test has measured
  options.tuning_seconds = 0;
  absl::StatusOr<Model> model = Model::FromGraph(CodesGraph());
  ASSERT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Session> session = Session::Create(*model, options);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->placement()[0].backend, options.backends[0]);
}

TEST(Tuning, AnUnwritableCacheCostsNothingButAWarning) {
  SessionOptions options = On(Combinations().back());
  options.cache_dir = "/proc/no/such/folder";
  options.log = [](LogLevel level, const std::string& text) {
    if (level == LogLevel::kWarning) {
      EXPECT_THAT(text, ::testing::HasSubstr("/proc/no/such/folder"));
    }
  };
  EXPECT_EQ(RunOn(options).z, RunOn(On({"exponent"})).z);
}

}  // namespace
}  // namespace tally
