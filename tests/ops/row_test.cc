// The row kernels of every instruction set against those that any CPU runs, bit for bit; the latter are compared with
// scalar definitions in encode_test.cc and epilogue_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "format/codebook.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/row_table.h"

namespace tally {
namespace {

using Rng = std::mt19937;

class RowKernelTest : public ::testing::TestWithParam<IsaEntry<RowKernels>> {
 protected:
  void SetUp() override {
    if (!DetectCpu().Has(GetParam().isa)) GTEST_SKIP() << "this CPU has no " << IsaName(GetParam().isa);
  }
  const RowKernels& kernels() const { return *GetParam().kernel; }
};

float PickFloat(Rng& rng, float low, float high) { return std::uniform_real_distribution<float>(low, high)(rng); }

// Of exactly `count` elements, so that a sanitizer sees every step outside.
std::vector<float> Values(Rng& rng, size_t count) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f,      -0.0f,  std::nanf(""), -std::nanf(""), infinity,
                           -infinity, 1e-42f, -3e38f,        0.5f,           126.5f};
  std::vector<float> x(count);
  for (float& v : x) v = rng() % 8 == 0 ? special[rng() % 10] : PickFloat(rng, -150, 150);
  return x;
}

TEST_P(RowKernelTest, FinishesTheSameBits) {
  Rng rng(21);
  const Activation activations[] = {{},
                                    {ActivationKind::kRelu},
                                    {ActivationKind::kClip, 0, 6},
                                    {ActivationKind::kClip, 2, -2},
                                    {ActivationKind::kTanh}};
  for (size_t count = 0; count <= 130; ++count) {
    for (const Activation& activation : activations) {
      std::vector<int32_t> acc(count);
      for (int32_t& a : acc) a = static_cast<int32_t>(rng());
      const std::vector<float> scale = Values(rng, count + 1), bias = Values(rng, count + 1);
      const std::vector<float> residual = Values(rng, count);
      EpilogueRow row;
      row.scale = scale.data();
      row.channel_step = count % 2;
      if (rng() % 2 == 0) row.bias = bias.data();
      if (rng() % 2 == 0) row.residual = residual.data();
      row.activation = activation;
      std::vector<float> expected(count), actual(count);
      FinishRow(acc.data(), count, row, expected.data());
      FinishRow(acc.data(), count, row, actual.data(), kernels());
      std::vector<float> in_place = residual;
      if (row.residual != nullptr) {
        row.residual = in_place.data();
        FinishRow(acc.data(), count, row, in_place.data(), kernels());
      }
      for (size_t i = 0; i < count; ++i) {
        // The sign of a NaN is not part of the contract.
        if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
        ASSERT_EQ(std::memcmp(&actual[i], &expected[i], 4), 0) << "element " << i << " of " << count;
        if (row.residual != nullptr) {
          ASSERT_EQ(std::memcmp(&in_place[i], &expected[i], 4), 0) << "in place, element " << i << " of " << count;
        }
      }
    }
  }
}

TEST_P(RowKernelTest, FinishesBlocksRowByRow) {
  Rng rng(24);
  for (int trial = 0; trial < 200; ++trial) {
    EpilogueBlock block;
    block.rows = rng() % 6;
    const size_t count = rng() % 70;
    block.acc_stride = count + rng() % 3;
    block.out_stride = count + rng() % 3;
    block.channel_stride = rng() % 2;
    block.row.channel_step = 1 - block.channel_stride;
    std::vector<int32_t> acc(block.rows * block.acc_stride);
    for (int32_t& a : acc) a = static_cast<int32_t>(rng());
    const std::vector<float> scale = Values(rng, count + block.rows + 1), bias = Values(rng, count + block.rows + 1);
    const std::vector<float> residual = Values(rng, block.rows * block.out_stride);
    block.row.scale = scale.data();
    if (rng() % 2 == 0) block.row.bias = bias.data();
    if (rng() % 2 == 0) block.row.residual = residual.data();
    block.row.activation = {rng() % 2 == 0 ? ActivationKind::kRelu : ActivationKind::kHardSwish};
    std::vector<float> expected(block.rows * block.out_stride, 7.0f), actual = expected;
    for (size_t r = 0; r < block.rows; ++r) {
      EpilogueRow row = block.row;
      row.scale += r * block.channel_stride;
      if (row.bias != nullptr) row.bias += r * block.channel_stride;
      if (row.residual != nullptr) row.residual += r * block.out_stride;
      FinishRow(acc.data() + r * block.acc_stride, count, row, expected.data() + r * block.out_stride);
    }
    FinishBlock(acc.data(), count, block, actual.data(), kernels());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
      ASSERT_EQ(std::memcmp(&actual[i], &expected[i], 4), 0) << "element " << i << " of " << block.rows << " rows";
    }
  }
}

