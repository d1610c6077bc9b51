// Operators that move data or change shapes.
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {
namespace {

// Input i of newer opsets, or the attribute of older ones as a constant; -1 when there is neither.
int IntsInputOrAttribute(NodeImport& n, size_t i, const char* name, int64_t input_since) {
  if (n.opset() >= input_since) {
    n.RequireKnown(i, name);
    return n.input(i);
  }
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
    if (!sizes) return n.Unsupported("sizes that are not constant");
  }
  if (!sizes) return n.EmitSplitIntoEqualParts(std::move(node));
  if (sizes->size() != n.num_outputs()) {
    return n.Fail("split: expected one size per output, " + std::to_string(n.num_outputs()) + ", found " +
                  std::to_string(sizes->size()));
  }
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
  n.RequireKnown(4, "steps");
  inputs.push_back(n.input(4));
  n.Emit(n.MakeNode("Slice", std::move(inputs)));
}

void ImportPad(NodeImport& n) {
  const std::string mode = n.String("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge") return n.Unsupported("mode " + mode);
  const int pads = IntsInputOrAttribute(n, 1, "pads", 11);
  if (pads < 0) return n.Fail("pads is missing");
  int value = n.input(2);
  n.RequireKnown(2, "value");
  if (n.opset() < 11 && n.Has("value")) value = n.AddFloat("value", n.Float("value", 0));
  Node node = n.MakeNode("Pad", {n.input(0), pads, value});
  node.SetString("mode", mode);
  n.Emit(std::move(node));
}

void ImportReshape(NodeImport& n) {
  n.RequireKnown(1, "shape");
  Node node = n.MakeNode("Reshape", {n.input(0), n.input(1)});
  n.CopyInt("allowzero", &node);
  n.Emit(std::move(node));
}

void ImportFlatten(NodeImport& n) {
  Node node = n.MakeNode("Flatten", {n.input(0)});
  n.CopyInt("axis", &node);
  n.Emit(std::move(node));
}

void ImportSqueeze(NodeImport& n) {  // and Unsqueeze
  const int axes = IntsInputOrAttribute(n, 1, "axes", 13);
  if (axes < 0 && n.op() == "Unsqueeze") return n.Fail("axes is missing");
  n.Emit(n.MakeNode(n.op(), {n.input(0), axes}));
}

void ImportTranspose(NodeImport& n) {
  Node node = n.MakeNode("Transpose", {n.input(0)});
  n.CopyInts("perm", &node);
  n.Emit(std::move(node));
}

void ImportGather(NodeImport& n) {
  Node node = n.MakeNode("Gather", {n.input(0), n.input(1)});
  n.CopyInt("axis", &node);
  n.Emit(std::move(node));
}

void ImportShape(NodeImport& n) {
  Node node = n.MakeNode("Shape", {n.input(0)});
  n.CopyInt("start", &node);
  n.CopyInt("end", &node);
  n.Emit(std::move(node));
}

}  // namespace tally
