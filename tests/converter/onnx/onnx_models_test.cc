// The real models that Tally is measured on: each is imported and rewritten to exactly the nodes that one would hope
// for, and rewriting keeps what it computes.
#include <map>

#include "converter/onnx/import.h"
#include "converter/passes/passes.h"
#include "gtest/gtest.h"
#include "tests/converter/onnx/run_graph.h"
#include "tests/testing/paths.h"

namespace tally::testing {
namespace {

std::string Times(int count, const std::string& text) {
  std::string out;
  for (int i = 0; i < count; ++i) out += (i == 0 ? "" : " ") + text;
  return out;
}

// Imports, rewrites, compares the summary, and runs both on one random sample.
void ExpectModel(const std::string& path, const std::string& summary, double tolerance = 0) {
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
  // Most models need no folding of weights, only fusion of nodes, which promises the same bits. Functions that become
  // one node round differently: 1e-5 is some hundred ulp after twelve blocks.
  EXPECT_TRUE(Close(*before, *after, tolerance));
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

// Projections are Gemms, which quantize; products of two activations stay MatMuls.
TEST(OnnxModels, KeywordTransformer) {
  TALLY_ASSET_OR_SKIP(path, "models/kwt1_speech_commands12.onnx");
  const std::string attention = "Gemm Gemm Gemm Transpose MatMul Mul Softmax MatMul Gemm+residual LayerNormalization";
  const std::string block = attention + " Gemm+GeluTanh Gemm+residual LayerNormalization";
  ExpectModel(path, "Gemm Shape Slice Concat Expand Concat Add " + Times(12, block) + " Gather Gemm", 1e-5);
}

// How often each operator occurs after import and rewriting; nothing where one of them fails.
std::map<std::string, int> CountsOf(const std::string& path) {
  std::map<std::string, int> counts;
  absl::StatusOr<Graph> graph = ImportOnnx(path);
  const absl::Status status = graph.ok() ? RunPasses(&*graph) : graph.status();
  EXPECT_TRUE(status.ok()) << status;
  if (!status.ok()) return counts;
  for (const Node& node : graph->nodes) ++counts[node.op];
  return counts;
}

TEST(OnnxModels, SentenceEncoder) {
  TALLY_ASSET_OR_SKIP(path, "models/use_lite_en.onnx");
  std::map<std::string, int> counts = CountsOf(path);
  EXPECT_EQ(counts["MatMul"], 4);  // two layers of attention
  EXPECT_EQ(counts["Gemm"], 14);
  EXPECT_EQ(counts["LayerNormalization"], 4);
}

TEST(OnnxModels, TextRecognizer) {
  TALLY_ASSET_OR_SKIP(path, "models/ppocrv4_rec.onnx");
  std::map<std::string, int> counts = CountsOf(path);
  EXPECT_EQ(counts["Conv"], 38);
  EXPECT_EQ(counts["LayerNormalization"], 5);
  EXPECT_EQ(counts["MatMul"], 4);
  EXPECT_EQ(counts["Gemm"], 9);
  EXPECT_EQ(counts["HardSigmoid"], 0);  // in the epilogue of a convolution
}

}  // namespace
}  // namespace tally::testing
