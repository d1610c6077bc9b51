// The real grid with one base for both sides: what the counters of i + j, i, j and of the signs add up to. One function
// for all backends, so that their bits agree (docs/numerics.md).
// Immutable; safe to share between threads.
#ifndef TALLY_RUNTIME_DOT_FOLDED_H_
#define TALLY_RUNTIME_DOT_FOLDED_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "format/codebook.h"

namespace tally {

class FoldedSum {
 public:
  // Both grids are real and the bases are equal.
  static bool Takes(const Codebook& a, const Codebook& w);

  // REQUIRES: Takes(a, w).
  FoldedSum(const Codebook& a, const Codebook& w);

  // With C, A, W the counters of i + j, i and j, counted from the smallest exponent on, and S that of the signs:
  //   alpha_a alpha_w sum_e C[e] b^e + alpha_a beta_w sum_i A[i] b^i + alpha_w beta_a sum_j W[j] b^j + beta_a beta_w S
  // in float64, every sum ascending in the exponent, the four terms added as written, powers by repeated multiplication
  // with b (or 1/b) from b^0 = 1.
  double Combine(const int32_t* of_sum, const int32_t* of_a, const int32_t* of_w, int32_t signs) const;

 private:
  struct Side {
    size_t count;
    int bias;  // index of exponent 0
    double alpha, beta;
  };
  static Side MakeSide(const Codebook& book);
  double Power(int exponent) const { return powers_[static_cast<size_t>(exponent + a_.bias + w_.bias)]; }

  Side a_, w_;
  std::vector<double> powers_;  // base^e, e = -(bias_a + bias_w) ..
};

}  // namespace tally

#endif  // TALLY_RUNTIME_DOT_FOLDED_H_
