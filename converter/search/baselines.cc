#include "converter/search/baselines.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/passes/graph_util.h"
#include "converter/search/targets.h"

namespace tally {
namespace {

// Per tensor, how many nodes read it in plain form (not as codes) or as an output of the graph.
std::vector<int> PlainReaders(const Graph& graph) {
  std::vector<int> readers(graph.tensors.size());
  for (int t : graph.outputs) ++readers[static_cast<size_t>(t)];
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] >= 0 && !TakesCodes(graph, node, i)) ++readers[static_cast<size_t>(node.inputs[i])];
    }
  }
  return readers;
}

std::string UniqueName(const Graph& graph, const std::string& wish) {
  std::string name = wish;
  for (int i = 2; graph.FindTensor(name) >= 0; ++i) name = absl::StrCat(wish, "_", i);
  return name;
}

}  // namespace

void DropFloatForms(Graph* graph) {
  const std::vector<int> readers = PlainReaders(*graph);
  for (size_t t = 0; t < graph->tensors.size(); ++t) {
    Tensor& tensor = graph->tensors[t];
    if (!tensor.codes || readers[t] > 0) continue;
    tensor.has_data = false;
    tensor.data = Blob();
  }
}

void DropInt8Forms(Graph* graph) {
  for (Tensor& tensor : graph->tensors) {
    if (tensor.codes) tensor.int8.reset();
    tensor.range.reset();
  }
}

void SettleCodeBiases(Graph* graph) {
  const std::vector<int> readers = PlainReaders(*graph);
  for (Node& node : graph->nodes) {
    if (!IsConvOrGemm(node) || node.inputs[1] < 0) continue;
    std::optional<CodeForm>& codes = graph->tensors[static_cast<size_t>(node.inputs[1])].codes;
    if (!codes || codes->bias.empty()) continue;
    Tensor bias;
    bias.shape = {static_cast<int64_t>(codes->bias.size())};
    bias.has_data = true;
    bias.data = Blob::Copy(codes->bias.data(), codes->bias.size() * sizeof(float));
    codes->bias.clear();
    if (node.inputs.size() < 3) node.inputs.resize(3, -1);
    if (node.inputs[2] >= 0 && readers[static_cast<size_t>(node.inputs[2])] == 1) {
      Tensor& old = graph->tensors[static_cast<size_t>(node.inputs[2])];
      bias.name = old.name;
      old = std::move(bias);
    } else {
      bias.name = UniqueName(*graph, absl::StrCat(node.name, ".bias"));
      node.inputs[2] = graph->AddTensor(std::move(bias));
    }
  }
}

}  // namespace tally
