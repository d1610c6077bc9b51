#include "converter/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "backends/all/all.h"
#include "converter/search/memo.h"
#include "format/bit_packing.h"
#include "format/model_file.h"
#include "tests/converter/search/toy.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::AddFloat;
using testing::AddInput;
using testing::AddNode;
using testing::CodeOf;
using testing::ConvertToy;
using testing::DataOf;
using testing::OneThread;
using testing::TensorOf;
using testing::ToyData;
using testing::ToyNetwork;

TEST(Convert, GivesAValidModelWithinTheDefaultTargets) {
  const auto result = ConvertToy(OneThread());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(ValidateGraph(result->graph).ok()) << ValidateGraph(result->graph);
  const auto bits = ComputeBitStatistics(result->graph);
  ASSERT_TRUE(bits.ok()) << bits.status();
  EXPECT_LE(bits->weight_stored_bits, 4);
  EXPECT_GT(bits->weight_stored_bits, 3);
  EXPECT_LE(bits->activation_stored_bits, 6);
  EXPECT_EQ(bits->weight_stored_bits, result->report.weight_bits_mean);
  EXPECT_EQ(result->report.metric, "agreement");
  EXPECT_EQ(result->report.selection_samples, 40);
  EXPECT_GT(result->report.quantized_value, 60);  // chance is 10
  for (const char* w : {"w1", "w2", "w3", "w4"}) {
    EXPECT_TRUE(TensorOf(result->graph, w).codes.has_value());
    EXPECT_FALSE(TensorOf(result->graph, w).has_data);
    EXPECT_TRUE(TensorOf(result->graph, w).fit.has_value());
  }
  // The network's own input is signed and gets the most bits; what follows a Relu has no sign.
  EXPECT_EQ(TensorOf(result->graph, "input").codebook->stored_bits(), 8);
  EXPECT_FALSE(TensorOf(result->graph, "c1").codebook->is_signed);
  EXPECT_TRUE(TensorOf(result->graph, "pool").codebook->is_signed);
}

TEST(Convert, SameBytesAtAnyThreadCount) {
  for (Rounding rounding : {Rounding::kNearest, Rounding::kCompensated}) {
    std::vector<std::vector<uint8_t>> files;
    for (int threads : {1, 2, 2}) {
      ConvertOptions options = OneThread();
      options.rounding = rounding;
      options.num_threads = threads;
      const auto result = ConvertToy(options);
      ASSERT_TRUE(result.ok()) << result.status();
      const auto file = SerializeModel(result->graph);
      ASSERT_TRUE(file.ok()) << file.status();
      files.push_back(*file);
    }
    EXPECT_EQ(files[0], files[1]);
    EXPECT_EQ(files[1], files[2]);
  }
}

TEST(Convert, CompensatedRoundingGivesEveryLayerItsCodesAndBias) {
  ConvertOptions options = OneThread();
  options.rounding = Rounding::kCompensated;
  options.weight_bits = 4;
  options.activation_bits = 6;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(ValidateGraph(result->graph).ok()) << ValidateGraph(result->graph);
  EXPECT_EQ(result->graph.metadata.at("option.rounding"), "compensated");
  int weights = 0;
  for (const TensorReport& t : result->report.tensors) {
    if (!t.is_weight) continue;
    ++weights;
    EXPECT_NE(t.reason.find("compensated, damping"), std::string::npos) << t.reason;
  }
  EXPECT_EQ(weights, 4);
  // Biases make up for what codes lose on average: outputs err, but not in the mean.
  const Graph source = ToyNetwork(1);
  const auto data = ToyData(source, 40, /*labelled=*/false, 2);
  ASSERT_TRUE(data.ok()) << data.status();
  std::vector<float> logits[2];
  for (int side = 0; side < 2; ++side) {
    auto model = Model::FromGraph(side == 0 ? source : result->graph);
    ASSERT_TRUE(model.ok()) << model.status();
    SessionOptions session_options;
    session_options.backends = {side == 0 ? "reference" : "histogram"};
    auto session = Session::Create(*model, session_options, DefaultRegistry());
    ASSERT_TRUE(session.ok()) << session.status();
    EvalOptions eval;
    eval.keep_logits = true;
    auto scores = Evaluate(*session, *data, eval);
    ASSERT_TRUE(scores.ok()) << scores.status();
    logits[side] = std::move(scores->logits);
  }
  for (size_t channel = 0; channel < 10; ++channel) {
    double mean = 0, squares = 0;
    for (size_t i = channel; i < 400; i += 10) {
      const double error = static_cast<double>(logits[1][i]) - static_cast<double>(logits[0][i]);
      mean += error / 40;
      squares += error * error / 40;
    }
    EXPECT_GT(squares, 1e-6);
    // Float32 sums of 128 products of values near 1.
    EXPECT_LT(std::fabs(mean), 1e-4) << channel;
  }
}

