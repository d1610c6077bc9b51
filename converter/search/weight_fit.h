// Codebook, channel scales and codes of one weight. A WeightFitter prepares a weight once and fits it at any number of
// bits; const use from many threads is safe. It refers to the weight's data, which must outlive it.
//
// Channel scales c_o multiply the whole codebook, so that one codebook serves channels of different range. They start
// from each channel's root mean square or its largest magnitude, whichever fits better, and are then refined by least
// squares against the codes that they lead to, in turn with the codebook. They are dropped where they gain less than 2
// %.
#ifndef TALLY_CONVERTER_SEARCH_WEIGHT_FIT_H_
#define TALLY_CONVERTER_SEARCH_WEIGHT_FIT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/codebook_search.h"
#include "format/graph.h"

namespace tally {

// Nearest codes in float64, by CodeBounds of a weight.
class WeightEncoder {
 public:
  explicit WeightEncoder(const Codebook& codebook);
  uint8_t Encode(double x) const;
  // Of code & (2^n - 1): magnitude, without sign.
  double Magnitude(double x) const { return values_[Index(x < 0 ? -x : x)]; }

 private:
  size_t Index(double magnitude) const;

  std::vector<double> bounds_;  // ends with +infinity
  std::vector<double> values_;  // of zero and of every magnitude
  double cells_per_unit_;
  std::vector<uint8_t> first_;  // per cell, a code that is not above those of the cell
  uint8_t sign_bit_;
};

struct WeightFitOptions {
  int exponent_bits = 3;
  Grid grid = Grid::kQ7;
  EncodeRule rule = EncodeRule::kNearest;
  bool dnateq = false;  // FitDnateq, without channel scales
  bool channel_scales = true;
  bool uniform = false;  // levels, for comparison
  std::optional<double> base;
};

struct WeightFit {
  Codebook codebook;
  std::vector<float> channel_scales;  // empty: none
  FitError error;                     // value by value; the squared one by importance
};

class WeightFitter {
 public:
  // `weight` holds channels rows of `per_channel` finite values. `importance`: what a squared error costs, per_channel
  // values for each of equally many channels; empty: the same everywhere.
  WeightFitter(const float* weight, int64_t channels, int64_t per_channel, std::vector<double> importance = {});

  bool is_signed() const { return is_signed_; }
  absl::StatusOr<WeightFit> Fit(const WeightFitOptions& options) const;

  // RMAE of uniform levels at equal stored bits, one range per channel when `channel_scales`.
  double UniformRmae(int stored_bits, bool channel_scales, bool clipped) const;

  // What a codebook is fitted to, given scales.
  Magnitudes Normalised(const std::vector<float>& channel_scales) const;

  const Magnitudes& magnitudes() const { return plain_; }
  // Of weight / scale, each counted once: what lies beside the codebook's levels.
  Magnitudes Relative(const std::vector<float>& channel_scales) const {
    return channel_scales.empty() ? plain_ : Normalised(Scales(channel_scales.begin(), channel_scales.end()), 0);
  }

  // Codes of the whole weight in element order.
  std::vector<uint8_t> Encode(const Codebook& codebook, const std::vector<float>& channel_scales) const;
  FitError Measure(const Codebook& codebook, const std::vector<float>& channel_scales) const;

 private:
  using Scales = std::vector<double>;  // one per channel, or empty

  // Magnitudes of weight / scale, counted scale^power times: squares of the errors to be minimised add up with power 2
  // and by importance, absolute errors with power 1.
  Magnitudes Normalised(const Scales& scales, int power) const;
  // Better scales for the codebook.
  Scales Refine(const Codebook& codebook, const Scales& scales) const;
  FitError Measure(const Codebook& codebook, const Scales& scales) const;

  // Of a channel's values; null: all 1.
  const double* Importance(size_t channel) const {
    return importance_.empty() ? nullptr : importance_.data() + channel / channels_per_group_ * per_channel_;
  }

  const float* weight_;
  const std::vector<double> importance_;
  size_t channels_, per_channel_, channels_per_group_;
  bool is_signed_ = false;
  Magnitudes whole_;  // by importance
  Magnitudes plain_;  // not so
  // Starting points, relative to the whole weight's: root mean square and largest magnitude of every channel.
  Scales rms_, largest_;
};

// Int8Form of a weight: symmetric, one max-scaled factor per channel.
Int8Form MakeInt8Form(const float* weight, int64_t channels, int64_t per_channel);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_WEIGHT_FIT_H_
