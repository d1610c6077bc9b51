// Convolution, fully connected layers, pools, and what exists for training only.
#include <cmath>
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {
namespace {

// Convolutions and pools have 1 or 2 spatial axes here.
bool CheckSpatialAxes(NodeImport& n, size_t axes) {
  if (axes == 1 || axes == 2) return true;
  n.Unsupported(std::to_string(axes) + "-D (supported: 1-D and 2-D)");
  return false;
}

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

void ImportPool(NodeImport& n, Node node) {
  const std::vector<int64_t> kernel = n.Ints("kernel_shape");
  if (kernel.empty()) return n.Fail("attribute kernel_shape is missing");
  if (!CheckSpatialAxes(n, kernel.size())) return;
  node.SetInts("kernel_shape", kernel);
  n.CopyInts("strides", &node);
  n.CopyInts("pads", &node);
  n.CopyString("auto_pad", &node);
  n.CopyInt("ceil_mode", &node);
  n.Emit(std::move(node));
}

}  // namespace

void ImportConv(NodeImport& n) {
  Node node = n.MakeNode("Conv", {n.input(0), n.input(1), n.input(2)});
  const std::vector<int64_t> kernel = n.Ints("kernel_shape");
  if (const Tensor* weight = n.constant(1)) {
    const size_t rank = weight->shape.size();
    if (rank < 3) return n.Fail("weight: expected rank 3 or more, found " + ShapeString(weight->shape));
    if (!CheckSpatialAxes(n, rank - 2)) return;
    if (!kernel.empty() && Shape(weight->shape.begin() + 2, weight->shape.end()) != kernel) {
      return n.Fail("kernel_shape: expected the weight's " + ShapeString(weight->shape) +
                    " without its first two, found " + ShapeString(kernel));
    }
  } else if (!kernel.empty() && !CheckSpatialAxes(n, kernel.size())) {
    return;
  }
  n.CopyInts("strides", &node);
  n.CopyInts("pads", &node);
  n.CopyInts("dilations", &node);
  n.CopyInt("group", &node);
  n.CopyString("auto_pad", &node);
  n.Emit(std::move(node));
}

void ImportGemm(NodeImport& n) {
  const float alpha = n.Float("alpha", 1.0f);
  const float beta = n.Float("beta", 1.0f);
  const bool transpose_a = n.Int("transA", 0) != 0;
  const bool transpose_b = n.Int("transB", 0) != 0;
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

void ImportAveragePool(NodeImport& n) {
  Node node = n.MakeNode("AveragePool", {n.input(0)});
  n.CopyInt("count_include_pad", &node);
  ImportPool(n, std::move(node));
}

void ImportMaxPool(NodeImport& n) {
  Node node = n.MakeNode("MaxPool", {n.input(0)});
  n.CopyInts("dilations", &node);
  n.Ignore("storage_order");  // the order of Indices, whose use Finish() refuses
  ImportPool(n, std::move(node));
}

void ImportBatchNormalization(NodeImport& n) {
  if (n.Int("training_mode", 0) != 0) return n.Unsupported("training_mode");
  if (n.Int("spatial", 1) == 0) return n.Unsupported("spatial 0");
  n.Ignore("momentum");
  Node node = n.MakeNode("BatchNormalization", {n.input(0), n.input(1), n.input(2), n.input(3), n.input(4)});
  n.CopyFloat("epsilon", &node);
  n.Emit(std::move(node));
}

void ImportDropout(NodeImport& n) {
  n.Ignore("ratio");
  n.Ignore("seed");
  if (n.has_input(2)) {
    const Tensor* training = n.constant(2);
    if (training == nullptr || training->dtype != DType::kBool || training->elements() != 1 ||
        training->data.as<uint8_t>()[0] != 0) {
      return n.Unsupported("training_mode");
    }
  }
  n.Emit(n.MakeNode("Identity", {n.input(0)}));
}

}  // namespace tally
