#include "format/codebook.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

absl::Status Bad(const std::string& detail) { return MakeError(ErrorId::kBadCodebook, detail); }

// Code of the integer magnitude v: zero-or-index of the nearest entry under the rule.
std::vector<uint8_t> BuildTable(const Codebook& book) {
  const std::vector<int32_t>& m = book.mantissas;
  const int count = book.magnitudes();
  std::vector<uint8_t> table(static_cast<size_t>(book.max_mantissa()) + 1);
  // `code` walks up; v -> code is monotone under both rules.
  int code = 0;
  for (int64_t v = 0; v <= book.max_mantissa(); ++v) {
    while (code < count) {
      const int64_t below = code == 0 ? 0 : m[static_cast<size_t>(code) - 1];
      // Equal mantissas share their values with the smallest index: look at the next greater one.
      int next = code;
      while (next < count && m[static_cast<size_t>(next)] == below) ++next;
      if (next == count) break;
      const int64_t above = m[static_cast<size_t>(next)];
      const bool geometric = book.encode_rule == EncodeRule::kLog && code > 0;
      const bool move = geometric ? v * v > below * above : 2 * v > below + above;
      if (!move) break;
      code = next + 1;
    }
    table[static_cast<size_t>(v)] = static_cast<uint8_t>(code);
  }
  return table;
}

}  // namespace

const char* GridName(Grid grid) {
  switch (grid) {
    case Grid::kQ7: return "q7";
    case Grid::kQ14: return "q14";
    case Grid::kReal: return "real";
  }
  return "unknown";
}

const char* EncodeRuleName(EncodeRule rule) {
  switch (rule) {
    case EncodeRule::kNearest: return "nearest";
    case EncodeRule::kLog: return "log";
  }
  return "unknown";
}

absl::Status Codebook::Validate() const {
  if (exponent_bits < kMinExponentBits || exponent_bits > kMaxExponentBits) {
    return Bad(absl::StrCat("exponent bits ", exponent_bits, ", expected 2..7"));
  }
  if (!std::isfinite(base) || base <= 1) return Bad(absl::StrCat("base ", base, ", expected finite and > 1"));
  if (!std::isfinite(alpha) || alpha <= 0) return Bad(absl::StrCat("alpha ", alpha, ", expected finite and > 0"));
  if (!std::isfinite(beta)) return Bad(absl::StrCat("beta ", beta, ", expected finite"));
  const size_t count = static_cast<size_t>(magnitudes());
  if (grid == Grid::kReal) {
    if (!mantissas.empty()) return Bad("a real-grid codebook has mantissas");
    if (thresholds.size() != count) {
      return Bad(absl::StrCat(thresholds.size(), " thresholds, expected ", count));
    }
    for (size_t i = 0; i < count; ++i) {
      if (!std::isfinite(thresholds[i]) || thresholds[i] < 0 || (i > 0 && thresholds[i] <= thresholds[i - 1])) {
        return Bad(absl::StrCat("threshold ", i, " is ", thresholds[i], ", expected finite, >= 0 and increasing"));
      }
    }
    const std::vector<double> m = RealMagnitudes();
    for (size_t i = 0; i < count; ++i) {
      if (!std::isfinite(m[i]) || m[i] <= 0 || (i > 0 && m[i] <= m[i - 1])) {
        return Bad(absl::StrCat("magnitude ", i, " is ", m[i], ", expected finite, > 0 and increasing"));
      }
    }
    return absl::OkStatus();
  }
  if (!thresholds.empty()) return Bad("an integer-grid codebook has thresholds");
  if (mantissas.size() != count) return Bad(absl::StrCat(mantissas.size(), " mantissas, expected ", count));
  for (size_t i = 0; i < count; ++i) {
    if (mantissas[i] < 1 || mantissas[i] > max_mantissa()) {
      return Bad(absl::StrCat("mantissa ", i, " is ", mantissas[i], ", expected 1..", max_mantissa()));
    }
    if (i > 0 && mantissas[i] < mantissas[i - 1]) {
      return Bad(absl::StrCat("mantissa ", i, " is ", mantissas[i], ", below the one before, ", mantissas[i - 1]));
    }
  }
  if (!std::isfinite(scale) || scale <= 0) return Bad(absl::StrCat("scale ", scale, ", expected finite and > 0"));
  if (!std::isfinite(inverse_scale) || inverse_scale <= 0) {
    return Bad(absl::StrCat("inverse scale ", inverse_scale, ", expected finite and > 0"));
  }
  return absl::OkStatus();
}

