// Every rewrite: what becomes of the nodes, and that the function stays the same (apply_pass.h).
#include "converter/passes/passes.h"

#include "format/model_file.h"
#include "gmock/gmock.h"
#include "tests/converter/onnx/apply_pass.h"

namespace tally::testing {
namespace {

using ::testing::HasSubstr;

OnnxBuilder WithConv(const std::string& output, bool bias = true) {
  OnnxBuilder b;
  b.Input("x", {-1, 2, 5, 5}).Floats("w", {4, 2, 3, 3}, RandomFloats(72, 1));
  if (bias) b.Floats("b", {4}, RandomFloats(4, 2));
  onnx::NodeProto& conv = b.Node("Conv", {"x", "w"}, {output}, "conv");
  if (bias) conv.add_input("b");
  SetInts(conv, "pads", {1, 1, 1, 1});
  return b;
}

std::vector<float> Positive(size_t count, uint32_t seed) {
  std::vector<float> values = RandomFloats(count, seed);
  for (float& v : values) v = 0.1f + std::fabs(v);
  return values;
}

void AddBatchNorm(OnnxBuilder* b, const std::string& x, const std::string& y, int64_t channels) {
  const size_t n = static_cast<size_t>(channels);
  b->Floats("scale", {channels}, RandomFloats(n, 11)).Floats("shift", {channels}, RandomFloats(n, 12));
  b->Floats("mean", {channels}, RandomFloats(n, 13)).Floats("var", {channels}, Positive(n, 14));
  SetFloat(b->Node("BatchNormalization", {x, "scale", "shift", "mean", "var"}, {y}, "bn"), "epsilon", 1e-3f);
}

// --- Cleaning up ---

TEST(RemoveIdentities, OutputsKeepTheirNamesAndInputsAreStillCopied) {
  OnnxBuilder b;
  b.Input("x", {2}).Output("y").Output("z").Output("copy");
  b.Node("Relu", {"x"}, {"r"});
  b.Node("Identity", {"r"}, {"y"});  // takes over the Relu's output
  b.Node("Identity", {"r"}, {"i"});
  b.Node("Dropout", {"i"}, {"d"});
  b.Node("Tanh", {"d"}, {"z"});
  b.Node("Identity", {"x"}, {"copy"});  // an input cannot be an output
  Graph graph;
  EXPECT_EQ(Apply(b, RemoveIdentities, &graph), "Relu Tanh Identity");
  EXPECT_EQ(graph.tensors[static_cast<size_t>(graph.nodes[0].outputs[0])].name, "y");
}

TEST(RemoveIdentities, TwoOutputsOfOneValueStayTwo) {
  OnnxBuilder b;
  b.Input("x", {2}).Output("y").Output("z");
  b.Node("Relu", {"x"}, {"y"});
  b.Node("Identity", {"y"}, {"z"});
  EXPECT_EQ(Apply(b, RemoveIdentities), "Relu Identity");
}

TEST(FoldConstants, ComputesWhatDependsOnConstantsAlone) {
  OnnxBuilder b;
  b.Input("x", {-1, 3}).Floats("w", {4, 3}, RandomFloats(12, 1)).Output("y");
  b.Node("Transpose", {"w"}, {"t"});
  b.Node("Mul", {"t", "t"}, {"m"});
  b.Node("MatMul", {"x", "m"}, {"y"}, "matmul");
  EXPECT_EQ(Apply(b, FoldConstants), "MatMul");
  Graph graph;
  EXPECT_EQ(Apply(b, RunPasses, &graph), "Gemm");
  EXPECT_EQ(graph.tensors.size(), 3u) << "x, weight, y";
}

TEST(FoldConstants, LeavesOutputsToNodes) {
  OnnxBuilder b;
  b.Input("x", {2}).Floats("c", {2}, {1, 2}).Output("y").Output("z");
  b.Node("Relu", {"x"}, {"y"});
  b.Node("Add", {"c", "c"}, {"z"});
  EXPECT_EQ(Apply(b, RunPasses), "Relu Add");
}

TEST(FoldConstants, NamesTheNodeThatCannotBeComputed) {
  OnnxBuilder b;
  b.Input("x", {2}).Floats("c", {2}, {1, 2}).Floats("d", {3}, {1, 2, 3}).Output("y");
  b.Node("Add", {"c", "d"}, {"e"}, "impossible");
  b.Node("Concat", {"x", "e"}, {"y"});
  SetInt(*b.graph().mutable_node(1), "axis", 0);
  auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const absl::Status status = FoldConstants(&*graph);
  EXPECT_EQ(GetErrorInfo(status).code, ErrorCodeString(ErrorId::kBadNodeInputs)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("impossible"));
}

TEST(EvaluateNode, StopsWhereTheBudgetEnds) {
  const Tensor a = RandomTensor({8, 16}, 1), b = RandomTensor({16, 4}, 2);
  Node node;
  node.op = "MatMul";
  node.inputs = {0, 1};
  node.outputs = {2};
  // Reads 192 elements, makes 8 * 4 * 16 products and 128 bytes.
  const EvaluationBudget enough = {128, 192 + 512};
  for (const EvaluationBudget& budget :
       {enough, EvaluationBudget{127, enough.steps}, EvaluationBudget{enough.bytes, enough.steps - 1}}) {
    EvaluationBudget left = budget;
    const auto results = EvaluateNode(node, {&a, &b}, &left, nullptr);
    ASSERT_TRUE(results.ok()) << results.status();
    const bool fits = budget.bytes == enough.bytes && budget.steps == enough.steps;
    EXPECT_EQ(results->size(), fits ? 1u : 0u);
    EXPECT_EQ(left.bytes, fits ? 0 : budget.bytes);
    EXPECT_EQ(left.steps, fits ? 0 : budget.steps);
  }
}

TEST(RemoveDeadCode, KeepsInputsAndRenumbers) {
  OnnxBuilder b;
  b.Input("unused", {2}).Input("x", {2}).Output("y");
  b.Node("Tanh", {"x"}, {"dead"});
  b.Node("Relu", {"x"}, {"y"});
  Graph graph;
  EXPECT_EQ(Apply(b, RemoveDeadCode, &graph), "Relu");
  EXPECT_EQ(graph.inputs.size(), 2u);
  EXPECT_EQ(graph.tensors.size(), 3u);
}

// --- Batch normalization and bias ---

TEST(FoldBatchNormalization, IntoConvWithAndWithoutBias) {
  for (bool bias : {false, true}) {
    OnnxBuilder b = WithConv("c", bias);
    AddBatchNorm(&b, "c", "y", 4);
    b.Output("y");
    EXPECT_EQ(Apply(b, FoldBatchNormalization), "Conv");
    EXPECT_EQ(Apply(b, RunPasses), "Conv");
  }
}

TEST(FoldBatchNormalization, IntoGemmOfRankTwoOnly) {
  for (const std::vector<int64_t>& x : {std::vector<int64_t>{-1, 3}, std::vector<int64_t>{-1, 4, 3}}) {
    OnnxBuilder b;
    b.Input("x", x).Floats("w", {3, 4}, RandomFloats(12, 1)).Output("y");
    b.Node("MatMul", {"x", "w"}, {"m"}, "matmul");
    AddBatchNorm(&b, "m", "y", 4);
    // Of rank 3, axis 1 is not the Gemm's output axis.
    EXPECT_EQ(Apply(b, FoldBatchNormalization), x.size() == 2 ? "Gemm" : "Gemm Mul Add");
  }
}

TEST(FoldBatchNormalization, BehindAnythingElseIsMulAndAdd) {
  OnnxBuilder b;
  b.Input("x", {-1, 4, 3, 3}).Output("y");
  AddBatchNorm(&b, "x", "y", 4);
  EXPECT_EQ(Apply(b, FoldBatchNormalization), "Mul Add");
}

TEST(FoldBatchNormalization, KeepsAConvWhoseOutputOthersRead) {
  OnnxBuilder b = WithConv("c");
  AddBatchNorm(&b, "c", "n", 4);
  b.Node("Add", {"c", "n"}, {"y"});
  b.Output("y");
  EXPECT_EQ(Apply(b, FoldBatchNormalization), "Conv Mul Add Add");
  OnnxBuilder output = WithConv("c");
  AddBatchNorm(&output, "c", "y", 4);
  output.Output("y").Output("c");
  EXPECT_EQ(Apply(output, FoldBatchNormalization), "Conv Mul Add");
}

TEST(FoldBatchNormalization, AWeightSharedWithAnotherConvStaysForThat) {
  OnnxBuilder b = WithConv("c");
  AddBatchNorm(&b, "c", "n", 4);
  SetInts(b.Node("Conv", {"x", "w", "b"}, {"d"}, "other"), "pads", {1, 1, 1, 1});
  b.Node("Mul", {"n", "d"}, {"y"});
  b.Output("y");
  EXPECT_EQ(Apply(b, FoldBatchNormalization), "Conv Conv Mul");
}

TEST(FoldBatchNormalization, ANegativeVarianceIsNamed) {
  OnnxBuilder b = WithConv("c");
  AddBatchNorm(&b, "c", "y", 4);
  b.Output("y");
  onnx::TensorProto* variance = b.graph().mutable_initializer(b.graph().initializer_size() - 1);
  const std::vector<float> negative = {1, 1, -1, 1};
  variance->set_raw_data(std::string(reinterpret_cast<const char*>(negative.data()), 16));
  auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const absl::Status status = FoldBatchNormalization(&*graph);
  EXPECT_EQ(GetErrorInfo(status).code, ErrorCodeString(ErrorId::kNonFiniteWeight)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("conv"));
}

TEST(FuseBias, AddsOfConstantsAlongTheOutputs) {
  const std::vector<std::pair<std::vector<int64_t>, bool>> shapes = {
      {{1, 4, 1, 1}, true},
      {{4, 1, 1}, true},
      {{1}, true},
      {{}, true},
      {{1, 1, 1, 1}, true},
      // Along the width, over all of it, or to a higher rank: not a bias.
      {{5}, false},
      {{4, 5, 5}, false},
      {{1, 1, 4, 1, 1}, false}};
  for (const auto& [shape, fuses] : shapes) {
    SCOPED_TRACE(ShapeString(shape));
    size_t count = 1;
    for (int64_t d : shape) count *= static_cast<size_t>(d);
    for (const char* op : {"Add", "Sub"}) {
      for (bool constant_first : {false, true}) {
        OnnxBuilder b = WithConv("c");
        b.Floats("k", shape, RandomFloats(count, 5)).Output("y");
        if (constant_first) {
          b.Node(op, {"k", "c"}, {"y"});
        } else {
          b.Node(op, {"c", "k"}, {"y"});
        }
        // k - conv is not conv + bias.
        const bool expected = fuses && !(constant_first && std::string(op) == "Sub");
        EXPECT_EQ(Apply(b, FuseBias), expected ? "Conv" : std::string("Conv ") + op);
      }
    }
  }
}

TEST(FuseBias, DoesNotWidenAConvOfOneChannel) {
  OnnxBuilder b;
  b.Input("x", {-1, 2, 3, 3})
      .Floats("w", {1, 2, 1, 1}, {1, 2})
      .Floats("k", {1, 4, 1, 1}, RandomFloats(4, 3))
      .Output("y");
  b.Node("Conv", {"x", "w"}, {"c"});
  b.Node("Add", {"c", "k"}, {"y"});
  EXPECT_EQ(Apply(b, FuseBias), "Conv Add");
}

TEST(FuseBias, AfterGemmOfAnyRank) {
  for (const std::vector<int64_t>& x :
       {std::vector<int64_t>{3}, std::vector<int64_t>{-1, 3}, std::vector<int64_t>{-1, 2, 3}}) {
    for (const std::vector<int64_t>& k : {std::vector<int64_t>{4}, std::vector<int64_t>{1, 4}}) {
      OnnxBuilder b;
      b.Input("x", x).Floats("w", {3, 4}, RandomFloats(12, 1)).Floats("k", k, RandomFloats(4, 2)).Output("y");
      b.Node("MatMul", {"x", "w"}, {"m"});
      b.Node("Add", {"k", "m"}, {"y"});
      EXPECT_EQ(Apply(b, FuseBias), k.size() > x.size() ? "Gemm Add" : "Gemm");
    }
  }
}

TEST(FuseBias, ABiasSharedWithAnotherConvStaysForThat) {
  OnnxBuilder b = WithConv("c");
  b.Floats("k", {4, 1, 1}, RandomFloats(4, 5)).Output("y");
  b.Node("Add", {"c", "k"}, {"s"});
  SetInts(b.Node("Conv", {"x", "w", "b"}, {"d"}, "other"), "pads", {1, 1, 1, 1});
  b.Node("Mul", {"s", "d"}, {"y"});
  EXPECT_EQ(Apply(b, FuseBias), "Conv Conv Mul");
}

// --- Residuals and activations ---

TEST(FuseResidual, TakesATensorOfTheSameShape) {
  OnnxBuilder b = WithConv("c");
  b.Input("r", {-1, 4, 5, 5}).Output("y");
  b.Node("Add", {"r", "c"}, {"s"});
  b.Node("Relu", {"s"}, {"y"});
  EXPECT_EQ(Apply(b, FuseResidualAndActivation), "Conv+residual+Relu");
}

TEST(FuseResidual, TheNodeMovesBehindWhatItAdds) {
  OnnxBuilder b = WithConv("c");
  b.Floats("v", {4, 2, 1, 1}, RandomFloats(8, 3)).Output("y");
  b.Node("Tanh", {"x"}, {"t"});
  b.Node("Conv", {"t", "v"}, {"d"}, "later");
  b.Node("Sigmoid", {"d"}, {"g"});
  b.Node("Add", {"c", "g"}, {"y"});
  EXPECT_EQ(Apply(b, FuseResidualAndActivation), "Tanh Conv+Sigmoid Conv+residual");
}

TEST(FuseResidual, OfTwoConvsTheLaterTakesTheOther) {
  OnnxBuilder b = WithConv("c");
  b.Floats("v", {4, 2, 1, 1}, RandomFloats(8, 3)).Output("y");
  b.Node("Conv", {"x", "v"}, {"d"}, "later");
  b.Node("Add", {"d", "c"}, {"y"});
  Graph graph;
  EXPECT_EQ(Apply(b, FuseResidualAndActivation, &graph), "Conv Conv+residual");
  EXPECT_EQ(graph.nodes[1].name, "later");
}

TEST(FuseResidual, ChainsOfBlocks) {
  OnnxBuilder b;
  b.Input("x", {-1, 4, 3, 3}).Output("y");
  std::string at = "x";
  for (int i = 0; i < 4; ++i) {
    const std::string n = std::to_string(i);
    b.Floats("w" + n, {4, 4, 1, 1}, RandomFloats(16, static_cast<uint32_t>(i)));
    b.Node("Conv", {at, "w" + n}, {"c" + n});
    b.Node("Add", {"c" + n, at}, {"s" + n});
    b.Node("Relu", {"s" + n}, {i == 3 ? "y" : "r" + n});
    at = "r" + n;
  }
  EXPECT_EQ(Apply(b, RunPasses), "Conv+residual+Relu Conv+residual+Relu Conv+residual+Relu Conv+residual+Relu");
}

TEST(FuseResidual, ABroadcastOrAConstantIsNone) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{1, 4, 5, 5}, std::vector<int64_t>{-1, 1, 5, 5}, std::vector<int64_t>{5}}) {
    OnnxBuilder b = WithConv("c");
    b.Input("r", shape).Output("y");
    b.Node("Add", {"c", "r"}, {"y"});
    EXPECT_EQ(Apply(b, FuseResidualAndActivation), "Conv Add") << ShapeString(shape);
  }
  OnnxBuilder constant;
  constant.Input("x", {1, 2, 3, 3}).Floats("w", {2, 2, 1, 1}, RandomFloats(4, 1)).Output("y");
  constant.Floats("k", {1, 2, 3, 3}, RandomFloats(18, 2));
  constant.Node("Conv", {"x", "w"}, {"c"});
  constant.Node("Add", {"c", "k"}, {"y"});
  EXPECT_EQ(Apply(constant, FuseResidualAndActivation), "Conv Add");
}

