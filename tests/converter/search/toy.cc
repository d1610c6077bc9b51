#include "tests/converter/search/toy.h"

#include <cmath>
#include <fstream>

#include "backends/all/all.h"
#include "format/error.h"
#include "tests/converter/search/distributions.h"
#include "tests/testing/paths.h"

namespace tally::testing {

int AddFloat(Graph* graph, const std::string& name, const Shape& shape, const std::vector<float>& values) {
  Tensor tensor;
  tensor.name = name;
  tensor.shape = shape;
  tensor.has_data = true;
  tensor.data = Blob::Copy(values.data(), values.size() * sizeof(float));
  return graph->AddTensor(std::move(tensor));
}

int AddInput(Graph* graph, const std::string& name, const Shape& shape) {
  Tensor tensor;
  tensor.name = name;
  tensor.shape = shape;
  graph->inputs.push_back(graph->AddTensor(std::move(tensor)));
  return graph->inputs.back();
}

int AddNode(Graph* graph, const std::string& op, const std::string& name, const std::vector<int>& inputs) {
  Tensor output;
  output.name = name;
  Node node;
  node.name = name;
  node.op = op;
  node.inputs = inputs;
  node.outputs = {graph->AddTensor(std::move(output))};
  graph->nodes.push_back(std::move(node));
  return graph->nodes.back().outputs[0];
}

Node& LastNode(Graph* graph) { return graph->nodes.back(); }

Graph ToyNetwork(uint64_t seed) {
  Random random(seed);
  const auto weight = [&](size_t count, double fan_in) {
    std::vector<float> w(count);
    for (float& v : w) v = static_cast<float>(random.Normal() / std::sqrt(fan_in / 2));
    return w;
  };
  Graph g;
  g.name = "toy";
  g.symbols = {"N"};
  const int input = AddInput(&g, "input", {-1, 3, 8, 8});
  const int w1 = AddFloat(&g, "w1", {8, 3, 3, 3}, weight(8 * 27, 27));
  const int b1 = AddFloat(&g, "b1", {8}, weight(8, 50));
  const int c1 = AddNode(&g, "Conv", "c1", {input, w1, b1});
  LastNode(&g).SetInts("pads", {1, 1, 1, 1});
  LastNode(&g).SetString("activation", "Relu");
  const int w2 = AddFloat(&g, "w2", {8, 1, 3, 3}, weight(8 * 9, 9));
  const int c2 = AddNode(&g, "Conv", "c2", {c1, w2});
  LastNode(&g).SetInts("pads", {1, 1, 1, 1});
  LastNode(&g).SetInts("group", {8});
  const int pool = AddNode(&g, "MaxPool", "pool", {c2});
  LastNode(&g).SetInts("kernel_shape", {2, 2});
  LastNode(&g).SetInts("strides", {2, 2});
  const int w3 = AddFloat(&g, "w3", {8, 8, 1, 1}, weight(64, 8));
  const int c3 = AddNode(&g, "Conv", "c3", {pool, w3, -1, pool});
  LastNode(&g).SetString("activation", "Relu");
  const int flat = AddNode(&g, "Flatten", "flat", {c3});
  const int w4 = AddFloat(&g, "w4", {10, 128}, weight(1280, 128));
  const int logits = AddNode(&g, "Gemm", "logits", {flat, w4});
  g.outputs = {logits};
  return g;
}

absl::StatusOr<Dataset> DataOf(const Graph& graph, const std::vector<float>& values, int64_t samples,
                               const std::vector<int64_t>& labels) {
  const std::string folder = TempDir();
  const Tensor& input = graph.tensors[static_cast<size_t>(graph.inputs[0])];
  Shape shape = input.shape;
  shape[0] = samples;
  TALLY_RETURN_IF_ERROR(WriteNpy(folder + "/x.npy", {values.data(), DType::kFloat32, shape}));
  std::string target = R"({"kind": "none"})";
  if (!labels.empty()) {
    TALLY_RETURN_IF_ERROR(WriteNpy(folder + "/y.npy", {labels.data(), DType::kInt64, {samples}}));
    target = R"({"kind": "class", "path": "y.npy"})";
  }
  std::ofstream(folder + "/data.json")
      << R"({"name": "toy", "inputs": [{"name": "*", "kind": "npy", "path": "x.npy"}],)"
      << R"("target": )" << target << "}";
  return Dataset::Open(folder + "/data.json", {{input.name, input.dtype, input.shape}});
}

absl::StatusOr<Dataset> ToyData(const Graph& graph, int64_t samples, bool labelled, uint64_t seed, bool non_negative) {
  Random random(seed);
  int64_t per_sample = 1;
  const Shape& shape = graph.tensors[static_cast<size_t>(graph.inputs[0])].shape;
  for (size_t d = 1; d < shape.size(); ++d) per_sample *= shape[d];
  std::vector<float> values(static_cast<size_t>(samples * per_sample));
  for (float& v : values) {
    v = static_cast<float>(random.Normal());
    if (non_negative) v = std::fabs(v);
  }
  std::vector<int64_t> labels;
  for (int64_t i = 0; labelled && i < samples; ++i) labels.push_back(static_cast<int64_t>(random.Bits() % 10));
  return DataOf(graph, values, samples, labels);
}

ConvertOptions OneThread() {
  ConvertOptions options;
  options.num_threads = 1;
  return options;
}

absl::StatusOr<ConvertResult> ConvertToy(const ConvertOptions& options) {
  const Graph graph = ToyNetwork(1);
  const auto data = ToyData(graph, 40, /*labelled=*/false, 2);
  if (!data.ok()) return data.status();
  return Convert(graph, *data, nullptr, options, DefaultRegistry());
}

const Tensor& TensorOf(const Graph& graph, const std::string& name) {
  return graph.tensors[static_cast<size_t>(graph.FindTensor(name))];
}

std::string CodeOf(const absl::Status& status) { return GetErrorInfo(status).code; }

}  // namespace tally::testing
