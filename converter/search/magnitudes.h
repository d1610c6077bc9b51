// What codebooks are fitted to: the magnitudes of a tensor, compact whatever the number of values.
// A MagnitudeHistogram collects them in bounded memory (one block of 256 bins per power of two that occurs, 6 KiB each,
// at most 256 blocks); Magnitudes is the sorted, immutable result with prefix sums, so that the error of a codebook
// costs one look-up per level. Histogram: one thread at a time. Magnitudes: safe to share between threads.
#ifndef TALLY_CONVERTER_SEARCH_MAGNITUDES_H_
#define TALLY_CONVERTER_SEARCH_MAGNITUDES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace tally {

// Bins are 2^-8 wide relative to their power of two and keep the exact sums of what fell into them. Zeros and values
// that are not finite are left out: no codebook errs on zero.
class MagnitudeHistogram {
 public:
  // Adds |x[0]|, |x[stride]|, ... of `count` values in all, each multiplied by `factor` and counted `weight` times.
  // REQUIRES: stride >= 1, factor and weight positive and finite.
  void Add(const float* x, size_t count, size_t stride = 1, double factor = 1, double weight = 1);

 private:
  friend class Magnitudes;
  static constexpr size_t kBlocks = 256;
  static constexpr size_t kBlockBins = 256;
  struct Bin {
    double weight = 0, sum = 0, squares = 0;
  };
  using Block = std::array<Bin, kBlockBins>;
  std::array<std::unique_ptr<Block>, kBlocks> blocks_;
};

class Magnitudes {
 public:
  Magnitudes() : Magnitudes(std::vector<float>()) {}
  // Every value is a bin of its own: exact, for small tensors.
  explicit Magnitudes(const std::vector<float>& values);
  explicit Magnitudes(const MagnitudeHistogram& histogram);

  // Sums over all values |x| <= t (a bin counts when its mean is).
  struct Sums {
    double weight = 0, sum = 0, squares = 0;
  };
  // Number of bins up to t.
  size_t BinsUpTo(double t) const {
    const int64_t key = KeyOf(t) - first_key_;
    if (key < 0) return 0;
    if (key >= static_cast<int64_t>(starts_.size())) return values_.size();
    size_t bins = starts_[static_cast<size_t>(key)];
    while (bins < values_.size() && values_[bins] <= t) ++bins;
    return bins;
  }
  const Sums& prefix(size_t bins) const { return prefix_[bins]; }
  const Sums& total() const { return prefix_.back(); }

  size_t bins() const { return values_.size(); }
  double min() const { return values_.empty() ? 0 : values_.front(); }  // smallest nonzero magnitude
  double max() const { return values_.empty() ? 0 : values_.back(); }
  // Of nonzero values.
  double mean() const { return values_.empty() ? 0 : total().sum / total().weight; }

 private:
  // Sign, exponent and 8 bits of the fraction of a double: monotone for t >= 0; negative for t < 0.
  static int64_t KeyOf(double t) {
    int64_t bits;
    std::memcpy(&bits, &t, sizeof(bits));
    return bits >> 44;
  }
  void IndexBins();

  std::vector<double> values_;  // means of the bins, strictly increasing
  std::vector<Sums> prefix_;    // bins() + 1 entries
  // Bins below each key from that of the smallest value on: few comparisons are left.
  int64_t first_key_ = 0;
  std::vector<uint32_t> starts_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_MAGNITUDES_H_
