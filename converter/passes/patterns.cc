// Functions that exporters spell out: LayerNormalization and Gelu become one node.
#include <algorithm>
#include <cmath>
#include <utility>

#include "converter/passes/graph_util.h"
#include "converter/passes/passes.h"
#include "converter/passes/type_inference.h"

namespace tally {
namespace {

bool IsNear(float value, double expected) { return std::fabs(value - expected) <= 1e-5 * std::fabs(expected); }

class Patterns {
 public:
  explicit Patterns(Graph* graph) : graph_(graph), index_(*graph), types_(*graph) {}

  void Run() {
    for (size_t n = 0; n < graph_->nodes.size(); ++n) FuseLayerNormalization(n);
    for (size_t n = 0; n < graph_->nodes.size(); ++n) FuseGelu(n);
    EraseRemovedNodes(graph_);
  }

 private:
  // The producer of `tensor` when it is `op`; else null.
  Node* Producer(int tensor, const char* op) {
    if (tensor < 0 || index_.is_output[static_cast<size_t>(tensor)]) return nullptr;
    const int producer = index_.producer[static_cast<size_t>(tensor)];
    if (producer < 0) return nullptr;
    Node& node = graph_->nodes[static_cast<size_t>(producer)];
    return node.op == op && node.outputs.size() == 1 ? &node : nullptr;
  }
  // The same when nothing else reads the tensor.
  Node* Private(int tensor, const char* op) {
    return tensor >= 0 && Readers(tensor) == 1 ? Producer(tensor, op) : nullptr;
  }
  size_t Readers(int tensor) const { return index_.consumers[static_cast<size_t>(tensor)].size(); }

  // For a commutative node one of whose inputs is a constant scalar near `value`: the other input; else -1.
  int OtherOperand(const Node& node, double value) const {
    for (size_t side = 0; node.inputs.size() == 2 && side < 2; ++side) {
      float constant = 0;
      if (ConstantScalar(*graph_, node.inputs[side], &constant) && IsNear(constant, value))
        return node.inputs[1 - side];
    }
    return -1;
  }

  // The node's input other than `tensor`; -1 when it is no such node.
  static int Other(const Node& node, int tensor) {
    if (node.inputs.size() != 2) return -1;
    return node.inputs[0] == tensor ? node.inputs[1] : node.inputs[1] == tensor ? node.inputs[0] : -1;
  }

  // The only reader of `tensor`, when it is `op`.
  Node* SoleReader(int tensor, const char* op) {
    const int reader = index_.SoleConsumer(tensor);
    if (reader < 0) return nullptr;
    Node& node = graph_->nodes[static_cast<size_t>(reader)];
    return node.op == op ? &node : nullptr;
  }

  // A ReduceMean over the last axis alone, which it keeps.
  bool IsLastMean(const Node& node) const {
    const int axes = InputOrAbsent(node, 1);
    if (axes < 0 || node.GetInt("keepdims", 1) == 0) return false;
    const Tensor& tensor = graph_->tensors[static_cast<size_t>(axes)];
    if (!tensor.has_data || tensor.elements() != 1) return false;
    const int64_t axis = tensor.data.as<int64_t>()[0];
    return axis == -1 || axis + 1 == types_.Rank(node.inputs[0]);
  }

  bool IsSquare(const Node& node, int tensor) const {
    if (node.op == "Mul") return node.inputs == std::vector<int>{tensor, tensor};
    float exponent = 0;
    return node.op == "Pow" && node.inputs[0] == tensor && ConstantScalar(*graph_, node.inputs[1], &exponent) &&
           exponent == 2.0f;
  }

  // A plain float32 constant of one dimension (leading extents of 1 aside); its length, or -1.
  int64_t VectorLength(int tensor) const {
    if (ConstantFloats(*graph_, tensor) == nullptr) return -1;
    const Shape& shape = graph_->tensors[static_cast<size_t>(tensor)].shape;
    return shape.size() == 1 ? shape[0] : -1;
  }

  // (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias, found at the Div.
  void FuseLayerNormalization(size_t n) {
    const Node& div = graph_->nodes[n];
    if (div.op != "Div") return;
    const int centered = div.inputs[0];
    Node* sub = Producer(centered, "Sub");
    Node* root = Private(div.inputs[1], "Sqrt");
    Node* add = root == nullptr ? nullptr : Private(root->inputs[0], "Add");
    if (sub == nullptr || add == nullptr) return;
    float epsilon = 0;
    Node* variance = nullptr;
    for (size_t side = 0; side < 2; ++side) {
      if (ConstantScalar(*graph_, add->inputs[side], &epsilon)) variance = Private(add->inputs[1 - side], "ReduceMean");
      if (variance != nullptr) break;
    }
    Node* mean = Private(sub->inputs[1], "ReduceMean");
    if (variance == nullptr || mean == nullptr || mean->inputs[0] != sub->inputs[0] || !IsLastMean(*mean)) return;
    Node* square = Private(variance->inputs[0], "Pow");
    if (square == nullptr) square = Private(variance->inputs[0], "Mul");
    if (square == nullptr || !IsSquare(*square, centered) || !IsLastMean(*variance)) return;
    if (Readers(centered) != (square->op == "Mul" ? 3u : 2u)) return;
    Node* mul = SoleReader(div.outputs[0], "Mul");
    const int scale = mul == nullptr ? -1 : Other(*mul, div.outputs[0]);
    Node* shift = mul == nullptr ? nullptr : SoleReader(mul->outputs[0], "Add");
    const int bias = shift == nullptr ? -1 : Other(*shift, mul->outputs[0]);
    const int64_t length = VectorLength(scale);
    // The scale's length must be the last axis'; then nothing is broadcast.
    if (length <= 1 || VectorLength(bias) != length || types_.LastExtent(sub->inputs[0]) != length) return;
    Node fused{shift->name, "LayerNormalization", {sub->inputs[0], scale, bias}, shift->outputs, {}};
    fused.SetInts("axis", {-1});
    fused.SetFloats("epsilon", {epsilon});
    for (Node* node : {sub, root, add, variance, mean, square, mul}) MarkRemoved(node);
    MarkRemoved(&graph_->nodes[n]);
    *shift = std::move(fused);
  }

