// A small random network and data for it, made in memory and in a scratch folder.
#ifndef TALLY_TESTS_CONVERTER_SEARCH_TOY_H_
#define TALLY_TESTS_CONVERTER_SEARCH_TOY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/convert.h"
#include "format/graph.h"

namespace tally::testing {

// Tensor and node by name; a node's outputs are named after it.
int AddFloat(Graph* graph, const std::string& name, const Shape& shape, const std::vector<float>& values);
int AddNode(Graph* graph, const std::string& op, const std::string& name, const std::vector<int>& inputs);
int AddInput(Graph* graph, const std::string& name, const Shape& shape);
Node& LastNode(Graph* graph);

// input [N,3,8,8] -> Conv 3x3 + Relu -> depthwise Conv -> MaxPool -> Conv + residual + Relu -> Flatten -> Gemm ->
// logits [N,10].
Graph ToyNetwork(uint64_t seed);

// `samples` normal images of `shape`, one class label each when `labelled`.
absl::StatusOr<Dataset> ToyData(const Graph& graph, int64_t samples, bool labelled, uint64_t seed,
                                bool non_negative = false);
absl::StatusOr<Dataset> DataOf(const Graph& graph, const std::vector<float>& values, int64_t samples,
                               const std::vector<int64_t>& labels);

// Small networks gain nothing from more.
ConvertOptions OneThread();
// ToyNetwork(1) on 40 unlabelled samples.
absl::StatusOr<ConvertResult> ConvertToy(const ConvertOptions& options);

const Tensor& TensorOf(const Graph& graph, const std::string& name);
std::string CodeOf(const absl::Status& status);

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONVERTER_SEARCH_TOY_H_
