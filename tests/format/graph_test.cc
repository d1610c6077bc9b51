#include "format/graph.h"

#include <gtest/gtest.h>

#include <cstring>

#include "format/checked.h"

namespace tally {
namespace {

TEST(Blob, IsAlignedZeroedAndFollowedByZeros) {
  for (size_t size : {0, 1, 63, 64, 65, 1000, 1 << 20}) {
    uint8_t* data = nullptr;
    const Blob blob = Blob::Allocate(size, &data);
    ASSERT_EQ(blob.data(), data);
    EXPECT_EQ(blob.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    // Vector loads may run 64 bytes past the end.
    for (size_t i = 0; i < size + 64; ++i) ASSERT_EQ(blob.data()[i], 0) << size;
  }
}

TEST(Blob, CopiesShareBytesAndKeepThemAlive) {
  Blob copy;
  {
    const Blob blob = Blob::Copy("12345", 5);
    copy = blob;
    EXPECT_EQ(copy.data(), blob.data());
  }
  EXPECT_EQ(std::memcmp(copy.data(), "12345", 5), 0);
  EXPECT_TRUE(Blob::Copy(nullptr, 0).empty());
}

TEST(Blob, AnAbsurdSizeThrowsBadAlloc) {
  uint8_t* data = nullptr;
  EXPECT_THROW(Blob::Allocate(SIZE_MAX, &data), std::bad_alloc);
  EXPECT_THROW(Blob::Allocate(SIZE_MAX - 64, &data), std::bad_alloc);
}

TEST(Node, AttributesAreReplacedFoundAndRemoved) {
  Node node;
  EXPECT_EQ(node.Find("a"), nullptr);
  EXPECT_EQ(node.GetInt("a", 7), 7);
  EXPECT_EQ(node.GetFloat("a", 0.5f), 0.5f);
  EXPECT_TRUE(node.GetInts("a").empty());
  EXPECT_EQ(node.GetString("a", "none"), "none");
  node.SetInts("a", {1, 2});
  node.SetFloats("b", {1.5f});
  node.SetString("c", "text");
  EXPECT_EQ(node.GetInt("a", 7), 1);
  EXPECT_EQ(node.GetInts("a"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(node.GetFloat("b", 0), 1.5f);
  EXPECT_EQ(node.GetString("c"), "text");
  node.SetString("a", "now text");
  EXPECT_EQ(node.attributes.size(), 3u);
  EXPECT_EQ(node.GetInt("a", 7), 7) << "another kind now";
  node.Remove("a");
  node.Remove("absent");
  EXPECT_EQ(node.Find("a"), nullptr);
  EXPECT_EQ(node.attributes.size(), 2u);
}

TEST(Graph, FindsTensorsByName) {
  Graph graph;
  Tensor tensor;
  tensor.name = "x";
  EXPECT_EQ(graph.AddTensor(tensor), 0);
  tensor.name = "y";
  EXPECT_EQ(graph.AddTensor(tensor), 1);
  EXPECT_EQ(graph.FindTensor("y"), 1);
  EXPECT_EQ(graph.FindTensor("z"), -1);
}

TEST(Types, NamesAndSizes) {
  EXPECT_STREQ(DTypeName(DType::kFloat32), "float32");
  EXPECT_STREQ(DTypeName(DType::kBool), "bool");
  EXPECT_STREQ(DTypeName(static_cast<DType>(kNumDTypes)), "unknown");
  EXPECT_EQ(DTypeSize(DType::kInt64), 8u);
  EXPECT_EQ(DTypeSize(static_cast<DType>(kNumDTypes)), 0u);
  EXPECT_EQ(ShapeString({}), "scalar");
  EXPECT_EQ(ShapeString({-1, 3, -2, 0}), "?x3x?x0");
  EXPECT_STREQ(GridName(Grid::kQ7), "q7");
  EXPECT_STREQ(GridName(Grid::kQ14), "q14");
  EXPECT_STREQ(GridName(Grid::kReal), "real");
  EXPECT_STREQ(EncodeRuleName(EncodeRule::kNearest), "nearest");
  EXPECT_STREQ(EncodeRuleName(EncodeRule::kLog), "log");
}

TEST(Checked, NothingWraps) {
  uint64_t u = 0;
  EXPECT_FALSE(CheckedMul(uint64_t{1} << 32, uint64_t{1} << 32, &u));
  EXPECT_TRUE(CheckedMul(uint64_t{1} << 32, uint64_t{1} << 31, &u));
  EXPECT_FALSE(CheckedAdd(UINT64_MAX, uint64_t{1}, &u));
  EXPECT_FALSE(CheckedAlignUp(UINT64_MAX - 5, 64, &u));
  EXPECT_TRUE(CheckedAlignUp(65, 64, &u));
  EXPECT_EQ(u, 128u);
  EXPECT_TRUE(RangeFits(10, 0, 10));
  EXPECT_FALSE(RangeFits(10, 1, 10));
  EXPECT_FALSE(RangeFits(UINT64_MAX, 2, 10));
  EXPECT_FALSE(RangeFits(2, UINT64_MAX, 10));
  int64_t n = 0;
  EXPECT_TRUE(CheckedElements({}, &n));
  EXPECT_EQ(n, 1);
  EXPECT_FALSE(CheckedElements({2, -1}, &n));
  EXPECT_FALSE(CheckedElements({int64_t{1} << 32, int64_t{1} << 31}, &n));
  EXPECT_FALSE(CheckedElements({int64_t{1} << 32, 0, int64_t{1} << 31}, &n)) << "zero does not excuse the others";
  EXPECT_TRUE(CheckedElements({5, 0, 7}, &n));
  EXPECT_EQ(n, 0);
}

}  // namespace
}  // namespace tally
