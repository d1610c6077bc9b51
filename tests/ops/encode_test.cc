// The fast encoders against the scalar definitions, byte for byte.
#include "runtime/ops/encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "runtime/ops/row_table.h"
#include "tests/ops/node_runner.h"

namespace tally {
namespace {

using testing::MakePool;
using testing::Rng;

std::vector<Codebook> AllKinds() {
  std::vector<Codebook> books;
  for (int bits = kMinExponentBits; bits <= kMaxExponentBits; ++bits) {
    for (const bool is_signed : {false, true}) {
      for (const Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
        for (const EncodeRule rule : {EncodeRule::kNearest, EncodeRule::kLog}) {
          // Bases such that the magnitudes span about three decades at any width.
          const double base = std::pow(1000.0, 1.0 / (1 << bits));
          books.push_back(*MakeCodebook(bits, is_signed, grid, rule, base, 0.3, 0.001));
        }
      }
    }
  }
  return books;
}

std::string Describe(const Codebook& book) {
  return std::string(GridName(book.grid)) + " " + EncodeRuleName(book.encode_rule) + " n " +
         std::to_string(book.exponent_bits) + (book.is_signed ? " signed" : " unsigned");
}

// Values around every decision of the encoder, and every special value.
std::vector<float> Interesting(const Codebook& book, Rng& rng) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x = {0.0f,
                          -0.0f,
                          std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::quiet_NaN(),
                          infinity,
                          -infinity,
                          std::numeric_limits<float>::max(),
                          std::numeric_limits<float>::lowest(),
                          std::numeric_limits<float>::denorm_min(),
                          -std::numeric_limits<float>::denorm_min(),
                          1e-40f,
                          std::numeric_limits<float>::min()};
  const auto around = [&x](float v) {
    for (const float y : {std::nextafter(v, 0.0f), v, std::nextafter(v, 1e30f)}) {
      x.push_back(y);
      x.push_back(-y);
    }
  };
  for (const float t : book.thresholds) around(t);
  for (int v = 0; v <= book.max_mantissa() + 1; ++v) around((static_cast<float>(v) + 0.5f) * book.scale);
  for (int i = 0; i < 500; ++i) x.push_back(testing::PickFloat(rng, -30, 30));
  return x;
}

void ExpectSame(const Encoder& encoder, const std::vector<float>& x, ThreadPool* pool) {
  std::vector<uint8_t> codes(x.size(), 0xEE);
  EncodeCounters counters;
  // The row kernels of other instruction sets are compared with these in row_test.cc.
  EncodeCodes(encoder, x.data(), x.size(), codes.data(), pool, &counters, BaselineRows());
  EncodeCounters expected;
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(codes[i], encoder.Encode(x[i])) << Describe(encoder.codebook()) << ", x = " << x[i] << ", element " << i;
    expected.nan += std::isnan(x[i]) ? 1 : 0;
    expected.negative += !encoder.codebook().is_signed && x[i] < 0 ? 1 : 0;
  }
  EXPECT_EQ(counters.nan, expected.nan);
  EXPECT_EQ(counters.negative, expected.negative);
}

TEST(EncodeTest, EqualsTheScalarEncoderOnEveryKindOfCodebook) {
  Rng rng(2);
  const auto pool = MakePool(1);
  for (const Codebook& book : AllKinds()) ExpectSame(Encoder(book), Interesting(book, rng), pool.get());
}

TEST(EncodeTest, EqualsTheScalarEncoderOnEveryTail) {
  Rng rng(3);
  const auto pool = MakePool(1);
  for (const Codebook& book : AllKinds()) {
    if (book.exponent_bits % 3 != 0) continue;
    const Encoder encoder(book);
    for (size_t n = 0; n <= 200; ++n) {
      std::vector<float> x(n);
      for (float& v : x) v = rng() % 20 == 0 ? std::nanf("") : testing::PickFloat(rng, -30, 30);
      ExpectSame(encoder, x, pool.get());
    }
  }
}

