#include "format/codebook.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"

namespace tally {
namespace {

using testing::Random;
using testing::SampleCodebook;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Any mantissas that the rules allow, duplicates and all.
Codebook RandomIntegerCodebook(int n, Grid grid, EncodeRule rule, bool is_signed, Random& random) {
  Codebook book;
  book.exponent_bits = n;
  book.is_signed = is_signed;
  book.grid = grid;
  book.encode_rule = rule;
  book.base = 1.5;
  book.alpha = 1;
  book.scale = 0.25f;
  book.inverse_scale = 4;
  // A low ceiling makes duplicates likely, a high one gaps.
  const int ceiling = random.Coin() ? book.max_mantissa() : random.Int(1, std::min(book.max_mantissa(), 200));
  for (int i = 0; i < book.magnitudes(); ++i) book.mantissas.push_back(random.Int(1, ceiling));
  std::sort(book.mantissas.begin(), book.mantissas.end());
  return book;
}

// The rules of docs/format.md, by brute force over the distinct magnitudes; a code is the smallest with its magnitude.
class BruteForceEncoder {
 public:
  explicit BruteForceEncoder(const Codebook& book)
      : log_(book.encode_rule == EncodeRule::kLog), all_(book.mantissas), distinct_(book.mantissas) {
    distinct_.erase(std::unique(distinct_.begin(), distinct_.end()), distinct_.end());
  }

  int Code(int64_t v) const {
    int64_t best = 0;
    for (int64_t m : distinct_) {
      // Under the log rule `best` is the magnitude just below m.
      const bool nearer = !log_ ? std::abs(v - m) < std::abs(v - best) : best == 0 ? 2 * v > m : v * v > best * m;
      if (nearer) best = m;
    }
    if (best == 0) return 0;
    return static_cast<int>(std::find(all_.begin(), all_.end(), static_cast<int32_t>(best)) - all_.begin()) + 1;
  }

