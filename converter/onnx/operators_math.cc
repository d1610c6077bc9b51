// Element-wise operators, reductions, and operators that ONNX defines as functions of them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "converter/onnx/operators.h"
#include "runtime/ops/op.h"

namespace tally {
namespace {

int SumAlong(NodeImport& n, const char* op, int x, int axes) {
  Node node = n.MakeNode(op, {x, axes});
  return n.EmitPart(std::move(node), op);
}

// The axes of a reduction: input 1 of newer opsets, or the attribute; -1 when there is neither.
int ReductionAxes(NodeImport& n, int64_t input_since) {
  if (n.opset() >= input_since) return n.input(1);
  if (n.has_input(1)) n.Fail("input 1: axes is an attribute before opset " + std::to_string(input_since));
  const std::vector<int64_t> axes = n.Ints("axes");
  return n.Has("axes") ? n.AddInts("axes", axes) : -1;
}

}  // namespace

void ImportSame(NodeImport& n) {
  std::vector<int> inputs;
  for (size_t i = 0; i < n.num_inputs(); ++i) inputs.push_back(n.input(i));
  if (n.opset() < 7) {
    // The right operand of arithmetic was aligned with the left one's last dimensions, or from `axis` on. Operators of
    // training had a flag for it.
    n.Ignore("broadcast");
    n.Ignore("is_test");
    if (n.Has("axis") && n.Has("broadcast") && inputs.size() == 2) {
      const int64_t axis = n.Int("axis", 0);
      const int left = n.Rank(0), right = n.Rank(1);
      if (left < 0 || right < 0) return;
      const int64_t behind = left - right - (axis < 0 ? axis + left : axis);
      if (behind < 0) return n.Fail("axis: expected the right operand to fit behind it");
      std::vector<int64_t> axes;
      for (int64_t i = 0; i < behind; ++i) axes.push_back(right + i);
      if (behind > 0) inputs[1] = n.Part("Unsqueeze", {inputs[1], n.AddInts("axes", axes)});
    }
  }
  Node node = n.MakeNode(n.op(), std::move(inputs));
  n.CopyAttributes(&node);
  const OpDef& def = *FindOp(n.op());
  n.Emit(std::move(node),
         std::clamp(n.num_outputs(), static_cast<size_t>(def.min_outputs), static_cast<size_t>(def.max_outputs)));
}

// Before opset 7 a vector of slopes was one per channel.
void ImportPRelu(NodeImport& n) {
  if (n.opset() >= 7) return ImportSame(n);
  const int rank = n.Rank(0), slopes = n.Rank(1);
  if (rank < 0 || slopes < 0) return;
  int slope = n.input(1);
  std::vector<int64_t> axes;
  for (int i = 1; slopes == 1 && i + 1 < rank; ++i) axes.push_back(i);
  if (!axes.empty()) slope = n.Part("Unsqueeze", {slope, n.AddInts("axes", axes)});
  n.Emit(n.MakeNode("PRelu", {n.input(0), slope}));
}

void ImportClip(NodeImport& n) {
  Node node = n.MakeNode("Clip", {n.input(0)});
  const char* bounds[] = {"min", "max"};
  bool fixed = true;
  for (size_t i = 0; i < 2; ++i) {
    if (n.opset() < 11) {
      n.CopyFloat(bounds[i], &node);
      continue;
    }
    if (!n.has_input(i + 1)) continue;
    const std::optional<float> bound = n.constant_float(i + 1);
    fixed = fixed && bound;
    if (!bound) continue;
    if (std::isnan(*bound)) return n.Fail(std::string(bounds[i]) + ": expected a number, found NaN");
    node.SetFloats(bounds[i], {*bound});
  }
  const TensorType* x = n.input_type(0);
  if (fixed &&
      (node.Find("min") != nullptr || node.Find("max") != nullptr || x == nullptr || x->dtype == DType::kFloat32)) {
    return n.Emit(std::move(node));
  }
  // Integers, and bounds that are no constants. ONNX: the upper bound wins.
  int value = n.input(0);
  if (n.has_input(1)) value = n.Part("Max", {value, n.input(1)});
  n.Emit(n.has_input(2) ? n.MakeNode("Min", {value, n.input(2)}) : n.MakeNode("Identity", {value}));
}

// Sum, Max, Min of any number of tensors.
void ImportChain(NodeImport& n) {
  const char* op = n.op() == "Sum" || n.op() == "Mean" ? "Add" : n.op() == "Max" ? "Max" : "Min";
  for (size_t i = 0; i < n.num_inputs(); ++i) {
    if (!n.has_input(i)) return n.Fail("input " + std::to_string(i) + " is absent");
  }
  if (n.num_inputs() == 1) return n.Emit(n.MakeNode("Identity", {n.input(0)}));
  // Against a scalar constant Max and Min are one-sided Clips, which fuse.
  for (size_t side = 0; op[0] == 'M' && n.num_inputs() == 2 && side < 2; ++side) {
    const std::optional<float> bound = n.constant_float(side);
    if (!bound || std::isnan(*bound) || !n.constant(side)->shape.empty()) continue;
    Node node = n.MakeNode("Clip", {n.input(1 - side)});
    node.SetFloats(n.op() == "Max" ? "min" : "max", {*bound});
    return n.Emit(std::move(node));
  }
  int folded = n.input(0);
  for (size_t i = 1; i + 1 < n.num_inputs() && n.ok(); ++i) folded = n.Part(op, {folded, n.input(i)});
  Node last = n.MakeNode(op, {folded, n.input(n.num_inputs() - 1)});
  if (!n.ok()) return;
  if (n.op() != "Mean") return n.Emit(std::move(last));
  const int sum = n.EmitPart(std::move(last), "sum");
  n.Emit(n.MakeNode("Div", {sum, n.AddFloat("count", static_cast<float>(n.num_inputs()))}));
}

void ImportMean(NodeImport& n) { ImportChain(n); }

void ImportSoftmax(NodeImport& n) {  // and LogSoftmax, Hardmax
  Node node = n.MakeNode(n.op(), {n.input(0)});
  const bool flatten = n.opset() < 13;
  node.SetInts("axis", {n.Int("axis", flatten ? 1 : -1)});
  if (flatten) node.SetInts("flatten", {1});
  n.Emit(std::move(node));
}

void ImportReduce(NodeImport& n) {
  Node node = n.MakeNode(n.op(), {n.input(0), ReductionAxes(n, n.op() == "ReduceSum" ? 13 : 18)});
  n.CopyInt("keepdims", &node);
  n.CopyInt("noop_with_empty_axes", &node);
  n.Emit(std::move(node));
}

// ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp.
void ImportReduceFunction(NodeImport& n) {
  const int x = n.input(0);
  const int axes = ReductionAxes(n, 18);
  Node sum = n.MakeNode("ReduceSum", {-1, axes});
  sum.inputs.resize(axes < 0 ? 1 : 2);
  n.CopyInt("keepdims", &sum);
  n.CopyInt("noop_with_empty_axes", &sum);
  const std::string& op = n.op();
  if (op == "ReduceL1") {
    sum.inputs[0] = n.Part("Abs", {x});
    return n.Emit(std::move(sum));
  }
  if (op == "ReduceSumSquare" || op == "ReduceL2") {
    sum.inputs[0] = n.Part("Mul", {x, x});
    if (op == "ReduceSumSquare") return n.Emit(std::move(sum));
    return n.Emit(n.MakeNode("Sqrt", {n.EmitPart(std::move(sum), "sum")}));
  }
  if (op == "ReduceLogSum") {
    sum.inputs[0] = x;
    return n.Emit(n.MakeNode("Log", {n.EmitPart(std::move(sum), "sum")}));
  }
  // log(sum(e^(x - m))) + m, m the maximum, held within finite bounds so that the difference is a number.
  Node largest = sum;
  largest.op = "ReduceMax";
  largest.inputs[0] = x;
  Node shaped = largest;
  largest.SetInts("keepdims", {1});
  const auto finite = [&n](int value, const char* suffix) {
    Node clip = n.MakeNode("Clip", {value});
    clip.SetFloats("min", {-3.4e38f});
    clip.SetFloats("max", {3.4e38f});
    return n.EmitPart(std::move(clip), suffix);
  };
  const int kept = finite(n.EmitPart(std::move(largest), "max"), "bounded");
  sum.inputs[0] = n.Part("Exp", {n.Part("Sub", {x, kept})});
  const int log = n.Part("Log", {n.EmitPart(std::move(sum), "sum")});
  n.Emit(n.MakeNode("Add", {log, finite(n.EmitPart(std::move(shaped), "max"), "bounded")}));
}

void ImportCast(NodeImport& n) {
  if (!n.Has("to")) return n.Fail("attribute to is missing");
  n.Ignore("saturate");  // of 8-bit floats, which are refused
  Node node = n.MakeNode("Cast", {n.input(0)});
  const int64_t to = n.Int("to", 0);
  DType dtype;
  // ONNX's own tests cut what later versions of it round, so there is no telling.
  if (to < 0 || to > 255 || to == onnx::TensorProto::BFLOAT16 || !DTypeOfOnnx(static_cast<int>(to), &dtype)) {
    return n.Unsupported("to element type " +
                         (to < 0 || to > 255 ? std::to_string(to) : OnnxTypeName(static_cast<int>(to))));
  }
  node.SetString("to", DTypeName(dtype));
  if (to == onnx::TensorProto::FLOAT16) node.SetString("precision", "float16");
  n.Emit(std::move(node));
}

void ImportCastLike(NodeImport& n) {
  const TensorType* like = n.input_type(1);
  if (like == nullptr) return n.Unsupported("an unknown element type");
  n.Ignore("saturate");
  Node node = n.MakeNode("Cast", {n.input(0)});
  node.SetString("to", DTypeName(like->dtype));
  const int declared = n.OnnxType(1);
  if (declared == onnx::TensorProto::BFLOAT16) return n.Unsupported("to element type BFLOAT16");
  if (declared == onnx::TensorProto::FLOAT16) node.SetString("precision", "float16");
  n.Emit(std::move(node));
}

void ImportGelu(NodeImport& n) {
  const std::string approximate = n.String("approximate", "none");
  if (approximate != "none" && approximate != "tanh") return n.Fail("approximate: expected none or tanh");
  n.Emit(n.MakeNode(approximate == "tanh" ? "GeluTanh" : "Gelu", {n.input(0)}));
}

void ImportMish(NodeImport& n) {
  n.Emit(n.MakeNode("Mul", {n.input(0), n.Part("Tanh", {n.Part("Softplus", {n.input(0)})})}));
}

void ImportMeanVarianceNormalization(NodeImport& n) {
  std::vector<int64_t> axes = n.Ints("axes");
  if (!n.Has("axes")) axes = {0, 2, 3};
  const int axes_input = n.AddInts("axes", axes);
  const int centered = n.Part("Sub", {n.input(0), SumAlong(n, "ReduceMean", n.input(0), axes_input)});
  const int variance = SumAlong(n, "ReduceMean", n.Part("Mul", {centered, centered}), axes_input);
  const int deviation = n.Part("Add", {n.Part("Sqrt", {variance}), n.AddFloat("epsilon", 1e-9f)});
  n.Emit(n.MakeNode("Div", {centered, deviation}));
}

void ImportLpNormalization(NodeImport& n) {
  const int64_t p = n.Int("p", 2);
  if (p != 1 && p != 2) return n.Fail("p: expected 1 or 2");
  const int axes = n.AddInts("axis", {n.Int("axis", -1)});
  const int x = n.input(0);
  const int powers = p == 1 ? n.Part("Abs", {x}) : n.Part("Mul", {x, x});
  const int sum = SumAlong(n, "ReduceSum", powers, axes);
  n.Emit(n.MakeNode("Div", {x, p == 1 ? sum : n.Part("Sqrt", {sum})}));
}

// y_scale = (max(x, 0) - min(x, 0)) / 255, y_zero_point = rint(-min(x, 0) / y_scale).
void ImportDynamicQuantizeLinear(NodeImport& n) {
  const auto extreme = [&n](const char* op, const char* bound) {
    Node reduce = n.MakeNode(op, {n.input(0)});
    reduce.SetInts("keepdims", {0});
    Node clip = n.MakeNode("Clip", {n.EmitPart(std::move(reduce), op)});
    clip.SetFloats(bound, {0.0f});
    return n.EmitPart(std::move(clip), bound);
  };
  const int low = extreme("ReduceMin", "max");
  const int high = extreme("ReduceMax", "min");
  const int scale = n.Part("Div", {n.Part("Sub", {high, low}), n.AddFloat("levels", 255.0f)});
  Node clip = n.MakeNode("Clip", {n.Part("Round", {n.Part("Div", {n.Part("Neg", {low}), scale})})});
  clip.SetFloats("min", {0.0f});
  clip.SetFloats("max", {255.0f});
  Node zero = n.MakeNode("Cast", {n.EmitPart(std::move(clip), "zero_point")});
  zero.SetString("to", DTypeName(DType::kUint8));
  const int zero_point = n.EmitPart(std::move(zero), "zero_point");
  n.EmitOutput(0, n.MakeNode("QuantizeLinear", {n.input(0), scale, zero_point}));
  n.EmitOutput(1, n.MakeNode("Identity", {scale}));
  n.EmitOutput(2, n.MakeNode("Identity", {zero_point}));
}

}  // namespace tally
