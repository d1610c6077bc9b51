#include "converter/search/targets.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "converter/passes/graph_util.h"
#include "format/error.h"
#include "runtime/dot/embedding.h"

namespace tally {
namespace {

bool IsOneOf(const std::string& op, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return op == name; });
}

// Output elements are elements of input 0.
bool OnlyMoves(const std::string& op) {
  return IsOneOf(op,
                 {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Slice", "Split", "Gather"});
}

// Why a constant cannot become codes; empty: it can.
std::string WhyNotWeight(const Tensor& weight) {
  if (!weight.has_data || weight.dtype != DType::kFloat32) return "its weight has no float32 form";
  if (weight.shape.size() < 2) return absl::StrCat("its weight has rank ", weight.shape.size());
  if (weight.elements() == 0) return "its weight is empty";
  return "";
}

// Why a product stays float; empty: it does not.
std::string WhyNot(const Graph& graph, const Node& node) {
  const auto input = [&](size_t i) -> const Tensor* {
    return i < node.inputs.size() && node.inputs[i] >= 0 ? &graph.tensors[static_cast<size_t>(node.inputs[i])]
                                                         : nullptr;
  };
  const Tensor *a = input(0), *b = input(1);
  if (a == nullptr || b == nullptr) return "an input is absent";
  if (a->is_constant()) return "its first input is a constant";
  if (node.op == "MatMul") return b->is_constant() ? "its second input is a constant that is not a matrix" : "";
  if (!b->is_constant()) return "its weight is computed at run time";
  return WhyNotWeight(*b);
}

// The same of a Gather from a float32 constant.
std::string WhyNotTable(const Graph& graph, const Node& node) {
  return IsEmbedding(graph, node) ? WhyNotWeight(graph.tensors[static_cast<size_t>(node.inputs[0])])
                                  : "it does not gather rows";
}

bool GathersFromConstant(const Graph& graph, const Node& node) {
  if (node.op != "Gather" || node.inputs[0] < 0) return false;
  const Tensor& table = graph.tensors[static_cast<size_t>(node.inputs[0])];
  return table.is_constant() && table.dtype == DType::kFloat32;
}

absl::Status CheckFinite(const Tensor& tensor) {
  const float* x = tensor.data.as<float>();
  for (size_t i = 0; i < tensor.elements(); ++i) {
    if (!std::isfinite(x[i])) {
      return MakeError(ErrorId::kNonFiniteWeight, absl::StrCat("element ", i, " is ", x[i]),
                       {"", "", -1, absl::StrCat("tensor ", Quoted(tensor.name))});
    }
  }
  return absl::OkStatus();
}

class Finder {
 public:
  Finder(const Graph& graph, const std::map<int, std::string>& excluded)
      : graph_(graph), excluded_(excluded), network_inputs_(NetworkInputTensors(graph)) {}

  absl::StatusOr<Targets> Run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      const bool is_lookup = GathersFromConstant(graph_, node);
      if (!is_lookup && !IsOneOf(node.op, {"Conv", "Gemm", "MatMul"})) continue;
      const auto excluded = excluded_.find(static_cast<int>(n));
      std::string reason;
      if (excluded != excluded_.end()) {
        reason = excluded->second;
      } else {
        reason = is_lookup ? WhyNotTable(graph_, node) : WhyNot(graph_, node);
      }
      if (!reason.empty()) {
        targets_.skipped.push_back({static_cast<int>(n), InputOrAbsent(node, is_lookup ? 0 : 1), reason});
      } else if (is_lookup) {
        TALLY_ASSIGN_OR_RETURN(const size_t w, Weight(node.inputs[0]));
        targets_.weights[w].lookups.push_back(static_cast<int>(n));
      } else if (node.op == "MatMul") {
        const size_t a = Activation(node.inputs[0], 0), b = Activation(node.inputs[1], 0);
        Note(&targets_.activations[a].partners, static_cast<int>(b));
        Note(&targets_.activations[b].partners, static_cast<int>(a));
        for (size_t side : {a, b}) Note(&targets_.activations[side].nodes, static_cast<int>(n));
      } else {
        const size_t a = Activation(node.inputs[0], node.op == "Conv" ? 1 : -1);
        TALLY_ASSIGN_OR_RETURN(const size_t w, Weight(node.inputs[1]));
        Note(&targets_.activations[a].weights, static_cast<int>(w));
        Note(&targets_.activations[a].nodes, static_cast<int>(n));
        targets_.weights[w].nodes.push_back(static_cast<int>(n));
      }
    }
    FindOtherReaders();
    return std::move(targets_);
  }

 private:
  static void Note(std::vector<int>* list, int value) {
    if (std::find(list->begin(), list->end(), value) == list->end()) list->push_back(value);
  }

  size_t Activation(int tensor, int channel_axis) {
    const auto [it, added] = activations_.emplace(tensor, targets_.activations.size());
    if (added) {
      ActivationTarget target;
      target.tensor = tensor;
      target.network_input = network_inputs_[static_cast<size_t>(tensor)];
      targets_.activations.push_back(target);
    }
    if (channel_axis != 0) targets_.activations[it->second].channel_axis = channel_axis;
    return it->second;
  }

  absl::StatusOr<size_t> Weight(int tensor) {
    const auto [it, added] = weights_.emplace(tensor, targets_.weights.size());
    if (added) {
      const Tensor& t = graph_.tensors[static_cast<size_t>(tensor)];
      TALLY_RETURN_IF_ERROR(CheckFinite(t));
      WeightTarget target;
      target.tensor = tensor;
      target.channels = t.shape[0];
      target.per_channel = static_cast<int64_t>(t.elements()) / t.shape[0];
      targets_.weights.push_back(target);
    }
    return it->second;
  }

  void FindOtherReaders() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (int input : graph_.nodes[n].inputs) {
        const auto it = weights_.find(input);
        if (it == weights_.end()) continue;
        WeightTarget& target = targets_.weights[it->second];
        const auto is_among = [n](const std::vector<int>& nodes) {
          return std::find(nodes.begin(), nodes.end(), static_cast<int>(n)) != nodes.end();
        };
        target.read_elsewhere |= !is_among(target.nodes) && !is_among(target.lookups);
      }
    }
    for (int output : graph_.outputs) {
      if (const auto it = weights_.find(output); it != weights_.end())
        targets_.weights[it->second].read_elsewhere = true;
    }
  }

  const Graph& graph_;
  const std::map<int, std::string>& excluded_;
  const std::vector<bool> network_inputs_;
  Targets targets_;
  std::map<int, size_t> activations_, weights_;  // target by tensor
};

