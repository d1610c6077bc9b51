// Functions that exporters spell out become one node, and scales go into weights.
#include "converter/passes/passes.h"
#include "tests/converter/onnx/apply_pass.h"

namespace tally::testing {
namespace {

// LayerNormalization over the last axis of x, as exporters before opset 17 write it.
OnnxBuilder LayerNormForm(bool square_by_mul) {
  OnnxBuilder b(9);
  b.Input("x", {-1, 3, 8}).Floats("two", {1}, {2}).Floats("epsilon", {1}, {1e-5f}).Output("y");
  b.Floats("scale", {8}, RandomFloats(8, 1)).Floats("bias", {8}, RandomFloats(8, 2));
  SetInts(b.Node("ReduceMean", {"x"}, {"mean"}), "axes", {-1});
  b.Node("Sub", {"x", "mean"}, {"centered"});
  b.Node(square_by_mul ? "Mul" : "Pow", {"centered", square_by_mul ? "centered" : "two"}, {"square"});
  SetInts(b.Node("ReduceMean", {"square"}, {"variance"}), "axes", {2});
  b.Node("Add", {"variance", "epsilon"}, {"sum"});
  b.Node("Sqrt", {"sum"}, {"deviation"});
  b.Node("Div", {"centered", "deviation"}, {"normal"});
  b.Node("Mul", {"normal", "scale"}, {"scaled"});
  b.Node("Add", {"bias", "scaled"}, {"y"});
  return b;
}

TEST(FusePatterns, LayerNormalization) {
  EXPECT_EQ(Apply(LayerNormForm(false), FusePatterns), "LayerNormalization");
  EXPECT_EQ(Apply(LayerNormForm(true), FusePatterns), "LayerNormalization");
}

TEST(FusePatterns, LayerNormalizationNearMissesStay) {
  OnnxBuilder other_axis = LayerNormForm(false);
  other_axis.graph().mutable_node(3)->mutable_attribute(0)->set_ints(0, 1);
  EXPECT_EQ(Apply(other_axis, FusePatterns), "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add");
  OnnxBuilder shared = LayerNormForm(false);
  shared.Output("variance");
  EXPECT_EQ(Apply(shared, FusePatterns), "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add");
}

OnnxBuilder GeluForm(bool tanh, int order) {
  OnnxBuilder b;
  b.Input("in", {-1, 40}).Output("y").Floats("one", {}, {1}).Floats("half", {}, {0.5f});
  b.Node("Sigmoid", {"in"}, {"x"});
  if (tanh) {
    b.Floats("k", {}, {0.7978845834732056f}).Floats("c", {}, {0.044714998453855515f});
    b.Node("Mul", {"x", "x"}, {"x2"});
    b.Node("Mul", {"x", "x2"}, {"x3"});
    b.Node("Mul", {"x3", "c"}, {"cubic"});
    b.Node("Add", {"x", "cubic"}, {"inner"});
    b.Node("Mul", {"inner", "k"}, {"scaled"});
    b.Node("Tanh", {"scaled"}, {"f"});
  } else {
    b.Floats("root", {}, {1.41421356f});
    b.Node("Div", {"x", "root"}, {"scaled"});
    b.Node("Erf", {"scaled"}, {"f"});
  }
  b.Node("Add", {"f", "one"}, {"g"});
  if (order == 0) {
    b.Node("Mul", {"x", "half"}, {"h"});
    b.Node("Mul", {"h", "g"}, {"y"});
  } else {
    b.Node("Mul", {"x", "g"}, {"h"});
    b.Node("Mul", {"h", "half"}, {"y"});
  }
  return b;
}

TEST(FusePatterns, GeluInItsSpellings) {
  for (int order : {0, 1}) {
    EXPECT_EQ(Apply(GeluForm(false, order), FusePatterns), "Sigmoid Gelu");
    EXPECT_EQ(Apply(GeluForm(true, order), FusePatterns), "Sigmoid GeluTanh");
  }
}

TEST(FusePatterns, GeluBecomesTheActivationOfItsGemm) {
  OnnxBuilder b = GeluForm(false, 0);
  onnx::NodeProto* first = b.graph().mutable_node(0);
  first->set_op_type("MatMul");
  first->add_input("w");
  b.Floats("w", {40, 40}, RandomFloats(1600, 3));
  EXPECT_EQ(Apply(b, RunPasses), "Gemm+Gelu");
}

TEST(FuseScale, GoesIntoWeightAndBias) {
  OnnxBuilder b;
  b.Input("x", {-1, 2, 5, 5}).Floats("w", {4, 2, 3, 3}, RandomFloats(72, 1)).Floats("b", {4}, RandomFloats(4, 2));
  b.Floats("scale", {1}, {0.7f}).Floats("shift", {1}, {0.3f}).Floats("by", {4, 1, 1}, {1, 2, 3, 4}).Output("y");
  b.Node("Conv", {"x", "w", "b"}, {"c"});
  b.Node("Mul", {"scale", "c"}, {"m"});
  b.Node("Add", {"m", "shift"}, {"s"});
  b.Node("Div", {"s", "by"}, {"y"});
  EXPECT_EQ(Apply(b, RunPasses), "Conv");
}

TEST(FuseScale, ADivisorOfZeroStays) {
  OnnxBuilder b;
  b.Input("x", {-1, 4}).Floats("w", {4, 3}, RandomFloats(12, 1)).Floats("by", {3}, {1, 0, 2}).Output("y");
  b.Node("MatMul", {"x", "w"}, {"m"});
  b.Node("Div", {"m", "by"}, {"y"});
  EXPECT_EQ(Apply(b, FuseScale), "Gemm Div");
}

}  // namespace
}  // namespace tally::testing
