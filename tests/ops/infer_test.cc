// Shape inference: what each operator accepts and gives, and that anything else is an error.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "format/error.h"
#include "tests/ops/op_runner.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::OpRunner;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kBig = 2147483647;
using I = std::vector<int64_t>;
using F = std::vector<float>;

struct Good {
  const char* what;
  OpRunner runner;
  std::vector<Shape> shapes;
  DType dtype = DType::kFloat32;
};

struct Bad {
  const char* what;
  OpRunner runner;
  ErrorId error;
};

void ExpectGood(std::vector<Good> table) {
  for (Good& row : table) {
    SCOPED_TRACE(std::string(row.runner.node().op) + ": " + row.what);
    const absl::Status status = row.runner.Infer();
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(row.runner.types().size(), row.shapes.size());
    for (size_t i = 0; i < row.shapes.size(); ++i) {
      EXPECT_EQ(ShapeString(row.runner.shape(i)), ShapeString(row.shapes[i]));
      EXPECT_EQ(row.runner.types()[i].dtype, row.dtype);
    }
  }
}

void ExpectBad(std::vector<Bad> table) {
  for (Bad& row : table) {
    SCOPED_TRACE(std::string(row.runner.node().op) + ": " + row.what);
    const absl::Status status = row.runner.Infer();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(GetErrorInfo(status).code, ErrorCodeString(row.error)) << status;
  }
}

OpRunner Op(const std::string& name, int outputs = 1) { return OpRunner(name, outputs); }

TEST(OpTable, FindsEveryOperatorAndNothingElse) {
  std::string previous;
  for (const OpDef* def : AllOps()) {
    EXPECT_LT(previous, def->name) << "sorted by name";
    previous = def->name;
    EXPECT_EQ(FindOp(def->name), def);
    EXPECT_NE(def->infer, nullptr);
    EXPECT_NE(def->eval, nullptr);
    const std::string note = def->note;
    EXPECT_EQ(std::count(note.begin(), note.end(), '*'), __builtin_popcount(def->shaped_by)) << def->name;
  }
  EXPECT_EQ(FindOp("Loop"), nullptr);
  EXPECT_EQ(FindOp(""), nullptr);
}

TEST(InferNode, ChecksCountsAttributesAndLimits) {
  ExpectBad({
      {"no input", Op("Relu"), ErrorId::kBadNodeInputs},
      {"too many inputs", Op("Relu").Input({1}).Input({1}), ErrorId::kBadNodeInputs},
      {"absent required input", Op("Relu").Absent(), ErrorId::kBadNodeInputs},
      {"absent among any number", Op("Concat").Input({1}).Absent().Attr("axis", I{0}), ErrorId::kBadNodeInputs},
      {"no output", Op("Relu", 0).Input({1}), ErrorId::kBadNodeInputs},
      {"two outputs", Op("Relu", 2).Input({1}), ErrorId::kBadNodeInputs},
      {"unknown attribute", Op("Relu").Input({1}).Attr("alpha", F{1}), ErrorId::kBadAttribute},
      {"prefix of an attribute", Op("Softmax").Input({1}).Attr("ax", I{0}), ErrorId::kBadAttribute},
      {"empty name", Op("Softmax").Input({1}).Attr("", I{0}), ErrorId::kBadAttribute},
      {"floats for an integer", Op("Softmax").Input({1}).Attr("axis", F{0}), ErrorId::kBadAttribute},
      {"string for an integer", Op("Softmax").Input({1}).Attr("axis", "0"), ErrorId::kBadAttribute},
      {"integers for a float", Op("LeakyRelu").Input({1}).Attr("alpha", I{0}), ErrorId::kBadAttribute},
      {"integers for a string", Op("Cast").Input({1}).Attr("to", I{0}), ErrorId::kBadAttribute},
      {"empty list for an integer", Op("Softmax").Input({1}).Attr("axis", I{}), ErrorId::kBadAttribute},
      {"two for one", Op("Softmax").Input({1}).Attr("axis", I{0, 0}), ErrorId::kBadAttribute},
      {"a flag of 2", Op("Softmax").Input({1}).Attr("flatten", I{2}), ErrorId::kBadAttribute},
      {"NaN", Op("LeakyRelu").Input({1}).Attr("alpha", F{std::numeric_limits<float>::quiet_NaN()}),
       ErrorId::kBadAttribute},
      {"input of rank 7", Op("Relu").Input({1, 1, 1, 1, 1, 1, 1}), ErrorId::kBadShape},
      {"negative extent", Op("Relu").Input({-1}), ErrorId::kBadShape},
      {"extent of 2^31", Op("Relu").Input({kBig + 1}), ErrorId::kBadShape},
      {"bytes that wrap", Op("Relu").Input({kBig, kBig, 2}), ErrorId::kBadShape},
      {"wrapping beside a zero", Op("Relu").Input({0, kBig, kBig, 8}), ErrorId::kBadShape},
      {"output of rank 7", Op("Gather").Input({1, 1, 1, 1}).Input({1, 1, 1, 1}, DType::kInt64), ErrorId::kBadShape},
      {"output extent of 2^31", Op("Concat").Input({kBig}).Input({1}).Attr("axis", I{0}), ErrorId::kBadShape},
      {"output that wraps", Op("MatMul").Input({kBig, 1}).Input({kBig, 1, kBig}), ErrorId::kBadShape},
      {"flattened extent of 2^62", Op("Flatten").Input({1, 65536, 65536}), ErrorId::kBadShape},
  });
  OpRunner twice = Op("Softmax").Input({1});
  Attribute axis;
  axis.name = "axis";
  axis.ints = {0};
  twice.node().attributes = {axis, axis};
  ExpectBad({{"attribute given twice", std::move(twice), ErrorId::kBadAttribute}});
}

