// What the importer makes of inputs, constants and the forms of different opsets. Numbers are checked against plain
// loops.
#include <cstring>

#include "converter/passes/graph_util.h"
#include "converter/passes/passes.h"
#include "gmock/gmock.h"
#include "tests/converter/onnx/onnx_builder.h"
#include "tests/converter/onnx/run_graph.h"

namespace tally::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Tensor& TensorOf(const Graph& graph, int index) { return graph.tensors[static_cast<size_t>(index)]; }

std::vector<float> FloatsOf(const Tensor& tensor) {
  return std::vector<float>(tensor.data.as<float>(), tensor.data.as<float>() + tensor.elements());
}

// Imports, runs on x (shape as given) and returns output y; also checks that the passes keep the result.
std::vector<float> Evaluate(const OnnxBuilder& builder, const Values& inputs, Shape* shape = nullptr) {
  const absl::StatusOr<Graph> graph = builder.Import();
  EXPECT_TRUE(graph.ok()) << graph.status();
  if (!graph.ok()) return {};
  const absl::StatusOr<Values> results = RunGraph(*graph, inputs);
  EXPECT_TRUE(results.ok()) << results.status();
  if (!results.ok()) return {};
  Graph rewritten = *graph;
  EXPECT_TRUE(RunPasses(&rewritten).ok());
  const absl::StatusOr<Values> again = RunGraph(rewritten, inputs);
  EXPECT_TRUE(again.ok()) << again.status();
  // 1e-5: folding changes the order of a few additions and products.
  if (again.ok()) {
    EXPECT_TRUE(Close(*results, *again, 1e-5)) << Summary(rewritten);
  }
  const Tensor& y = results->at("y");
  if (shape != nullptr) *shape = y.shape;
  return FloatsOf(y);
}

TEST(OnnxImport, DynamicExtentsBecomeSymbols) {
  OnnxBuilder b;
  b.Input("a", {-1, 3}).Input("b", {-1, 3}).Output("y");
  onnx::TensorShapeProto* shape =
      b.Input("c", {1, 1, 1, 1}).graph().mutable_input(2)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->mutable_dim(0)->set_dim_value(0);
  shape->mutable_dim(1)->set_dim_value(-1);
  shape->mutable_dim(2)->clear_dim_value();
  b.Node("Add", {"a", "b"}, {"y"});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_THAT(graph->symbols, ElementsAre("N", "c_0", "c_1", "c_2"));
  EXPECT_EQ(TensorOf(*graph, graph->inputs[0]).shape, (Shape{-1, 3}));
  EXPECT_EQ(TensorOf(*graph, graph->inputs[1]).shape, (Shape{-1, 3}));  // one symbol for one name
  EXPECT_EQ(TensorOf(*graph, graph->inputs[2]).shape, (Shape{-2, -3, -4, 1}));
}

TEST(OnnxImport, AMadeUpSymbolIsNotTakenForANamedOne) {
  OnnxBuilder b;
  b.Input("a", {1, 2}).Output("y");
  onnx::TensorShapeProto* shape = b.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->mutable_dim(0)->clear_dim_value();
  shape->mutable_dim(1)->set_dim_param("a_0");
  b.Node("Relu", {"a"}, {"y"});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_THAT(graph->symbols, ElementsAre("a_0", "a_0_"));
  EXPECT_EQ(TensorOf(*graph, graph->inputs[0]).shape, (Shape{-2, -1}));
}

TEST(OnnxImport, InitializersListedAsInputsAreConstants) {
  OnnxBuilder b;
  b.Input("x", {2, 3}).Input("w", {3, 2}).Floats("w", {3, 2}, RandomFloats(6, 1)).Output("y");
  b.Node("MatMul", {"x", "w"}, {"y"});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_EQ(graph->inputs.size(), 1u);
  EXPECT_EQ(TensorOf(*graph, graph->inputs[0]).name, "x");
  EXPECT_EQ(Summary(*graph), "Gemm");
}

TEST(OnnxImport, MetadataNamesTheSourceWithoutItsFolder) {
  OnnxBuilder b;
  b.Input("x", {2}).Output("y");
  b.Node("Relu", {"x"}, {"y"});
  b.model().set_producer_version("1.2\n");
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->metadata.at("source"), "model.onnx");
  EXPECT_EQ(graph->metadata.at("opset"), "13");
  EXPECT_EQ(graph->metadata.at("producer"), "test 1.2\\n");
}

