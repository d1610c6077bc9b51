#include "converter/search/weight_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "format/error.h"

namespace tally {
namespace {

// Channels whose values lie this far below the others' gain nothing from a scale of their own, and the product of all
// scales must stay a normal float32.
constexpr double kMinRelativeScale = 1e-6;

// A weight up to this size is searched value by value.
constexpr size_t kExactElements = 4096;

void Relate(std::vector<double>* scales, double whole) {
  for (double& s : *scales) s = s > 0 && whole > 0 ? std::max(s / whole, kMinRelativeScale) : 1;
}

}  // namespace

WeightEncoder::WeightEncoder(const Codebook& codebook)
    : bounds_(CodeBounds(codebook, true)), sign_bit_(codebook.sign_bit()) {
  const std::vector<double> values = codebook.Values();
  values_.assign(values.begin(), values.begin() + codebook.magnitudes() + 1);
  constexpr size_t kCells = 2048;
  double top = 0;
  for (double b : bounds_) {
    if (std::isfinite(b)) top = b;
  }
  bounds_.push_back(std::numeric_limits<double>::infinity());
  cells_per_unit_ = static_cast<double>(kCells) / top;
  first_.resize(kCells + 1);
  size_t code = 0;
  for (size_t cell = 0; cell <= kCells; ++cell) {
    // A little below the cell's edge, since the products that lead to a cell are rounded.
    const double edge = top * (static_cast<double>(cell) / kCells) * (1 - 1e-9);
    while (edge > bounds_[code]) ++code;
    first_[cell] = static_cast<uint8_t>(code);
  }
}

size_t WeightEncoder::Index(double magnitude) const {
  const double cell = magnitude * cells_per_unit_;
  size_t code = first_[cell < static_cast<double>(first_.size() - 1) ? static_cast<size_t>(cell) : first_.size() - 1];
  while (magnitude > bounds_[code]) ++code;
  return code;
}

uint8_t WeightEncoder::Encode(double x) const {
  if (x < 0 && sign_bit_ == 0) return 0;
  const size_t code = Index(std::fabs(x));
  return static_cast<uint8_t>(x < 0 && code != 0 ? code | sign_bit_ : code);
}

WeightFitter::WeightFitter(const float* weight, int64_t channels, int64_t per_channel, std::vector<double> importance)
    : weight_(weight),
      importance_(std::move(importance)),
      channels_(static_cast<size_t>(channels)),
      per_channel_(static_cast<size_t>(per_channel)),
      channels_per_group_(importance_.empty() ? channels_ : channels_ * per_channel_ / importance_.size()) {
  double squares = 0, largest = 0;
  for (size_t o = 0; o < channels_; ++o) {
    double row_squares = 0, row_largest = 0;
    for (size_t k = 0; k < per_channel_; ++k) {
      const double x = weight_[o * per_channel_ + k];
      is_signed_ |= x < 0;
      row_squares += x * x;
      row_largest = std::max(row_largest, std::fabs(x));
    }
    rms_.push_back(std::sqrt(row_squares / static_cast<double>(std::max<size_t>(1, per_channel_))));
    largest_.push_back(row_largest);
    squares += row_squares;
    largest = std::max(largest, row_largest);
  }
  const double count = static_cast<double>(std::max<size_t>(1, channels_ * per_channel_));
  Relate(&rms_, std::sqrt(squares / count));
  Relate(&largest_, largest);
  whole_ = Normalised({}, 2);
  plain_ = importance_.empty() ? whole_ : Normalised({}, 1);
}

Magnitudes WeightFitter::Normalised(const Scales& scales, int power) const {
  const size_t count = channels_ * per_channel_;
  const bool even = importance_.empty() || power != 2;
  if (scales.empty() && even && count <= kExactElements) {
    return Magnitudes(std::vector<float>(weight_, weight_ + count));
  }
  MagnitudeHistogram histogram;
  for (size_t o = 0; o < channels_; ++o) {
    const float* row = weight_ + o * per_channel_;
    const double scale = scales.empty() ? 1 : scales[o], weight = std::pow(scale, power);
    if (even) {
      histogram.Add(row, per_channel_, 1, 1 / scale, weight);
      continue;
    }
    const double* importance = Importance(o);
    for (size_t k = 0; k < per_channel_; ++k) histogram.Add(row + k, 1, 1, 1 / scale, weight * importance[k]);
  }
  return Magnitudes(histogram);
}

Magnitudes WeightFitter::Normalised(const std::vector<float>& channel_scales) const {
  return Normalised(Scales(channel_scales.begin(), channel_scales.end()), 2);
}

WeightFitter::Scales WeightFitter::Refine(const Codebook& codebook, const Scales& scales) const {
  const WeightEncoder encoder(codebook);
  Scales refined = scales;
  for (size_t o = 0; o < channels_; ++o) {
    const float* row = weight_ + o * per_channel_;
    const double* importance = Importance(o);
    double best_gain = 0;
    for (double factor : {1.0, 0.85, 0.93, 1.08, 1.18}) {
      const double inverse = 1 / (scales[o] * factor);
      // With the codes of this scale fixed, the best scale is xy / yy, and the squared error falls by xy^2 / yy.
      double xy = 0, yy = 0;
      for (size_t k = 0; k < per_channel_; ++k) {
        const double x = std::fabs(static_cast<double>(row[k])), y = encoder.Magnitude(x * inverse);
        const double yi = importance == nullptr ? y : y * importance[k];
        xy += x * yi;
        yy += y * yi;
      }
      const double gain = yy > 0 ? xy * xy / yy : 0;
      if (gain > best_gain * (1 + 1e-9)) best_gain = gain, refined[o] = xy / yy;
    }
    refined[o] = std::clamp(refined[o], kMinRelativeScale, 1 / kMinRelativeScale);
  }
  return refined;
}

FitError WeightFitter::Measure(const Codebook& codebook, const Scales& scales) const {
  const WeightEncoder encoder(codebook);
  double squares = 0, absolutes = 0, signal2 = 0, signal1 = 0;
  for (size_t o = 0; o < channels_; ++o) {
    const double scale = scales.empty() ? 1 : scales[o];
    const double* importance = Importance(o);
    for (size_t k = 0; k < per_channel_; ++k) {
      const double x = std::fabs(static_cast<double>(weight_[o * per_channel_ + k]));
      const double error = std::fabs(x - scale * encoder.Magnitude(x / scale));
      const double cost = importance == nullptr ? 1 : importance[k];
      squares += cost * error * error;
      absolutes += error;
      signal2 += cost * x * x;
      signal1 += x;
    }
  }
  FitError result;
  if (signal2 > 0) result.relative_mse = squares / signal2;
  if (signal1 > 0) result.rmae = absolutes / signal1;
  return result;
}

FitError WeightFitter::Measure(const Codebook& codebook, const std::vector<float>& channel_scales) const {
  return Measure(codebook, Scales(channel_scales.begin(), channel_scales.end()));
}

absl::StatusOr<WeightFit> WeightFitter::Fit(const WeightFitOptions& options) const {
  FitOptions fit_options;
  fit_options.exponent_bits = options.exponent_bits;
  fit_options.is_signed = is_signed_;
  fit_options.grid = options.grid;
  fit_options.rule = options.rule;
  fit_options.is_weight = true;
  fit_options.base = options.base;
  fit_options.uniform = options.uniform;
  WeightFit best;
  {
    TALLY_ASSIGN_OR_RETURN(CodebookFit whole,
                           options.dnateq ? FitDnateq(whole_, fit_options) : FitJoint(whole_, fit_options));
    best.codebook = std::move(whole.codebook);
    best.error = Measure(best.codebook, Scales());
  }
  if (options.dnateq || !options.channel_scales || channels_ < 2) return best;

  Scales scales;
  CodebookFit fit;
  fit.error.relative_mse = std::numeric_limits<double>::infinity();
  for (const Scales* start : {&rms_, &largest_}) {
    TALLY_ASSIGN_OR_RETURN(CodebookFit other, FitJoint(Normalised(*start, 2), fit_options));
    if (other.error.relative_mse < fit.error.relative_mse) fit = std::move(other), scales = *start;
  }
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round) {
    scales = Refine(fit.codebook, scales);
    if (round + 1 == kRounds) break;
    TALLY_ASSIGN_OR_RETURN(fit, FitJoint(Normalised(scales, 2), fit_options));
  }
  WeightFit scaled;
  scaled.codebook = std::move(fit.codebook);
  for (double s : scales) scaled.channel_scales.push_back(static_cast<float>(s));
  scaled.error = Measure(scaled.codebook, scaled.channel_scales);
  if (scaled.error.relative_mse < 0.98 * best.error.relative_mse) return scaled;
  return best;
}