TEST(InferNode, NamesAttributeExpectedAndActual) {
  const absl::Status status = Op("Softmax").Input({1, 2}).Attr("axis", I{5}).Infer();
  EXPECT_EQ(std::string(status.message()),
            "TLY-E0315: Softmax: attribute axis is 5, expected an axis of a tensor of rank 2");
}

TEST(InferNode, ReplacesItsOutput) {
  OpRunner relu = Op("Relu").Input({3});
  ASSERT_TRUE(relu.Infer().ok());
  ASSERT_TRUE(relu.Infer().ok());
  EXPECT_EQ(relu.types().size(), 1u);
}

TEST(InferConv, GivesShapes) {
  ExpectGood({
      {"plain", Op("Conv").Input({2, 3, 8, 9}).Input({4, 3, 3, 3}), {{2, 4, 6, 7}}},
      {"one-dimensional", Op("Conv").Input({2, 3, 9}).Input({4, 3, 3}).Attr("pads", I{1, 0}), {{2, 4, 8}}},
      {"bias", Op("Conv").Input({1, 3, 3, 3}).Input({4, 3, 3, 3}).Input({4}), {{1, 4, 1, 1}}},
      {"residual without bias",
       Op("Conv").Input({1, 3, 3, 3}).Input({4, 3, 3, 3}).Absent().Input({1, 4, 1, 1}),
       {{1, 4, 1, 1}}},
      {"depthwise, strided, padded",
       Op("Conv")
           .Input({1, 4, 5, 7})
           .Input({4, 1, 3, 3})
           .Attr("group", I{4})
           .Attr("strides", I{2, 2})
           .Attr("pads", I{1, 1, 1, 1}),
       {{1, 4, 3, 4}}},
      {"dilated", Op("Conv").Input({1, 1, 9, 9}).Input({1, 1, 3, 3}).Attr("dilations", I{4, 2}), {{1, 1, 1, 5}}},
      {"same",
       Op("Conv").Input({1, 1, 5, 6}).Input({1, 1, 3, 3}).Attr("auto_pad", "SAME_UPPER").Attr("strides", I{2, 2}),
       {{1, 1, 3, 3}}},
      {"auto_pad beside zero pads",
       Op("Conv").Input({1, 1, 5, 6}).Input({1, 1, 3, 3}).Attr("auto_pad", "VALID").Attr("pads", I{0, 0, 0, 0}),
       {{1, 1, 3, 4}}},
      {"activation",
       Op("Conv").Input({1, 1, 1, 1}).Input({1, 1, 1, 1}).Attr("activation", "Clip").Attr("activation_params", F{0, 6}),
       {{1, 1, 1, 1}}},
      {"no batch", Op("Conv").Input({0, 3, 8, 8}).Input({4, 3, 3, 3}), {{0, 4, 6, 6}}},
      {"no input channels", Op("Conv").Input({1, 0, 8, 8}).Input({4, 0, 3, 3}), {{1, 4, 6, 6}}},
      {"no output channels", Op("Conv").Input({1, 3, 8, 8}).Input({0, 3, 3, 3}), {{1, 0, 6, 6}}},
      {"no columns", Op("Conv").Input({1, 3, 8, 0}).Input({4, 3, 3, 3}), {{1, 4, 6, 0}}},
  });
}

