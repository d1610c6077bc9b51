#include "backends/exponent/lookup_product.h"

#include <algorithm>
#include <cstring>

#include "format/bit_packing.h"

namespace tally {
namespace {

constexpr uint64_t kMaxDigit = 127;
constexpr uint64_t kMaxSum = 2147483647;
// Any digits of so many groups fit int32, in whole 16-byte steps of a row panel.
constexpr size_t kSafeGroups = kMaxSum / (kMaxDigit * kMaxDigit * kLookupGroup) / 4 * 4;

}  // namespace

Digits::Digits(const Codebook& book, int signed_offset)
    : count(DigitCount(book)),
      table{MakeLookupTable(book, 0, signed_offset),
            count > 1 ? MakeLookupTable(book, 1, signed_offset) : LookupTable()} {}

Product::Product(const LookupKernel& k, const Problem& problem, size_t group_count, bool lanes, uint64_t weight_sum)
    : kernel(&k),
      groups(group_count),
      segment_groups(weight_sum <= kMaxSum / kMaxDigit ? std::max<size_t>(group_count, 1) : kSafeGroups),
      segments(std::max<size_t>((group_count + segment_groups - 1) / segment_groups, 1)),
      acts_in_lanes(lanes),
      act_signed(problem.a.is_signed),
      act_digits(DigitCount(problem.a)),
      weight_digits(DigitCount(problem.w)),
      lane_offsets(group_count),
      lane_step(lane_panel_bytes()) {
  for (size_t g = 0; g < group_count; ++g) lane_offsets[g] = g * kLookupGroupBytes;
}

void AddTerm(const int32_t* term, size_t count, int shift, bool first, int64_t* wide) {
  const int64_t factor = int64_t{1} << shift;
  if (first) {
    for (size_t i = 0; i < count; ++i) wide[i] = term[i] * factor;
  } else {
    for (size_t i = 0; i < count; ++i) wide[i] += term[i] * factor;
  }
}

void Multiply(const Product& product, const uint8_t* const* lane_bytes, size_t lanes, const uint8_t* const* row_panels,
              size_t rows, const Correction& correction, const Sums& sums) {
  int32_t term[kLookupRows * kLookupLanes];
  LookupTile tile;
  tile.row_count = rows;
  tile.acts_in_lanes = product.acts_in_lanes;
  tile.act_signed = product.act_signed;
  const int lane_digits = product.acts_in_lanes ? product.act_digits : product.weight_digits;
  const int row_digits = product.acts_in_lanes ? product.weight_digits : product.act_digits;
  for (size_t l = 0; l < lanes; l += kLookupLanes) {
    tile.lane_count = lanes - l > kLookupLanes / 2 ? kLookupLanes : kLookupLanes / 2;
    const size_t first_lane = l / kLookupLanes * product.lane_step;
    bool first = true;
    for (int ld = 0; ld < lane_digits; ++ld) {
      for (int rd = 0; rd < row_digits; ++rd) {
        for (size_t s = 0; s < product.segments; ++s) {
          const size_t begin = product.segment_begin(s);
          tile.lanes = lane_bytes[ld] + first_lane;
          tile.lane_offsets = product.lane_offsets.data() + begin;
          if (product.row_offsets.empty()) {
            tile.rows = row_panels[rd] + begin * 4 * rows;
          } else {
            tile.rows = row_panels[rd];
            tile.row_offsets = product.row_offsets.data() + begin;
          }
          tile.groups = product.segment_size(s);
          tile.acc = product.wide() ? term : sums.narrow + l;
          tile.acc_stride = product.wide() ? kLookupLanes : sums.stride;
          product.kernel->tile(tile);
          if (correction.values != nullptr) {
            const size_t digit = static_cast<size_t>(product.acts_in_lanes ? rd : ld);
            const int32_t* values = correction.values + digit * correction.digit_step + s * correction.segment_step +
                                    l * correction.lane_step;
            for (size_t r = 0; r < rows; ++r) {
              int32_t* acc = tile.acc + r * tile.acc_stride;
              const int32_t* of_row = values + r * correction.row_step;
              if (correction.lane_step == 0) {
                for (size_t i = 0; i < tile.lane_count; ++i) acc[i] = WrappingAdd(acc[i], *of_row);
              } else {
                for (size_t i = 0; i < tile.lane_count; ++i) acc[i] = WrappingAdd(acc[i], of_row[i]);
              }
            }
          }
          if (product.wide()) {
            for (size_t r = 0; r < rows; ++r) {
              AddTerm(term + r * kLookupLanes, tile.lane_count, 7 * (ld + rd), first, sums.wide + r * sums.stride + l);
            }
            first = false;
          }
        }
      }
    }
  }
}

void FinishSums(const Product& product, const RowKernels& row_kernels, const Sums& sums, size_t row, size_t count,
                const EpilogueRow& epilogue, float* out) {
  if (product.wide()) {
    FinishRow(sums.wide + row * sums.stride, count, epilogue, out);
  } else {
    FinishRow(sums.narrow + row * sums.stride, count, epilogue, out, row_kernels);
  }
}

WeightRows::WeightRows(const Problem& problem) : problem_(problem), row_(problem.k) {}

const uint8_t* WeightRows::Read(size_t o) {
  UnpackBits(problem_.weights->packed.data(), problem_.w.stored_bits(), o * problem_.k, problem_.k, row_.data());
  return row_.data();
}

uint64_t WeightRows::MaxDigitSum() {
  // Most layers are too short to need the sums.
  if (problem_.k <= kSafeGroups * kLookupGroup) return 0;
  const Digits digits(problem_.w, 0);
  uint64_t max = 0;
  for (size_t o = 0; o < problem_.outputs; ++o) {
    const uint8_t* codes = Read(o);
    for (int d = 0; d < digits.count; ++d) {
      uint64_t sum = 0;
      for (size_t i = 0; i < problem_.k; ++i) {
        const int digit = static_cast<int8_t>(digits.table[d].digit[codes[i]]);
        sum += static_cast<uint64_t>(digit < 0 ? -digit : digit);
      }
      max = std::max(max, sum);
    }
  }
  return max;
}

void AddCorrections(const Product& product, const Digits& weights, const uint8_t* codes, size_t first_group,
                    size_t groups, size_t digit_step, size_t segment_step, int32_t* values) {
  for (int d = 0; d < weights.count; ++d) {
    for (size_t g = 0; g < groups; ++g) {
      int32_t sum = 0;
      for (size_t i = 0; i < kLookupGroup; ++i) {
        sum += static_cast<int8_t>(weights.table[d].digit[codes[g * kLookupGroup + i]]);
      }
      int32_t& value =
          values[static_cast<size_t>(d) * digit_step + (first_group + g) / product.segment_groups * segment_step];
      value = WrappingAdd(value, -product.kernel->signed_offset * sum);
    }
  }
}

void FillPanelRow(const uint8_t* digits, size_t groups, size_t row, size_t rows, uint8_t* panel) {
  panel += row * 16;
  for (size_t g = 0; g < groups; g += 4, panel += rows * 16, digits += 16) std::memcpy(panel, digits, 16);
}

}  // namespace tally