TEST_P(RowKernelTest, EncodesTheSameBytes) {
  Rng rng(22);
  for (const Grid grid : {Grid::kQ7, Grid::kQ14}) {
    for (const bool is_signed : {false, true}) {
      for (int n = 2; n <= 7; ++n) {
        const Encoder encoder(*MakeCodebook(n, is_signed, grid, EncodeRule::kNearest, 1.2, 1, 0.1));
        EncodeLoop loop;
        loop.table = encoder.table().data();
        loop.limit = static_cast<float>(encoder.codebook().max_mantissa());
        // Every magnitude occurs, and values halfway between two.
        loop.inverse_scale = grid == Grid::kQ7 ? 1.0f : 110.0f;
        loop.sign_bit = encoder.codebook().sign_bit();
        for (size_t count = 0; count <= 200; ++count) {
          const std::vector<float> x = Values(rng, count);
          std::vector<uint8_t> expected(count), actual(count);
          EncodeCounts expected_counts, actual_counts;
          BaselineRows().encode(loop, x.data(), count, expected.data(), &expected_counts);
          kernels().encode(loop, x.data(), count, actual.data(), &actual_counts);
          ASSERT_EQ(actual, expected) << GridName(grid) << " n " << n << " count " << count;
          ASSERT_EQ(actual_counts.nan, expected_counts.nan);
          ASSERT_EQ(actual_counts.negative, expected_counts.negative);
        }
      }
    }
  }
}

TEST_P(RowKernelTest, EncodesTheSameUniformBytes) {
  Rng rng(23);
  for (const int zero_point : {0, 3, 128, 255}) {
    UniformLoop loop;
    loop.inverse_scale = 0.7f;
    loop.low = static_cast<float>(-zero_point);
    loop.high = static_cast<float>(255 - zero_point);
    loop.zero_point = zero_point;
    for (size_t count = 0; count <= 130; ++count) {
      const std::vector<float> x = Values(rng, count);
      std::vector<uint8_t> expected(count), actual(count);
      BaselineRows().encode_uniform(loop, x.data(), count, expected.data());
      kernels().encode_uniform(loop, x.data(), count, actual.data());
      ASSERT_EQ(actual, expected) << "zero point " << zero_point << " count " << count;
    }
  }
}

TEST_P(RowKernelTest, TakesTheSameMaxima) {
  Rng rng(24);
  for (size_t count = 0; count <= 130; ++count) {
    for (int round = 0; round < 12; ++round) {
      MaxLoop loop;
      loop.taps = 1 + rng() % 4;
      loop.step = 1 + rng() % 40;
      loop.stride = 1 + rng() % 2;
      const size_t reach = count == 0 ? 0 : (count - 1) * loop.stride + (loop.taps - 1) * loop.step + 1;
      const std::vector<float> x = Values(rng, reach + 1);
      std::vector<float> actual(count);
      kernels().max(loop, x.data(), count, actual.data());
      for (size_t i = 0; i < count; ++i) {
        float expected = -std::numeric_limits<float>::infinity();
        for (size_t t = 0; t < loop.taps; ++t) {
          const float v = x[i * loop.stride + t * loop.step];
          if (v > expected || std::isnan(v)) expected = v;
        }
        ASSERT_TRUE(actual[i] == expected || (std::isnan(actual[i]) && std::isnan(expected))) << i << " of " << count;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, RowKernelTest, ::testing::ValuesIn(RowKernelTable()),
                         [](const auto& parameter) { return std::string(IsaName(parameter.param.isa)); });

TEST(RowTableTest, ChoosesTheBestThatTheCpuHas) {
  for (const IsaEntry<RowKernels>& entry : RowKernelTable()) {
    CpuFeatures cpu;
    cpu.Add(entry.isa);
    EXPECT_EQ(ChooseKernel(RowKernelTable(), cpu).kernel, entry.kernel);
  }
}

}  // namespace
}  // namespace tally
