// The models that ship with the project, from ONNX to the same bits on every backend.
#include <gtest/gtest.h>

#include "converter/calibration/evaluate.h"
#include "format/model_file.h"
#include "tests/e2e/pipeline.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::SourcePath;

class Digits : public ::testing::TestWithParam<const char*> {
 protected:
  std::string onnx() const { return SourcePath(std::string("examples/digits/") + GetParam() + ".onnx"); }
  std::string calibration() const { return SourcePath("examples/digits/calibration.json"); }
  std::string test() const { return SourcePath("examples/digits/test.json"); }
};

double Accuracy(const Model& model, const std::string& data, const std::string& backend) {
  SessionOptions options;
  options.backends = {backend};
  options.num_threads = 2;
  absl::StatusOr<Session> session = Session::Create(model, options);
  EXPECT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Dataset> dataset = Dataset::Open(data, model.inputs());
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  absl::StatusOr<EvalResult> result = Evaluate(*session, *dataset);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->value : 0;
}

TEST_P(Digits, ConvertsRunsEverywhereAndLosesLittle) {
  absl::StatusOr<Graph> graph = testing::ImportFloat(onnx());
  ASSERT_TRUE(graph.ok()) << graph.status();
  absl::StatusOr<Model> float_model = Model::FromGraph(*graph);
  ASSERT_TRUE(float_model.ok()) << float_model.status();
  const double float_accuracy = Accuracy(*float_model, test(), "reference");
  EXPECT_GE(float_accuracy, 97.0);

  ConvertOptions options;
  options.weight_bits = 6;
  options.activation_bits = 6;
  absl::StatusOr<Model> model = testing::ConvertModel(onnx(), calibration(), 200, options);
  ASSERT_TRUE(model.ok()) << model.status();
  // 1.0: the paper's bound; 1,000 digits have a standard error of about 0.3 points.
  EXPECT_GE(Accuracy(*model, test(), "exponent"), float_accuracy - 1.0);
  EXPECT_EQ(testing::PlacesOfQuantizedNodes(*model, "exponent", "scalar"),
            (std::vector<std::string>{"exponent/scalar"}));

  absl::StatusOr<Dataset> data = Dataset::Open(test(), model->inputs());
  ASSERT_TRUE(data.ok()) << data.status();
  testing::ExpectSameBitsEverywhere(*model, *data, 20);
}

TEST_P(Digits, SurvivesTheFileByteForByte) {
  ConvertOptions options;
  options.weight_bits = 4;
  options.activation_bits = 6;
  options.keep_int8 = options.keep_float = true;
  absl::StatusOr<Model> model = testing::ConvertModel(onnx(), calibration(), 100, options);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::string path = testing::TempDir() + "/digits.tally";
  ASSERT_TRUE(WriteModelFile(model->graph(), path).ok());
  absl::StatusOr<Model> loaded = Model::Load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  absl::StatusOr<std::vector<uint8_t>> before = SerializeModel(model->graph()), after = SerializeModel(loaded->graph());
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(*before, *after);
}

INSTANTIATE_TEST_SUITE_P(Models, Digits, ::testing::Values("digits_cnn", "digits_mlp"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace tally
