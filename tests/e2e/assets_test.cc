// Real trained models with real labelled data, when they are there (docs/data.md says what they are).
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "converter/calibration/evaluate.h"
#include "tests/e2e/pipeline.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

struct Real {
  const char* model;
  const char* data;         // folder_dev/file
  const char* calibration;  // folder_calibration/file
  double float32;           // in the unit of the metric, measured with ONNX Runtime 1.30 on exactly these files
  double tolerance;         // 0.1 points (0.002 of a correlation), or 0.3 where one sample in 200 may decide
  int64_t bit_inputs;       // samples whose bits are compared
  int64_t calibration_samples = 32;
};

const Real kReal[] = {
    {"cifar10_resnet20", "cifar10_dev/data.json", "cifar10_calibration/data.json", 91.48, 0.1, 100},
    {"cifar10_resnet56", "cifar10_dev/data.json", "cifar10_calibration/data.json", 92.96, 0.1, 100},
    {"mlperftiny_resnet8_cifar10", "cifar10_dev/data_raw.json", "cifar10_calibration/data_raw.json", 86.98, 0.1, 20},
    {"squeezenet_v1.1", "imagenet_dev/data_squeezenet.json", "imagenet_calibration/data_squeezenet.json", 73.69, 0.3,
     10},
    {"mobilenet_v2_1.0_224", "imagenet_dev/data_mobilenet.json", "imagenet_calibration/data_mobilenet.json", 79.69, 0.3,
     2},
    {"mlkws_dnn_l", "speech_dev/data_dnn.json", "speech_calibration/data_dnn.json", 80.98, 0.1, 100},
    {"mlkws_ds_cnn_l", "speech_dev/data_cnn.json", "speech_calibration/data_cnn.json", 91.48, 0.1, 20},
    {"mnist_mlp_1024", "mnist_dev/data.json", "mnist_calibration/data.json", 97.05, 0.1, 100},
    {"kwt1_speech_commands12", "speech_dev/data_kwt.json", "speech_calibration/data_kwt.json", 93.18, 0.1, 4},
    {"use_lite_en", "stsb_dev/data.json", "stsb_dev/data_calibration.json", 0.7826, 0.002, 4},
    {"ppocrv4_rec", "ocr_dev/data.json", "ocr_dev/data_calibration.json", 95.50, 0.3, 1, 8},
};

// Every product reads codes on both sides and every table is codes: of products of two activations, too.
void ExpectNothingStaysFloat(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    const auto tensor = [&](size_t i) -> const Tensor& { return graph.tensors[static_cast<size_t>(node.inputs[i])]; };
    if (node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul") {
      EXPECT_TRUE(tensor(0).codebook) << node.name;
      EXPECT_TRUE(node.op == "MatMul" ? tensor(1).codebook.has_value() : tensor(1).codes.has_value()) << node.name;
    }
    if (node.op == "Gather") {
      EXPECT_FALSE(tensor(0).has_data && tensor(0).dtype == DType::kFloat32) << node.name;
    }
  }
}

class Assets : public ::testing::TestWithParam<Real> {};

// The float figure on the fast float backend; `tally eval --backend reference` gives the same and takes minutes.
TEST_P(Assets, Float32ReproducesThePublishedFigure) {
  const Real& real = GetParam();
  TALLY_ASSET_OR_SKIP(onnx, std::string("models/") + real.model + ".onnx");
  TALLY_ASSET_OR_SKIP(description, std::string("data/") + real.data);
  absl::StatusOr<Graph> graph = testing::ImportFloat(onnx);
  ASSERT_TRUE(graph.ok()) << graph.status();
  absl::StatusOr<Model> model = Model::FromGraph(*std::move(graph));
  ASSERT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Dataset> data = Dataset::Open(description, model->inputs());
  ASSERT_TRUE(data.ok()) << data.status();
  const std::vector<std::string> built = AvailableBackends();
  SessionOptions options;
  const bool fast = std::find(built.begin(), built.end(), "xnnpack") != built.end();
  options.backends = {fast ? "xnnpack" : "reference"};
  options.num_threads = 0;
  options.dimensions = data->Dimensions(model->graph().symbols);
  absl::StatusOr<Session> session = Session::Create(*model, options);
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<EvalResult> result = Evaluate(*session, *data);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->value, real.float32, real.tolerance) << result->samples << " samples on " << options.backends[0];
}

TEST_P(Assets, ConvertedModelsGiveTheSameBitsEverywhere) {
  const Real& real = GetParam();
  TALLY_ASSET_OR_SKIP(onnx, std::string("models/") + real.model + ".onnx");
  TALLY_ASSET_OR_SKIP(description, std::string("data/") + real.data);
  TALLY_ASSET_OR_SKIP(calibration, std::string("data/") + real.calibration);
  ConvertOptions options;
  options.weight_bits = 4;
  options.activation_bits = 5;
  absl::StatusOr<Model> model = testing::ConvertModel(onnx, calibration, real.calibration_samples, options);
  ASSERT_TRUE(model.ok()) << model.status();
  ExpectNothingStaysFloat(model->graph());
  EXPECT_EQ(testing::PlacesOfQuantizedNodes(*model, "exponent", "scalar"),
            (std::vector<std::string>{"exponent/scalar"}));
  absl::StatusOr<Dataset> data = Dataset::Open(description, model->inputs());
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_GE(data->size(), real.bit_inputs);
  testing::ExpectSameBitsEverywhere(*model, *data, real.bit_inputs);
}

INSTANTIATE_TEST_SUITE_P(Models, Assets, ::testing::ValuesIn(kReal), [](const auto& tested) {
  std::string name = tested.param.model;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

}  // namespace
}  // namespace tally