double WeightFitter::UniformRmae(int stored_bits, bool channel_scales, bool clipped) const {
  const int levels = UniformLevels(stored_bits, is_signed_);
  if (!channel_scales || channels_ < 2) {
    return clipped ? FitUniformClipped(plain_, levels).error.rmae : FitUniformMax(plain_, levels).error.rmae;
  }
  if (!clipped) return FitUniformMax(Normalised(largest_, 1), levels).error.rmae;
  // The better of the two normalisations that the codebook may choose from.
  double rmae = 0, best = std::numeric_limits<double>::infinity();
  for (const Scales* scales : {&rms_, &largest_}) {
    const UniformFit fit = FitUniformClipped(Normalised(*scales, 2), levels);
    if (fit.error.relative_mse >= best) continue;
    best = fit.error.relative_mse;
    rmae = MeasureUniform(Normalised(*scales, 1), levels, fit.clip).rmae;
  }
  return rmae;
}

std::vector<uint8_t> WeightFitter::Encode(const Codebook& codebook, const std::vector<float>& channel_scales) const {
  const WeightEncoder encoder(codebook);
  std::vector<uint8_t> codes(channels_ * per_channel_);
  for (size_t o = 0; o < channels_; ++o) {
    const double scale = channel_scales.empty() ? 1 : static_cast<double>(channel_scales[o]);
    for (size_t k = 0; k < per_channel_; ++k) {
      codes[o * per_channel_ + k] = encoder.Encode(weight_[o * per_channel_ + k] / scale);
    }
  }
  return codes;
}

Int8Form MakeInt8Form(const float* weight, int64_t channels, int64_t per_channel) {
  Int8Form form;
  uint8_t* bytes = nullptr;
  form.values = Blob::Allocate(static_cast<size_t>(channels * per_channel), &bytes);
  for (int64_t o = 0; o < channels; ++o) {
    const float* row = weight + o * per_channel;
    float largest = 0;
    for (int64_t k = 0; k < per_channel; ++k) largest = std::max(largest, std::fabs(row[k]));
    // A scale must be a normal number; a channel of (nearly) nothing becomes zeros.
    const float scale = std::max(largest / 127, std::numeric_limits<float>::min());
    form.scales.push_back(largest > 0 ? scale : 1);
    for (int64_t k = 0; k < per_channel; ++k) {
      const float q = std::nearbyint(row[k] / form.scales.back());
      bytes[o * per_channel + k] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(q, -127.0f, 127.0f)));
    }
  }
  return form;
}

}  // namespace tally