TEST(OnnxImport, NodesGetUniqueStableNames) {
  OnnxBuilder b;
  b.Input("x", {2}).Output("y");
  b.Node("Relu", {"x"}, {"a"});
  b.Node("Relu", {"a"}, {"b"}, "same");
  b.Node("Relu", {"b"}, {"c"}, "same");
  b.Node("Relu", {"c"}, {"y"}, "Relu_a");
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  std::vector<std::string> names;
  for (const Node& node : graph->nodes) names.push_back(node.name);
  EXPECT_THAT(names, ElementsAre("Relu_a_1", "same", "same_1", "Relu_a"));
}

TEST(OnnxImport, EveryEncodingOfAFloatConstant) {
  const std::vector<float> values = {0.5f, -2.0f, 1024.0f, 0.0f};
  const std::vector<double> doubles(values.begin(), values.end());
  const std::vector<uint16_t> halves = {0x3800, 0xC000, 0x6400, 0x0000};
  const std::vector<uint16_t> bfloats = {0x3F00, 0xC000, 0x4480, 0x0000};
  const auto raw = [](const auto& v) {
    return std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(v[0]));
  };
  using P = onnx::TensorProto;
  std::vector<onnx::TensorProto> protos(7);
  protos[0].set_data_type(P::FLOAT), protos[0].set_raw_data(raw(values));
  protos[1].set_data_type(P::FLOAT);
  for (float v : values) protos[1].add_float_data(v);
  protos[2].set_data_type(P::DOUBLE), protos[2].set_raw_data(raw(doubles));
  protos[3].set_data_type(P::DOUBLE);
  for (double v : doubles) protos[3].add_double_data(v);
  protos[4].set_data_type(P::FLOAT16), protos[4].set_raw_data(raw(halves));
  protos[5].set_data_type(P::FLOAT16);
  for (uint16_t v : halves) protos[5].add_int32_data(v);
  protos[6].set_data_type(P::BFLOAT16), protos[6].set_raw_data(raw(bfloats));
  for (onnx::TensorProto& proto : protos) {
    SCOPED_TRACE(proto.ShortDebugString());
    OnnxBuilder b;
    b.Input("x", {4}).Output("y");
    proto.set_name("c");
    proto.add_dims(4);
    *b.graph().add_initializer() = proto;
    b.Node("Add", {"x", "c"}, {"y"});
    EXPECT_EQ(Evaluate(b, {{"x", FloatTensor({4}, {0, 0, 0, 0})}}), values);
  }
}

TEST(OnnxImport, HalfPrecisionIsExactForEveryValue) {
  OnnxBuilder b;
  b.Input("x", {65536}).Output("y");
  onnx::TensorProto& tensor = b.Initializer("c", {65536}, onnx::TensorProto::FLOAT16);
  for (int i = 0; i < 65536; ++i) tensor.add_int32_data(i);
  b.Node("Add", {"x", "c"}, {"y"});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const float* values = TensorOf(*graph, graph->FindTensor("c")).data.as<float>();
  for (int i = 0; i < 65536; ++i) {
    const int exponent = (i >> 10) & 31, fraction = i & 1023;
    const double sign = i >= 32768 ? -1 : 1;
    if (exponent == 31) {
      EXPECT_TRUE(fraction == 0 ? values[i] == sign * INFINITY : std::isnan(values[i])) << i;
    } else {
      const double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      ASSERT_EQ(values[i], sign * expected) << i;
    }
  }
}