TEST(EncodeTest, EqualsTheScalarEncoderAtAnyThreadCount) {
  Rng rng(4);
  std::vector<float> x(100'003);
  for (float& v : x) v = testing::PickFloat(rng, -30, 30);
  const Encoder encoder(*MakeCodebook(4, false, Grid::kQ14, EncodeRule::kNearest, 1.3, 1, 0));
  for (const int threads : {1, 2, 5}) ExpectSame(encoder, x, MakePool(threads).get());
}

TEST(EncodeTest, EqualMantissasEncodeAsTheScalarEncoderDoes) {
  Codebook book = *MakeCodebook(3, true, Grid::kQ7, EncodeRule::kNearest, 1.5, 1, 0);
  book.mantissas = {1, 1, 5, 5, 5, 90, 90};
  ASSERT_TRUE(book.Validate().ok());
  Rng rng(5);
  ExpectSame(Encoder(book), Interesting(book, rng), MakePool(1).get());
}

TEST(EncodeTest, TinyAndHugeScalesSaturate) {
  Rng rng(6);
  for (const float scale : {1e-37f, 1e30f}) {
    Codebook book = *MakeCodebook(4, false, Grid::kQ7, EncodeRule::kNearest, 1.3, 1, 0);
    book.scale = scale;
    book.inverse_scale = 1 / scale;
    ASSERT_TRUE(book.Validate().ok());
    ExpectSame(Encoder(book), Interesting(book, rng), MakePool(1).get());
  }
}

int Uniform(const UniformQuantizer& q, float x) {
  if (std::isnan(x)) return q.zero_point;
  // In float64 the zero point is added without loss; the product is rounded to float32 as the definition says.
  const double rounded = std::nearbyint(static_cast<double>(x * q.inverse_scale));
  return static_cast<int>(std::clamp<double>(rounded + q.zero_point, 0, q.max_value));
}

TEST(EncodeTest, UniformQuantizerFollowsItsDefinition) {
  Rng rng(7);
  const auto pool = MakePool(2);
  for (const Range& range : {Range{-1.5f, 3}, Range{0, 6}, Range{-4, -1}, Range{2, 5}, Range{-1e-30f, 1e-30f}}) {
    for (const int max_value : {127, 255}) {
      const UniformQuantizer q = MakeUniformQuantizer(range, max_value);
      EXPECT_GE(q.zero_point, 0);
      EXPECT_LE(q.zero_point, max_value);
      for (size_t n = 0; n <= 200; n += 7) {
        std::vector<float> x(n);
        for (size_t i = 0; i < n; ++i) {
          x[i] = i == 3   ? std::nanf("")
                 : i == 4 ? INFINITY
                 : i == 5 ? -INFINITY
                          : q.scale * testing::PickFloat(rng, -400, 400);
        }
        std::vector<uint8_t> out(n, 0xEE);
        EncodeUniform(q, x.data(), n, out.data(), pool.get(), BaselineRows());
        for (size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], Uniform(q, x[i])) << x[i];
      }
    }
  }
}

TEST(EncodeTest, UniformQuantizerReproducesZeroAndCoversItsRange) {
  const UniformQuantizer q = MakeUniformQuantizer({-1, 3}, 255);
  const float x[] = {0, -1, 3, 100, -100};
  uint8_t out[5];
  EncodeUniform(q, x, 5, out, MakePool(1).get(), BaselineRows());
  EXPECT_EQ(out[0], q.zero_point);
  EXPECT_EQ(out[1], 0);
  EXPECT_EQ(out[2], 255);
  EXPECT_EQ(out[3], 255);
  EXPECT_EQ(out[4], 0);
}

TEST(EncodeTest, UniformQuantizerOfNothingHasScaleOne) {
  const float nan = std::nanf("");
  for (const Range& range : {Range{0, 0}, Range{nan, nan}, Range{-INFINITY, INFINITY}, Range{0, 1e-45f}}) {
    const UniformQuantizer q = MakeUniformQuantizer(range, 255);
    EXPECT_EQ(q.scale, 1) << range.min << " .. " << range.max;
    EXPECT_EQ(q.inverse_scale, 1);
    EXPECT_EQ(q.zero_point, 0);
  }
}

}  // namespace
}  // namespace tally