TEST(InferConv, RefusesTheRest) {
  const auto conv = [] { return Op("Conv").Input({1, 4, 8, 8}).Input({6, 4, 3, 3}); };
  const auto a = ErrorId::kBadAttribute;
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"rank 2", Op("Conv").Input({1, 4}).Input({6, 4}), n},
      {"rank 5", Op("Conv").Input({1, 4, 2, 2, 2}).Input({6, 4, 1, 1, 1}), n},
      {"integer input", Op("Conv").Input({1, 4, 8, 8}, DType::kInt32).Input({6, 4, 3, 3}), n},
      {"integer weight", Op("Conv").Input({1, 4, 8, 8}).Input({6, 4, 3, 3}, DType::kInt8), n},
      {"weight of another rank", Op("Conv").Input({1, 4, 8, 8}).Input({6, 4, 3}), n},
      {"weight of other channels", Op("Conv").Input({1, 4, 8, 8}).Input({6, 3, 3, 3}), n},
      {"kernel of nothing", Op("Conv").Input({1, 4, 8, 8}).Input({6, 4, 0, 3}), n},
      {"kernel beyond the input", Op("Conv").Input({1, 4, 2, 8}).Input({6, 4, 3, 3}), n},
      {"bias of another length", conv().Input({4}), n},
      {"bias of rank 2", conv().Input({1, 6}), n},
      {"integer bias", conv().Input({6}, DType::kInt32), n},
      {"residual of another shape", conv().Absent().Input({1, 6, 6, 1}), n},
      {"stride 0", conv().Attr("strides", I{1, 0}), a},
      {"negative stride", conv().Attr("strides", I{-1, 1}), a},
      {"smallest stride", conv().Attr("strides", I{kMin, 1}), a},
      {"huge stride", conv().Attr("strides", I{kMax, 1}), a},
      {"one stride", conv().Attr("strides", I{1}), a},
      {"no strides", conv().Attr("strides", I{}), a},
      {"dilation 0", conv().Attr("dilations", I{0, 1}), a},
      {"dilation that wraps", conv().Attr("dilations", I{kMax / 2 + 1, 1}), a},
      {"dilation beyond extents", conv().Attr("dilations", I{kBig, 1}), a},
      {"negative pad", conv().Attr("pads", I{0, -1, 0, 0}), a},
      {"huge pad", conv().Attr("pads", I{0, kMax, 0, kMax}), a},
      {"pads beyond extents", conv().Attr("pads", I{kBig, 0, kBig, 0}), a},
      {"two pads", conv().Attr("pads", I{0, 0}), a},
      {"group 0", conv().Attr("group", I{0}), a},
      {"negative group", conv().Attr("group", I{-2}), a},
      {"smallest group", conv().Attr("group", I{kMin}), a},
      {"group that divides neither", conv().Attr("group", I{3}), a},
      {"group that divides the input alone", conv().Attr("group", I{4}), a},
      {"unknown auto_pad", conv().Attr("auto_pad", "SAME"), a},
      {"auto_pad beside pads", conv().Attr("auto_pad", "SAME_UPPER").Attr("pads", I{1, 1, 1, 1}), a},
      {"unknown activation", conv().Attr("activation", "Erf"), a},
      {"activation with other parameters", conv().Attr("activation", "Relu").Attr("activation_params", F{1}), a},
  });
}

TEST(InferGemm, KeepsLeadingDimensions) {
  ExpectGood({
      {"matrix", Op("Gemm").Input({2, 3}).Input({4, 3}), {{2, 4}}},
      {"vector", Op("Gemm").Input({3}).Input({4, 3}).Input({4}), {{4}}},
      {"rank 3", Op("Gemm").Input({5, 2, 3}).Input({4, 3}).Absent().Input({5, 2, 4}), {{5, 2, 4}}},
      {"no K", Op("Gemm").Input({2, 0}).Input({4, 0}), {{2, 4}}},
      {"no rows", Op("Gemm").Input({0, 3}).Input({4, 3}), {{0, 4}}},
  });
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"scalar", Op("Gemm").Input({}).Input({4, 3}), n},
      {"other K", Op("Gemm").Input({2, 4}).Input({4, 3}), n},
      {"weight of rank 1", Op("Gemm").Input({2, 3}).Input({3}), n},
      {"weight of rank 3", Op("Gemm").Input({2, 3}).Input({1, 4, 3}), n},
      {"bias of other length", Op("Gemm").Input({2, 3}).Input({4, 3}).Input({3}), n},
      {"residual of other shape", Op("Gemm").Input({2, 3}).Input({4, 3}).Absent().Input({4}), n},
      {"integers", Op("Gemm").Input({2, 3}, DType::kInt64).Input({4, 3}), n},
      {"unknown activation", Op("Gemm").Input({2, 3}).Input({4, 3}).Attr("activation", "relu"), ErrorId::kBadAttribute},
  });
}