TEST(OnnxImport, ConstantNodesOfEveryKind) {
  OnnxBuilder b;
  b.Input("x", {2, 2}).Output("y");
  AddAttribute(b.Node("Constant", {}, {"f"}), "value_float", onnx::AttributeProto::FLOAT).set_f(2);
  onnx::AttributeProto& floats =
      AddAttribute(b.Node("Constant", {}, {"fs"}), "value_floats", onnx::AttributeProto::FLOATS);
  floats.add_floats(10), floats.add_floats(20);
  onnx::AttributeProto& ints = AddAttribute(b.Node("Constant", {}, {"is"}), "value_ints", onnx::AttributeProto::INTS);
  ints.add_ints(1), ints.add_ints(4);
  AddAttribute(b.Node("Constant", {}, {"i"}), "value_int", onnx::AttributeProto::INT).set_i(0);
  b.Node("Mul", {"x", "f"}, {"p"});
  b.Node("Add", {"p", "fs"}, {"s"});
  b.Node("Reshape", {"s", "is"}, {"r"});
  b.Node("Gather", {"r", "i"}, {"y"});
  Shape shape;
  EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({2, 2}, {1, 2, 3, 4})}}, &shape), ElementsAre(12, 24, 16, 28));
  EXPECT_EQ(shape, (Shape{4}));
}

// --- Gemm and MatMul ---

struct GemmCase {
  bool transpose_a, transpose_b;
  float alpha, beta;
  std::vector<int64_t> c_shape;
  bool has_c, constant_b, constant_c;
};

TEST(OnnxImport, GemmInAllItsForms) {
  constexpr int kM = 3, kK = 4, kN = 5;
  const Tensor a = RandomTensor({kM, kK}, 1);
  const std::vector<float> b_values = RandomFloats(kK * kN, 2);
  int quantizable = 0;
  for (int form = 0; form < 256; ++form) {
    const std::vector<std::vector<int64_t>> c_shapes = {{kN}, {1, kN}, {kM, kN}, {kM, 1}, {1}, {}, {1, 1}};
    GemmCase g{(form & 1) != 0,
               (form & 2) != 0,
               (form & 4) != 0 ? 0.5f : 1.0f,
               (form & 8) != 0 ? -2.0f : 1.0f,
               {},
               (form >> 5) != 7,
               (form & 16) != 0,
               (form & 64) != 0};
    if (g.has_c) g.c_shape = c_shapes[static_cast<size_t>(form >> 5)];
    SCOPED_TRACE(form);
    size_t c_count = 1;
    for (int64_t d : g.c_shape) c_count *= static_cast<size_t>(d);
    const std::vector<float> c_values = RandomFloats(c_count, 3);

    OnnxBuilder builder;
    Values inputs;
    // Stored so that the operator's transposition restores a and b.
    const auto stored = [](const float* v, int rows, int columns, bool transposed) {
      std::vector<float> out(static_cast<size_t>(rows * columns));
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < columns; ++c)
          out[static_cast<size_t>(transposed ? c * rows + r : r * columns + c)] = v[r * columns + c];
      }
      return out;
    };
    const Shape a_shape = g.transpose_a ? Shape{kK, kM} : Shape{kM, kK};
    const Shape b_shape = g.transpose_b ? Shape{kN, kK} : Shape{kK, kN};
    builder.Input("a", a_shape).Output("y");
    inputs["a"] = FloatTensor(a_shape, stored(a.data.as<float>(), kM, kK, g.transpose_a));
    const std::vector<float> b_stored = stored(b_values.data(), kK, kN, g.transpose_b);
    if (g.constant_b) {
      builder.Floats("b", b_shape, b_stored);
    } else {
      builder.Input("b", b_shape);
      inputs["b"] = FloatTensor(b_shape, b_stored);
    }
    std::vector<std::string> names = {"a", "b"};
    if (g.has_c) {
      names.push_back("c");
      if (g.constant_c) {
        builder.Floats("c", g.c_shape, c_values);
      } else {
        builder.Input("c", g.c_shape);
        inputs["c"] = FloatTensor(g.c_shape, c_values);
      }
    }
    onnx::NodeProto& node = builder.Node("Gemm", names, {"y"}, "gemm");
    SetInt(node, "transA", g.transpose_a);
    SetInt(node, "transB", g.transpose_b);
    SetFloat(node, "alpha", g.alpha);
    SetFloat(node, "beta", g.beta);

    std::vector<float> expected;
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        double sum = 0;
        for (int k = 0; k < kK; ++k)
          sum += double{a.data.as<float>()[m * kK + k]} * b_values[static_cast<size_t>(k * kN + n)];
        sum *= g.alpha;
        if (g.has_c) {
          const int64_t columns = g.c_shape.empty() ? 1 : g.c_shape.back();
          const int64_t rows = g.c_shape.size() < 2 ? 1 : g.c_shape[0];
          sum += g.beta * double{c_values[static_cast<size_t>((rows == 1 ? 0 : m) * columns + (columns == 1 ? 0 : n))]};
        }
        expected.push_back(static_cast<float>(sum));
      }
    }
    Shape shape;
    const std::vector<float> y = Evaluate(builder, inputs, &shape);
    EXPECT_TRUE(Close(FloatTensor({kM, kN}, expected), FloatTensor(shape, y), 1e-5));
    const auto graph = builder.Import();
    if (g.constant_b) {
      EXPECT_THAT(Summary(*graph), HasSubstr("Gemm"));
      EXPECT_EQ(TensorOf(*graph, graph->FindTensor("b")).shape, (Shape{kN, kK})) << "keeps its name as [N, K]";
      ++quantizable;
    }
  }
  EXPECT_EQ(quantizable, 128);
}