TEST(FuseResidual, NotWhenOthersReadTheConvOrItIsAddedToItself) {
  OnnxBuilder shared = WithConv("c");
  shared.Input("r", {-1, 4, 5, 5}).Output("y");
  shared.Node("Add", {"c", "r"}, {"s"});
  shared.Node("Mul", {"s", "c"}, {"y"});
  EXPECT_EQ(Apply(shared, FuseResidualAndActivation), "Conv Add Mul");
  OnnxBuilder output = WithConv("c");
  output.Input("r", {-1, 4, 5, 5}).Output("y").Output("c");
  output.Node("Add", {"c", "r"}, {"y"});
  EXPECT_EQ(Apply(output, FuseResidualAndActivation), "Conv Add");
  OnnxBuilder itself = WithConv("c");
  itself.Output("y");
  itself.Node("Add", {"c", "c"}, {"y"});
  EXPECT_EQ(Apply(itself, FuseResidualAndActivation), "Conv Add");
}

TEST(FuseResidual, AnActivationBetweenConvAndAddComesFirst) {
  OnnxBuilder b = WithConv("c");
  b.Input("r", {-1, 4, 5, 5}).Output("y");
  b.Node("Relu", {"c"}, {"a"});
  b.Node("Add", {"a", "r"}, {"y"});
  EXPECT_EQ(Apply(b, FuseResidualAndActivation), "Conv+Relu Add");
}

