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
  IndexBins();
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
  IndexBins();
}

void Magnitudes::IndexBins() {
  if (values_.empty()) return;
  first_key_ = KeyOf(values_.front());
  const size_t keys = static_cast<size_t>(KeyOf(values_.back()) - first_key_) + 1;
  starts_.resize(keys);
  size_t bin = 0;
  for (size_t key = 0; key < keys; ++key) {
    while (KeyOf(values_[bin]) - first_key_ < static_cast<int64_t>(key)) ++bin;
    starts_[key] = static_cast<uint32_t>(bin);
  }
}

}  // namespace tally