TEST(OnnxImport, AWeightSharedByNodesThatReadItDifferently) {
  OnnxBuilder b;
  const std::vector<float> w = RandomFloats(9, 5);
  b.Input("x", {2, 3}).Floats("w", {3, 3}, w).Output("y");
  b.Node("MatMul", {"x", "w"}, {"p"}, "first");
  SetInt(b.Node("Gemm", {"p", "w"}, {"q"}, "second"), "transB", 1);
  b.Node("MatMul", {"q", "w"}, {"r"}, "third");
  SetFloat(b.Node("Gemm", {"r", "w"}, {"s"}, "fourth"), "alpha", 2);
  b.Node("Add", {"s", "w_row"}, {"y"});
  b.Floats("w_row", {3}, {1, 2, 3});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(Summary(*graph), "Gemm Gemm Gemm Gemm Add");
  EXPECT_EQ(graph->nodes[0].inputs[1], graph->nodes[2].inputs[1]) << "one transposed copy serves both";
  const std::vector<float> x = RandomFloats(6, 6);
  std::vector<double> v(x.begin(), x.end());
  const auto multiply = [&](bool transposed, double alpha) {
    std::vector<double> out(6, 0);
    for (size_t m = 0; m < 2; ++m) {
      for (size_t n = 0; n < 3; ++n) {
        for (size_t k = 0; k < 3; ++k) out[m * 3 + n] += alpha * v[m * 3 + k] * w[transposed ? n * 3 + k : k * 3 + n];
      }
    }
    v = out;
  };
  multiply(false, 1), multiply(true, 1), multiply(false, 1), multiply(false, 2);
  for (size_t i = 0; i < 6; ++i) v[i] += static_cast<double>(i % 3 + 1);
  const std::vector<float> y = Evaluate(b, {{"x", FloatTensor({2, 3}, x)}});
  EXPECT_TRUE(Close(FloatTensor({6}, {v.begin(), v.end()}), FloatTensor({6}, y), 1e-5));
}

TEST(OnnxImport, MatMulWithAConstantLeftOperandStaysMatMul) {
  OnnxBuilder b;
  b.Input("x", {3, 2}).Floats("w", {2, 3}, RandomFloats(6, 1)).Output("y");
  b.Node("MatMul", {"w", "x"}, {"y"});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(Summary(*graph), "MatMul");
}

TEST(OnnxImport, MatMulWithAStackOfOneMatrixIsGemmWhereTheRankAllows) {
  for (const auto& [x_shape, expected] :
       std::vector<std::pair<std::vector<int64_t>, std::string>>{{{2, 4, 3}, "Gemm"}, {{4, 3}, "MatMul"}}) {
    OnnxBuilder b;
    b.Input("x", x_shape).Floats("w", {1, 3, 5}, RandomFloats(15, 1)).Output("y");
    b.Node("MatMul", {"x", "w"}, {"y"});
    const auto graph = b.Import();
    ASSERT_TRUE(graph.ok()) << graph.status();
    EXPECT_EQ(Summary(*graph), expected);
    Shape shape;
    Evaluate(b, {{"x", RandomTensor(x_shape, 2)}}, &shape);
    EXPECT_EQ(shape.size(), 3u);
  }
}

// --- Forms of older opsets ---