TEST(InferMatMul, Broadcasts) {
  ExpectGood({
      {"matrices", Op("MatMul").Input({2, 3}).Input({3, 4}), {{2, 4}}},
      {"batches", Op("MatMul").Input({5, 1, 2, 3}).Input({6, 3, 4}), {{5, 6, 2, 4}}},
      {"vector left", Op("MatMul").Input({3}).Input({7, 3, 4}), {{7, 4}}},
      {"vector right", Op("MatMul").Input({7, 2, 3}).Input({3}), {{7, 2}}},
      {"vectors", Op("MatMul").Input({3}).Input({3}), {Shape{}}},
      {"no K", Op("MatMul").Input({2, 0}).Input({0, 4}), {{2, 4}}},
      {"empty batch against 1", Op("MatMul").Input({0, 2, 3}).Input({1, 3, 4}), {{0, 2, 4}}},
  });
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"scalar", Op("MatMul").Input({}).Input({3}), n},
      {"other K", Op("MatMul").Input({2, 3}).Input({4, 3}), n},
      {"other K, vector", Op("MatMul").Input({2}).Input({3}), n},
      {"other batch", Op("MatMul").Input({2, 2, 3}).Input({3, 3, 4}), n},
      {"empty batch against 2", Op("MatMul").Input({0, 2, 3}).Input({2, 3, 4}), n},
      {"integers", Op("MatMul").Input({2, 3}, DType::kInt32).Input({3, 4}, DType::kInt32), n},
  });
}

TEST(InferPool, GivesShapes) {
  const I k3 = {3, 3};
  ExpectGood({
      {"plain", Op("MaxPool").Input({1, 2, 7, 8}).Attr("kernel_shape", k3), {{1, 2, 5, 6}}},
      {"one-dimensional",
       Op("AveragePool").Input({1, 2, 8}).Attr("kernel_shape", I{2}).Attr("strides", I{2}),
       {{1, 2, 4}}},
      {"ceil",
       Op("MaxPool").Input({1, 1, 7, 8}).Attr("kernel_shape", I{2, 2}).Attr("strides", I{2, 2}).Attr("ceil_mode", I{1}),
       {{1, 1, 4, 4}}},
      // 2 + 1 + 1 = 4 columns hold windows at 0, 2 and (ceil) 4, which would begin behind the input and its left pad.
      {"ceil drops a window in the padding",
       Op("AveragePool")
           .Input({1, 1, 1, 2})
           .Attr("kernel_shape", I{1, 2})
           .Attr("strides", I{1, 3})
           .Attr("pads", I{0, 1, 0, 1})
           .Attr("ceil_mode", I{1}),
       {{1, 1, 1, 1}}},
      {"ceil keeps a lone overhanging window",
       Op("MaxPool").Input({1, 1, 2, 2}).Attr("kernel_shape", k3).Attr("strides", I{2, 2}).Attr("ceil_mode", I{1}),
       {{1, 1, 1, 1}}},
      {"dilated",
       Op("MaxPool").Input({1, 1, 7, 7}).Attr("kernel_shape", k3).Attr("dilations", I{3, 2}),
       {{1, 1, 1, 3}}},
      {"same lower",
       Op("MaxPool")
           .Input({1, 1, 5, 5})
           .Attr("kernel_shape", k3)
           .Attr("auto_pad", "SAME_LOWER")
           .Attr("strides", I{2, 2}),
       {{1, 1, 3, 3}}},
      {"no batch", Op("MaxPool").Input({0, 2, 7, 8}).Attr("kernel_shape", k3), {{0, 2, 5, 6}}},
      {"no rows", Op("MaxPool").Input({1, 2, 0, 8}).Attr("kernel_shape", k3), {{1, 2, 0, 6}}},
      {"global", Op("GlobalAveragePool").Input({2, 3, 4, 5, 6}), {{2, 3, 1, 1, 1}}},
      {"global of no channels", Op("GlobalMaxPool").Input({2, 0, 4}), {{2, 0, 1}}},
  });
}

