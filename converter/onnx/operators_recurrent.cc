// LSTM, GRU and RNN: per direction a Gemm for the products of all inputs with their weights (which quantizes like any
// other) and a recurrent node for the rest.
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {
namespace {

struct Recurrent {
  int64_t gates = 1;
  int64_t hidden = 0;
  bool batch_first = false;
  bool reset_after = false;
};

int64_t GatesOf(const std::string& op) { return op == "LSTM" ? 4 : op == "GRU" ? 3 : 1; }

bool HasDefaultActivations(NodeImport& n, size_t directions) {
  std::vector<std::string> defaults = {"Tanh"};
  if (n.op() == "LSTM") defaults = {"Sigmoid", "Tanh", "Tanh"};
  if (n.op() == "GRU") defaults = {"Sigmoid", "Tanh"};
  const std::vector<std::string> given = n.Strings("activations");
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i] != defaults[i % defaults.size()]) return false;
  }
  return given.empty() || given.size() == directions * defaults.size();
}

// Index `direction` of axis 0; absent stays absent.
int Direction(NodeImport& n, int tensor, int64_t direction) {
  if (tensor < 0) return -1;
  const int last = n.AddInts("next", {direction + 1});
  const int slice = n.Part("Slice", {tensor, n.AddInts("direction", {direction}), last, n.AddInts("axis", {0})});
  return n.Part("Squeeze", {slice, n.AddInts("axis", {0})});
}

int Range(NodeImport& n, int vector, int64_t first, int64_t last) {
  return n.Part("Slice", {vector, n.AddInts("first", {first}), n.AddInts("last", {last})});
}

int Swap(NodeImport& n, int tensor, std::vector<int64_t> perm) {
  if (tensor < 0) return -1;
  Node node = n.MakeNode("Transpose", {tensor});
  node.SetInts("perm", std::move(perm));
  return n.EmitPart(std::move(node), "transposed");
}

// One direction; its outputs are y `[T,B,H]` and the last states `[B,H]`.
std::vector<int> EmitDirection(NodeImport& n, const Recurrent& r, int x, int64_t d, bool reverse) {
  const int64_t rows = r.gates * r.hidden;
  const int biases = Direction(n, n.input(3), d);
  int bias = -1, candidate_bias = -1;
  if (biases >= 0) {
    const int of_inputs = Range(n, biases, 0, rows);
    int of_states = Range(n, biases, rows, 2 * rows);
    if (r.reset_after) {
      candidate_bias = Range(n, of_states, 2 * r.hidden, rows);
      of_states = n.Part("Pad", {Range(n, of_states, 0, 2 * r.hidden), n.AddInts("pads", {0, r.hidden})});
    }
    bias = n.Part("Add", {of_inputs, of_states});
  }
  const int gates = n.Part("Gemm", {x, Direction(n, n.input(1), d), bias});
  const auto state = [&](size_t i) {
    return Direction(n, r.batch_first ? Swap(n, n.input(i), {1, 0, 2}) : n.input(i), d);
  };
  std::vector<int> inputs = {gates, Direction(n, n.input(2), d), n.input(4), state(5)};
  if (n.op() == "LSTM") {
    inputs.push_back(state(6));
    inputs.push_back(Direction(n, n.input(7), d));
  }
  if (n.op() == "GRU") inputs.push_back(candidate_bias);
  Node node = n.MakeNode(n.op(), std::move(inputs));
  if (reverse) node.SetInts("reverse", {1});
  if (r.reset_after) node.SetInts("linear_before_reset", {1});
  return n.EmitParts(std::move(node), "direction", n.op() == "LSTM" ? 3 : 2);
}

}  // namespace

void ImportRecurrent(NodeImport& n) {
  Recurrent r;
  r.gates = GatesOf(n.op());
  const std::string direction = n.String("direction", "forward");
  const bool both = direction == "bidirectional";
  if (!both && direction != "forward" && direction != "reverse") return n.Fail("direction: unknown");
  if (!HasDefaultActivations(n, both ? 2 : 1)) return n.Unsupported("other activations than the default ones");
  if (n.Has("clip")) return n.Unsupported("clip");
  if (n.Int("input_forget", 0) != 0) return n.Unsupported("input_forget");
  n.Ignore("activation_alpha");  // the default functions have none
  n.Ignore("activation_beta");
  n.Ignore("output_sequence");
  r.batch_first = n.Int("layout", 0) != 0;
  r.reset_after = n.Int("linear_before_reset", 0) != 0;
  const TensorType* weight = n.input_type(2);
  if (weight == nullptr || weight->shape.size() != 3) return n.Unsupported("a weight of unknown extents");
  r.hidden = weight->shape[2];
  if (n.Int("hidden_size", r.hidden) != r.hidden) return n.Fail("hidden_size: expected the weight's");
  if (weight->shape[0] != (both ? 2 : 1) || weight->shape[1] != r.gates * r.hidden) {
    return n.Fail("R: expected one matrix per direction, found " + ShapeString(weight->shape));
  }
  const int x = r.batch_first ? Swap(n, n.input(0), {1, 0, 2}) : n.input(0);
  std::vector<std::vector<int>> directions;
  directions.push_back(EmitDirection(n, r, x, 0, direction == "reverse"));
  if (both) directions.push_back(EmitDirection(n, r, x, 1, true));
  for (size_t i = 0; i < directions[0].size() && n.ok(); ++i) {
    if (!n.output_used(i)) continue;
    // Y is [T, D, B, H], a last state [D, B, H].
    const int64_t axis = i == 0 ? 1 : 0;
    Node joined = n.MakeNode("Unsqueeze", {directions[0][i], n.AddInts("axis", {axis})});
    if (both) {
      const int first = n.EmitPart(std::move(joined), "first");
      joined = n.MakeNode("Concat", {first, n.Part("Unsqueeze", {directions[1][i], n.AddInts("axis", {axis})})});
      joined.SetInts("axis", {axis});
    }
    if (!r.batch_first) {
      n.EmitOutput(i, std::move(joined));
      continue;
    }
    Node swapped = n.MakeNode("Transpose", {n.EmitPart(std::move(joined), "joined")});
    swapped.SetInts("perm", i == 0 ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2});
    n.EmitOutput(i, std::move(swapped));
  }
}

}  // namespace tally
