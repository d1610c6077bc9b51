// Integer mantissas as the operands that oneDNN multiplies exactly: sources as planes of u8 digits <= 127, weights as
// planes of s8 digits in -127..127. The sum of all plane products, each times its factor, is the dot product.
//
// A mantissa of the grid q14 has two base-128 digits; a signed source splits into its positive and its negative part.
// Digits above 127 would saturate in oneDNN's kernels without VNNI, and its s8 sources are wrong there altogether.
#ifndef TALLY_BACKENDS_ONEDNN_DIGITS_H_
#define TALLY_BACKENDS_ONEDNN_DIGITS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"

namespace tally::onednn {

inline constexpr int64_t kMaxDigit = 127;
inline constexpr int64_t kDigitBase = 128;

// oneDNN turns some s32 results into float32 and back (its convolutions do, even with an s32 destination), so that a
// product is exact only up to here; the direct ones would wrap at 2^31.
inline constexpr int64_t kMaxExactProduct = int64_t{1} << 24;

// By code, invalid codes included (they mean 0).
struct SourcePlane {
  std::array<uint8_t, 256> digit;
  int64_t factor;  // +-1 or +-128
};
// REQUIRES: an integer grid.
std::vector<SourcePlane> MakeSourcePlanes(const Codebook& codebook);

// By code: the signed digits of a right-hand operand, plane d counting 128^d.
std::vector<std::array<int8_t, 256>> SignedDigitTables(const Codebook& codebook);

// The digits of a weight in element order, plane d counting 128^d.
struct WeightDigits {
  std::vector<std::vector<int8_t>> planes;
  int64_t max_row_sum = 0;  // largest sum of |mantissa| over one output's weights
};
WeightDigits DecodeWeight(const CodeForm& form, int64_t rows, int64_t columns);

// Input channels begin .. end - 1 of every group.
struct Segment {
  int64_t begin;
  int64_t end;
  int64_t size() const { return end - begin; }
};

// Splits the input channels, each with `taps` weights per output, so that the product of any source plane with any
// weight plane over one segment stays exact. REQUIRES: taps * kMaxDigit^2 <= kMaxExactProduct.
std::vector<Segment> SplitChannels(const WeightDigits& weight, int64_t rows, int64_t channels, int64_t taps);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_DIGITS_H_
