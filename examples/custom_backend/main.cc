// A backend from outside the tree: it takes Relu and counts how many values it clipped, everything else runs on
// `exponent`
#include <tally/tally.h>

#include <cstdio>
#include <vector>

#include "backends/all/all.h"
#include "format/error.h"
#include "runtime/backend/backend.h"

namespace {

class CountingRelu : public tally::CompiledNode {
 public:
  explicit CountingRelu(size_t count) : count_(count) {}

  absl::Status Run(const tally::RunArgs& args) override {
    const float* x = static_cast<const float*>(args.inputs[0]);
    float* y = static_cast<float*>(args.outputs[0]);
    size_t clipped = 0;
    for (size_t i = 0; i < count_; ++i) {
      clipped += x[i] < 0 ? 1 : 0;
      y[i] = x[i] < 0 ? 0 : x[i];
    }
    std::printf("relu: %zu of %zu clipped\n", clipped, count_);
    return absl::OkStatus();
  }
  std::string kernel() const override { return "counting_relu"; }
  std::string isa() const override { return "scalar"; }

 private:
  size_t count_;
};

class ReluBackend : public tally::Backend {
 public:
  std::string name() const override { return "my-relu"; }
  absl::Status Supports(const tally::NodeContext& context) const override {
    if (context.node.op == "Relu") return absl::OkStatus();
    return tally::MakeError(tally::ErrorId::kUnsupportedNode, "only Relu");
  }
  absl::StatusOr<std::unique_ptr<tally::CompiledNode>> Compile(const tally::NodeContext& context) const override {
    return std::make_unique<CountingRelu>(static_cast<size_t>(context.inputs[0].elements()));
  }
};

// y = relu(x), as an application could build it instead of loading a file.
tally::Graph MakeGraph() {
  tally::Graph graph;
  tally::Tensor x, y;
  x.name = "x";
  x.shape = {1, 8};
  y.name = "y";
  graph.inputs = {graph.AddTensor(x)};
  graph.outputs = {graph.AddTensor(y)};
  tally::Node node;
  node.name = "relu";
  node.op = "Relu";
  node.inputs = graph.inputs;
  node.outputs = graph.outputs;
  graph.nodes = {node};
  return graph;
}

}  // namespace

int main() {
  absl::StatusOr<tally::Model> model = tally::Model::FromGraph(MakeGraph());
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 1;
  tally::Registry registry = tally::DefaultRegistry();
  registry.Add(std::make_shared<ReluBackend>());
  tally::SessionOptions options;
  options.backends = {"my-relu", "exponent"};
  absl::StatusOr<tally::Session> session = tally::Session::Create(*model, options, registry);
  if (!session.ok()) return std::fprintf(stderr, "%s\n", session.status().ToString().c_str()), 1;
  const std::vector<float> x = {-3, -2, -1, 0, 1, 2, 3, 4};
  std::vector<float> y(8);
  const absl::Status status = session->Run({{"x", {x.data(), tally::DType::kFloat32, {1, 8}}}},
                                           {{"y", {y.data(), tally::DType::kFloat32, {1, 8}}}});
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.ToString().c_str()), 1;
  for (const tally::NodePlacement& p : session->placement()) {
    std::printf("%s runs on %s (%s)\n", p.node.c_str(), p.backend.c_str(), p.kernel.c_str());
  }
  return y == std::vector<float>{0, 0, 0, 0, 1, 2, 3, 4} ? 0 : 1;
}
