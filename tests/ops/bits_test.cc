// The bits of the shared operators, pinned: they must not change with the compiler, its options, the instruction set or
// the number of threads. A deliberate change of an operator's order of operations changes its number here, and with it
// what every exact backend returns.
#include <gtest/gtest.h>

#include "tests/ops/node_runner.h"

namespace tally {
namespace {

using testing::Inputs;
using testing::Int64s;
using testing::MakeNode;
using testing::Value;

// Values k / 4096, -8 < value < 8, from a generator that every standard library implements alike.
Value Fixed(uint32_t seed, Shape shape) {
  testing::Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(TensorType{DType::kFloat32, shape}.elements()));
  for (float& v : values) v = static_cast<float>(static_cast<int32_t>(rng() % 65535) - 32767) / 4096.0f;
  return testing::Floats(std::move(shape), values);
}

// FNV-1a.
uint64_t Hash(const std::vector<uint8_t>& bytes) {
  uint64_t h = 14695981039346656037u;
  for (const uint8_t b : bytes) h = (h ^ b) * 1099511628211u;
  return h;
}

// On failure the message ends with the number to pin.
void ExpectBits(const char* what, uint64_t pinned, const Node& node, const Inputs& inputs) {
  const auto result = testing::RunShared(node, inputs, testing::MakePool(2).get());
  ASSERT_TRUE(result.ok()) << result.status();
  const uint64_t hash = Hash((*result)[0].bytes);
  EXPECT_EQ(hash, pinned) << what << ": 0x" << std::hex << hash;
}

Node With(Node node, const char* name, std::vector<int64_t> values) {
  node.SetInts(name, std::move(values));
  return node;
}

TEST(BitsTest, OperatorsGiveTheirPinnedBits) {
  const Value image = Fixed(1, {2, 6, 13, 19});
  Node conv = With(MakeNode("Conv"), "pads", {1, 0, 2, 1});
  Node pool = With(With(MakeNode("AveragePool"), "kernel_shape", {3, 3}), "strides", {2, 2});
  ExpectBits("Conv", 0x72937e5b31f1bcc0u, conv, {image, Fixed(2, {70, 6, 3, 3}), Fixed(3, {70})});
  ExpectBits("Conv, depthwise", 0x849e887ddf119869u, With(conv, "group", {6}), {image, Fixed(2, {6, 1, 3, 3})});
  ExpectBits("Gemm, one row", 0x55fd3038038212c6u, MakeNode("Gemm"), {Fixed(4, {1, 150}), Fixed(5, {37, 150})});
  ExpectBits("Gemm, rows", 0xa691558c2f0881f9u, MakeNode("Gemm"), {Fixed(4, {9, 150}), Fixed(5, {37, 150})});
  ExpectBits("MatMul", 0x9d002c4f3ba006bdu, MakeNode("MatMul"), {Fixed(6, {3, 5, 80}), Fixed(7, {80, 21})});
  ExpectBits("AveragePool", 0x3100f994b2c7ff09u, pool, {image});
  ExpectBits("GlobalAveragePool", 0xe6936419d34b04a7u, MakeNode("GlobalAveragePool"), {image});
  ExpectBits("Sigmoid", 0x173d5ef2cc8a2ec2u, MakeNode("Sigmoid"), {image});
  ExpectBits("Tanh", 0x5a8f3359d31b0881u, MakeNode("Tanh"), {image});
  ExpectBits("HardSigmoid", 0x66e545642e855ae4u, MakeNode("HardSigmoid"), {image});
  ExpectBits("HardSwish", 0xa21eae3fc5c01153u, MakeNode("HardSwish"), {image});
  ExpectBits("Softmax along rows", 0xcc6bedea05252125u, MakeNode("Softmax"), {image});
  ExpectBits("Softmax across", 0xdc44e079015149f2u, With(MakeNode("Softmax"), "axis", {1}), {image});
  ExpectBits("ReduceMean along rows", 0x03e94fd79004def8u, MakeNode("ReduceMean"), {image, Int64s({2}, {1, 3})});
  ExpectBits("ReduceMean across", 0x4b55ba9f25837c82u, MakeNode("ReduceMean"), {image, Int64s({2}, {0, 2})});
  ExpectBits("BatchNormalization", 0x9f1e4eb8d7875b3au, MakeNode("BatchNormalization"),
             {image, Fixed(8, {6}), Fixed(9, {6}), Fixed(10, {6}), testing::Abs(Fixed(11, {6}))});
}

}  // namespace
}  // namespace tally