  // x * (1 + erf(x / sqrt 2)) * 0.5 and x * (1 + tanh(...)) * 0.5 in any order of the products, found at the outermost.
  void FuseGelu(size_t n) {
    Node& outer = graph_->nodes[n];
    if (outer.op != "Mul" || outer.inputs.size() != 2) return;
    std::vector<Node*> parts;
    // Factors of the product, private products and all.
    std::vector<int> factors = outer.inputs;
    for (size_t i = 0; i < factors.size() && factors.size() < 3; ++i) {
      if (Node* product = Private(factors[i], "Mul")) {
        parts.push_back(product);
        factors.erase(factors.begin() + static_cast<std::ptrdiff_t>(i));
        factors.insert(factors.end(), product->inputs.begin(), product->inputs.end());
        i = static_cast<size_t>(-1);
      }
    }
    if (factors.size() != 3) return;
    int x = -1;
    Node* sum = nullptr;
    bool half = false;
    for (int factor : factors) {
      float value = 0;
      if (ConstantScalar(*graph_, factor, &value)) {
        half = value == 0.5f;
      } else if (Node* add = Private(factor, "Add"); add != nullptr && OtherOperand(*add, 1.0) >= 0) {
        sum = add;
      } else {
        x = factor;
      }
    }
    if (!half || sum == nullptr || x < 0) return;
    parts.push_back(sum);
    const int inner = OtherOperand(*sum, 1.0);
    const char* op = nullptr;
    if (MatchErf(inner, x, &parts)) op = "Gelu";
    if (op == nullptr && MatchTanh(inner, x, &parts)) op = "GeluTanh";
    if (op == nullptr) return;
    // Every other reader of x is gone with the parts.
    outer = Node{outer.name, op, {x}, outer.outputs, {}};
    std::vector<int>& readers = index_.consumers[static_cast<size_t>(x)];
    for (Node* part : parts) {
      const int id = static_cast<int>(part - graph_->nodes.data());
      readers.erase(std::remove(readers.begin(), readers.end(), id), readers.end());
      MarkRemoved(part);
    }
    readers.erase(std::remove(readers.begin(), readers.end(), static_cast<int>(n)), readers.end());
    readers.push_back(static_cast<int>(n));
  }

  // erf(x / sqrt 2)
  bool MatchErf(int tensor, int x, std::vector<Node*>* parts) {
    Node* erf = Private(tensor, "Erf");
    if (erf == nullptr) return false;
    Node* scaled = Private(erf->inputs[0], "Div");
    float divisor = 0;
    if (scaled != nullptr) {
      if (scaled->inputs[0] != x || !ConstantScalar(*graph_, scaled->inputs[1], &divisor)) return false;
      if (!IsNear(divisor, std::sqrt(2.0))) return false;
    } else {
      scaled = Private(erf->inputs[0], "Mul");
      if (scaled == nullptr || OtherOperand(*scaled, std::sqrt(0.5)) != x) return false;
    }
    parts->insert(parts->end(), {erf, scaled});
    return true;
  }

  // tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))
  bool MatchTanh(int tensor, int x, std::vector<Node*>* parts) {
    Node* tanh = Private(tensor, "Tanh");
    Node* scaled = tanh == nullptr ? nullptr : Private(tanh->inputs[0], "Mul");
    if (scaled == nullptr) return false;
    Node* sum = Private(OtherOperand(*scaled, std::sqrt(2 / 3.14159265358979323846)), "Add");
    const int cubic = sum == nullptr ? -1 : Other(*sum, x);
    Node* term = Private(cubic, "Mul");
    const int cube = term == nullptr ? -1 : OtherOperand(*term, 0.044715);
    if (cube < 0) return false;
    parts->insert(parts->end(), {tanh, scaled, sum, term});
    if (Node* pow = Private(cube, "Pow")) {
      float exponent = 0;
      parts->push_back(pow);
      return pow->inputs[0] == x && ConstantScalar(*graph_, pow->inputs[1], &exponent) && exponent == 3.0f;
    }
    Node* product = Private(cube, "Mul");
    Node* square = product == nullptr ? nullptr : Private(Other(*product, x), "Mul");
    if (square == nullptr || square->inputs != std::vector<int>{x, x}) return false;
    parts->insert(parts->end(), {product, square});
    return true;
  }

  Graph* graph_;
  GraphIndex index_;
  SymbolicTypes types_;
};

}  // namespace

absl::Status FusePatterns(Graph* graph) {
  Patterns(graph).Run();
  return absl::OkStatus();
}

}  // namespace tally
