#include "backends/exponent/lookup_product.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "format/bit_packing.h"

namespace tally {
namespace {

constexpr uint64_t kMaxDigit = 127;
constexpr uint64_t kMaxSum = 2147483647;
// Any digits of so many groups fit int32, in whole blocks of any kernel's row panels.
constexpr size_t kSafeGroups = kMaxSum / (kMaxDigit * kMaxDigit * kLookupGroup) / 16 * 16;

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
      lane_offsets(group_count) {
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

void AddCorrection(const int32_t* values, size_t count, int32_t* acc) {
  for (size_t i = 0; i < count; ++i) acc[i] = WrappingAdd(acc[i], values[i]);
}

namespace {

// -0 changes nothing when it is added.
constexpr int32_t kNoCorrection[kLookupLanes] = {};
const std::array<float, kLookupLanes>& NoFloats() {
  static const std::array<float, kLookupLanes> zeros = [] {
    std::array<float, kLookupLanes> z;
    z.fill(-0.0f);
    return z;
  }();
  return zeros;
}

// The address of lane 0, which need not be within the array.
template <typename T>
T* LaneZero(T* at, size_t lane) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(at) - lane * sizeof(T));
}

}  // namespace

TileFinish::TileFinish(const EpilogueRow& row, bool by_row, size_t out_stride) : row_(row), by_row_(by_row) {
  call_.scale = row.scale;
  call_.bias = row.bias != nullptr ? row.bias : NoFloats().data();
  call_.low = -std::numeric_limits<float>::infinity();
  call_.high = std::numeric_limits<float>::infinity();
  is_clamp_ = row.activation.ClampedRange(&call_.low, &call_.high);
  call_.out_stride = out_stride;
  call_.residual_stride = row.residual != nullptr ? out_stride : 0;
}

void TileFinish::AddRun(size_t first, size_t count, float* out, const float* residual) {
  const int run = runs_++;
  first_[run] = first;
  count_[run] = count;
  call_.lanes[run] = static_cast<uint32_t>(((uint64_t{1} << count) - 1) << first);
  call_.out[run] = LaneZero(out, first);
  call_.residual[run] = row_.residual != nullptr ? LaneZero(residual, first) : NoFloats().data();
}

const LookupFinish& TileFinish::InKernel(const int32_t* correction) {
  call_.correction = correction != nullptr ? correction : kNoCorrection;
  call_.is_plain = correction == nullptr && row_.residual == nullptr;
  call_.correction_step = correction != nullptr ? kLookupLanes : 0;
  call_.bias_step = row_.bias != nullptr ? kLookupLanes : 0;
  call_.residual_step = row_.residual != nullptr ? kLookupLanes : 0;
  return call_;
}

void TileFinish::Activate(size_t rows, size_t blocks) const {
  if (is_clamp_) return;
  for (int run = 0; run < runs_; ++run) {
    float* out = call_.out[run] + first_[run];
    for (size_t r = 0; r < rows; ++r) {
      ApplyActivation(row_.activation, out + r * call_.out_stride, count_[run] + (blocks - 1) * kLookupLanes);
    }
  }
}

void TileFinish::FromSums(const Product& product, const RowKernels& row_kernels, const Sums& sums, size_t rows) const {
  EpilogueBlock block;
  block.rows = rows;
  block.out_stride = call_.out_stride;
  block.channel_stride = by_row_ ? 1 : 0;
  for (int run = 0; run < runs_; ++run) {
    const size_t first = first_[run], of_lane = by_row_ ? 0 : first;
    block.row = row_;
    block.row.channel_step = by_row_ ? 0 : 1;
    block.row.scale += of_lane;
    if (row_.bias != nullptr) block.row.bias += of_lane;
    if (row_.residual != nullptr) block.row.residual = call_.residual[run] + first;
    FinishSums(product, row_kernels, {sums.narrow + first, sums.wide + first, sums.stride}, count_[run], block,
               call_.out[run] + first);
  }
}

void MultiplyAndFinish(const Product& product, const RowKernels& row_kernels, const uint8_t* const* lane_bytes,
                       size_t lanes, const uint8_t* const* row_panels, size_t rows, const Correction& correction,
                       TileFinish* finish, size_t tiles, Edges edges) {
  if (!FinishesInKernel(product)) {
    TileSums memory;
    Multiply(product, lane_bytes, lanes, row_panels, rows, correction, memory.sums(), edges);
    finish->FromSums(product, row_kernels, memory.sums(), rows);
    return;
  }
  LookupTile tile;
  tile.lanes = lane_bytes[0];
  tile.lane_offsets = product.lane_offsets.data();
  tile.rows = row_panels[0];
  tile.groups = product.groups;
  if (!product.row_offsets.empty()) tile.row_offsets = product.row_offsets.data();
  tile.table = product.lane_table;
  tile.first_row_zeros = edges.left ? product.left_zeros : 0;
  tile.last_row_zeros = edges.right ? product.right_zeros : 0;
  tile.row_count = rows;
  tile.lane_count = lanes > kLookupLanes / 2 ? kLookupLanes : kLookupLanes / 2;
  tile.acts_in_lanes = product.acts_in_lanes;
  tile.act_signed = product.act_signed;
  tile.finish = &finish->InKernel(correction.values);
  tile.tiles = tiles;
  product.kernel->tile(tile);
  finish->Activate(rows, tiles);
}

void Multiply(const Product& product, const uint8_t* const* lane_bytes, size_t lanes, const uint8_t* const* row_panels,
              size_t rows, const Correction& correction, const Sums& sums, Edges edges) {
  alignas(64) int32_t term[TileSums::kSize];
  LookupTile tile;
  tile.row_count = rows;
  tile.lane_count = lanes > kLookupLanes / 2 ? kLookupLanes : kLookupLanes / 2;
  tile.acts_in_lanes = product.acts_in_lanes;
  tile.act_signed = product.act_signed;
  tile.table = product.lane_table;
  tile.first_row_zeros = edges.left ? product.left_zeros : 0;
  tile.last_row_zeros = edges.right ? product.right_zeros : 0;
  tile.acc = product.wide() ? term : sums.narrow;
  tile.acc_stride = product.wide() ? kLookupLanes : sums.stride;
  const int lane_digits = product.acts_in_lanes ? product.act_digits : product.weight_digits;
  const int row_digits = product.acts_in_lanes ? product.weight_digits : product.act_digits;
  bool first = true;
  for (int ld = 0; ld < lane_digits; ++ld) {
    for (int rd = 0; rd < row_digits; ++rd) {
      for (size_t s = 0; s < product.segments; ++s, first = false) {
        const size_t begin = product.segment_begin(s);
        tile.lanes = lane_bytes[ld];
        tile.lane_offsets = product.lane_offsets.data() + begin;
        if (product.row_offsets.empty()) {
          tile.rows = row_panels[rd] + begin * 4 * rows;
        } else {
          tile.rows = row_panels[rd];
          tile.row_offsets = product.row_offsets.data() + begin;
        }
        tile.groups = product.segment_size(s);
        product.kernel->tile(tile);
        if (correction.values != nullptr) {
          const size_t digit = static_cast<size_t>(product.acts_in_lanes ? rd : ld);
          const int32_t* values = correction.values + digit * correction.digit_step + s * correction.segment_step;
          for (size_t r = 0; r < rows; ++r) {
            int32_t* acc = tile.acc + r * tile.acc_stride;
            const int32_t* of_row = values + r * correction.row_step;
            if (correction.lane_step == 0) {
              for (size_t i = 0; i < tile.lane_count; ++i) acc[i] = WrappingAdd(acc[i], *of_row);
            } else {
              AddCorrection(of_row, tile.lane_count, acc);
            }
          }
        }
        if (!product.wide()) continue;
        for (size_t r = 0; r < rows; ++r) {
          AddTerm(term + r * kLookupLanes, tile.lane_count, 7 * (ld + rd), first, sums.wide + r * sums.stride);
        }
      }
    }
  }
}

void FinishSums(const Product& product, const RowKernels& row_kernels, const Sums& sums, size_t count,
                EpilogueBlock block, float* out) {
  block.acc_stride = sums.stride;
  if (product.wide()) {
    FinishBlock(sums.wide, count, block, out);
  } else {
    FinishBlock(sums.narrow, count, block, out, row_kernels);
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

void FillPanelRow(const uint8_t* digits, size_t groups, size_t row, size_t rows, size_t row_groups, uint8_t* panel) {
  if (row_groups == 4) {
    // A copy of a constant size is a load and a store, not a call.
    panel += row * 16;
    for (size_t g = 0; g < groups; g += 4, panel += rows * 16, digits += 16) std::memcpy(panel, digits, 16);
    return;
  }
  for (size_t g = 0; g < groups; g += row_groups) {
    const size_t bytes = std::min(row_groups, (groups - g + 3) / 4 * 4) * kLookupGroup;
    std::memcpy(panel + row * bytes, digits, bytes);
    panel += rows * bytes;
    digits += bytes;
  }
}

}  // namespace tally
