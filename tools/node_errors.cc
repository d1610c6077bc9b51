#include "tools/node_errors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/error.h"
#include "format/graph.h"
#include "tools/measure.h"

namespace tally::tools {
namespace {

// Sums over samples; the arrays may be of any size.
class ErrorSum {
 public:
  void Add(const Captured& reference, const Captured& other) {
    const float* a = reinterpret_cast<const float*>(reference.data.data());
    const float* b = reinterpret_cast<const float*>(other.data.data());
    const size_t n = std::min(reference.data.size(), other.data.size()) / sizeof(float);
    for (size_t i = 0; i < n; ++i) {
      const double difference = static_cast<double>(a[i]) - b[i];
      signal_ += static_cast<double>(a[i]) * a[i];
      noise_ += difference * difference;
      max_abs_ = std::max(max_abs_, std::abs(difference));
    }
  }
  double decibels() const {
    if (noise_ == 0) return std::numeric_limits<double>::infinity();
    return 10 * std::log10(signal_ / noise_);
  }
  double max_abs() const { return max_abs_; }

 private:
  double signal_ = 0, noise_ = 0, max_abs_ = 0;
};

bool IsQuantized(const Graph& graph, const Node& node) {
  return std::any_of(node.inputs.begin(), node.inputs.end(),
                     [&](int t) {
                       return t >= 0 && (graph.tensors[static_cast<size_t>(t)].codes ||
                                         graph.tensors[static_cast<size_t>(t)].codebook);
                     }) &&
         (node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul" || node.op == "Gather");
}

// A graph of this node alone, whose inputs have the captured shapes. Constants are shared, not copied.
Graph NodeAlone(const Graph& graph, const Node& node, const Capture& capture) {
  Graph alone;
  Node copy = node;
  std::map<int, int> index;
  const auto add = [&](int t, bool is_output) {
    if (t < 0) return -1;
    const auto [it, inserted] = index.emplace(t, static_cast<int>(alone.tensors.size()));
    if (!inserted) return it->second;
    Tensor tensor = graph.tensors[static_cast<size_t>(t)];
    if (!tensor.is_constant() && !is_output) {
      const auto captured = capture.find(tensor.name);
      if (captured != capture.end()) tensor.shape = captured->second.type.shape;
      alone.inputs.push_back(it->second);
    }
    if (is_output) {
      tensor.codebook.reset();
      alone.outputs.push_back(it->second);
    }
    alone.tensors.push_back(std::move(tensor));
    return it->second;
  };
  for (int& t : copy.inputs) t = add(t, false);
  for (int& t : copy.outputs) t = add(t, true);
  alone.nodes.push_back(std::move(copy));
  return alone;
}

absl::StatusOr<double> IsolatedError(const Model& model, const Node& node, const std::vector<Capture>& reference,
                                     const SessionSpec& spec, int num_threads) {
  TALLY_ASSIGN_OR_RETURN(const Model alone, Model::FromGraph(NodeAlone(model.graph(), node, reference[0])));
  SessionOptions options;
  options.backends = spec.backends;
  options.num_threads = num_threads;
  options.tuning = Tuning::kRules;  // bits are looked at, not speed
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(alone, options));
  ErrorSum sum;
  for (const Capture& sample : reference) {
    std::vector<NamedView> inputs;
    for (const TensorInfo& info : session.inputs()) {
      const Captured& value = sample.at(info.name);
      inputs.push_back({info.name, {value.data.data(), value.type.dtype, value.type.shape}});
    }
    const TensorInfo& info = session.outputs()[0];
    Captured output{{info.dtype, info.shape}, {}};
    output.data.resize(output.type.bytes());
    TALLY_RETURN_IF_ERROR(session.Run(inputs, {{info.name, {output.data.data(), info.dtype, info.shape}}}));
    sum.Add(sample.at(info.name), output);
  }
  return sum.decibels();
}

}  // namespace

absl::StatusOr<Capture> CaptureRun(Session* session, const Batch& batch) {
  std::vector<std::pair<std::string, Shape>> shapes;
  for (const BatchInput& input : batch.inputs) shapes.emplace_back(input.name, input.type.shape);
  TALLY_RETURN_IF_ERROR(session->Resize(shapes));
  Capture capture;
  const auto keep = [&](const std::string& name, const TensorView& view) {
    const TensorType type{view.dtype, view.shape};
    const uint8_t* bytes = view.as<uint8_t>();
    Captured& value = capture[name];
    value.type = type;
    if (type.bytes() > 0) value.data.assign(bytes, bytes + type.bytes());
  };
  for (const BatchInput& input : batch.inputs) keep(input.name, input.view());
  session->set_observer(
      [&](const std::string&, const std::string& tensor, const TensorView& value) { keep(tensor, value); });
  const absl::Status status = session->Run(batch.views(), {});
  session->set_observer({});
  TALLY_RETURN_IF_ERROR(status);
  return capture;
}

absl::StatusOr<std::vector<NodeError>> CompareNodes(const Model& model, const std::vector<Capture>& reference,
                                                    const std::vector<Capture>& captures, const SessionSpec& spec,
                                                    int num_threads) {
  const Graph& graph = model.graph();
  std::vector<NodeError> errors;
  for (const Node& node : graph.nodes) {
    if (node.outputs.empty() || node.outputs[0] < 0) continue;
    NodeError error{node.name, node.op, graph.tensors[static_cast<size_t>(node.outputs[0])].name, 0, 0, std::nullopt};
    ErrorSum sum;
    bool comparable = !reference.empty();
    for (size_t s = 0; s < reference.size() && comparable; ++s) {
      const auto a = reference[s].find(error.tensor);
      const auto b = captures[s].find(error.tensor);
      comparable = a != reference[s].end() && b != captures[s].end() && a->second.type.dtype == DType::kFloat32 &&
                   a->second.type == b->second.type;
      if (comparable) sum.Add(a->second, b->second);
    }
    if (!comparable) continue;
    error.cumulative_db = sum.decibels();
    error.max_abs = sum.max_abs();
    const bool inputs_captured = std::all_of(node.inputs.begin(), node.inputs.end(), [&](int t) {
      return t < 0 || graph.tensors[static_cast<size_t>(t)].is_constant() ||
             reference[0].count(graph.tensors[static_cast<size_t>(t)].name) > 0;
    });
    if (IsQuantized(graph, node) && inputs_captured) {
      TALLY_ASSIGN_OR_RETURN(error.isolated_db, IsolatedError(model, node, reference, spec, num_threads));
    }
    errors.push_back(std::move(error));
  }
  return errors;
}

std::optional<Divergence> FirstDivergence(const Model& model, const std::vector<Capture>& a,
                                          const std::vector<Capture>& b) {
  const Graph& graph = model.graph();
  for (const Node& node : graph.nodes) {
    for (int t : node.outputs) {
      if (t < 0) continue;
      const std::string& name = graph.tensors[static_cast<size_t>(t)].name;
      for (size_t s = 0; s < a.size(); ++s) {
        const auto x = a[s].find(name);
        const auto y = b[s].find(name);
        if (x == a[s].end() || y == b[s].end() || x->second.data == y->second.data) continue;
        ErrorSum sum;
        if (x->second.type.dtype == DType::kFloat32) sum.Add(x->second, y->second);
        return Divergence{node.name, name, s, sum.max_abs()};
      }
    }
  }
  return std::nullopt;
}

}  // namespace tally::tools