TEST(Convert, CompensatedRoundingIsNotThePapers) {
  ConvertOptions options = OneThread();
  options.rounding = Rounding::kCompensated;
  options.strategy = Strategy::kDnateq;
  EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0201");
}

using std::filesystem::directory_iterator;

std::vector<uint8_t> BytesOf(const ConvertOptions& options) {
  const auto result = ConvertToy(options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return {};
  const auto file = SerializeModel(result->graph);
  EXPECT_TRUE(file.ok()) << file.status();
  return *file;
}

// The files of a folder with the time of their last change.
std::map<std::string, std::filesystem::file_time_type> Times(const std::string& folder) {
  std::map<std::string, std::filesystem::file_time_type> times;
  for (const auto& entry : directory_iterator(folder)) times[entry.path()] = entry.last_write_time();
  return times;
}

// Steps that were kept are taken up, what is missing or damaged is made again: the same bytes.
TEST(Convert, ResumesToTheSameBytes) {
  ConvertOptions options = OneThread();
  options.target_bits = 3.5;
  const std::vector<uint8_t> expected = BytesOf(options);
  options.resume = testing::TempDir() + "/search";
  EXPECT_EQ(BytesOf(options), expected);
  const auto first = Times(options.resume);
  ASSERT_GE(first.size(), 9u);  // two passes of four weights, and the sensitivity
  EXPECT_EQ(BytesOf(options), expected);
  EXPECT_EQ(Times(options.resume), first) << "nothing is done again";
  size_t i = 0;
  for (const auto& [file, time] : first) {
    if (i % 3 == 0) std::filesystem::remove(file);
    if (i % 3 == 1) std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    ++i;
  }
  EXPECT_EQ(BytesOf(options), expected);
  EXPECT_EQ(Times(options.resume).size(), first.size());
}

// Whoever makes a step's check fit can change what comes of it, but not break the search.
TEST(Convert, SurvivesStepsThatSomebodyElseWrote) {
  ConvertOptions options = OneThread();
  options.resume = testing::TempDir() + "/search";
  BytesOf(options);
  size_t changed = 0;
  for (const auto& [file, time] : Times(options.resume)) {
    nlohmann::json step = nlohmann::json::parse(std::ifstream(file));
    nlohmann::json& value = step["value"];
    if (!value.is_object() || !value.contains("errors") || value["errors"].empty()) continue;
    for (nlohmann::json& pair : value["errors"]) pair[0] = 99;
    step["check"] = Memo::Hash(value.dump());
    std::ofstream(file, std::ios::trunc) << step.dump();
    ++changed;
  }
  ASSERT_GE(changed, 1u);
  const auto result = ConvertToy(options);
  EXPECT_TRUE(result.ok()) << result.status();
}

// What other goals left in the folder changes nothing, and what they share is not done again.
TEST(Convert, ResumesAfterAnotherGoal) {
  ConvertOptions fixed = OneThread(), free = OneThread();
  fixed.weight_bits = 4;
  free.target_bits = 4.5;
  const std::vector<uint8_t> fixed_bytes = BytesOf(fixed), free_bytes = BytesOf(free);
  fixed.resume = free.resume = testing::TempDir() + "/search";
  EXPECT_EQ(BytesOf(fixed), fixed_bytes);
  EXPECT_EQ(BytesOf(free), free_bytes);
  const auto before = Times(free.resume);
  free.target_bits = 4.2;
  BytesOf(free);
  const auto after = Times(free.resume);
  for (const auto& [file, time] : before) EXPECT_EQ(after.at(file), time) << "done again: " << file;
  free.resume.clear();
  EXPECT_EQ(BytesOf(fixed), fixed_bytes);
}

TEST(Convert, MeasuresWhatEachTensorCostsTheOutput) {
  const auto result = ConvertToy(OneThread());
  ASSERT_TRUE(result.ok()) << result.status();
  for (const TensorReport& t : result->report.tensors) {
    ASSERT_FALSE(t.output_errors.empty()) << t.tensor;
    double last = 1;
    for (const auto& [bits, error] : t.output_errors) {
      EXPECT_GT(error, 0) << t.tensor << bits;
      EXPECT_LT(error, last) << t.tensor << bits;
      last = error * 1.02;  // the last bits of a coarse grid bring nearly nothing
    }
  }
  ASSERT_GE(result->report.front.size(), 10u);
  for (size_t i = 1; i < result->report.front.size(); ++i) {
    EXPECT_LT(result->report.front[i].weight_bits, result->report.front[i - 1].weight_bits);
    EXPECT_GE(result->report.front[i].error, result->report.front[i - 1].error);
  }
}

// Labels count where something is scored: on --eval data where that is given.
TEST(Convert, LabelsThatAreNotUsedAreNotChecked) {
  const Graph graph = ToyNetwork(1);
  const auto good = ToyData(graph, 20, /*labelled=*/true, 3);
  ASSERT_TRUE(good.ok()) << good.status();
  const auto bad = DataOf(graph, std::vector<float>(20 * 3 * 8 * 8, 0.5f), 20, std::vector<int64_t>(20, 10));
  ASSERT_TRUE(bad.ok()) << bad.status();
  EXPECT_TRUE(Convert(graph, *bad, &*good, OneThread(), DefaultRegistry()).ok());
  EXPECT_EQ(CodeOf(Convert(graph, *bad, nullptr, OneThread(), DefaultRegistry()).status()), "TLY-E0321");
  EXPECT_EQ(CodeOf(Convert(graph, *good, &*bad, OneThread(), DefaultRegistry()).status()), "TLY-E0321");
}

TEST(Convert, UniformLevelsAreEven) {
  ConvertOptions options = OneThread();
  options.levels = Levels::kUniform;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  for (const TensorReport& t : result->report.tensors) {
    const std::vector<int32_t>& m = t.codebook.mantissas;
    const double step = static_cast<double>(m.back()) / static_cast<double>(m.size());
    for (size_t i = 0; i < m.size(); ++i) {
      // Half a unit of the grid, and what is left of the curve.
      EXPECT_NEAR(m[i], std::max(1.0, static_cast<double>(i + 1) * step), 0.51 + 1e-3 * m.back()) << t.tensor;
    }
  }
}

TEST(Convert, FixedBitsAreStoredBits) {
  for (int bits : {3, 5, 8}) {
    ConvertOptions options = OneThread();
    options.weight_bits = options.activation_bits = bits;
    const auto result = ConvertToy(options);
    ASSERT_TRUE(result.ok()) << result.status();
    for (const TensorReport& t : result->report.tensors) {
      // 8 bits of a non-negative tensor mean 7 exponent bits.
      EXPECT_EQ(t.codebook.stored_bits(), t.codebook.is_signed ? bits : std::min(bits, 7)) << t.tensor;
    }
  }
}

TEST(Convert, EveryStrategyGridAndRuleGivesTheSameBitsOnEveryExactBackend) {
  for (Strategy strategy : {Strategy::kJoint, Strategy::kDnateq}) {
    for (GridChoice grid : {GridChoice::kAuto, GridChoice::kQ7, GridChoice::kQ14, GridChoice::kReal}) {
      for (EncodeRule rule : {EncodeRule::kNearest, EncodeRule::kLog}) {
        ConvertOptions options = OneThread();
        options.strategy = strategy;
        options.grid = grid;
        options.encode_rule = rule;
        options.weight_bits = 4;
        options.activation_bits = 6;
        options.granularity = rule == EncodeRule::kLog ? Granularity::kTensor : Granularity::kChannel;
        const auto result = ConvertToy(options);
        ASSERT_TRUE(result.ok()) << result.status();
        ASSERT_EQ(result->graph.golden.size(), 2u);
        const GoldenCase& golden = result->graph.golden[0];
        const auto model = Model::FromGraph(result->graph);
        ASSERT_TRUE(model.ok()) << model.status();
        for (const char* backend : {"exponent", "histogram", "onednn-codebook"}) {
          if (DefaultRegistry().Find(backend) == nullptr) continue;
          SessionOptions session_options;
          session_options.backends = {backend};
          auto session = Session::Create(*model, session_options, DefaultRegistry());
          // Some backends take no real grid.
          if (!session.ok() && grid == GridChoice::kReal) continue;
          ASSERT_TRUE(session.ok()) << session.status();
          std::vector<float> logits(10);
          ASSERT_TRUE(session
                          ->Run({{"input", {golden.inputs[0].data.data(), DType::kFloat32, golden.inputs[0].shape}}},
                                {{"logits", {logits.data(), DType::kFloat32, {1, 10}}}})
                          .ok());
          EXPECT_EQ(std::memcmp(logits.data(), golden.outputs[0].data.data(), sizeof(float) * 10), 0)
              << backend << " " << static_cast<int>(grid);
        }
      }
    }
  }
}

TEST(Convert, RealGridSharesOneBasePerLayer) {
  ConvertOptions options = OneThread();
  options.grid = GridChoice::kReal;
  options.target_bits = 5;
  const auto shared = ConvertToy(options);
  ASSERT_TRUE(shared.ok()) << shared.status();
  for (const Node& node : shared->graph.nodes) {
    if (node.op != "Conv" && node.op != "Gemm") continue;
    EXPECT_EQ(shared->graph.tensors[static_cast<size_t>(node.inputs[0])].codebook->base,
              shared->graph.tensors[static_cast<size_t>(node.inputs[1])].codes->codebook.base)
        << node.name;
  }
  options.shared_base = false;
  const auto apart = ConvertToy(options);
  ASSERT_TRUE(apart.ok()) << apart.status();
  EXPECT_NE(TensorOf(apart->graph, "input").codebook->base, TensorOf(apart->graph, "w1").codes->codebook.base);
}

TEST(Convert, KeepsTheFormsAskedFor) {
  ConvertOptions options = OneThread();
  options.keep_int8 = options.keep_float = true;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const Tensor& w = TensorOf(result->graph, "w4");
  EXPECT_TRUE(w.has_data && w.int8 && w.codes);
  ASSERT_TRUE(TensorOf(result->graph, "c1").range.has_value());
  EXPECT_EQ(TensorOf(result->graph, "c1").range->min, 0);
  // Bits are those of the codes.
  EXPECT_LE(result->report.weight_bits_mean, 4);
  const auto model = Model::FromGraph(result->graph);
  ASSERT_TRUE(model.ok()) << model.status();
  SessionOptions session_options;
  session_options.backends = {"reference"};
  session_options.require_backend = true;
  EXPECT_TRUE(Session::Create(*model, session_options, DefaultRegistry()).ok());
}

TEST(Convert, PackedCodesDecodeToTheWeights) {
  ConvertOptions options = OneThread();
  options.rounding = Rounding::kNearest;  // whose error is the codebook's
  options.weight_bits = 8;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const Graph source = ToyNetwork(1);
  const Tensor &before = TensorOf(source, "w1"), &after = TensorOf(result->graph, "w1");
  const Codebook& book = after.codes->codebook;
  std::vector<uint8_t> codes(before.elements());
  UnpackBits(after.codes->packed.data(), book.stored_bits(), 0, codes.size(), codes.data());
  const std::vector<double> values = book.Values();
  double error = 0, sum = 0;
  for (size_t k = 0; k < codes.size(); ++k) {
    const double scale = after.codes->channel_scales.empty() ? 1.0 : after.codes->channel_scales[k / 27];
    error += std::fabs(before.data.as<float>()[k] - scale * values[codes[k]]);
    sum += std::fabs(before.data.as<float>()[k]);
  }
  EXPECT_LT(error / sum, 0.02);
  EXPECT_NEAR(error / sum, after.fit->rmae, 1e-6);
}

TEST(Convert, NonNegativeInputsNeedNoSign) {
  const Graph graph = ToyNetwork(3);
  const auto data = ToyData(graph, 20, false, 4, /*non_negative=*/true);
  ASSERT_TRUE(data.ok()) << data.status();
  const auto result = Convert(graph, *data, nullptr, OneThread(), DefaultRegistry());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(TensorOf(result->graph, "input").codebook->is_signed);
}

TEST(Convert, RefusesCalibrationDataThatIsNotFinite) {
  const Graph graph = ToyNetwork(1);
  std::vector<float> values(2 * 192, 1);
  values[192 + 5] = std::nanf("");
  const auto data = testing::DataOf(graph, values, 2, {});
  if (!data.ok()) {
    EXPECT_EQ(CodeOf(data.status()), "TLY-E0321");
    return;
  }
  const auto result = Convert(graph, *data, nullptr, OneThread(), DefaultRegistry());
  EXPECT_EQ(CodeOf(result.status()), "TLY-E0321");
}

TEST(Convert, RefusesContradictoryGoals) {
  ConvertOptions options = OneThread();
  options.max_drop = 1;
  options.target_bits = 4;
  EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0201");
  for (int bits : {-1, 1, 9}) {
    options = OneThread();
    options.weight_bits = bits;
    EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0201");
  }
  options = OneThread();
  options.weight_bits = 2;  // a signed weight would be left without exponent
  EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0201");
  options = OneThread();
  options.float_backend = "no such backend";
  EXPECT_EQ(CodeOf(ConvertToy(options).status()), "TLY-E0202");
}

TEST(Convert, ReportsProgressOfEveryPhase) {
  std::set<std::string> phases;
  ConvertOptions options = OneThread();
  options.progress = [&](const std::string& phase, double done) {
    phases.insert(phase);
    EXPECT_GE(done, 0);
    EXPECT_LE(done, 1);
  };
  ASSERT_TRUE(ConvertToy(options).ok());
  for (const char* phase : {"calibrate", "fit codebooks", "compare", "evaluate"})
    EXPECT_EQ(phases.count(phase), 1u) << phase;
}

TEST(Convert, MetadataAndReportSayHowItWasMade) {
  ConvertOptions options = OneThread();
  options.tool_version = "tally 9.9";
  options.target_bits = 5;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto& m = result->graph.metadata;
  EXPECT_EQ(m.at("tool"), "tally 9.9");
  EXPECT_EQ(m.at("option.target_bits"), "5");
  EXPECT_EQ(m.at("calibration.samples"), "40");
  EXPECT_EQ(m.at("calibration.hash").size(), 16u);
  const auto json = nlohmann::json::parse(ReportJson(result->report, options));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["options"]["target_bits"], "5");
  ASSERT_EQ(json["tensors"].size(), 8u);
  EXPECT_EQ(json["tensors"][0]["tensor"], "w1");
  EXPECT_EQ(json["tensors"][0]["mantissas"].size(), (size_t{1} << json["tensors"][0]["exponent_bits"].get<int>()) - 1);
  EXPECT_EQ(json["weights"]["stored_bits_mean"], result->report.weight_bits_mean);
}