TEST(OnnxImport, ClipBoundsOfBothForms) {
  const Values x = {{"x", FloatTensor({4}, {-3, 0.5f, 4, 9})}};
  OnnxBuilder attributes(10);
  attributes.Input("x", {4}).Output("y");
  onnx::NodeProto& node = attributes.Node("Clip", {"x"}, {"y"});
  SetFloat(node, "min", 0), SetFloat(node, "max", 6);
  EXPECT_THAT(Evaluate(attributes, x), ElementsAre(0, 0.5f, 4, 6));
  OnnxBuilder inputs(13);
  inputs.Input("x", {4}).Floats("hi", {}, {6}).Output("y");
  inputs.Node("Clip", {"x", "", "hi"}, {"y"});
  EXPECT_THAT(Evaluate(inputs, x), ElementsAre(-3, 0.5f, 4, 6));
  OnnxBuilder max_min(13);
  max_min.Input("x", {4}).Floats("lo", {}, {0}).Floats("hi", {}, {6}).Output("y");
  max_min.Node("Max", {"lo", "x"}, {"m"});
  max_min.Node("Min", {"m", "hi"}, {"y"});
  EXPECT_THAT(Evaluate(max_min, x), ElementsAre(0, 0.5f, 4, 6));
}

TEST(OnnxImport, SoftmaxBefore13CoversAllAxesFromItsOwn) {
  const Values x = {{"x", FloatTensor({1, 2, 2}, {0, 0, 0, 0})}};
  for (int64_t opset : {12, 13}) {
    OnnxBuilder b(opset);
    b.Input("x", {1, 2, 2}).Output("y");
    SetInt(b.Node("Softmax", {"x"}, {"y"}), "axis", 1);
    const float share = opset < 13 ? 0.25f : 0.5f;
    EXPECT_THAT(Evaluate(b, x), ElementsAre(share, share, share, share));
  }
}

TEST(OnnxImport, SliceAndPadAndReduceMeanAndUnsqueezeWithAttributes) {
  OnnxBuilder b(9);
  b.Input("x", {1, 4}).Output("y");
  onnx::NodeProto& slice = b.Node("Slice", {"x"}, {"s"});
  SetInts(slice, "starts", {1}), SetInts(slice, "ends", {-1}), SetInts(slice, "axes", {1});
  onnx::NodeProto& pad = b.Node("Pad", {"s"}, {"p"});
  SetInts(pad, "pads", {0, 1, 0, 0}), SetFloat(pad, "value", 7);
  SetInts(b.Node("Unsqueeze", {"p"}, {"u"}), "axes", {0});
  SetInts(b.Node("Squeeze", {"u"}, {"q"}), "axes", {0});
  onnx::NodeProto& mean = b.Node("ReduceMean", {"q"}, {"m"});
  SetInts(mean, "axes", {1}), SetInt(mean, "keepdims", 1);
  b.Node("Add", {"q", "m"}, {"y"});
  Shape shape;
  // {2, 3} padded to {7, 2, 3}, mean 4
  EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({1, 4}, {1, 2, 3, 4})}}, &shape), ElementsAre(11, 6, 7));
  EXPECT_EQ(shape, (Shape{1, 3}));
}

TEST(OnnxImport, SplitIntoEqualPartsFindsTheExtent) {
  for (int64_t opset : {11, 13}) {
    OnnxBuilder b(opset);
    b.Input("x", {-1, 6}).Output("y");
    // The extent follows from a Concat, behind which it is no longer the input's.
    onnx::NodeProto& concat = b.Node("Concat", {"x", "x"}, {"c"});
    SetInt(concat, "axis", 1);
    SetInt(b.Node("Split", {"c"}, {"p", "q", "r"}), "axis", -1);
    b.Node("Add", {"p", "r"}, {"y"});
    Shape shape;
    EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({1, 6}, {1, 2, 3, 4, 5, 6})}}, &shape), ElementsAre(4, 6, 8, 10));
    EXPECT_EQ(shape, (Shape{1, 4}));
  }
}

TEST(OnnxImport, SplitSizesOfBothForms) {
  for (int64_t opset : {11, 13}) {
    OnnxBuilder b(opset);
    b.Input("x", {4}).Output("y").Output("z");
    if (opset < 13) {
      SetInts(b.Node("Split", {"x"}, {"y", "z"}), "split", {1, 3});
    } else {
      b.Ints("sizes", {1, 3});
      b.Node("Split", {"x", "sizes"}, {"y", "z"});
    }
    EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({4}, {1, 2, 3, 4})}}), ElementsAre(1));
  }
}

