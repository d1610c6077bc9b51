// Fully connected layers, normalisation, and what exists for training only.
#include <cmath>
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {
namespace {

// C of a Gemm as one float per output, times beta. False when it varies along anything else, or is no constant.
bool BiasOfC(const Tensor* c, int64_t outputs, float beta, Tensor* bias) {
  if (c == nullptr || c->dtype != DType::kFloat32 || c->shape.size() > 2) return false;
  if (c->shape.size() == 2 && c->shape[0] != 1) return false;
  const size_t count = c->elements();
  if (count != 1 && (c->shape.empty() || c->shape.back() != outputs)) return false;
  float* to = nullptr;
  *bias = MakeFloatConstant("", {outputs}, &to);
  for (int64_t o = 0; o < outputs; ++o) to[o] = c->data.as<float>()[count == 1 ? 0 : o] * beta;
  return true;
}

int Scaled(NodeImport& n, int tensor, float factor, const std::string& suffix) {
  if (factor == 1.0f) return tensor;
  return n.EmitPart(n.MakeNode("Mul", {tensor, n.AddFloat(suffix + "_factor", factor)}), suffix);
}

int TransposedPart(NodeImport& n, int tensor, const std::string& suffix) {
  Node transpose = n.MakeNode("Transpose", {tensor});
  transpose.SetInts("perm", {1, 0});
  return n.EmitPart(std::move(transpose), suffix);
}

}  // namespace

void ImportGemm(NodeImport& n) {
  const float alpha = n.Float("alpha", 1.0f);
  const float beta = n.Float("beta", 1.0f);
  const bool transpose_a = n.Int("transA", 0) != 0;
  const bool transpose_b = n.Int("transB", 0) != 0;
  if (n.opset() < 7) n.Ignore("broadcast");
  if (!std::isfinite(alpha) || !std::isfinite(beta)) return n.Fail("expected a finite alpha and beta");
  const int a = transpose_a ? TransposedPart(n, n.input(0), "a") : n.input(0);

  const Tensor* b = n.constant(1);
  if (b != nullptr && b->shape.size() != 2) return n.Fail("B: expected a matrix, found " + ShapeString(b->shape));
  if (b == nullptr || b->dtype != DType::kFloat32) {
    const int right = Scaled(n, transpose_b ? TransposedPart(n, n.input(1), "b") : n.input(1), alpha, "alpha");
    Node product = n.MakeNode("MatMul", {a, right});
    if (!n.has_input(2)) return n.Emit(std::move(product));
    const int addend = Scaled(n, n.input(2), beta, "beta");
    return n.Emit(n.MakeNode("Add", {n.EmitPart(std::move(product), "product"), addend}));
  }

  const int64_t outputs = b->shape[transpose_b ? 0 : 1];
  Tensor bias;
  int bias_tensor = -1;
  if (BiasOfC(n.constant(2), outputs, beta, &bias)) {
    // The constant itself where it is a plain bias already, so that it keeps its name.
    const bool as_is = beta == 1.0f && n.constant(2)->shape == bias.shape;
    bias_tensor = as_is ? n.input(2) : n.AddConstant("bias", std::move(bias));
  }
  const int weight = n.Matrix(1, !transpose_b, alpha);
  Node gemm = n.MakeNode("Gemm", {a, weight, bias_tensor});
  if (!n.has_input(2) || bias_tensor >= 0) return n.Emit(std::move(gemm));
  const int addend = Scaled(n, n.input(2), beta, "beta");
  n.Emit(n.MakeNode("Add", {n.EmitPart(std::move(gemm), "product"), addend}));
}

void ImportBatchNormalization(NodeImport& n) {
  if (n.Int("training_mode", 0) != 0) return n.Unsupported("training_mode");
  n.Ignore("is_test");  // before opset 7; running statistics are what there is to use
  if (n.Int("spatial", 1) == 0) return n.Unsupported("spatial 0");
  n.Ignore("momentum");
  Node node = n.MakeNode("BatchNormalization", {n.input(0), n.input(1), n.input(2), n.input(3), n.input(4)});
  n.CopyFloat("epsilon", &node);
  n.Emit(std::move(node));
}

void ImportLayerNormalization(NodeImport& n) {
  n.Ignore("stash_type");  // how precise the statistics are: float32 here
  ImportSame(n);
}

// Opset 21 has a scale and bias per channel, opset 18 had them per group.
void ImportGroupNormalization(NodeImport& n) {
  n.Ignore("stash_type");
  if (n.opset() >= 21) return ImportSame(n);
  const int64_t groups = n.Int("num_groups", 0);
  const int64_t channels = n.FixedExtent(1);
  if (channels < 0) return;
  if (groups < 1 || channels % groups != 0) return n.Fail("num_groups: expected a divisor of the channels");
  std::vector<int> inputs = {n.input(0)};
  for (size_t i = 1; i < 3; ++i) {
    const int column = n.Part("Reshape", {n.input(i), n.AddInts("column", {groups, 1})});
    const int repeated = n.Part("Expand", {column, n.AddInts("channels", {groups, channels / groups})});
    inputs.push_back(n.Part("Reshape", {repeated, n.AddInts("flat", {channels})}));
  }
  Node node = n.MakeNode("GroupNormalization", std::move(inputs));
  n.CopyAttributes(&node);
  n.Emit(std::move(node));
}

void ImportDropout(NodeImport& n) {
  n.Ignore("ratio");
  n.Ignore("is_test");
  n.Ignore("seed");
  if (n.has_input(2)) {
    const Tensor* training = n.constant(2);
    if (training == nullptr || training->dtype != DType::kBool || training->elements() != 1 ||
        training->data.as<uint8_t>()[0] != 0) {
      return n.Unsupported("training_mode");
    }
  }
  n.EmitOutput(0, n.MakeNode("Identity", {n.input(0)}));
  // Nothing is dropped.
  if (!n.output_used(1)) return;
  Node kept = n.MakeNode("Cast", {n.AddFloat("one", 1.0f)});
  kept.SetString("to", DTypeName(DType::kBool));
  n.EmitOutput(1, n.MakeNode("Expand", {n.EmitPart(std::move(kept), "kept"), n.Part("Shape", {n.input(0)})}));
}

}  // namespace tally
