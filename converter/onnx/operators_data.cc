// Operators that move data or change shapes.
#include <algorithm>
#include <utility>

#include "converter/onnx/operators.h"
#include "runtime/ops/attributes.h"

namespace tally {
namespace {

// Input i of newer opsets, or the attribute of older ones as a constant; -1 when there is neither.
int IntsInputOrAttribute(NodeImport& n, size_t i, const char* name, int64_t input_since) {
  if (n.opset() >= input_since) return n.input(i);
  if (n.has_input(i))
    n.Fail("input " + std::to_string(i) + ": " + name + " is an attribute before opset " + std::to_string(input_since));
  const std::vector<int64_t> values = n.Ints(name);
  return n.Has(name) ? n.AddInts(name, values) : -1;
}

}  // namespace

void ImportConcat(NodeImport& n) {
  std::vector<int> inputs;
  for (size_t i = 0; i < n.num_inputs(); ++i) {
    if (!n.has_input(i)) return n.Fail("input " + std::to_string(i) + " is absent");
    inputs.push_back(n.input(i));
  }
  if (!n.Has("axis")) return n.Fail("attribute axis is missing");
  Node node = n.MakeNode("Concat", std::move(inputs));
  n.CopyInt("axis", &node);
  n.Emit(std::move(node));
}

void ImportSplit(NodeImport& n) {
  Node node = n.MakeNode("Split", {n.input(0)});
  n.CopyInt("axis", &node);
  std::optional<std::vector<int64_t>> sizes;
  if (n.opset() < 13) {
    if (n.has_input(1)) return n.Fail("input 1: split is an attribute before opset 13");
    if (n.Has("split")) sizes = n.Ints("split");
  } else if (n.has_input(1)) {
    sizes = n.constant_ints(1);
    if (!sizes) {
      node.inputs.push_back(n.input(1));
      return n.Emit(std::move(node), n.num_outputs());
    }
  }
  if (!sizes) {
    const int64_t parts = static_cast<int64_t>(n.num_outputs());
    if (n.opset() >= 18 && n.Int("num_outputs", parts) != parts) return n.Fail("num_outputs: expected that of outputs");
    const int64_t extent = n.FixedExtent(node.GetInt("axis", 0));
    if (extent < 0) return;
    if (extent % parts != 0 && n.opset() < 18) return n.Unsupported("unequal parts without sizes");
    const int64_t size = (extent + parts - 1) / parts;
    if (size * (parts - 1) > extent) return n.Unsupported("more parts than the extent has");
    sizes.emplace(n.num_outputs(), size);
    sizes->back() = extent - size * (parts - 1);
  }
  if (sizes->size() != n.num_outputs()) {
    return n.Fail("split: expected one size per output, " + std::to_string(n.num_outputs()) + ", found " +
                  std::to_string(sizes->size()));
  }
  // Such sizes fit one extent only.
  if (n.input_type(0) != nullptr && n.FixedExtent(node.GetInt("axis", 0)) < 0) return;
  node.SetInts("split", *sizes);
  n.Emit(std::move(node), n.num_outputs());
}

void ImportSlice(NodeImport& n) {
  std::vector<int> inputs = {n.input(0)};
  const char* names[] = {"starts", "ends", "axes"};
  for (size_t i = 0; i < 3; ++i) {
    inputs.push_back(IntsInputOrAttribute(n, i + 1, names[i], 10));
    if (i < 2 && inputs.back() < 0) return n.Fail(std::string(names[i]) + " is missing");
  }
  inputs.push_back(n.input(4));
  n.Emit(n.MakeNode("Slice", std::move(inputs)));
}

void ImportPad(NodeImport& n) {
  const std::string mode = n.String("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge") return n.Unsupported("mode " + mode);
  int pads = IntsInputOrAttribute(n, 1, "pads", 11);
  if (pads < 0) return n.Fail("pads is missing");
  int value = n.input(2);
  if (n.opset() < 11 && n.Has("value")) value = n.AddFloat("value", n.Float("value", 0));
  if (n.has_input(3)) {  // since opset 18: the pads are those of some axes
    const auto axes = n.constant_ints(3), some = n.constant_ints(1);
    if (!axes || !some) return n.Unsupported("axes with anything but constant axes and pads");
    const int rank = n.Rank(0);
    if (rank < 0) return;
    if (some->size() != 2 * axes->size()) return n.Fail("pads: expected two per axis");
    std::vector<int64_t> all(2 * static_cast<size_t>(rank), 0);
    for (size_t i = 0; i < axes->size(); ++i) {
      size_t axis = 0;
      if (!NormalizeAxis((*axes)[i], static_cast<size_t>(rank), &axis)) return n.Fail("axes: out of range");
      all[axis] = (*some)[i];
      all[axis + static_cast<size_t>(rank)] = (*some)[i + axes->size()];
    }
    pads = n.AddInts("pads", all);
  }
  Node node = n.MakeNode("Pad", {n.input(0), pads, value});
  node.SetString("mode", mode);
  n.Emit(std::move(node));
}

void ImportReshape(NodeImport& n) {
  const std::optional<std::vector<int64_t>> shape = n.constant_ints(1);
  if (n.Int("allowzero", 0) != 0 && shape && std::count(shape->begin(), shape->end(), 0) > 0) {
    return n.Unsupported("allowzero with an extent of 0");  // inputs of extent 0 are dynamic here
  }
  Node node = n.MakeNode("Reshape", {n.input(0), n.input(1)});
  n.CopyInt("allowzero", &node);
  n.Emit(std::move(node));
}

void ImportSqueeze(NodeImport& n) {  // and Unsqueeze
  const int axes = IntsInputOrAttribute(n, 1, "axes", 13);
  if (axes < 0 && n.op() == "Unsqueeze") return n.Fail("axes is missing");
  n.Emit(n.MakeNode(n.op(), {n.input(0), axes}));
}

void ImportSize(NodeImport& n) {
  Node product = n.MakeNode("ReduceProd", {n.Part("Shape", {n.input(0)})});
  product.SetInts("keepdims", {0});
  n.Emit(std::move(product));
}

void ImportConstantOfShape(NodeImport& n) {
  const int value = n.Has("value") ? n.AddTensorAttribute("value") : n.AddFloat("value", 0.0f);
  if (value < 0) return;
  // One element, in ONNX of rank 1.
  const int scalar = n.Part("Reshape", {value, n.AddInts("scalar", {})});
  n.Emit(n.MakeNode("Expand", {scalar, n.input(0)}));
}

// Ones with all but one diagonal cut off.
void ImportEyeLike(NodeImport& n) {
  const TensorType* like = n.input_type(0);
  DType dtype = like == nullptr ? DType::kFloat32 : like->dtype;
  if (!n.Has("dtype") && like == nullptr) return n.Unsupported("an unknown element type");
  const int64_t wanted = n.Int("dtype", 1);
  if (n.Has("dtype") && (wanted < 0 || wanted > 255 || !DTypeOfOnnx(static_cast<int>(wanted), &dtype))) {
    return n.Unsupported("dtype " + std::to_string(wanted));
  }
  Node one = n.MakeNode("Cast", {n.AddFloat("one", 1.0f)});
  one.SetString("to", DTypeName(dtype));
  const int ones = n.Part("Expand", {n.EmitPart(std::move(one), "one"), n.Part("Shape", {n.input(0)})});
  const int k = n.AddInts("k", {n.Int("k", 0)});
  Node lower = n.MakeNode("Trilu", {n.Part("Trilu", {ones, k}), k});
  lower.SetInts("upper", {0});
  n.Emit(std::move(lower));
}

void ImportScatter(NodeImport& n) {
  Node node = n.MakeNode("ScatterElements", {n.input(0), n.input(1), n.input(2)});
  n.CopyAttributes(&node);
  n.Emit(std::move(node));
}

void ImportTopK(NodeImport& n) {
  n.Ignore("sorted");  // always
  int k = n.input(1);
  if (n.opset() < 10) {
    if (!n.Has("k")) return n.Fail("attribute k is missing");
    k = n.AddInts("k", {n.Int("k", 0)});
  } else {
    if (k < 0) return n.Fail("input 1 (k) is absent");
  }
  Node node = n.MakeNode("TopK", {n.input(0), k});
  n.CopyAttributes(&node);
  n.Emit(std::move(node), 2);
}

}  // namespace tally