TEST(InferPool, RefusesTheRest) {
  const auto pool = [] { return Op("MaxPool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{3, 3}); };
  const auto a = ErrorId::kBadAttribute;
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"no kernel_shape", Op("MaxPool").Input({1, 2, 8, 8}), a},
      {"kernel 0", Op("MaxPool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{0, 3}), a},
      {"kernel 0 last", Op("MaxPool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{3, 0}), a},
      {"negative kernel", Op("MaxPool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{3, kMin}), a},
      {"one extent", Op("MaxPool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{3}), a},
      {"empty kernel", Op("MaxPool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{}), a},
      {"kernel beyond the input", Op("MaxPool").Input({1, 2, 2, 8}).Attr("kernel_shape", I{3, 3}), n},
      {"pad as large as the kernel", pool().Attr("pads", I{3, 0, 0, 0}), a},
      {"stride 0", pool().Attr("strides", I{0, 1}), a},
      {"dilation 0", pool().Attr("dilations", I{1, 0}), a},
      {"dilation that wraps", pool().Attr("dilations", I{kMax, 1}), a},
      {"dilated average",
       Op("AveragePool").Input({1, 2, 8, 8}).Attr("kernel_shape", I{3, 3}).Attr("dilations", I{1, 1}), a},
      {"counting pads in a maximum", pool().Attr("count_include_pad", I{1}), a},
      {"ceil_mode 2", pool().Attr("ceil_mode", I{2}), a},
      {"bytes", Op("MaxPool").Input({1, 2, 8, 8}, DType::kUint8).Attr("kernel_shape", I{3, 3}), n},
      {"windows over nothing",
       Op("AveragePool").Input({1, 2, 0, 8}).Attr("kernel_shape", I{2, 2}).Attr("pads", I{1, 0, 1, 0}), n},
      {"global rank 2", Op("GlobalAveragePool").Input({2, 3}), n},
      {"global over nothing", Op("GlobalMaxPool").Input({2, 3, 0}), n},
  });
}

TEST(InferElementwise, ActivationsKeepAndArithmeticBroadcasts) {
  ExpectGood({
      {"keeps", Op("HardSwish").Input({2, 0, 3}), {{2, 0, 3}}},
      {"scalar", Op("Clip").Input({}).Attr("min", F{0}), {Shape{}}},
      {"aligned at the end", Op("Add").Input({2, 3, 4}).Input({3, 1}), {{2, 3, 4}}},
      {"scalar and vector", Op("Mul").Input({}).Input({3}), {{3}}},
      {"1 and nothing", Op("Sub").Input({1, 3}).Input({0, 3}), {{0, 3}}},
  });
  ExpectGood({{"integers", Op("Div").Input({3}, DType::kInt64).Input({1}, DType::kInt64), {{3}}, DType::kInt64}});
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"other extents", Op("Add").Input({2, 3}).Input({2, 4}), n},
      {"2 and nothing", Op("Add").Input({2}).Input({0}), n},
      {"other types", Op("Add").Input({2}).Input({2}, DType::kInt64), n},
      {"truth values", Op("Add").Input({2}, DType::kBool).Input({2}, DType::kBool), n},
      {"integers", Op("Sigmoid").Input({2}, DType::kInt64), n},
  });
}

TEST(InferReductions, GiveShapes) {
  ExpectGood({
      {"all", Op("ReduceMean").Input({2, 3}), {{1, 1}}},
      {"all, dropped", Op("ReduceMean").Input({2, 3}).Attr("keepdims", I{0}), {Shape{}}},
      {"axes", Op("ReduceMean").Input({2, 3, 4}).Ints({-1, 0}).Attr("keepdims", I{0}), {{3}}},
      {"no axes", Op("ReduceMean").Input({2, 3}).Ints({}), {{1, 1}}},
      {"no axes, no operation", Op("ReduceMean").Input({2, 3}).Ints({}).Attr("noop_with_empty_axes", I{1}), {{2, 3}}},
      {"empty result", Op("ReduceMean").Input({0, 3}).Ints({1}), {{0, 1}}},
      {"softmax", Op("Softmax").Input({2, 3}).Attr("axis", I{-2}), {{2, 3}}},
      {"normalised",
       Op("BatchNormalization").Input({2, 3, 4}).Input({3}).Input({3}).Input({3}).Input({3}),
       {{2, 3, 4}}},
  });
  const auto n = ErrorId::kBadNodeInputs;
  const auto a = ErrorId::kBadAttribute;
  ExpectBad({
      {"mean of nothing", Op("ReduceMean").Input({0, 3}).Ints({0}), n},
      {"axis beyond the rank", Op("ReduceMean").Input({2, 3}).Ints({2}), n},
      {"smallest axis", Op("ReduceMean").Input({2, 3}).Ints({kMin}), n},
      {"axis twice", Op("ReduceMean").Input({2, 3}).Ints({1, -1}), n},
      {"unknown axes", Op("ReduceMean").Input({2, 3}).Input({1}, DType::kInt64), n},
      {"float axes", Op("ReduceMean").Input({2, 3}).Floats({1}, {0}), n},
      {"axes of rank 0", Op("ReduceMean").Input({2, 3}).Values<int64_t>(DType::kInt64, {}, {0}), n},
      {"softmax axis", Op("Softmax").Input({2, 3}).Attr("axis", I{kMin}), a},
      {"softmax of a scalar", Op("Softmax").Input({}), a},
      {"rank 1", Op("BatchNormalization").Input({3}).Input({3}).Input({3}).Input({3}).Input({3}), n},
      {"variance of other length", Op("BatchNormalization").Input({2, 3}).Input({3}).Input({3}).Input({3}).Input({2}),
       n},
  });
}

TEST(InferMovement, ConcatAndSplit) {
  ExpectGood({
      {"sum", Op("Concat").Input({2, 3}).Input({2, 0}).Input({2, 4}).Attr("axis", I{-1}), {{2, 7}}},
      {"one", Op("Concat").Input({2}).Attr("axis", I{0}), {{2}}},
      {"parts", Op("Split", 3).Input({2, 6}).Attr("axis", I{1}).Attr("split", I{1, 0, 5}), {{2, 1}, {2, 0}, {2, 5}}},
      {"sizes as an input", Op("Split", 2).Input({2, 6}).Ints({2, 4}).Attr("axis", I{1}), {{2, 2}, {2, 4}}},
  });
  const auto a = ErrorId::kBadAttribute;
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"no axis", Op("Concat").Input({2}), a},
      {"axis beyond the rank", Op("Concat").Input({2}).Attr("axis", I{1}), a},
      {"scalar", Op("Concat").Input({}).Attr("axis", I{0}), a},
      {"other rank", Op("Concat").Input({2}).Input({2, 1}).Attr("axis", I{0}), n},
      {"other extent", Op("Concat").Input({2, 3}).Input({3, 3}).Attr("axis", I{1}), n},
      {"other type", Op("Concat").Input({2}).Input({2}, DType::kBool).Attr("axis", I{0}), n},
      {"no sizes", Op("Split").Input({2}), a},
      {"fewer sizes than outputs", Op("Split", 2).Input({2}).Attr("split", I{2}), a},
      {"sum too small", Op("Split", 2).Input({3}).Attr("split", I{1, 1}), a},
      {"negative size", Op("Split", 2).Input({3}).Attr("split", I{4, -1}), a},
      {"sizes twice", Op("Split", 2).Input({3}).Ints({1, 2}).Attr("split", I{1, 2}), n},
      {"input with fewer sizes", Op("Split", 2).Input({3}).Ints({3}), n},
      {"input with another sum", Op("Split", 2).Input({3}).Ints({1, 1}), n},
      {"input with a negative size", Op("Split", 2).Input({3}).Ints({kMin, 3}), n},
      {"unknown sizes", Op("Split", 2).Input({3}).Input({2}, DType::kInt64), n},
      {"sum that wraps", Op("Split", 3).Input({3}).Attr("split", I{kMax, kMax, 5}), a},
      {"split axis", Op("Split").Input({3}).Attr("split", I{3}).Attr("axis", I{1}), a},
  });
}

TEST(InferMovement, Slice) {
  ExpectGood({
      {"default axes", Op("Slice").Input({5, 6}).Ints({1}).Ints({3}), {{2, 6}}},
      {"negative", Op("Slice").Input({5, 6}).Ints({-3}).Ints({-1}).Ints({-1}), {{5, 2}}},
      {"clamped", Op("Slice").Input({5}).Ints({kMin}).Ints({kMax}), {{5}}},
      {"step", Op("Slice").Input({5}).Ints({0}).Ints({5}).Ints({0}).Ints({2}), {{3}}},
      {"backwards to the front", Op("Slice").Input({5}).Ints({kMax}).Ints({kMin}).Ints({0}).Ints({-1}), {{5}}},
      {"smallest step", Op("Slice").Input({5}).Ints({kMax}).Ints({kMin}).Ints({0}).Ints({kMin}), {{1}}},
      {"largest step", Op("Slice").Input({5}).Ints({1}).Ints({kMax}).Ints({0}).Ints({kMax}), {{1}}},
      {"steps without axes", Op("Slice").Input({5}).Ints({0}).Ints({5}).Absent().Ints({3}), {{2}}},
      {"nothing", Op("Slice").Input({5}).Ints({3}).Ints({3}), {{0}}},
      {"of nothing", Op("Slice").Input({0}).Ints({-1}).Ints({kMin}).Ints({0}).Ints({-1}), {{0}}},
      {"no axes at all", Op("Slice").Input({5}).Ints({}).Ints({}), {{5}}},
  });
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"unknown starts", Op("Slice").Input({5}).Input({1}, DType::kInt64).Ints({1}), n},
      {"int32 starts", Op("Slice").Input({5}).Values<int32_t>(DType::kInt32, {1}, {0}).Ints({1}), n},
      {"fewer ends", Op("Slice").Input({5, 5}).Ints({0, 0}).Ints({1}), n},
      {"more axes", Op("Slice").Input({5, 5}).Ints({0}).Ints({1}).Ints({0, 1}), n},
      {"fewer steps", Op("Slice").Input({5, 5}).Ints({0, 0}).Ints({1, 1}).Ints({0, 1}).Ints({1}), n},
      {"step 0", Op("Slice").Input({5}).Ints({0}).Ints({1}).Ints({0}).Ints({0}), n},
      {"axis twice", Op("Slice").Input({5, 5}).Ints({0, 0}).Ints({1, 1}).Ints({0, -2}), n},
      {"axis beyond the rank", Op("Slice").Input({5}).Ints({0}).Ints({1}).Ints({1}), n},
      {"smallest axis", Op("Slice").Input({5}).Ints({0}).Ints({1}).Ints({kMin}), n},
      {"more starts than dimensions", Op("Slice").Input({5}).Ints({0, 0}).Ints({1, 1}), n},
      {"scalar", Op("Slice").Input({}).Ints({0}).Ints({1}), n},
  });
}