 private:
  bool log_;
  std::vector<int32_t> all_;
  std::vector<int32_t> distinct_;
};

TEST(Codebook, EncodesEveryIntegerMagnitudeByTheRule) {
  Random random(11);
  for (int n = kMinExponentBits; n <= kMaxExponentBits; ++n) {
    for (Grid grid : {Grid::kQ7, Grid::kQ14}) {
      for (EncodeRule rule : {EncodeRule::kNearest, EncodeRule::kLog}) {
        for (int repeat = 0; repeat < (grid == Grid::kQ7 ? 40 : 2); ++repeat) {
          const Codebook book = RandomIntegerCodebook(n, grid, rule, true, random);
          TALLY_ASSERT_OK(book.Validate());
          const Encoder encoder(book);
          const BruteForceEncoder brute_force(book);
          ASSERT_EQ(encoder.table().size(), static_cast<size_t>(book.max_mantissa()) + 1);
          for (int v = 0; v <= book.max_mantissa(); ++v) {
            const int expected = brute_force.Code(v);
            ASSERT_EQ(int{encoder.table()[static_cast<size_t>(v)]}, expected)
                << GridName(grid) << " " << EncodeRuleName(rule) << " n " << n << " v " << v;
            // v * scale is exact in float32, so that Encode must look up v itself.
            const float x = static_cast<float>(v) * book.scale;
            ASSERT_EQ(int{encoder.Encode(x)}, expected);
            ASSERT_EQ(int{encoder.Encode(-x)}, expected == 0 ? 0 : expected | book.sign_bit());
          }
        }
      }
    }
  }
}

TEST(Codebook, RoundsHalfToEvenBeforeTheLookUp) {
  Random random(12);
  Codebook book = RandomIntegerCodebook(7, Grid::kQ7, EncodeRule::kNearest, false, random);
  for (int i = 0; i < 127; ++i) book.mantissas[static_cast<size_t>(i)] = i + 1;  // code = v
  TALLY_ASSERT_OK(book.Validate());
  const Encoder encoder(book);
  EXPECT_EQ(encoder.Encode(2.5f * book.scale), 2);
  EXPECT_EQ(encoder.Encode(3.5f * book.scale), 4);
  EXPECT_EQ(encoder.Encode(std::nextafter(2.5f, 3.0f) * book.scale), 3);
  EXPECT_EQ(encoder.Encode(0.5f * book.scale), 0);
}

TEST(Codebook, TiesGoToTheSmallerMagnitudeAndEqualMantissasToTheSmallestIndex) {
  Random random(13);
  Codebook book = RandomIntegerCodebook(2, Grid::kQ7, EncodeRule::kNearest, false, random);
  book.mantissas = {4, 8, 8};
  const Encoder encoder(book);
  EXPECT_EQ(encoder.table()[2], 0);
  EXPECT_EQ(encoder.table()[3], 1);
  EXPECT_EQ(encoder.table()[6], 1);
  EXPECT_EQ(encoder.table()[7], 2);
  EXPECT_EQ(encoder.table()[127], 2);
}

TEST(Codebook, LogRuleUsesTheGeometricMidpoint) {
  Random random(14);
  Codebook book = RandomIntegerCodebook(2, Grid::kQ7, EncodeRule::kLog, false, random);
  book.mantissas = {4, 16, 64};
  const Encoder encoder(book);
  EXPECT_EQ(encoder.table()[8], 1) << "8 * 8 == 4 * 16 is not above";
  EXPECT_EQ(encoder.table()[9], 2);
  EXPECT_EQ(encoder.table()[32], 2);
  EXPECT_EQ(encoder.table()[33], 3);
  EXPECT_EQ(encoder.table()[2], 0);
  EXPECT_EQ(encoder.table()[3], 1);
}

TEST(Codebook, EncodesSpecialValues) {
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    for (int n = kMinExponentBits; n <= kMaxExponentBits; ++n) {
      const Codebook plus = SampleCodebook(n, false, grid);
      const Codebook both = SampleCodebook(n, true, grid);
      const Encoder unsigned_encoder(plus), signed_encoder(both);
      const int top = plus.magnitudes();
      EXPECT_EQ(unsigned_encoder.Encode(kNaN), 0);
      EXPECT_EQ(signed_encoder.Encode(-kNaN), 0);
      EXPECT_EQ(unsigned_encoder.Encode(kInf), top);
      EXPECT_EQ(unsigned_encoder.Encode(std::numeric_limits<float>::max()), top);
      EXPECT_EQ(unsigned_encoder.Encode(-kInf), 0);
      EXPECT_EQ(unsigned_encoder.Encode(-1.0f), 0);
      EXPECT_EQ(signed_encoder.Encode(kInf), top);
      EXPECT_EQ(signed_encoder.Encode(-kInf), top | both.sign_bit());
      EXPECT_EQ(signed_encoder.Encode(-0.0f), 0);
      EXPECT_EQ(signed_encoder.Encode(-std::numeric_limits<float>::denorm_min()), 0) << "no zero with a sign";
    }
  }
}

// A value that a code stands for encodes as that code, or as one of equal value (duplicate mantissas).
TEST(Codebook, DecodedValuesEncodeAsThemselves) {
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    for (EncodeRule rule : {EncodeRule::kNearest, EncodeRule::kLog}) {
      for (int n = kMinExponentBits; n <= kMaxExponentBits; ++n) {
        const Codebook book = SampleCodebook(n, true, grid, rule);
        const Encoder encoder(book);
        const std::vector<double> values = book.Values();
        ASSERT_EQ(values.size(), static_cast<size_t>(book.code_count()));
        for (unsigned code = 0; code < values.size(); ++code) {
          const uint8_t again = encoder.Encode(static_cast<float>(values[code]));
          EXPECT_TRUE(book.is_valid_code(again));
          EXPECT_EQ(values[again], values[code]) << GridName(grid) << " n " << n << " code " << code;
        }
      }
    }
  }
}

TEST(Codebook, SignedMantissasAreSymmetricAndSkipTheInvalidCode) {
  const Codebook book = SampleCodebook(4, true);
  const std::vector<int32_t> m = book.SignedMantissas();
  ASSERT_EQ(m.size(), 32u);
  EXPECT_EQ(m[0], 0);
  EXPECT_EQ(m[16], 0);
  EXPECT_FALSE(book.is_valid_code(16));
  EXPECT_FALSE(book.is_valid_code(32));
  for (size_t c = 1; c < 16; ++c) {
    EXPECT_EQ(m[c], book.mantissas[c - 1]);
    EXPECT_EQ(m[c + 16], -m[c]);
  }
}

// Real grid: a nearest code is never beaten by another magnitude by more than the rounding of a threshold to float32.
RC_GTEST_PROP(CodebookProperty, RealGridPicksTheNearest, ()) {
  const int n = *rc::gen::inRange(kMinExponentBits, kMaxExponentBits + 1);
  const Codebook book = SampleCodebook(n, false, Grid::kReal);
  const float x = static_cast<float>(*rc::gen::inRange(0, 1 << 24)) * 0x1p-23f;
  const std::vector<double> values = book.Values();
  const double chosen = std::fabs(values[Encoder(book).Encode(x)] - static_cast<double>(x));
  for (double v : values) RC_ASSERT(chosen <= std::fabs(v - static_cast<double>(x)) + 0x1p-22);
}

