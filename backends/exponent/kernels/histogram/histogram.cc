#include "backends/exponent/kernels/histogram/histogram.h"

#include <algorithm>

namespace tally {

PairHistogram::Side::Side(const Codebook& book)
    : count(static_cast<size_t>(book.magnitudes())), exponent(256), sign(256), mantissas(book.mantissas) {
  for (size_t byte = 0; byte < 256; ++byte) {
    const unsigned code = static_cast<unsigned>(byte) & static_cast<unsigned>(book.code_count() - 1);
    const int magnitude = static_cast<int>(code & ((1u << book.exponent_bits) - 1));
    exponent[byte] = static_cast<int16_t>(magnitude - 1);
    sign[byte] = (code & book.sign_bit()) != 0 ? -1 : 1;
  }
  // Values of the codes without sign are the magnitudes, on any grid.
  const std::vector<double> values = book.Values();
  magnitudes.assign(values.begin() + 1, values.begin() + 1 + static_cast<std::ptrdiff_t>(count));
}

PairHistogram::PairHistogram(const Codebook& a, const Codebook& w)
    : a_(a), w_(w), real_(a.grid == Grid::kReal || w.grid == Grid::kReal) {
  if (FoldedSum::Takes(a, w)) folded_.emplace(a, w);
}

PairHistogram::Seen PairHistogram::Count(const uint8_t* a, const uint8_t* w, size_t k, int32_t* counters) const {
  Seen seen = {};
  for (size_t t = 0; t < k; ++t) {
    const int i = a_.exponent[a[t]];
    const int j = w_.exponent[w[t]];
    if (i < 0 || j < 0) continue;
    int32_t* row = counters + static_cast<size_t>(i) * w_.count;
    if (!seen[static_cast<size_t>(i)]) std::fill(row, row + w_.count, 0);
    seen[static_cast<size_t>(i)] = true;
    row[j] += a_.sign[a[t]] * w_.sign[w[t]];
  }
  return seen;
}

int64_t PairHistogram::DotInteger(const uint8_t* a, const uint8_t* w, size_t k, int32_t* counters) const {
  const Seen seen = Count(a, w, k, counters);
  int64_t sum = 0;
  for (size_t i = 0; i < a_.count; ++i) {
    if (!seen[i]) continue;
    for (size_t j = 0; j < w_.count; ++j) {
      sum += int64_t{counters[i * w_.count + j]} * a_.mantissas[i] * w_.mantissas[j];
    }
  }
  return sum;
}

double PairHistogram::Folded(const Seen& seen, int32_t* counters) const {
  int32_t* of_sum = counters + pairs();
  int32_t* of_a = of_sum + a_.count + w_.count;
  int32_t* of_w = of_a + a_.count;
  std::fill(of_sum, of_w + w_.count, 0);
  int32_t signs = 0;
  for (size_t i = 0; i < a_.count; ++i) {
    if (!seen[i]) continue;
    for (size_t j = 0; j < w_.count; ++j) {
      const int32_t n = counters[i * w_.count + j];
      of_sum[i + j] += n;
      of_a[i] += n;
      of_w[j] += n;
      signs += n;
    }
  }
  return folded_->Combine(of_sum, of_a, of_w, signs);
}

double PairHistogram::DotReal(const uint8_t* a, const uint8_t* w, size_t k, int32_t* counters) const {
  const Seen seen = Count(a, w, k, counters);
  if (folded_) return Folded(seen, counters);
  double sum = 0;
  for (size_t i = 0; i < a_.count; ++i) {
    if (!seen[i]) continue;
    for (size_t j = 0; j < w_.count; ++j) {
      sum += counters[i * w_.count + j] * (a_.magnitudes[i] * w_.magnitudes[j]);
    }
  }
  return sum;
}

}  // namespace tally
