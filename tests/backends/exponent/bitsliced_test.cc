// Counting in bit planes gives the bits of literal counting.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "backends/exponent/kernels/bitsliced/bitsliced_table.h"
#include "tests/backends/exponent/harness.h"

namespace tally::testing {
namespace {

struct Fills {
  Fill a = Fill::kRandom, w = Fill::kRandom;
};

void ExpectCounts(Rng& rng, const Codebook& a, const Codebook& w, size_t m, size_t n, size_t k,
                  const Fills& fills = {}) {
  NodeCase c("Gemm");
  const int64_t rows = static_cast<int64_t>(m), outputs = static_cast<int64_t>(n), inputs = static_cast<int64_t>(k);
  c.AddCodes(a, {rows, inputs}, RandomCodes(rng, a, m * k, fills.a));
  std::vector<float> scales(n), bias(n);
  for (float& v : scales) v = 0.5f + 0.01f * static_cast<float>(Pick(rng, 100));
  for (float& v : bias) v = static_cast<float>(Pick(rng, 9)) - 4;
  c.AddWeight(w, {outputs, inputs}, RandomCodes(rng, w, n * k, fills.w), scales);
  c.AddFloat({outputs}, bias);
  c.SetOutput({rows, outputs});
  ExpectMatchesHistogram(c,
                         absl::StrCat("n ", w.exponent_bits, ", activations ", a.is_signed ? "signed " : "",
                                      GridName(a.grid), " n ", a.exponent_bits, ", ", m, " x ", k, " -> ", n),
                         ExponentKernel::kBitsliced);
}

Codebook Weights(Rng& rng, int n, bool extreme = false) { return RandomCodebook(rng, n, true, Grid::kQ7, extreme); }

TEST(Bitsliced, MatchesForEveryWidthOnBothSides) {
  Rng rng(31);
  for (int wn = kBitslicedMinBits; wn <= kBitslicedMaxBits; ++wn) {
    for (int an = 2; an <= 7; ++an) {
      for (int variant = 0; variant < 4; ++variant) {
        const Codebook a = RandomCodebook(rng, an, variant % 2 == 0, variant / 2 == 0 ? Grid::kQ14 : Grid::kQ7);
        ExpectCounts(rng, a, Weights(rng, wn), 1 + Pick(rng, 2), 1 + Pick(rng, 70), 1 + Pick(rng, 300));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Bitsliced, MatchesForEveryTail) {
  Rng rng(32);
  for (size_t k : {0, 1, 7, 8, 9, 63, 64, 65, 127, 129, 1023, 1024, 1025, 2500}) {
    const Codebook a = RandomCodebook(rng, 2 + static_cast<int>(Pick(rng, 3)), Pick(rng, 2) == 0, Grid::kQ7);
    ExpectCounts(rng, a, Weights(rng, 2 + static_cast<int>(Pick(rng, 3))), 1, 5, k);
    if (HasFatalFailure()) return;
  }
  for (size_t n : {1, 511, 512, 513, 1024, 1100}) {
    ExpectCounts(rng, RandomCodebook(rng, 3, false, Grid::kQ7), Weights(rng, 3), 1, n, 40);
    if (HasFatalFailure()) return;
  }
}

TEST(Bitsliced, MatchesForZerosAndExtremes) {
  Rng rng(33);
  const Fill fills[] = {Fill::kZero, Fill::kLargest, Fill::kLargestNegative};
  for (int wn = kBitslicedMinBits; wn <= kBitslicedMaxBits; ++wn) {
    for (Fill a_fill : fills) {
      for (Fill w_fill : fills) {
        const Grid grid = Pick(rng, 2) == 0 ? Grid::kQ14 : Grid::kQ7;
        const Codebook a = RandomCodebook(rng, 2 + static_cast<int>(Pick(rng, 6)), true, grid, true);
        ExpectCounts(rng, a, Weights(rng, wn, true), 1, 3, 3000, {a_fill, w_fill});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// One bucket holds all rows there can be, and the sums are beyond int32.
TEST(Bitsliced, MatchesForTheLongestRows) {
  Rng rng(34);
  const Codebook a = RandomCodebook(rng, 2, false, Grid::kQ14, true);
  ExpectCounts(rng, a, Weights(rng, 2, true), 1, 2, size_t{1} << 20, {Fill::kLargest, Fill::kLargest});
}

TEST(Bitsliced, RefusesWhatItCannotCount) {
  Rng rng(35);
  ExponentOptions options;
  options.kernel = ExponentKernel::kBitsliced;
  const std::shared_ptr<const Backend> backend = MakeExponentBackend(options);
  const Codebook a = RandomCodebook(rng, 3, false, Grid::kQ7);
  for (const Codebook& w : {RandomCodebook(rng, 5, true, Grid::kQ7), RandomCodebook(rng, 3, false, Grid::kQ7),
                            RandomCodebook(rng, 3, true, Grid::kQ14)}) {
    NodeCase c("Gemm");
    c.AddCodes(a, {1, 4}, RandomCodes(rng, a, 4));
    c.AddWeight(w, {2, 4}, RandomCodes(rng, w, 8));
    c.SetOutput({1, 2});
    EXPECT_THAT(std::string(backend->Supports(c.Context(DetectCpu(), 1)).message()),
                ::testing::HasSubstr("bitsliced: takes signed q7 weights of at most 4 exponent bits"));
  }
}

TEST(BitslicedTable, ChoosesTheBestThatTheCpuHas) {
  for (const IsaEntry<BitslicedKernel>& entry : BitslicedKernels()) {
    CpuFeatures cpu;
    cpu.Add(entry.isa);
    EXPECT_EQ(ChooseKernel(BitslicedKernels(), cpu).isa, entry.isa);
  }
  EXPECT_EQ(BitslicedKernels().back().isa, Isa::kScalar);
}

}  // namespace
}  // namespace tally::testing
