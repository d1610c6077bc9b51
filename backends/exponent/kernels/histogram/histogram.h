// Dot products by counting exponent pairs: the definition that every faster kernel is tested against.
//
// For codes a, w whose values are both nonzero, N[i][j] += sign(a) * sign(w), i and j being the exponent indices
// (0 .. 2^n - 2, smallest magnitude first). Then, on the integer grids, sum N[i][j] * M^a_i * M^w_j, an exact int64;
// with a real grid on either side the sum is float64 in the order of DotReal below.
//
// Immutable after construction; safe to share between threads that bring their own counters.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_HISTOGRAM_HISTOGRAM_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_HISTOGRAM_HISTOGRAM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "format/codebook.h"
#include "runtime/dot/folded.h"

namespace tally {

class PairHistogram {
 public:
  // `a` belongs to the activations (first input), `w` to the weights (second input).
  PairHistogram(const Codebook& a, const Codebook& w);

  // Either grid is real: the result is DotReal, else DotInteger.
  bool is_real() const { return real_; }
  // Both grids are real and have one base: the counters fold to those of i + j, i, j and a scalar.
  bool is_folded() const { return folded_.has_value(); }

  // int32 counters that a call needs: N[i][j], then the folded ones.
  size_t counters() const { return pairs() + 4 * (a_.count + w_.count); }

  // REQUIRES: !is_real(); k < 2^31 codes on each side; counters() writable entries.
  int64_t DotInteger(const uint8_t* a, const uint8_t* w, size_t k, int32_t* counters) const;

  // REQUIRES: is_real(). In float64: folded by FoldedSum; else the sum over i, then j, ascending, of
  // N[i][j] * (m^a_i * m^w_j).
  double DotReal(const uint8_t* a, const uint8_t* w, size_t k, int32_t* counters) const;

 private:
  // One side of the product. `exponent[code]` is the exponent index, -1 for zero (and the invalid code).
  struct Side {
    explicit Side(const Codebook& book);
    size_t count;                   // exponents
    std::vector<int16_t> exponent;  // 256 entries; bits above the code's are ignored
    std::vector<int8_t> sign;       // 256 entries
    std::vector<int32_t> mantissas;
    std::vector<double> magnitudes;
  };

  size_t pairs() const { return a_.count * w_.count; }
  // Exponents of the activations that occurred: the rows of N that were cleared and counted; the others are zero and
  // left out, which is much of the work where k is small.
  using Seen = std::array<bool, 128>;
  Seen Count(const uint8_t* a, const uint8_t* w, size_t k, int32_t* counters) const;
  double Folded(const Seen& seen, int32_t* counters) const;

  Side a_;
  Side w_;
  bool real_;
  std::optional<FoldedSum> folded_;
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_HISTOGRAM_HISTOGRAM_H_