TEST(InferMovement, Pad) {
  ExpectGood({
      {"constant", Op("Pad").Input({2, 3}).Ints({1, 0, 2, 4}), {{5, 7}}},
      {"crop", Op("Pad").Input({4, 4}).Ints({-1, 0, -3, 1}), {{0, 5}}},
      {"of nothing", Op("Pad").Input({0}).Ints({1, 2}), {{3}}},
      {"reflect", Op("Pad").Input({3}).Ints({2, 2}).Attr("mode", "reflect"), {{7}}},
      {"edge", Op("Pad").Input({1}).Ints({9, 9}).Attr("mode", "edge"), {{19}}},
      {"scalar", Op("Pad").Input({}).Ints({}), {Shape{}}},
      {"value", Op("Pad").Input({1}).Ints({1, 0}).Floats({}, {7}), {{2}}},
  });
  const auto n = ErrorId::kBadNodeInputs;
  ExpectBad({
      {"unknown pads", Op("Pad").Input({2}).Input({2}, DType::kInt64), n},
      {"one pad", Op("Pad").Input({2}).Ints({1}), n},
      {"crop beyond", Op("Pad").Input({2}).Ints({-2, -1}), n},
      {"smallest pad", Op("Pad").Input({2}).Ints({kMin, 0}), n},
      {"largest pads", Op("Pad").Input({2}).Ints({kMax, kMax}), n},
      {"reflect beyond", Op("Pad").Input({3}).Ints({3, 0}).Attr("mode", "reflect"), n},
      {"edge of nothing", Op("Pad").Input({0}).Ints({1, 0}).Attr("mode", "edge"), n},
      {"value of other type", Op("Pad").Input({1}).Ints({1, 0}).Ints({7}), n},
      {"two values", Op("Pad").Input({1}).Ints({1, 0}).Floats({2}, {7, 7}), n},
      {"wrap", Op("Pad").Input({1}).Ints({1, 0}).Attr("mode", "wrap"), ErrorId::kBadAttribute},
  });
}

