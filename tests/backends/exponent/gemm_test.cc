// Gemm and MatMul of the exponent backend: every kernel gives the histogram's bits.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/backends/exponent/harness.h"

namespace tally::testing {
namespace {

struct GemmOptions {
  Fill a_fill = Fill::kRandom;
  Fill w_fill = Fill::kRandom;
  bool bias = false, residual = false, channel_scales = false, relu = false;
};

NodeCase MakeGemm(Rng& rng, const Codebook& a, const Codebook& w, size_t m, size_t n, size_t k,
                  const GemmOptions& options = {}) {
  NodeCase c("Gemm");
  const Shape x = {static_cast<int64_t>(m), static_cast<int64_t>(k)};
  const Shape y = {static_cast<int64_t>(m), static_cast<int64_t>(n)};
  c.AddCodes(a, x, RandomCodes(rng, a, m * k, options.a_fill));
  std::vector<float> scales;
  if (options.channel_scales) {
    for (size_t o = 0; o < n; ++o) scales.push_back(0.5f + 0.01f * static_cast<float>(Pick(rng, 100)));
  }
  c.AddWeight(w, {static_cast<int64_t>(n), static_cast<int64_t>(k)}, RandomCodes(rng, w, n * k, options.w_fill),
              scales);
  if (options.bias) {
    c.AddFloat({static_cast<int64_t>(n)}, RandomFloats(rng, n));
  } else {
    c.AddAbsent();
  }
  if (options.residual) c.AddFloat(y, RandomFloats(rng, m * n));
  if (options.relu) c.node().SetString("activation", "Relu");
  c.SetOutput(y);
  return c;
}

std::string Name(const Codebook& book) {
  return absl::StrCat(book.is_signed ? "s" : "u", book.exponent_bits, GridName(book.grid));
}

TEST(Gemm, MatchesForEveryWidthOnBothSides) {
  Rng rng(11);
  for (int wn = 2; wn <= 7; ++wn) {
    for (int an = 2; an <= 7; ++an) {
      for (int variant = 0; variant < 4; ++variant) {
        const Codebook a = RandomCodebook(rng, an, variant % 2 == 0, Pick(rng, 2) == 0 ? Grid::kQ14 : Grid::kQ7);
        const Codebook w = RandomCodebook(rng, wn, variant / 2 == 0, Pick(rng, 4) == 0 ? Grid::kQ14 : Grid::kQ7);
        const size_t m = Pick(rng, 3) == 0 ? 1 + Pick(rng, 14) : 1;
        const size_t n = 1 + Pick(rng, 70), k = 1 + Pick(rng, 80);
        GemmOptions options;
        options.bias = Pick(rng, 2) == 0;
        ExpectMatchesHistogram(MakeGemm(rng, a, w, m, n, k, options),
                               absl::StrCat(Name(a), " x ", Name(w), " m ", m, " n ", n, " k ", k));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Gemm, MatchesForEveryTailOfK) {
  Rng rng(12);
  std::vector<size_t> ks = {0, 255, 256, 257, 1000};
  for (size_t k = 1; k <= 70; ++k) ks.push_back(k);
  for (size_t k : ks) {
    for (size_t m : {size_t{1}, size_t{13}}) {
      const Codebook a = RandomCodebook(rng), w = RandomCodebook(rng);
      ExpectMatchesHistogram(MakeGemm(rng, a, w, m, 33, k), absl::StrCat(Name(a), " x ", Name(w), " m ", m, " k ", k));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Gemm, MatchesForEveryTailOfOutputsAndRows) {
  Rng rng(13);
  for (size_t n : {1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 257, 300}) {
    for (size_t m : {1, 2, 3, 4, 5, 11, 12, 13, 25}) {
      const Codebook a = RandomCodebook(rng, 3, Pick(rng, 2) == 0, Grid::kQ7);
      const Codebook w = RandomCodebook(rng, 3, true, Grid::kQ7);
      ExpectMatchesHistogram(MakeGemm(rng, a, w, m, n, 37), absl::StrCat(Name(a), " m ", m, " n ", n));
      if (HasFatalFailure()) return;
    }
  }
}

// Weights that several blocks of rows read in turn, and that no level 2 cache holds as a whole.
TEST(Gemm, MatchesForManyRowsAndWeights) {
  Rng rng(18);
  for (bool is_signed : {false, true}) {
    const Codebook a = RandomCodebook(rng, 3, is_signed, Grid::kQ7), w = RandomCodebook(rng, 3, true, Grid::kQ7);
    ExpectMatchesHistogram(MakeGemm(rng, a, w, 25, 300, 4000), Name(a));
  }
}

TEST(Gemm, FinishesWithScalesBiasResidualAndActivation) {
  Rng rng(14);
  for (int mask = 0; mask < 16; ++mask) {
    GemmOptions options;
    options.bias = mask & 1;
    options.residual = mask & 2;
    options.channel_scales = mask & 4;
    options.relu = mask & 8;
    for (size_t m : {1, 9}) {
      ExpectMatchesHistogram(MakeGemm(rng, RandomCodebook(rng), RandomCodebook(rng), m, 45, 50, options),
                             absl::StrCat("mask ", mask, " m ", m));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Gemm, MatchesOnZeroCodes) {
  Rng rng(15);
  for (size_t m : {1, 6}) {
    GemmOptions options;
    options.a_fill = Fill::kZero;
    ExpectMatchesHistogram(MakeGemm(rng, RandomCodebook(rng), RandomCodebook(rng), m, 20, 64, options), "zero a");
    options.a_fill = Fill::kRandom;
    options.w_fill = Fill::kZero;
    ExpectMatchesHistogram(MakeGemm(rng, RandomCodebook(rng), RandomCodebook(rng), m, 20, 64, options), "zero w");
  }
}

// 127 * 127 * k passes 2^31 from k = 133,145 on.
TEST(Gemm, SplitsLongSumsOfExtremeDigits) {
  Rng rng(16);
  for (size_t k : {size_t{133136}, size_t{133140}, size_t{133145}, size_t{262144}}) {
    for (Grid grid : {Grid::kQ7, Grid::kQ14}) {
      for (Fill fill : {Fill::kLargest, Fill::kLargestNegative}) {
        for (bool a_signed : {false, true}) {
          const Codebook a = RandomCodebook(rng, 3, a_signed, grid, true);
          const Codebook w = RandomCodebook(rng, 3, true, Grid::kQ7, true);
          GemmOptions options;
          options.a_fill = Fill::kLargest;
          options.w_fill = fill;
          for (size_t m : {1, 5}) {
            ExpectMatchesHistogram(MakeGemm(rng, a, w, m, 2, k, options), absl::StrCat(Name(a), " m ", m, " k ", k));
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST(Gemm, EmptyBatchGivesNothing) {
  Rng rng(17);
  ExpectMatchesHistogram(MakeGemm(rng, RandomCodebook(rng), RandomCodebook(rng), 0, 20, 64), "empty batch");
  ExpectMatchesHistogram(MakeGemm(rng, RandomCodebook(rng), RandomCodebook(rng), 3, 0, 64), "no outputs");
}

TEST(Gemm, RealGridRunsOnTheHistogram) {
  Rng rng(18);
  const Codebook a = RandomCodebook(rng, 3, false, Grid::kReal), w = RandomCodebook(rng, 4, true, Grid::kReal);
  GemmOptions options;
  options.bias = options.channel_scales = true;
  ExpectMatchesHistogram(MakeGemm(rng, a, w, 3, 7, 40, options), "real");
}

NodeCase MakeMatMul(Rng& rng, const Codebook& a, const Codebook& b, const Shape& x, const Shape& y, const Shape& out,
                    Fill a_fill = Fill::kRandom, Fill b_fill = Fill::kRandom) {
  NodeCase c("MatMul");
  const auto elements = [](const Shape& shape) {
    return static_cast<size_t>(TensorType{DType::kFloat32, shape}.elements());
  };
  c.AddCodes(a, x, RandomCodes(rng, a, elements(x), a_fill));
  c.AddCodes(b, y, RandomCodes(rng, b, elements(y), b_fill));
  c.SetOutput(out);
  return c;
}

TEST(MatMul, MatchesForRandomMatrices) {
  Rng rng(21);
  for (int trial = 0; trial < 120; ++trial) {
    const Codebook a = RandomCodebook(rng), b = RandomCodebook(rng);
    const int64_t m = 1 + static_cast<int64_t>(Pick(rng, 30)), n = 1 + static_cast<int64_t>(Pick(rng, 80));
    const int64_t k = static_cast<int64_t>(Pick(rng, 75));
    ExpectMatchesHistogram(MakeMatMul(rng, a, b, {m, k}, {k, n}, {m, n}),
                           absl::StrCat(Name(a), " x ", Name(b), " ", m, " x ", k, " x ", n));
    if (HasFatalFailure()) return;
  }
}

TEST(MatMul, BroadcastsBatchDimensions) {
  Rng rng(22);
  const struct {
    Shape a, b, out;
  } cases[] = {
      {{2, 3, 5, 7}, {2, 3, 7, 4}, {2, 3, 5, 4}},
      {{2, 1, 5, 7}, {3, 7, 4}, {2, 3, 5, 4}},
      {{5, 7}, {4, 7, 3}, {4, 5, 3}},
      {{4, 5, 7}, {7, 3}, {4, 5, 3}},
      {{7}, {7, 3}, {3}},
      {{5, 7}, {7}, {5}},
      {{7}, {7}, {}},
      {{7}, {2, 7, 3}, {2, 3}},
      {{2, 5, 7}, {7}, {2, 5}},
      {{0, 5, 7}, {1, 7, 3}, {0, 5, 3}},
      {{2, 5, 0}, {2, 0, 3}, {2, 5, 3}},
      {{1, 3, 1, 2, 6}, {2, 1, 4, 6, 9}, {2, 3, 4, 2, 9}},
  };
  for (const auto& c : cases) {
    ExpectMatchesHistogram(MakeMatMul(rng, RandomCodebook(rng), RandomCodebook(rng), c.a, c.b, c.out),
                           absl::StrCat(ShapeString(c.a), " x ", ShapeString(c.b)));
    if (HasFatalFailure()) return;
  }
}

TEST(MatMul, SplitsLongSumsOfExtremeDigits) {
  Rng rng(23);
  const int64_t k = 262144;
  for (bool is_signed : {false, true}) {
    for (Grid grid : {Grid::kQ7, Grid::kQ14}) {
      const Codebook a = RandomCodebook(rng, 3, is_signed, grid, true), b = RandomCodebook(rng, 3, true, grid, true);
      ExpectMatchesHistogram(
          MakeMatMul(rng, a, b, {1, k}, {k, 2}, {1, 2}, Fill::kLargestNegative, Fill::kLargestNegative),
          absl::StrCat(Name(a), " x ", Name(b)));
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace tally::testing
