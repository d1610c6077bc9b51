// Element-wise operators, Softmax and reductions.
#include <cmath>
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {

void ImportSame(NodeImport& n) {
  std::vector<int> inputs;
  for (size_t i = 0; i < n.num_inputs(); ++i) inputs.push_back(n.input(i));
  n.Emit(n.MakeNode(n.op(), std::move(inputs)));
}

void ImportClip(NodeImport& n) {
  Node node = n.MakeNode("Clip", {n.input(0)});
  const char* bounds[] = {"min", "max"};
  for (size_t i = 0; i < 2; ++i) {
    if (n.opset() < 11) {
      n.CopyFloat(bounds[i], &node);
      continue;
    }
    if (!n.has_input(i + 1)) continue;
    const std::optional<float> bound = n.constant_float(i + 1);
    if (!bound) return n.Unsupported(std::string(bounds[i]) + " that is not a float32 constant");
    if (std::isnan(*bound)) return n.Fail(std::string(bounds[i]) + ": expected a number, found NaN");
    node.SetFloats(bounds[i], {*bound});
  }
  n.Emit(std::move(node));
}

void ImportHardSigmoid(NodeImport& n) {
  Node node = n.MakeNode("HardSigmoid", {n.input(0)});
  n.CopyFloat("alpha", &node);
  n.CopyFloat("beta", &node);
  n.Emit(std::move(node));
}

void ImportLeakyRelu(NodeImport& n) {
  Node node = n.MakeNode("LeakyRelu", {n.input(0)});
  n.CopyFloat("alpha", &node);
  n.Emit(std::move(node));
}

// Against a scalar constant they are one-sided Clips.
void ImportMaxMin(NodeImport& n) {
  if (n.num_inputs() == 1) return n.Emit(n.MakeNode("Identity", {n.input(0)}));
  for (size_t side = 0; n.num_inputs() == 2 && side < 2; ++side) {
    const std::optional<float> bound = n.constant_float(side);
    if (!bound || std::isnan(*bound) || !n.has_input(1 - side) || !n.constant(side)->shape.empty()) continue;
    Node node = n.MakeNode("Clip", {n.input(1 - side)});
    node.SetFloats(n.op() == "Max" ? "min" : "max", {*bound});
    return n.Emit(std::move(node));
  }
  n.Unsupported("anything but one tensor and one scalar constant");
}

void ImportSum(NodeImport& n) {
  for (size_t i = 0; i < n.num_inputs(); ++i) {
    if (!n.has_input(i)) return n.Fail("input " + std::to_string(i) + " is absent");
  }
  if (n.num_inputs() == 1) return n.Emit(n.MakeNode("Identity", {n.input(0)}));
  int sum = n.input(0);
  for (size_t i = 1; i + 1 < n.num_inputs() && n.ok(); ++i) {
    sum = n.EmitPart(n.MakeNode("Add", {sum, n.input(i)}), "sum");
  }
  if (n.ok()) n.Emit(n.MakeNode("Add", {sum, n.input(n.num_inputs() - 1)}));
}

void ImportSoftmax(NodeImport& n) {
  Node node = n.MakeNode("Softmax", {n.input(0)});
  const bool flatten = n.opset() < 13;
  node.SetInts("axis", {n.Int("axis", flatten ? 1 : -1)});
  if (flatten) node.SetInts("flatten", {1});
  n.Emit(std::move(node));
}

void ImportReduceMean(NodeImport& n) {
  const std::vector<int64_t> axes = n.Ints("axes");
  Node node = n.MakeNode("ReduceMean", {n.input(0), n.Has("axes") ? n.AddInts("axes", axes) : -1});
  n.CopyInt("keepdims", &node);
  n.Emit(std::move(node));
}

void ImportCast(NodeImport& n) {
  Node node = n.MakeNode("Cast", {n.input(0)});
  if (!n.Has("to")) return n.Fail("attribute to is missing");
  const int64_t to = n.Int("to", 0);
  DType dtype;
  if (to < 0 || to > 255 || !DTypeOfOnnx(static_cast<int>(to), &dtype)) {
    return n.Unsupported("to element type " +
                         (to < 0 || to > 255 ? std::to_string(to) : OnnxTypeName(static_cast<int>(to))));
  }
  node.SetString("to", DTypeName(dtype));
  n.Emit(std::move(node));
}

}  // namespace tally