TEST(InferMovement, Views) {
  ExpectGood({
      {"explicit", Op("Reshape").Input({2, 6}).Ints({3, 4}), {{3, 4}}},
      {"inferred", Op("Reshape").Input({2, 6}).Ints({-1, 4}), {{3, 4}}},
      {"copied", Op("Reshape").Input({2, 6}).Ints({0, 3, -1}), {{2, 3, 2}}},
      {"scalar", Op("Reshape").Input({1, 1}).Ints({}), {Shape{}}},
      {"inferred of an empty batch", Op("Reshape").Input({0, 3, 4}).Ints({0, -1}), {{0, 12}}},
      {"inferred empty batch", Op("Reshape").Input({0, 3, 4}).Ints({-1, 12}), {{0, 12}}},
      {"zero as a zero", Op("Reshape").Input({0, 3}).Ints({5, 0}).Attr("allowzero", I{1}), {{5, 0}}},
      {"flatten", Op("Flatten").Input({2, 3, 4}), {{2, 12}}},
      {"flatten at 0", Op("Flatten").Input({2, 3}).Attr("axis", I{0}), {{1, 6}}},
      {"flatten at the rank", Op("Flatten").Input({2, 3}).Attr("axis", I{2}), {{6, 1}}},
      {"flatten from the end", Op("Flatten").Input({2, 3, 4}).Attr("axis", I{-1}), {{6, 4}}},
      {"flatten a scalar", Op("Flatten").Input({}).Attr("axis", I{0}), {{1, 1}}},
      {"squeeze all", Op("Squeeze").Input({1, 3, 1}), {{3}}},
      {"squeeze one", Op("Squeeze").Input({1, 3, 1}).Ints({-1}), {{1, 3}}},
      {"unsqueeze", Op("Unsqueeze").Input({3, 4}).Ints({0, -1}), {{1, 3, 4, 1}}},
      {"unsqueeze a scalar", Op("Unsqueeze").Input({}).Ints({0}), {{1}}},
      {"identity", Op("Identity").Input({3, 0}), {{3, 0}}},
  });
  const auto n = ErrorId::kBadNodeInputs;
  const auto a = ErrorId::kBadAttribute;
  ExpectBad({
      {"unknown shape", Op("Reshape").Input({2}).Input({1}, DType::kInt64), n},
      {"other count", Op("Reshape").Input({2, 6}).Ints({5}), n},
      {"two inferred", Op("Reshape").Input({2, 6}).Ints({-1, -1}), n},
      {"no multiple", Op("Reshape").Input({2, 6}).Ints({-1, 5}), n},
      {"negative", Op("Reshape").Input({2, 6}).Ints({-2, 6}), n},
      {"smallest", Op("Reshape").Input({2, 6}).Ints({kMin}), n},
      {"product that wraps to the count", Op("Reshape").Input({0}).Ints({kMax, 4, 1}), n},
      {"copied beyond the rank", Op("Reshape").Input({2}).Ints({2, 0}), n},
      {"inferred beside a zero", Op("Reshape").Input({0}).Ints({0, -1}).Attr("allowzero", I{1}), n},
      {"rank 7", Op("Reshape").Input({1}).Ints({1, 1, 1, 1, 1, 1, 1}), n},
      {"flatten beyond", Op("Flatten").Input({2, 3}).Attr("axis", I{3}), a},
      {"flatten smallest", Op("Flatten").Input({2, 3}).Attr("axis", I{kMin}), a},
      {"flatten a scalar at 1", Op("Flatten").Input({}), a},
      {"squeeze an extent of 3", Op("Squeeze").Input({1, 3}).Ints({1}), n},
      {"squeeze an extent of 0", Op("Squeeze").Input({0}).Ints({0}), n},
      {"squeeze twice", Op("Squeeze").Input({1, 1}).Ints({0, -2}), n},
      {"squeeze unknown", Op("Squeeze").Input({1, 1}).Input({1}, DType::kInt64), n},
      {"unsqueeze twice", Op("Unsqueeze").Input({3}).Ints({0, 0}), n},
      {"unsqueeze beyond", Op("Unsqueeze").Input({3}).Ints({2}), n},
      {"unsqueeze to rank 7", Op("Unsqueeze").Input({1, 1, 1, 1, 1, 1}).Ints({0}), n},
      {"unsqueeze without axes", Op("Unsqueeze").Input({3}), n},
  });
}