RC_GTEST_PROP(CodebookProperty, CodesNeverFallAsMagnitudesRise, ()) {
  Random random(*rc::gen::arbitrary<uint32_t>());
  const int n = random.Int(kMinExponentBits, kMaxExponentBits);
  const Grid grid = static_cast<Grid>(random.Int(0, 2));
  const EncodeRule rule = static_cast<EncodeRule>(random.Int(0, 1));
  const Codebook book =
      grid == Grid::kReal ? SampleCodebook(n, false, grid, rule) : RandomIntegerCodebook(n, grid, rule, false, random);
  const Encoder encoder(book);
  const float a = random.Float(0, 2), b = random.Float(0, 2);
  RC_ASSERT(encoder.Encode(std::min(a, b)) <= encoder.Encode(std::max(a, b)));
}

RC_GTEST_PROP(CodebookProperty, SnappedMantissasAreTheRoundedMagnitudes, ()) {
  Random random(*rc::gen::arbitrary<uint32_t>());
  const int n = random.Int(kMinExponentBits, kMaxExponentBits);
  const Grid grid = random.Coin() ? Grid::kQ7 : Grid::kQ14;
  const double base = 1 + static_cast<double>(random.Float(0.01f, 0.5f));
  const absl::StatusOr<Codebook> book =
      MakeCodebook(n, random.Coin(), grid, EncodeRule::kNearest, base, static_cast<double>(random.Float(0.01f, 9)), 0);
  RC_ASSERT(book.ok());
  RC_ASSERT(book->mantissas.back() == book->max_mantissa());
  const std::vector<double> real = book->RealMagnitudes();
  const double step = real.back() / book->max_mantissa();
  for (size_t i = 0; i < real.size(); ++i) {
    RC_ASSERT(book->mantissas[i] >= 1);
    // Half a step of rounding; a magnitude below half a step is lifted to one.
    RC_ASSERT(std::fabs(book->mantissas[i] * step - real[i]) <= step * (real[i] < step ? 1.0 : 0.5 + 1e-9));
  }
}

TEST(Codebook, RealMagnitudesAreRepeatedProducts) {
  const Codebook book = *MakeCodebook(3, false, Grid::kReal, EncodeRule::kNearest, 1.7, 0.3, 0.01);
  const std::vector<double> m = book.RealMagnitudes();
  ASSERT_EQ(m.size(), 7u);
  const double d = 1 / 1.7;
  EXPECT_EQ(m[0], 0.3 * (d * d * d) + 0.01);
  EXPECT_EQ(m[3], 0.3 + 0.01);
  EXPECT_EQ(m[6], 0.3 * (1.7 * 1.7 * 1.7) + 0.01);
}

TEST(Codebook, MakeCodebookRefusesMagnitudesThatAreNotPositiveFiniteAndIncreasing) {
  TALLY_EXPECT_ERROR(ErrorId::kBadCodebook, MakeCodebook(3, true, Grid::kQ7, EncodeRule::kNearest, 2, 1, -1));
  TALLY_EXPECT_ERROR(ErrorId::kBadCodebook, MakeCodebook(7, true, Grid::kQ7, EncodeRule::kNearest, 1e9, 1, 0));
  TALLY_EXPECT_ERROR(ErrorId::kBadCodebook, MakeCodebook(3, true, Grid::kQ7, EncodeRule::kNearest, 1, 1, 0));
  TALLY_EXPECT_ERROR(ErrorId::kBadCodebook, MakeCodebook(1, true, Grid::kQ7, EncodeRule::kNearest, 2, 1, 0));
  TALLY_EXPECT_ERROR(ErrorId::kBadCodebook, MakeCodebook(8, true, Grid::kReal, EncodeRule::kLog, 2, 1, 0));
}

struct BrokenCodebook {
  const char* name;
  Grid grid;
  std::function<void(Codebook&)> damage;
};

class CodebookRules : public ::testing::TestWithParam<BrokenCodebook> {};

TEST_P(CodebookRules, AreChecked) {
  Codebook book = SampleCodebook(4, true, GetParam().grid);
  TALLY_ASSERT_OK(book.Validate());
  GetParam().damage(book);
  TALLY_EXPECT_ERROR(ErrorId::kBadCodebook, book.Validate());
}

constexpr double kNaN64 = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf64 = std::numeric_limits<double>::infinity();

