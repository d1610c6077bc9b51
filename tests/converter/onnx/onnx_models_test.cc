// The real models that Tally is measured on: each is imported and rewritten to exactly the nodes that one would hope
// for, and rewriting keeps what it computes; those that it does not take yet are refused with all the reasons.
#include "converter/onnx/import.h"
#include "converter/passes/passes.h"
#include "gmock/gmock.h"
#include "tests/converter/onnx/run_graph.h"
#include "tests/testing/paths.h"

namespace tally::testing {
namespace {

using ::testing::HasSubstr;

std::string Times(int count, const std::string& text) {
  std::string out;
  for (int i = 0; i < count; ++i) out += (i == 0 ? "" : " ") + text;
  return out;
}

// Imports, rewrites, compares the summary, and runs both on one random sample.
void ExpectModel(const std::string& path, const std::string& summary) {
  const absl::StatusOr<Graph> imported = ImportOnnx(path);
  ASSERT_TRUE(imported.ok()) << imported.status();
  Graph graph = *imported;
  const absl::Status status = RunPasses(&graph);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Summary(graph), summary);
  Values inputs;
  for (int i : imported->inputs) {
    const Tensor& tensor = imported->tensors[static_cast<size_t>(i)];
    Shape shape = tensor.shape;
    for (int64_t& extent : shape) {
      if (extent < 0) extent = 1;
    }
    inputs[tensor.name] = RandomTensor(shape, 1);
  }
  const auto before = RunGraph(*imported, inputs);
  const auto after = RunGraph(graph, inputs);
  ASSERT_TRUE(before.ok() && after.ok()) << before.status() << after.status();
  // These models need no folding of weights, only fusion, which promises the same bits.
  EXPECT_TRUE(Close(*before, *after, 0));
}

std::string ResNet(int blocks) {
  const std::string block = "Conv+Relu Conv+residual+Relu";
  const std::string narrow = "Conv+Relu Slice Slice Pad Conv+residual+Relu";
  const std::string rest = blocks > 1 ? " " + Times(blocks - 1, block) : "";
  return "Conv+Relu " + Times(blocks, block) + " " + narrow + rest + " " + narrow + rest + " AveragePool Flatten Gemm";
}

TEST(OnnxModels, ResNet20) {
  TALLY_ASSET_OR_SKIP(path, "models/cifar10_resnet20.onnx");
  ExpectModel(path, ResNet(3));
}

TEST(OnnxModels, ResNet56) {
  TALLY_ASSET_OR_SKIP(path, "models/cifar10_resnet56.onnx");
  ExpectModel(path, ResNet(9));
}

TEST(OnnxModels, ResNet8) {
  TALLY_ASSET_OR_SKIP(path, "models/mlperftiny_resnet8_cifar10.onnx");
  ExpectModel(path,
              "Conv+Relu Conv+Relu Conv+residual+Relu Conv+Relu Conv Conv+residual+Relu Conv+Relu Conv "
              "Conv+residual+Relu GlobalAveragePool Flatten Gemm Softmax");
}

TEST(OnnxModels, SqueezeNet) {
  TALLY_ASSET_OR_SKIP(path, "models/squeezenet_v1.1.onnx");
  const std::string fire = "Conv+Relu Conv+Relu Conv+Relu Concat";
  ExpectModel(path, "Conv+Relu MaxPool " + Times(2, fire) + " MaxPool " + Times(2, fire) + " MaxPool " +
                        Times(4, fire) + " Conv+Relu GlobalAveragePool Flatten Softmax");
}

TEST(OnnxModels, MobileNetV2) {
  TALLY_ASSET_OR_SKIP(path, "models/mobilenet_v2_1.0_224.onnx");
  const std::string first = "Conv+Clip Conv+Clip Conv";  // expand, depthwise, project
  const std::string next = " " + first + "+residual";
  ExpectModel(path, "Conv+Clip Conv+Clip Conv " + first + next + " " + first + next + next + " " + first + next + next +
                        next + " " + first + next + next + " " + first + next + next + " " + first +
                        " Conv+Clip GlobalAveragePool Conv Flatten Softmax");
}

TEST(OnnxModels, KeywordSpottersAndPerceptrons) {
  TALLY_ASSET_OR_SKIP(dnn, "models/mlkws_dnn_l.onnx");
  ExpectModel(dnn, Times(3, "Gemm+Relu") + " Gemm Softmax");
  TALLY_ASSET_OR_SKIP(ds_cnn, "models/mlkws_ds_cnn_l.onnx");
  ExpectModel(ds_cnn, Times(11, "Conv+Relu") + " GlobalAveragePool Flatten Gemm Softmax");
  TALLY_ASSET_OR_SKIP(mlp, "models/mnist_mlp_1024.onnx");
  ExpectModel(mlp, Times(3, "Gemm+Relu") + " Gemm");
  TALLY_ASSET_OR_SKIP(autoencoder, "models/mlperftiny_ad01_autoencoder.onnx");
  ExpectModel(autoencoder, Times(9, "Gemm+Relu") + " Gemm");
}

TEST(OnnxModels, TransformersAreRefusedWithAllReasons) {
  TALLY_ASSET_OR_SKIP(path, "models/use_lite_en.onnx");
  const auto graph = ImportOnnx(path);
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(ExitStatus(graph.status()), 6);
  for (const char* part : {"LayerNormalization", "l0.ln1", "l1.ln2", "ReduceSum", "ReduceL2"}) {
    EXPECT_THAT(std::string(graph.status().message()), HasSubstr(part));
  }
}

}  // namespace
}  // namespace tally::testing