TEST(FuseActivation, EveryFunctionKeepsItsParameters) {
  const std::vector<std::pair<std::string, std::vector<std::pair<std::string, float>>>> functions = {
      {"Relu", {}},
      {"Sigmoid", {}},
      {"Tanh", {}},
      {"HardSwish", {}},
      {"Clip", {}},
      {"LeakyRelu", {}},
      {"LeakyRelu", {{"alpha", 0.3f}}},
      {"HardSigmoid", {}},
      {"HardSigmoid", {{"alpha", 0.4f}, {"beta", 0.1f}}}};
  for (const auto& [op, attributes] : functions) {
    OnnxBuilder b = WithConv("c");
    b.model().mutable_opset_import(0)->set_version(14);
    b.Output("y");
    onnx::NodeProto& node = b.Node(op, {"c"}, {"y"});
    for (const auto& [name, value] : attributes) SetFloat(node, name, value);
    if (op == "Clip") {
      node.add_input("lo");
      b.Floats("lo", {}, {-0.5f});
    }
    EXPECT_EQ(Apply(b, RunPasses), "Conv+" + op);
  }
}

// --- Spelled-out activations ---

// x is read by `Tanh` as well when `shared`.
OnnxBuilder HardSwishForm(int form) {
  OnnxBuilder b;
  b.Input("x", {-1, 7}).Floats("three", {}, {3}).Floats("zero", {}, {0}).Floats("six", {}, {6}).Output("y");
  b.Floats("sixth", {}, {1.0f / 6.0f});
  if (form == 3) {
    onnx::NodeProto& gate = b.Node("HardSigmoid", {"x"}, {"h"});
    SetFloat(gate, "alpha", 0.16666670143604279f), SetFloat(gate, "beta", 0.5f);  // as Paddle writes it
    b.Node("Mul", {"h", "x"}, {"y"});
    return b;
  }
  b.Node("Add", {form == 1 ? "three" : "x", form == 1 ? "x" : "three"}, {"a"});
  b.Node("Clip", {"a", "zero", "six"}, {"c"});
  if (form == 0) {
    b.Node("Mul", {"x", "c"}, {"m"});
    b.Node("Div", {"m", "six"}, {"y"});
  } else if (form == 1) {
    b.Node("Mul", {"c", "x"}, {"m"});
    b.Node("Mul", {"m", "sixth"}, {"y"});
  } else {
    b.Node("Div", {"c", "six"}, {"d"});
    b.Node("Mul", {"x", "d"}, {"y"});
  }
  return b;
}

