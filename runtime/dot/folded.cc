#include "runtime/dot/folded.h"

namespace tally {

bool FoldedSum::Takes(const Codebook& a, const Codebook& w) {
  return a.grid == Grid::kReal && w.grid == Grid::kReal && a.base == w.base;
}

FoldedSum::Side FoldedSum::MakeSide(const Codebook& book) {
  return {static_cast<size_t>(book.magnitudes()), (1 << (book.exponent_bits - 1)) - 1, book.alpha, book.beta};
}

FoldedSum::FoldedSum(const Codebook& a, const Codebook& w) : a_(MakeSide(a)), w_(MakeSide(w)) {
  const int bias = a_.bias + w_.bias;
  powers_.assign(static_cast<size_t>(2 * bias + 1), 1.0);
  const double inverse = 1 / a.base;
  for (int e = 1; e <= bias; ++e) {
    powers_[static_cast<size_t>(bias + e)] = powers_[static_cast<size_t>(bias + e - 1)] * a.base;
    powers_[static_cast<size_t>(bias - e)] = powers_[static_cast<size_t>(bias - e + 1)] * inverse;
  }
}

double FoldedSum::Combine(const int32_t* of_sum, const int32_t* of_a, const int32_t* of_w, int32_t signs) const {
  double sum = 0, sum_a = 0, sum_w = 0;
  for (size_t e = 0; e + 1 < a_.count + w_.count; ++e) {
    sum += of_sum[e] * Power(static_cast<int>(e) - a_.bias - w_.bias);
  }
  for (size_t i = 0; i < a_.count; ++i) sum_a += of_a[i] * Power(static_cast<int>(i) - a_.bias);
  for (size_t j = 0; j < w_.count; ++j) sum_w += of_w[j] * Power(static_cast<int>(j) - w_.bias);
  return a_.alpha * w_.alpha * sum + a_.alpha * w_.beta * sum_a + w_.alpha * a_.beta * sum_w +
         a_.beta * w_.beta * signs;
}

}  // namespace tally