TEST(InferMovement, TransposeGatherShapeCast) {
  ExpectGood({
      {"reversed", Op("Transpose").Input({2, 3, 4}), {{4, 3, 2}}},
      {"permuted", Op("Transpose").Input({2, 3, 4}).Attr("perm", I{1, 2, 0}), {{3, 4, 2}}},
      {"scalar", Op("Transpose").Input({}), {Shape{}}},
      {"rows", Op("Gather").Input({5, 6}).Input({2, 3}, DType::kInt64), {{2, 3, 6}}},
      {"one column", Op("Gather").Input({5, 6}).Input({}, DType::kInt32).Attr("axis", I{-1}), {{5}}},
  });
  ExpectGood({
      {"all", Op("Shape").Input({5, 6}), {{2}}, DType::kInt64},
      {"of a scalar", Op("Shape").Input({}), {{0}}, DType::kInt64},
      {"part", Op("Shape").Input({5, 6, 7}).Attr("start", I{-2}).Attr("end", I{-1}), {{1}}, DType::kInt64},
      {"clamped", Op("Shape").Input({5, 6}).Attr("start", I{kMin}).Attr("end", I{kMax}), {{2}}, DType::kInt64},
      {"none", Op("Shape").Input({5, 6}).Attr("start", I{kMax}).Attr("end", I{kMin}), {{0}}, DType::kInt64},
      {"cast", Op("Cast").Input({5}).Attr("to", "int64"), {{5}}, DType::kInt64},
  });
  const auto n = ErrorId::kBadNodeInputs;
  const auto a = ErrorId::kBadAttribute;
  ExpectBad({
      {"short perm", Op("Transpose").Input({2, 3}).Attr("perm", I{0}), a},
      {"empty perm", Op("Transpose").Input({2, 3}).Attr("perm", I{}), a},
      {"repeated perm", Op("Transpose").Input({2, 3}).Attr("perm", I{0, 0}), a},
      {"negative perm", Op("Transpose").Input({2, 3}).Attr("perm", I{0, -1}), a},
      {"large perm", Op("Transpose").Input({2, 3}).Attr("perm", I{0, kMax}), a},
      {"float indices", Op("Gather").Input({5}).Input({1}), n},
      {"gather from a scalar", Op("Gather").Input({}).Input({1}, DType::kInt64), a},
      {"gather axis", Op("Gather").Input({5}).Input({1}, DType::kInt64).Attr("axis", I{1}), a},
      {"cast to nothing", Op("Cast").Input({5}), a},
      {"cast to the unknown", Op("Cast").Input({5}).Attr("to", "float16"), a},
      {"cast to an empty name", Op("Cast").Input({5}).Attr("to", ""), a},
  });
}

}  // namespace
}  // namespace tally
