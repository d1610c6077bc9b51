#include "converter/search/magnitudes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tally {

void MagnitudeHistogram::Add(const float* x, size_t count, size_t stride, double factor, double weight) {
  for (size_t i = 0; i < count; i += stride) {
    const float rounded = static_cast<float>(std::fabs(static_cast<double>(x[i])) * factor);
    const double magnitude = rounded;  // so that bins stay apart
    uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof(bits));
    // Exponent and the top 8 bits of the fraction. 255: infinity or NaN.
    const uint32_t exponent = bits >> 23;
    if (bits == 0 || exponent == 255) continue;
    std::unique_ptr<Block>& block = blocks_[exponent];
    if (block == nullptr) block = std::make_unique<Block>();
    Bin& bin = (*block)[(bits >> 15) & 0xff];
    bin.weight += weight;
    bin.sum += weight * magnitude;
    bin.squares += weight * magnitude * magnitude;
  }
}

Magnitudes::Magnitudes(const std::vector<float>& values) {
  for (float x : values) {
    if (std::isfinite(x) && x != 0) values_.push_back(std::fabs(static_cast<double>(x)));
  }
  std::sort(values_.begin(), values_.end());
  std::vector<Sums> sums(1);
  size_t distinct = 0;
  for (double v : values_) {
    Sums s = sums.back();
    s.weight += 1;
    s.sum += v;
    s.squares += v * v;
    if (distinct > 0 && values_[distinct - 1] == v) {
      sums.back() = s;
    } else {
      values_[distinct++] = v;
      sums.push_back(s);
    }
  }
  values_.resize(distinct);
  prefix_ = std::move(sums);
}

Magnitudes::Magnitudes(const MagnitudeHistogram& histogram) {
  prefix_.emplace_back();
  for (const auto& block : histogram.blocks_) {
    if (block == nullptr) continue;
    for (const MagnitudeHistogram::Bin& bin : *block) {
      if (bin.weight == 0) continue;
      values_.push_back(bin.sum / bin.weight);
      Sums s = prefix_.back();
      s.weight += bin.weight;
      s.sum += bin.sum;
      s.squares += bin.squares;
      prefix_.push_back(s);
    }
  }
}

size_t Magnitudes::BinsUpTo(double t, size_t from) const {
  // Levels are asked for in increasing order and lie close together: gallop from the last answer.
  size_t low = from, step = 1;
  while (low + step <= values_.size() && values_[low + step - 1] <= t) {
    low += step;
    step *= 2;
  }
  size_t high = std::min(low + step, values_.size());
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (values_[middle] <= t) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace tally
