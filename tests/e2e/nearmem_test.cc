// Real models on the simulated machine: the oracle's bits, with counters that spill, and times that stay bearable.
#include "backends/nearmem/nearmem.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cstring>
#include <fstream>
#include <random>
#include <set>

#include "backends/all/all.h"
#include "format/error.h"
#include "runtime/backend/registry.h"
#include "tests/e2e/pipeline.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

struct Real {
  const char* model;
  const char* data;
  const char* calibration;
  int64_t inputs;
};

const Real kReal[] = {
    {"cifar10_resnet20", "cifar10_dev/data.json", "cifar10_calibration/data.json", 100},
    {"cifar10_resnet56", "cifar10_dev/data.json", "cifar10_calibration/data.json", 100},
    {"mlperftiny_resnet8_cifar10", "cifar10_dev/data_raw.json", "cifar10_calibration/data_raw.json", 100},
    {"squeezenet_v1.1", "imagenet_dev/data_squeezenet.json", "imagenet_calibration/data_squeezenet.json", 5},
    {"mobilenet_v2_1.0_224", "imagenet_dev/data_mobilenet.json", "imagenet_calibration/data_mobilenet.json", 2},
    {"mlkws_dnn_l", "speech_dev/data_dnn.json", "speech_calibration/data_dnn.json", 100},
    {"mlkws_ds_cnn_l", "speech_dev/data_cnn.json", "speech_calibration/data_cnn.json", 100},
    {"mnist_mlp_1024", "mnist_dev/data.json", "mnist_calibration/data.json", 100},
    {"kwt1_speech_commands12", "speech_dev/data_kwt.json", "speech_calibration/data_kwt.json", 100},
    {"use_lite_en", "stsb_dev/data.json", "stsb_dev/data_calibration.json", 100},
    {"ppocrv4_rec", "ocr_dev/data.json", "ocr_dev/data_calibration.json", 1},
};

class NearmemAssets : public ::testing::TestWithParam<Real> {};

// Outputs of `count` samples on a machine with counters of so many bits; adds up the spills. `nodes`: of one sample.
absl::StatusOr<std::vector<std::vector<float>>> Simulated(const Model& model, const Dataset& data, int64_t count,
                                                          int counter_bits, int64_t* spills,
                                                          std::set<std::string>* nodes) {
  TALLY_ASSIGN_OR_RETURN(const nearmem::Machine machine, nearmem::LoadAccelerator("hmc"));
  nearmem::Options options;
  options.machines.push_back({false, *machine.accelerator, machine.dram, nearmem::DramMode::kClosedForm});
  options.machines[0].config.lanes.counter_bits = counter_bits;
  options.recorder = std::make_shared<nearmem::Recorder>();
  Registry registry = DefaultRegistry();
  registry.Add(MakeNearmemBackend(options));
  SessionOptions session_options;
  session_options.backends = {"nearmem"};
  session_options.num_threads = 2;
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, session_options, registry));
  const TensorInfo out = session.outputs()[0];
  std::vector<std::vector<float>> all;
  for (int64_t i = 0; i < count; ++i) {
    TALLY_ASSIGN_OR_RETURN(Batch batch, data.Read(i, 1));
    std::vector<float> values(static_cast<size_t>(TensorType{out.dtype, out.shape}.elements()));
    TALLY_RETURN_IF_ERROR(session.Run(batch.views(), {{out.name, {values.data(), out.dtype, out.shape}}}));
    all.push_back(std::move(values));
    nodes->clear();
    for (const nearmem::LayerRecord& r : options.recorder->Take()) {
      nodes->insert(r.node);
      *spills += r.machines[0].result.events.lanes.spills;
    }
  }
  return all;
}

