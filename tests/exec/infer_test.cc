#include "runtime/exec/infer.h"

#include <gtest/gtest.h>

#include "runtime/ops/shape_inputs.h"
#include "tally/status.h"
#include "tests/exec/graph_builder.h"

namespace tally {
namespace {

using testing::GraphBuilder;

TEST(InferGraph, FoldsWhatFollowsFromShapes) {
  // Flatten as exporters write it: Reshape(x, Concat(Shape(x)[0], -1)).
  GraphBuilder b;
  b.Input("x", {-1, 3, 4});
  b.Constant<int64_t>("zero", DType::kInt64, {1}, {0});
  b.Constant<int64_t>("rest", DType::kInt64, {1}, {-1});
  b.Add("Shape", {"x"}, {"shape"});
  b.Add("Gather", {"shape", "zero"}, {"batch"});
  b.Add("Concat", {"batch", "rest"}, {"target"}).SetInts("axis", {0});
  b.Add("Reshape", {"x", "target"}, {"y"});
  b.Output("y");
  const absl::StatusOr<InferredGraph> inferred = InferGraph(b.graph, {5});
  ASSERT_TRUE(inferred.ok()) << inferred.status();
  EXPECT_EQ(inferred->types[static_cast<size_t>(b.graph.outputs[0])].shape, (Shape{5, 12}));
  EXPECT_EQ(inferred->folded, (std::vector<bool>{true, true, true, false}));
}

TEST(InferGraph, TypesBehindAShapeInputWaitForItsValue) {
  GraphBuilder b;
  b.Input("x", {2, 6}).Input("s", {2}, DType::kInt64).Input("c", {1});
  b.Add("Reshape", {"x", "s"}, {"r"});
  b.Add("Add", {"r", "c"}, {"y"});
  b.Add("Relu", {"x"}, {"z"});
  b.Output("y").Output("z");
  const auto at = [&](const char* name) { return static_cast<size_t>(b.graph.FindTensor(name)); };
  EXPECT_EQ(FindShapeInputs(b.graph), (std::vector<bool>{false, true, false}));
  absl::StatusOr<InferredGraph> inferred = InferGraph(b.graph, {});
  ASSERT_TRUE(inferred.ok()) << inferred.status();
  EXPECT_FALSE(inferred->complete);
  EXPECT_TRUE(inferred->untyped[at("r")]);
  EXPECT_TRUE(inferred->untyped[at("y")]);
  EXPECT_FALSE(inferred->untyped[at("z")]);
  EXPECT_EQ(inferred->types[at("z")].shape, (Shape{2, 6}));
  EXPECT_EQ(GetErrorInfo(InferTensorTypes(b.graph, {}).status()).code, "TLY-E0610");

  const int64_t s[] = {3, 4};
  inferred = InferGraph(b.graph, {}, {}, {Blob(), Blob::Copy(s, sizeof(s)), Blob()});
  ASSERT_TRUE(inferred.ok()) << inferred.status();
  EXPECT_TRUE(inferred->complete);
  EXPECT_EQ(inferred->types[at("y")].shape, (Shape{3, 4}));
  EXPECT_FALSE(inferred->untyped[at("y")]);
}

TEST(InferGraph, NamesEveryUnknownOperator) {
  GraphBuilder b;
  b.Input("x", {1});
  b.Add("Frobnicate", {"x"}, {"y"});
  b.Add("Zap", {"y"}, {"z"});
  b.Output("z");
  const absl::Status status = InferGraph(b.graph, {}).status();
  EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0603");
  EXPECT_NE(std::string(status.message()).find("\"Frobnicate\", \"Zap\""), std::string::npos) << status;
}

TEST(InferGraph, RefusesTensorsBeyondTheLimitBeforeAllocatingThem) {
  GraphBuilder b;
  b.Input("x", {-1, 1 << 20});
  b.Add("Relu", {"x"}, {"y"});
  b.Output("y");
  EXPECT_TRUE(InferGraph(b.graph, {1}).ok());
  EXPECT_EQ(GetErrorInfo(InferGraph(b.graph, {1 << 20}).status()).code, "TLY-E0503");
}

TEST(InferGraph, ErrorsNameTheNode) {
  GraphBuilder b;
  b.Input("x", {2, 3});
  b.Input("y", {2, 4});
  b.Add("Add", {"x", "y"}, {"z"});
  b.Output("z");
  const absl::Status status = InferGraph(b.graph, {}).status();
  EXPECT_EQ(ExitStatus(status), 3);
  EXPECT_NE(GetErrorInfo(status).subject.find("Add_z"), std::string::npos) << status;
}

}  // namespace
}  // namespace tally