TEST(OnnxImport, ShapesMayFollowFromInputs) {
  OnnxBuilder b;
  b.Input("x", {4}).Input("sizes", {2}, onnx::TensorProto::INT64).Output("y").Output("z");
  b.Node("Split", {"x", "sizes"}, {"y", "z"});
  Tensor sizes = MakeInt64Constant("", {3, 1});
  EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({4}, {1, 2, 3, 4})}, {"sizes", sizes}}), ElementsAre(1, 2, 3));
}

TEST(OnnxImport, SumOfManyIsAChainOfAdds) {
  OnnxBuilder b;
  b.Input("x", {2}).Output("y");
  b.Node("Sum", {"x", "x", "x"}, {"y"});
  EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({2}, {1, 2})}}), ElementsAre(3, 6));
}

// x + 10 when the condition holds, else x * 2; both branches read x from outside and a constant of their own.
void AddIf(OnnxBuilder* b) {
  onnx::NodeProto& node = b->Node("If", {"condition"}, {"y"});
  for (const bool then : {true, false}) {
    OnnxBuilder branch;
    const std::string own = then ? "ten" : "two", result = then ? "sum" : "product";
    branch.Floats(own, {1}, {then ? 10.0f : 2.0f}).Output(result);
    branch.Node(then ? "Add" : "Mul", {"x", own}, {result});
    *AddAttribute(node, then ? "then_branch" : "else_branch", onnx::AttributeProto::GRAPH).mutable_g() = branch.graph();
  }
}

TEST(OnnxImport, IfWithAConstantConditionBecomesItsBranch) {
  for (const bool condition : {true, false}) {
    OnnxBuilder b;
    b.Input("x", {-1, 2}).Output("y");
    b.Initializer("condition", {}, onnx::TensorProto::BOOL).add_int32_data(condition);
    AddIf(&b);
    EXPECT_THAT(Evaluate(b, {{"x", FloatTensor({1, 2}, {3, 4})}}), condition ? ElementsAre(13, 14) : ElementsAre(6, 8));
  }
}

// As exporters write it: a branch for every rank, of which the shape picks one.
TEST(OnnxImport, IfWhoseConditionFollowsFromShapes) {
  for (const int64_t extent : {2, 3}) {
    OnnxBuilder b;
    b.Input("x", {-1, extent}).Ints("one", {1}).Ints("expected", {3}).Output("y");
    b.Node("Shape", {"x"}, {"shape"});
    b.Node("Gather", {"shape", "one"}, {"extent"});
    b.Node("Equal", {"extent", "expected"}, {"condition"});
    AddIf(&b);
    EXPECT_EQ(Evaluate(b, {{"x", FloatTensor({1, extent}, std::vector<float>(static_cast<size_t>(extent), 1))}}),
              std::vector<float>(static_cast<size_t>(extent), extent == 3 ? 11.0f : 2.0f));
  }
}

TEST(OnnxImport, ConstantOutputsAreCopiedByANode) {
  OnnxBuilder b;
  b.Input("x", {1}).Floats("c", {2}, {3, 4}).Output("y").Output("c");
  b.Node("Add", {"x", "c"}, {"y"});
  absl::StatusOr<Graph> graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  Graph rewritten = *graph;
  ASSERT_TRUE(RunPasses(&rewritten).ok());
  for (const Graph* g : {&*graph, &rewritten}) {
    const auto results = RunGraph(*g, {{"x", FloatTensor({1}, {1})}});
    ASSERT_TRUE(results.ok()) << results.status();
    EXPECT_THAT(FloatsOf(results->at("c")), ElementsAre(3, 4));
    EXPECT_THAT(FloatsOf(results->at("y")), ElementsAre(4, 5));
  }
}

TEST(OnnxImport, UnusedWeightsAreDropped) {
  OnnxBuilder b;
  b.Input("x", {1}).Floats("unused", {2}, {3, 4}).Output("y");
  b.Node("Relu", {"x"}, {"y"});
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->FindTensor("unused"), -1);
}

}  // namespace
}  // namespace tally::testing