std::string NameOf(const ::testing::TestParamInfo<BrokenCodebook>& rule) { return rule.param.name; }

INSTANTIATE_TEST_SUITE_P(
    All, CodebookRules,
    ::testing::Values(
        BrokenCodebook{"one_exponent_bit", Grid::kQ7, [](Codebook& b) { b.exponent_bits = 1; }},
        BrokenCodebook{"eight_exponent_bits", Grid::kQ7, [](Codebook& b) { b.exponent_bits = 8; }},
        BrokenCodebook{"negative_exponent_bits", Grid::kQ7, [](Codebook& b) { b.exponent_bits = -1; }},
        BrokenCodebook{"base_one", Grid::kQ7, [](Codebook& b) { b.base = 1; }},
        BrokenCodebook{"base_below_one", Grid::kQ7, [](Codebook& b) { b.base = 0.5; }},
        BrokenCodebook{"base_nan", Grid::kQ7, [](Codebook& b) { b.base = kNaN64; }},
        BrokenCodebook{"base_infinite", Grid::kQ7, [](Codebook& b) { b.base = kInf64; }},
        BrokenCodebook{"alpha_zero", Grid::kQ7, [](Codebook& b) { b.alpha = 0; }},
        BrokenCodebook{"alpha_nan", Grid::kQ7, [](Codebook& b) { b.alpha = kNaN64; }},
        BrokenCodebook{"alpha_infinite", Grid::kReal, [](Codebook& b) { b.alpha = kInf64; }},
        BrokenCodebook{"beta_nan", Grid::kQ14, [](Codebook& b) { b.beta = kNaN64; }},
        BrokenCodebook{"mantissa_missing", Grid::kQ7, [](Codebook& b) { b.mantissas.pop_back(); }},
        BrokenCodebook{"mantissa_too_many", Grid::kQ7, [](Codebook& b) { b.mantissas.push_back(127); }},
        BrokenCodebook{"mantissa_zero", Grid::kQ7, [](Codebook& b) { b.mantissas[0] = 0; }},
        BrokenCodebook{"mantissa_above_q7", Grid::kQ7, [](Codebook& b) { b.mantissas.back() = 128; }},
        BrokenCodebook{"mantissa_above_q14", Grid::kQ14, [](Codebook& b) { b.mantissas.back() = 16384; }},
        BrokenCodebook{"mantissas_decrease", Grid::kQ7,
                       [](Codebook& b) { std::swap(b.mantissas.front(), b.mantissas.back()); }},
        BrokenCodebook{"scale_zero", Grid::kQ7, [](Codebook& b) { b.scale = 0; }},
        BrokenCodebook{"scale_nan", Grid::kQ7, [](Codebook& b) { b.scale = kNaN; }},
        BrokenCodebook{"scale_infinite", Grid::kQ7, [](Codebook& b) { b.scale = kInf; }},
        BrokenCodebook{"inverse_scale_negative", Grid::kQ7, [](Codebook& b) { b.inverse_scale = -1; }},
        BrokenCodebook{"inverse_scale_infinite", Grid::kQ7, [](Codebook& b) { b.inverse_scale = kInf; }},
        BrokenCodebook{"integer_grid_with_thresholds", Grid::kQ7, [](Codebook& b) { b.thresholds = {1}; }},
        BrokenCodebook{"real_grid_with_mantissas", Grid::kReal, [](Codebook& b) { b.mantissas = {1}; }},
        BrokenCodebook{"threshold_missing", Grid::kReal, [](Codebook& b) { b.thresholds.pop_back(); }},
        BrokenCodebook{"thresholds_equal", Grid::kReal, [](Codebook& b) { b.thresholds[1] = b.thresholds[0]; }},
        BrokenCodebook{"threshold_nan", Grid::kReal, [](Codebook& b) { b.thresholds[3] = kNaN; }},
        BrokenCodebook{"threshold_negative", Grid::kReal, [](Codebook& b) { b.thresholds[0] = -1; }},
        BrokenCodebook{"threshold_infinite", Grid::kReal, [](Codebook& b) { b.thresholds.back() = kInf; }},
        BrokenCodebook{"real_magnitudes_overflow", Grid::kReal, [](Codebook& b) { b.base = 1e100; }},
        BrokenCodebook{"real_magnitudes_not_increasing", Grid::kReal, [](Codebook& b) { b.beta = 1e30; }},
        BrokenCodebook{"real_magnitudes_negative", Grid::kReal, [](Codebook& b) { b.beta = -100; }}),
    NameOf);

}  // namespace
}  // namespace tally
