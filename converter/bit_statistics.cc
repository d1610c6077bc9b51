// Mean stored bits, as docs/numerics.md defines them.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "converter/convert.h"
#include "converter/search/targets.h"
#include "format/error.h"
#include "runtime/exec/infer.h"

namespace tally {
namespace {

bool IsProduct(const Node& node) { return node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul"; }

}  // namespace

absl::StatusOr<BitStatistics> ComputeBitStatistics(const Graph& graph) {
  return ComputeBitStatistics(graph, RecordedExtents(graph));
}

absl::StatusOr<BitStatistics> ComputeBitStatistics(const Graph& graph, const std::vector<int64_t>& extents) {
  std::set<int> weights, activations;
  const std::vector<bool> network_inputs = NetworkInputTensors(graph);
  for (const Node& node : graph.nodes) {
    const bool embedding = node.op == "Gather";
    if (!IsProduct(node) && !embedding) continue;
    for (size_t i = 0; i < std::min<size_t>(node.inputs.size(), embedding ? 1 : 2); ++i) {
      const int t = node.inputs[i];
      if (t < 0) continue;
      const Tensor& tensor = graph.tensors[static_cast<size_t>(t)];
      if (tensor.is_constant()) {
        if (tensor.dtype == DType::kFloat32) weights.insert(t);
      } else if (!embedding && !network_inputs[static_cast<size_t>(t)]) {
        activations.insert(t);
      }
    }
  }
  BitStatistics result;
  double stored = 0, exponent = 0;
  for (int t : weights) {
    const Tensor& tensor = graph.tensors[static_cast<size_t>(t)];
    const uint64_t elements = tensor.elements();
    double bits = 32, exponent_bits = 32;
    if (tensor.codes) {
      bits = tensor.codes->codebook.stored_bits();
      exponent_bits = tensor.codes->codebook.exponent_bits;
      result.weight_bytes += tensor.codes->packed.size() + tensor.codes->channel_scales.size() * sizeof(float);
    } else if (tensor.int8 && !tensor.has_data) {
      bits = exponent_bits = 8;
      result.weight_bytes += tensor.int8->values.size() + tensor.int8->scales.size() * sizeof(float);
    } else {
      result.weight_bytes += elements * sizeof(float);
    }
    result.weight_elements += elements;
    stored += bits * static_cast<double>(elements);
    exponent += exponent_bits * static_cast<double>(elements);
  }
  if (result.weight_elements > 0) {
    result.weight_stored_bits = stored / static_cast<double>(result.weight_elements);
    result.weight_exponent_bits = exponent / static_cast<double>(result.weight_elements);
  }
  if (activations.empty()) return result;
  TALLY_ASSIGN_OR_RETURN(const InferredGraph inferred, InferGraph(graph, extents));
  double elements = 0, bits = 0;
  for (int t : activations) {
    if (inferred.untyped[static_cast<size_t>(t)]) continue;  // its size follows from the value of an input
    const double count = static_cast<double>(inferred.types[static_cast<size_t>(t)].elements());
    const Tensor& tensor = graph.tensors[static_cast<size_t>(t)];
    elements += count;
    bits += count * (tensor.codebook ? tensor.codebook->stored_bits() : 32);
  }
  if (elements > 0) result.activation_stored_bits = bits / elements;
  return result;
}

}  // namespace tally
