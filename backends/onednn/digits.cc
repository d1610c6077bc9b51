#include "backends/onednn/digits.h"

#include <algorithm>
#include <cstdlib>

#include "format/bit_packing.h"

namespace tally::onednn {
namespace {

int DigitCount(const Codebook& codebook) { return codebook.grid == Grid::kQ14 ? 2 : 1; }

// Digit `d` of |mantissa|, with the mantissa's sign.
int32_t Digit(int32_t mantissa, int d) {
  return d == 0 ? mantissa % static_cast<int32_t>(kDigitBase) : mantissa / static_cast<int32_t>(kDigitBase);
}

// Largest sum of |digit| over the segment's weights of one output.
int64_t MaxDigitSum(const std::vector<int8_t>& plane, int64_t rows, int64_t row_size, int64_t begin, int64_t end) {
  int64_t largest = 0;
  for (int64_t o = 0; o < rows; ++o) {
    const int8_t* row = plane.data() + o * row_size;
    int64_t sum = 0;
    for (int64_t k = begin; k < end; ++k) sum += std::abs(row[k]);
    largest = std::max(largest, sum);
  }
  return largest;
}

void Split(const WeightDigits& weight, int64_t rows, int64_t channels, int64_t taps, Segment segment,
           std::vector<Segment>* segments) {
  bool fits = true;
  for (const std::vector<int8_t>& plane : weight.planes) {
    const int64_t sum = MaxDigitSum(plane, rows, channels * taps, segment.begin * taps, segment.end * taps);
    fits = fits && sum * kMaxDigit <= kMaxExactProduct;
  }
  if (fits || segment.size() <= 1) {
    segments->push_back(segment);
    return;
  }
  // Halves at a multiple of the vector width.
  int64_t half = (segment.size() + 1) / 2;
  if (half > 64) half = (half + 63) / 64 * 64;
  Split(weight, rows, channels, taps, {segment.begin, segment.begin + half}, segments);
  Split(weight, rows, channels, taps, {segment.begin + half, segment.end}, segments);
}

}  // namespace

std::vector<SourcePlane> MakeSourcePlanes(const Codebook& codebook) {
  const std::vector<int32_t> mantissas = codebook.SignedMantissas();
  std::vector<SourcePlane> planes;
  for (int sign = 1; sign >= (codebook.is_signed ? -1 : 1); sign -= 2) {
    for (int d = 0; d < DigitCount(codebook); ++d) {
      SourcePlane plane{{}, sign * (d == 0 ? 1 : kDigitBase)};
      for (size_t code = 0; code < mantissas.size(); ++code) {
        plane.digit[code] = static_cast<uint8_t>(Digit(std::max(0, sign * mantissas[code]), d));
      }
      planes.push_back(plane);
    }
  }
  return planes;
}

std::vector<std::array<int8_t, 256>> SignedDigitTables(const Codebook& codebook) {
  const std::vector<int32_t> mantissas = codebook.SignedMantissas();
  std::vector<std::array<int8_t, 256>> tables(static_cast<size_t>(DigitCount(codebook)));
  for (size_t d = 0; d < tables.size(); ++d) {
    tables[d].fill(0);
    for (size_t code = 0; code < mantissas.size(); ++code) {
      tables[d][code] = static_cast<int8_t>(Digit(mantissas[code], static_cast<int>(d)));
    }
  }
  return tables;
}

WeightDigits DecodeWeight(const CodeForm& form, int64_t rows, int64_t columns) {
  const std::vector<std::array<int8_t, 256>> tables = SignedDigitTables(form.codebook);
  const std::vector<int32_t> mantissas = form.codebook.SignedMantissas();
  WeightDigits weight;
  weight.planes.assign(tables.size(), std::vector<int8_t>(static_cast<size_t>(rows * columns)));
  std::vector<uint8_t> codes(static_cast<size_t>(columns));
  for (int64_t o = 0; o < rows; ++o) {
    const size_t first = static_cast<size_t>(o * columns);
    UnpackBits(form.packed.data(), form.codebook.stored_bits(), first, codes.size(), codes.data());
    int64_t sum = 0;
    for (size_t k = 0; k < codes.size(); ++k) {
      sum += std::abs(mantissas[codes[k]]);
      for (size_t d = 0; d < tables.size(); ++d) weight.planes[d][first + k] = tables[d][codes[k]];
    }
    weight.max_row_sum = std::max(weight.max_row_sum, sum);
  }
  return weight;
}

std::vector<Segment> SplitChannels(const WeightDigits& weight, int64_t rows, int64_t channels, int64_t taps) {
  std::vector<Segment> segments;
  Split(weight, rows, channels, taps, {0, channels}, &segments);
  return segments;
}

}  // namespace tally::onednn