TEST(ComputeBitStatistics, WeighsByElementsAndLeavesTheNetworksInputOut) {
  // x [N,4] -> Gemm 4x4 (signed n = 3) -> Relu (n = 6) -> Gemm 2x4, left in float; a Gather from an embedding.
  ConvertOptions options = OneThread();
  options.weight_bits = 4;
  options.activation_bits = 6;
  const auto result = ConvertToy(options);
  ASSERT_TRUE(result.ok()) << result.status();
  Graph graph = result->graph;
  const double w1 = 8 * 27, w2 = 72, w3 = 64, w4 = 1280;
  auto bits = ComputeBitStatistics(graph);
  ASSERT_TRUE(bits.ok()) << bits.status();
  EXPECT_EQ(bits->weight_elements, static_cast<uint64_t>(w1 + w2 + w3 + w4));
  EXPECT_DOUBLE_EQ(bits->weight_stored_bits, 4);
  EXPECT_DOUBLE_EQ(bits->weight_exponent_bits, 3);
  // c1 512 and flat 128 are non-negative: 6 bits are 6 exponent bits; pool 128 is signed.
  EXPECT_DOUBLE_EQ(bits->activation_stored_bits, 6);
  graph.tensors[static_cast<size_t>(graph.FindTensor("c1"))].codebook.reset();
  bits = ComputeBitStatistics(graph);
  ASSERT_TRUE(bits.ok()) << bits.status();
  EXPECT_DOUBLE_EQ(bits->activation_stored_bits, (512.0 * 32 + 256 * 6) / 768);
  // An embedding counts as a weight.
  Graph embedding;
  const int table = AddFloat(&embedding, "table", {10, 2}, std::vector<float>(20, 1));
  const int ids = AddInput(&embedding, "ids", {3});
  embedding.tensors[static_cast<size_t>(ids)].dtype = DType::kInt64;
  embedding.outputs = {AddNode(&embedding, "Gather", "rows", {table, ids})};
  bits = ComputeBitStatistics(embedding);
  ASSERT_TRUE(bits.ok()) << bits.status();
  EXPECT_DOUBLE_EQ(bits->weight_stored_bits, 32);
  EXPECT_EQ(bits->weight_bytes, 80u);
}

}  // namespace
}  // namespace tally