TEST(FuseHardActivations, HardSwishInAllItsSpellings) {
  for (int form = 0; form < 4; ++form) EXPECT_EQ(Apply(HardSwishForm(form), FuseHardActivations), "HardSwish") << form;
}

TEST(FuseHardActivations, HardSigmoidAlone) {
  OnnxBuilder b = HardSwishForm(2);
  b.graph().mutable_node()->RemoveLast();
  b.graph().mutable_node(2)->set_output(0, "y");
  EXPECT_EQ(Apply(b, FuseHardActivations), "HardSigmoid");
}

TEST(FuseHardActivations, ThenIntoTheConv) {
  OnnxBuilder b = WithConv("x2");
  b.Floats("three", {1}, {3}).Floats("zero", {}, {0}).Floats("six", {1}, {6}).Output("y");
  b.Node("Add", {"x2", "three"}, {"a"});
  b.Node("Clip", {"a", "zero", "six6"}, {"c"});
  b.Floats("six6", {}, {6});
  b.Node("Mul", {"x2", "c"}, {"m"});
  b.Node("Div", {"m", "six"}, {"y"});
  EXPECT_EQ(Apply(b, RunPasses), "Conv+HardSwish");
}

TEST(FuseHardActivations, NearMissesStay) {
  OnnxBuilder other_gate = HardSwishForm(3);  // squeeze and excitation: the gate of something else
  other_gate.Input("z", {-1, 7});
  other_gate.graph().mutable_node(1)->set_input(1, "z");
  EXPECT_EQ(Apply(other_gate, FuseHardActivations), "HardSigmoid Mul");
  OnnxBuilder shared = HardSwishForm(0);  // Clip's output is read twice
  shared.Output("c");
  EXPECT_EQ(Apply(shared, FuseHardActivations), "Add Clip Mul Div");
  OnnxBuilder constant = HardSwishForm(0);
  constant.Floats("five", {}, {5});
  constant.graph().mutable_node(3)->set_input(1, "five");
  EXPECT_EQ(Apply(constant, FuseHardActivations), "Add Clip Mul Div");
}

TEST(RunPasses, IsIdempotent) {
  OnnxBuilder b = WithConv("c");
  AddBatchNorm(&b, "c", "n", 4);
  b.Input("r", {-1, 4, 5, 5}).Output("y");
  b.Node("Add", {"n", "r"}, {"s"});
  b.Node("Relu", {"s"}, {"y"});
  Graph once;
  EXPECT_EQ(Apply(b, RunPasses, &once), "Conv+residual+Relu");
  Graph twice = once;
  ASSERT_TRUE(RunPasses(&twice).ok());
  const auto first = SerializeModel(once), second = SerializeModel(twice);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
}

}  // namespace
}  // namespace tally::testing