bool NonNegativeConstant(const Tensor& t) {
  if (!t.has_data || t.dtype != DType::kFloat32) return false;
  const float* x = t.data.as<float>();
  return std::all_of(x, x + t.elements(), [](float v) { return v >= 0; });
}

// Whether an activation function never gives a negative value.
bool ClampsAtZero(const Node& node, const std::string& function, float clip_min) {
  return IsOneOf(function, {"Relu", "Sigmoid", "HardSigmoid", "Softmax"}) || (function == "Clip" && clip_min >= 0);
}

bool ProducesNonNegative(const Graph& graph, const Node& node, const std::vector<bool>& non_negative) {
  const auto input = [&](size_t i) {
    return i < node.inputs.size() && node.inputs[i] >= 0 && non_negative[static_cast<size_t>(node.inputs[i])];
  };
  const std::string fused = node.GetString("activation");
  if (!fused.empty()) {
    const Attribute* params = node.Find("activation_params");
    const float clip_min = params == nullptr || params->floats.empty() ? -1 : params->floats[0];
    return ClampsAtZero(node, fused, clip_min);
  }
  if (ClampsAtZero(node, node.op, node.GetFloat("min", -std::numeric_limits<float>::infinity()))) return true;
  if (OnlyMoves(node.op) ||
      IsOneOf(node.op, {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"})) {
    return input(0);
  }
  if (IsOneOf(node.op, {"Add", "Mul"})) return input(0) && input(1);
  if (node.op == "Concat") {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!input(i)) return false;
    }
    return !node.inputs.empty();
  }
  if (node.op == "Pad") {
    const bool has_value = node.inputs.size() > 2 && node.inputs[2] >= 0;
    return input(0) && (!has_value || NonNegativeConstant(graph.tensors[static_cast<size_t>(node.inputs[2])]));
  }
  return false;
}

}  // namespace

bool TakesCodes(const Graph& graph, const Node& node, size_t input) {
  if (input == 0) return IsEmbedding(graph, node);
  return input == 1 && IsConvOrGemm(node) && node.inputs[0] >= 0 &&
         graph.tensors[static_cast<size_t>(node.inputs[0])].codebook.has_value();
}

absl::StatusOr<Targets> FindTargets(const Graph& graph, const std::map<int, std::string>& excluded) {
  return Finder(graph, excluded).Run();
}

std::vector<bool> NonNegativeTensors(const Graph& graph, const std::vector<bool>& inputs_non_negative) {
  std::vector<bool> result(graph.tensors.size());
  for (size_t t = 0; t < graph.tensors.size(); ++t) result[t] = NonNegativeConstant(graph.tensors[t]);
  for (size_t i = 0; i < graph.inputs.size(); ++i)
    result[static_cast<size_t>(graph.inputs[i])] = inputs_non_negative[i];
  for (const Node& node : graph.nodes) {
    if (!ProducesNonNegative(graph, node, result)) continue;
    for (int output : node.outputs) result[static_cast<size_t>(output)] = true;
  }
  return result;
}

std::vector<bool> NetworkInputTensors(const Graph& graph) {
  std::vector<bool> result(graph.tensors.size());
  for (int input : graph.inputs) result[static_cast<size_t>(input)] = true;
  for (const Node& node : graph.nodes) {
    if (!OnlyMoves(node.op) || node.inputs.empty() || node.inputs[0] < 0) continue;
    if (!result[static_cast<size_t>(node.inputs[0])]) continue;
    for (int output : node.outputs) result[static_cast<size_t>(output)] = true;
  }
  return result;
}

std::vector<int64_t> SymbolValues(const Graph& graph, const std::vector<Shape>& shapes) {
  std::vector<int64_t> values(graph.symbols.size(), 1);
  std::set<int64_t> batch;
  for (int input : graph.inputs) {
    const Shape& declared = graph.tensors[static_cast<size_t>(input)].shape;
    if (!declared.empty()) batch.insert(declared[0]);
  }
  for (size_t i = 0; i < graph.inputs.size() && i < shapes.size(); ++i) {
    const Shape& declared = graph.tensors[static_cast<size_t>(graph.inputs[i])].shape;
    for (size_t d = 0; d < declared.size() && d < shapes[i].size(); ++d) {
      if (declared[d] < 0 && batch.count(declared[d]) == 0)
        values[static_cast<size_t>(-(declared[d] + 1))] = shapes[i][d];
    }
  }
  return values;
}

}  // namespace tally
