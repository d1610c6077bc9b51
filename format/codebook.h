// A Codebook maps a code to 0 or sign * (alpha * base^i + beta), i = -R .. R, R = 2^(n-1) - 1, snapped to a grid.
// The sole definition of what a code means. A plain value; const use from many threads is safe.
//
// A code is an unsigned field of stored_bits() bits: the low n bits are 0 for zero or i + R + 1; the top bit of a
// signed codebook is the sign. A zero code with its sign set is invalid. In memory a code takes one byte, in a file
// stored_bits() bits (format/bit_packing.h).
//
// Grids q7 and q14 store the integer mantissas that the magnitudes were rounded to; grid real stores float64 magnitudes
// and the float32 thresholds of its encoder. Nothing is recomputed with libm, whose bits differ between CPUs.
#ifndef TALLY_FORMAT_CODEBOOK_H_
#define TALLY_FORMAT_CODEBOOK_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tally/types.h"

namespace tally {

enum class Grid : uint8_t { kQ7 = 0, kQ14 = 1, kReal = 2 };
enum class EncodeRule : uint8_t {
  kNearest = 0,  // nearest of {0, M_i}; a tie goes to the smaller magnitude, equal mantissas to the smallest i
  kLog = 1,      // between magnitudes the geometric midpoint, between 0 and the smallest the arithmetic one
};

inline constexpr int kMinExponentBits = 2;
inline constexpr int kMaxExponentBits = 7;

TALLY_API const char* GridName(Grid grid);              // "q7", "q14", "real"
TALLY_API const char* EncodeRuleName(EncodeRule rule);  // "nearest", "log"

struct Codebook {
  int exponent_bits = 0;  // n, 2..7
  bool is_signed = false;
  Grid grid = Grid::kQ7;
  EncodeRule encode_rule = EncodeRule::kNearest;
  // The fit. On integer grids it only describes; the mantissas are the truth.
  double base = 0;   // > 1
  double alpha = 0;  // > 0
  double beta = 0;
  // q7, q14: 2^n - 1 non-decreasing integers in 1..max_mantissa(), one per exponent, smallest first.
  std::vector<int32_t> mantissas;
  float scale = 0;          // value = mantissa * scale
  float inverse_scale = 0;  // float32(1 / scale), used by the encoder
  // real: 2^n - 1 strictly increasing float32; a code is the number of thresholds t with |x| > t.
  std::vector<float> thresholds;

  int stored_bits() const { return exponent_bits + (is_signed ? 1 : 0); }
  int magnitudes() const { return (1 << exponent_bits) - 1; }
  int code_count() const { return 1 << stored_bits(); }  // includes the invalid negative zero
  uint8_t sign_bit() const { return is_signed ? static_cast<uint8_t>(1u << exponent_bits) : 0; }
  // 127 or 16383; 0 on the real grid.
  int max_mantissa() const { return grid == Grid::kQ7 ? 127 : grid == Grid::kQ14 ? 16383 : 0; }
  bool is_valid_code(unsigned code) const {
    return code < static_cast<unsigned>(code_count()) && !(is_signed && code == sign_bit());
  }

  // Checks every rule of docs/format.md (bits, base, alpha, order and range of mantissas or thresholds, finiteness).
  TALLY_API absl::Status Validate() const;

  // Integer grids: 0 or +-mantissa of a valid code. The array has code_count() entries, the invalid code maps to 0.
  TALLY_API std::vector<int32_t> SignedMantissas() const;

  // Real grid: alpha * base^i + beta for i = -R .. R, powers by repeated float64 multiplication (1/base for i < 0).
  TALLY_API std::vector<double> RealMagnitudes() const;

  // Any grid: the float64 value of every code (mantissa * scale, or the real magnitude), signed; invalid code: 0.
  TALLY_API std::vector<double> Values() const;

  bool operator==(const Codebook&) const;
};

// Rounds the magnitudes alpha * base^i + beta to `grid` (q7, q14): mantissa_i = max(1, round(m_i / s)),
// s = m_R / max_mantissa. On the real grid fills the thresholds. The caller made sure that all magnitudes are positive,
// finite and increasing; the result is validated.
TALLY_API absl::StatusOr<Codebook> MakeCodebook(int exponent_bits, bool is_signed, Grid grid, EncodeRule rule,
                                                double base, double alpha, double beta);

// Encodes float32 values with one codebook. Immutable after construction; safe to share between threads.
// Integer grids: v = min(max_mantissa, rint(|x| * inverse_scale)) in float32, half to even, then a table look-up.
// NaN encodes as zero, +-Inf saturates, x < 0 encodes as zero when the codebook is not signed.
class TALLY_API Encoder {
 public:
  // REQUIRES: codebook.Validate() is OK.
  explicit Encoder(const Codebook& codebook);

  const Codebook& codebook() const { return codebook_; }

  // The code of one value: the oracle of every faster encoder.
  uint8_t Encode(float x) const;

  // Integer grids: table()[v] is the unsigned code of the integer magnitude v, 0..max_mantissa.
  const std::vector<uint8_t>& table() const { return table_; }

 private:
  Codebook codebook_;
  std::vector<uint8_t> table_;
};

}  // namespace tally

#endif  // TALLY_FORMAT_CODEBOOK_H_
