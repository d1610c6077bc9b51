// Applies a rewrite to a model built in memory and compares the function before and after, run with the shared float
// operators. Tolerance 1e-5 relative: folding rounds weights once more and changes the order of a few additions.
#ifndef TALLY_TESTS_CONVERTER_ONNX_APPLY_PASS_H_
#define TALLY_TESTS_CONVERTER_ONNX_APPLY_PASS_H_

#include <string>

#include "tests/converter/onnx/onnx_builder.h"
#include "tests/converter/onnx/run_graph.h"

namespace tally::testing {

inline Values RandomInputs(const Graph& graph, int64_t batch) {
  Values inputs;
  uint32_t seed = 100;
  for (int i : graph.inputs) {
    const Tensor& tensor = graph.tensors[static_cast<size_t>(i)];
    Shape shape = tensor.shape;
    for (int64_t& extent : shape) {
      if (extent < 0) extent = batch;
    }
    inputs[tensor.name] = RandomTensor(shape, ++seed);
  }
  return inputs;
}

// Imports, applies `pass`, checks structure, output names and values for two batch sizes. Returns the summary.
inline std::string Apply(const OnnxBuilder& builder, absl::Status (*pass)(Graph*), Graph* result = nullptr) {
  const absl::StatusOr<Graph> imported = builder.Import();
  EXPECT_TRUE(imported.ok()) << imported.status();
  if (!imported.ok()) return "";
  Graph graph = *imported;
  const absl::Status status = pass(&graph);
  EXPECT_TRUE(status.ok()) << status;
  const absl::Status valid = ValidateGraph(graph);
  EXPECT_TRUE(valid.ok()) << valid;
  for (int64_t batch : {1, 3}) {
    const Values inputs = RandomInputs(*imported, batch);
    const absl::StatusOr<Values> before = RunGraph(*imported, inputs);
    const absl::StatusOr<Values> after = RunGraph(graph, inputs);
    EXPECT_TRUE(before.ok()) << before.status();
    EXPECT_TRUE(after.ok()) << after.status();
    if (!before.ok() || !after.ok()) return "";
    EXPECT_TRUE(Close(*before, *after, 1e-5)) << Summary(graph);
  }
  if (result != nullptr) *result = graph;
  return Summary(graph);
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONVERTER_ONNX_APPLY_PASS_H_
