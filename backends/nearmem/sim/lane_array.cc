#include "backends/nearmem/sim/lane_array.h"

#include <algorithm>
#include <cstdlib>

namespace tally::nearmem {

LaneArray::LaneArray(LaneProgram program, int counter_bits, int activation_exponent_bits, int weight_exponent_bits,
                     std::vector<int32_t> activation_mantissas, std::vector<int32_t> weight_mantissas)
    : a_count_((size_t{1} << activation_exponent_bits) - 1),
      w_count_((size_t{1} << weight_exponent_bits) - 1),
      a_mantissas_(std::move(activation_mantissas)),
      w_mantissas_(std::move(weight_mantissas)),
      max_(static_cast<int32_t>((int64_t{1} << (counter_bits - 1)) - 1)),
      min_(-max_ - 1),
      stride_(1 + static_cast<size_t>(CountersPerLane(program, activation_exponent_bits, weight_exponent_bits))) {
  for (const int32_t m : w_mantissas_) largest_mantissa_ = std::max<int64_t>(largest_mantissa_, std::abs(m));
  const unsigned sign_bit = 1u << weight_exponent_bits;
  for (unsigned code = 0; code < 256; ++code) {
    const unsigned slot = code & (sign_bit - 1);
    slot_of_[code] = static_cast<uint8_t>(slot);
    sign_of_[code] = static_cast<int8_t>(slot == 0 ? 0 : (code & sign_bit) != 0 ? -1 : 1);
  }
}

void LaneArray::Load(const uint8_t* codes, int64_t k, int lanes) {
  lanes_ = lanes;
  const size_t width = static_cast<size_t>(lanes), rows = static_cast<size_t>(k);
  slots_.resize(rows * width);
  signs_.resize(rows * width);
  nonzero_.assign(rows, 0);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      slots_[i] = slot_of_[codes[i]];
      signs_[i] = sign_of_[codes[i]];
      nonzero_[row] += slots_[i] != 0;
    }
  }
  narrow_.assign(width * stride_, 0);
  shadow_.assign(width * stride_, 0);
  spilled_ = false;
}

void LaneArray::CountBucket(const Activation* begin, const Activation* end, LaneEvents* events) {
  const size_t width = static_cast<size_t>(lanes_);
  // So few activations overflow no counter.
  const bool cannot_spill = end - begin <= max_;
  for (const Activation* a = begin; a != end; ++a) {
    const uint8_t* slots = slots_.data() + static_cast<size_t>(a->k) * width;
    const int8_t* signs = signs_.data() + static_cast<size_t>(a->k) * width;
    events->pairs += nonzero_[static_cast<size_t>(a->k)];
    if (cannot_spill) {
      int32_t* counters = narrow_.data();
      for (size_t lane = 0; lane < width; ++lane, counters += stride_) counters[slots[lane]] += signs[lane] * a->sign;
    } else {
      for (size_t lane = 0; lane < width; ++lane) {
        if (slots[lane] != 0) Update(lane * stride_ + slots[lane], signs[lane] * a->sign, events);
      }
    }
  }
}

void LaneArray::DrainBucket(int exponent, int64_t count, int64_t* acc, LaneEvents* events) {
  if (spilled_) {
    for (size_t i = 0; i < narrow_.size(); ++i) narrow_[i] += shadow_[i];
    std::fill(shadow_.begin(), shadow_.end(), 0);
    spilled_ = false;
  }
  const int64_t mantissa = a_mantissas_[static_cast<size_t>(exponent)];
  // No partial sum is larger than a bucket whose weights are all the largest.
  const bool fits_int32 = count * largest_mantissa_ <= INT32_MAX;
  int32_t* counters = narrow_.data() + 1;
  for (int lane = 0; lane < lanes_; ++lane, counters += stride_) {
    if (fits_int32) {
      int32_t sum = 0;
      for (size_t j = 0; j < w_count_; ++j) sum += counters[j] * w_mantissas_[j];
      acc[lane] += mantissa * sum;
    } else {
      int64_t sum = 0;
      for (size_t j = 0; j < w_count_; ++j) sum += int64_t{counters[j]} * w_mantissas_[j];
      acc[lane] += mantissa * sum;
    }
  }
  std::fill(narrow_.begin(), narrow_.end(), 0);
  events->multiplies += lanes_ * static_cast<int64_t>(w_count_ + 1);
}

int LaneArray::CountBuckets(const Activation* activations, size_t count, int64_t* acc, LaneEvents* events) {
  const Activation* const end = activations + count;
  const int64_t pairs_before = events->pairs;
  int buckets = 0;
  for (const Activation* begin = activations; begin != end; ++buckets) {
    const Activation* next = begin;
    while (next != end && next->exponent == begin->exponent) ++next;
    CountBucket(begin, next, events);
    DrainBucket(begin->exponent, next - begin, acc, events);
    begin = next;
  }
  events->updates += events->pairs - pairs_before;
  return buckets;
}

void LaneArray::Clear() {
  std::fill(narrow_.begin(), narrow_.end(), 0);
  if (spilled_) std::fill(shadow_.begin(), shadow_.end(), 0);
  spilled_ = false;
}

void LaneArray::CountFolded(const Activation* activations, size_t count, LaneEvents* events) {
  const size_t width = static_cast<size_t>(lanes_);
  const size_t of_a = 1 + a_count_ + w_count_ - 1, of_w = of_a + a_count_, signs_at = of_w + w_count_;
  for (const Activation* a = activations; a != activations + count; ++a) {
    const uint8_t* slots = slots_.data() + static_cast<size_t>(a->k) * width;
    const int8_t* signs = signs_.data() + static_cast<size_t>(a->k) * width;
    const size_t i = static_cast<size_t>(a->exponent);
    events->pairs += nonzero_[static_cast<size_t>(a->k)];
    events->updates += 4 * nonzero_[static_cast<size_t>(a->k)];
    for (size_t lane = 0; lane < width; ++lane) {
      if (slots[lane] == 0) continue;
      const size_t base = lane * stride_, j = slots[lane] - size_t{1};
      const int sign = signs[lane] * a->sign;
      Update(base + 1 + i + j, sign, events);
      Update(base + of_a + i, sign, events);
      Update(base + of_w + j, sign, events);
      Update(base + signs_at, sign, events);
    }
  }
}

LaneArray::Folded LaneArray::ReadFolded(int lane) {
  const size_t base = static_cast<size_t>(lane) * stride_;
  read_.resize(stride_ - 1);
  for (size_t i = 0; i < read_.size(); ++i) read_[i] = narrow_[base + 1 + i] + shadow_[base + 1 + i];
  const int32_t* of_a = read_.data() + a_count_ + w_count_ - 1;
  return {read_.data(), of_a, of_a + a_count_, of_a[a_count_ + w_count_]};
}

}  // namespace tally::nearmem