std::vector<int32_t> Codebook::SignedMantissas() const {
  std::vector<int32_t> values(static_cast<size_t>(code_count()), 0);
  for (size_t i = 0; i < mantissas.size(); ++i) {
    values[i + 1] = mantissas[i];
    if (is_signed) values[sign_bit() + i + 1] = -mantissas[i];
  }
  return values;
}

std::vector<double> Codebook::RealMagnitudes() const {
  const int r = (1 << (exponent_bits - 1)) - 1;
  std::vector<double> magnitudes(static_cast<size_t>(2 * r + 1));
  double up = 1, down = 1;
  const double inverse = 1 / base;
  magnitudes[static_cast<size_t>(r)] = alpha + beta;
  for (int i = 1; i <= r; ++i) {
    up *= base;
    down *= inverse;
    magnitudes[static_cast<size_t>(r + i)] = alpha * up + beta;
    magnitudes[static_cast<size_t>(r - i)] = alpha * down + beta;
  }
  return magnitudes;
}

std::vector<double> Codebook::Values() const {
  std::vector<double> values(static_cast<size_t>(code_count()), 0);
  const size_t count = static_cast<size_t>(magnitudes());
  const std::vector<double> real = grid == Grid::kReal ? RealMagnitudes() : std::vector<double>();
  for (size_t i = 0; i < count; ++i) {
    const double m = grid == Grid::kReal ? real[i] : mantissas[i] * static_cast<double>(scale);
    values[i + 1] = m;
    if (is_signed) values[sign_bit() + i + 1] = -m;
  }
  return values;
}

bool Codebook::operator==(const Codebook& o) const {
  return exponent_bits == o.exponent_bits && is_signed == o.is_signed && grid == o.grid &&
         encode_rule == o.encode_rule && base == o.base && alpha == o.alpha && beta == o.beta &&
         mantissas == o.mantissas && scale == o.scale && inverse_scale == o.inverse_scale && thresholds == o.thresholds;
}

absl::StatusOr<Codebook> MakeCodebook(int exponent_bits, bool is_signed, Grid grid, EncodeRule rule, double base,
                                      double alpha, double beta) {
  Codebook book;
  book.exponent_bits = exponent_bits;
  book.is_signed = is_signed;
  book.grid = grid;
  book.encode_rule = rule;
  book.base = base;
  book.alpha = alpha;
  book.beta = beta;
  if (exponent_bits < kMinExponentBits || exponent_bits > kMaxExponentBits) return book.Validate();
  const std::vector<double> m = book.RealMagnitudes();
  for (size_t i = 0; i < m.size(); ++i) {
    if (!std::isfinite(m[i]) || m[i] <= 0 || (i > 0 && m[i] < m[i - 1])) {
      return Bad(absl::StrCat("magnitude ", i, " is ", m[i], ", expected finite, > 0 and increasing"));
    }
  }
  if (grid == Grid::kReal) {
    double below = 0;
    for (size_t i = 0; i < m.size(); ++i) {
      const double t = rule == EncodeRule::kLog && i > 0 ? std::sqrt(below * m[i]) : 0.5 * (below + m[i]);
      book.thresholds.push_back(static_cast<float>(t));
      below = m[i];
    }
  } else {
    const double s = m.back() / book.max_mantissa();
    book.scale = static_cast<float>(s);
    book.inverse_scale = static_cast<float>(1 / s);
    for (double magnitude : m) {
      const double rounded = std::max(1.0, std::nearbyint(magnitude / s));
      book.mantissas.push_back(static_cast<int32_t>(std::min<double>(rounded, book.max_mantissa())));
    }
  }
  TALLY_RETURN_IF_ERROR(book.Validate());
  return book;
}

Encoder::Encoder(const Codebook& codebook) : codebook_(codebook) {
  if (codebook_.grid != Grid::kReal) table_ = BuildTable(codebook_);
}

uint8_t Encoder::Encode(float x) const {
  if (std::isnan(x) || (x < 0 && !codebook_.is_signed)) return 0;
  const float magnitude = std::fabs(x);
  unsigned code = 0;
  if (codebook_.grid == Grid::kReal) {
    for (float t : codebook_.thresholds) code += magnitude > t ? 1u : 0u;
  } else {
    const float limit = static_cast<float>(codebook_.max_mantissa());
    // An infinite product saturates here, before the conversion to an integer.
    const float v = std::min(limit, std::nearbyintf(magnitude * codebook_.inverse_scale));
    code = table_[static_cast<size_t>(v)];
  }
  return static_cast<uint8_t>(x < 0 && code != 0 ? code | codebook_.sign_bit() : code);
}

}  // namespace tally