// Every product of the model.
std::set<std::string> ProductsOf(const Model& model) {
  std::set<std::string> nodes;
  for (const Node& node : model.graph().nodes) {
    if (node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul") nodes.insert(node.name);
  }
  return nodes;
}

void ExpectTheOraclesBits(const Model& model, const Dataset& data, int64_t count) {
  count = std::min(count, data.size());
  const auto oracle = testing::Outputs(model, data, count, "histogram", "", 2);
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  const std::set<std::string> products = ProductsOf(model);
  EXPECT_FALSE(products.empty());
  for (const int bits : {4, 8, 16}) {
    int64_t spills = 0;
    std::set<std::string> nodes;
    const auto simulated = Simulated(model, data, count, bits, &spills, &nodes);
    ASSERT_TRUE(simulated.ok()) << simulated.status();
    EXPECT_EQ(nodes, products);
    for (size_t i = 0; i < oracle->size(); ++i) {
      ASSERT_EQ((*simulated)[i].size(), (*oracle)[i].size());
      ASSERT_EQ(std::memcmp((*simulated)[i].data(), (*oracle)[i].data(), (*oracle)[i].size() * sizeof(float)), 0)
          << bits << "-bit counters, sample " << i;
    }
    if (bits == 4) {
      EXPECT_GT(spills, 0);
    }
    std::printf("[   note   ] %d-bit counters: %lld spills\n", bits, static_cast<long long>(spills));
  }
}

TEST_P(NearmemAssets, GiveTheOraclesBitsWithCountersOfAnyWidth) {
  const Real& real = GetParam();
  TALLY_ASSET_OR_SKIP(onnx, std::string("models/") + real.model + ".onnx");
  TALLY_ASSET_OR_SKIP(description, std::string("data/") + real.data);
  TALLY_ASSET_OR_SKIP(calibration, std::string("data/") + real.calibration);
  ConvertOptions options;
  options.weight_bits = 4;
  options.activation_bits = 5;
  options.rounding = Rounding::kNearest;  // fast, and any codes will do
  absl::StatusOr<Model> model = testing::ConvertModel(onnx, calibration, 32, options);
  ASSERT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Dataset> data = Dataset::Open(description, model->inputs());
  ASSERT_TRUE(data.ok()) << data.status();
  ExpectTheOraclesBits(*model, *data, real.inputs);
}

INSTANTIATE_TEST_SUITE_P(Models, NearmemAssets, ::testing::ValuesIn(kReal), [](const auto& tested) {
  std::string name = tested.param.model;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

// There is no data for this one; its bits are compared on numbers that are made up.
TEST(NearmemMadeUpInput, GivesTheOraclesBits) {
  TALLY_ASSET_OR_SKIP(onnx, "models/mlperftiny_ad01_autoencoder.onnx");
  constexpr int64_t kSamples = 100, kFeatures = 640;
  const std::string folder = testing::TempDir();
  std::mt19937 rng(11);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(kSamples * kFeatures));
  for (float& v : values) v = normal(rng);
  const Shape shape = {kSamples, kFeatures};
  const absl::Status written = WriteNpy(folder + "/x.npy", {values.data(), DType::kFloat32, shape});
  ASSERT_TRUE(written.ok()) << written;
  std::ofstream(folder + "/data.json") << R"({"inputs": [{"name": "*", "kind": "npy", "path": "x.npy"}]})";
  ConvertOptions options;
  options.weight_bits = 4;
  options.activation_bits = 5;
  options.rounding = Rounding::kNearest;
  absl::StatusOr<Model> model = testing::ConvertModel(onnx, folder + "/data.json", 32, options);
  ASSERT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Dataset> data = Dataset::Open(folder + "/data.json", model->inputs());
  ASSERT_TRUE(data.ok()) << data.status();
  ExpectTheOraclesBits(*model, *data, kSamples);
}

// The paper's form: the real grid, one base per layer, counters that fold.
TEST(NearmemRealGrid, FoldedCountersGiveTheOraclesBits) {
  TALLY_ASSET_OR_SKIP(onnx, "models/cifar10_resnet20.onnx");
  TALLY_ASSET_OR_SKIP(description, "data/cifar10_dev/data.json");
  TALLY_ASSET_OR_SKIP(calibration, "data/cifar10_calibration/data.json");
  ConvertOptions options;
  options.weight_bits = 4;
  options.activation_bits = 5;
  options.grid = GridChoice::kReal;
  absl::StatusOr<Model> model = testing::ConvertModel(onnx, calibration, 32, options);
  ASSERT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Dataset> data = Dataset::Open(description, model->inputs());
  ASSERT_TRUE(data.ok()) << data.status();
  ExpectTheOraclesBits(*model, *data, 100);
}

}  // namespace
}  // namespace tally
