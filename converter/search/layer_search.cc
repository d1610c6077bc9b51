#include "converter/search/layer_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "converter/search/codebook_refit.h"
#include "converter/search/parallel.h"
#include "format/error.h"

namespace tally {
namespace {

constexpr double kDampings[] = {0.003, 0.01, 0.03, 0.1, 0.3, 1};
constexpr double kRidges[] = {3, 1, 0.3, 0.1};
// A re-fit is kept when it takes this share off the error on the samples that were held back.
constexpr double kWorthwhile = 0.02;

// Variances of the inputs, group by group: what an error of a weight costs.
std::vector<double> Importance(const std::vector<Moments>& moments) {
  std::vector<double> importance;
  double sum = 0;
  for (const Moments& m : moments) {
    for (Eigen::Index k = 0; k < m.qq.rows(); ++k) {
      importance.push_back(std::max(0.0, m.qq(k, k)));
      sum += importance.back();
    }
  }
  if (!(sum > 0) || !std::isfinite(sum)) return {};
  // An input that never varied may vary yet.
  const double floor = 1e-3 * sum / static_cast<double>(importance.size());
  for (double& i : importance) i = std::max(i, floor);
  return importance;
}

}  // namespace

template <typename Body>
void LayerSearch::ForGroups(const Body& body) const {
  // Many small groups run side by side, a single one uses all threads itself.
  if (all_.size() == 1) return body(0, pool_);
  ParallelFor(pool_, all_.size(), 1, [&](size_t begin, size_t end) {
    for (size_t g = begin; g < end; ++g) body(g, nullptr);
  });
}

LayerSearch::LayerSearch(const float* weight, int64_t channels, int64_t per_channel, const LayerStatistics& statistics,
                         bool centered, ThreadPool* pool)
    : channels_(channels),
      per_channel_(per_channel),
      pool_(pool),
      all_(statistics.All(centered)),
      held_(statistics.HeldBack(centered)),
      kept_(held_.empty() ? std::vector<Moments>() : statistics.Kept(centered)),
      fitter_(weight, channels, per_channel, Importance(all_)) {
  const Eigen::Index rows = channels / static_cast<int64_t>(all_.size());
  for (size_t g = 0; g < all_.size(); ++g) {
    const float* begin = weight + static_cast<int64_t>(g) * rows * per_channel;
    weights_.push_back(Eigen::Map<const RowMatrixF>(begin, rows, per_channel).cast<double>());
  }
}

LayerSearch::Orders LayerSearch::MakeOrders(const std::vector<Moments>& moments, double damping) const {
  std::vector<std::unique_ptr<RoundingOrder>> made(moments.size());
  ForGroups(
      [&](size_t g, ThreadPool* pool) { made[g] = std::make_unique<RoundingOrder>(moments[g].qq, damping, pool); });
  Orders orders;
  for (auto& order : made) orders.push_back(std::move(*order));
  return orders;
}

LayerSearch::Rounding LayerSearch::Round(const std::vector<RowMatrix>& weights, const Orders& orders,
                                         const Codebook& codebook, const std::vector<float>& scales) const {
  const WeightEncoder encoder(codebook);
  const std::vector<double> values = codebook.Values();
  const std::vector<double> factors(scales.begin(), scales.end());
  Rounding rounding;
  rounding.codes.resize(static_cast<size_t>(channels_ * per_channel_));
  rounding.values.resize(weights.size());
  ForGroups([&](size_t g, ThreadPool* pool) {
    const int64_t first = static_cast<int64_t>(g) * weights[g].rows();
    orders[g].Round(weights[g], encoder, values, factors.empty() ? nullptr : factors.data() + first, pool,
                    rounding.codes.data() + first * per_channel_, &rounding.values[g]);
  });
  return rounding;
}

std::vector<RowMatrix> LayerSearch::Refit(const std::vector<Moments>& moments, double ridge) const {
  std::vector<RowMatrix> weights(weights_.size());
  ForGroups([&](size_t g, ThreadPool* pool) { weights[g] = RefitWeights(weights_[g], moments[g], ridge, pool); });
  return weights;
}

double LayerSearch::HeldBackError(const Rounding& rounding) const {
  double error = 0;
  for (size_t g = 0; g < held_.size(); ++g) {
    error += OutputErrorFromReference(weights_[g], rounding.values[g], held_[g]);
    // So that shares of it mean something: the constant, short of what the float inputs' own covariance would add.
    error += (weights_[g] * held_[g].qq).cwiseProduct(weights_[g]).sum();
  }
  return error;
}

double LayerSearch::Error(const Rounding& rounding) const {
  double error = 0;
  for (size_t g = 0; g < all_.size(); ++g) error += OutputError(targets_[g], rounding.values[g], all_[g].qq);
  return error;
}

// The best scale of every channel for its codes.
std::vector<float> LayerSearch::RefineScales(const Rounding& rounding, const std::vector<float>& scales) const {
  std::vector<float> refined = scales;
  for (size_t g = 0; g < all_.size(); ++g) {
    const RowMatrix& r = rounding.values[g];
    const RowMatrix product = r * all_[g].qq;
    for (Eigen::Index row = 0; row < r.rows(); ++row) {
      const double rr = product.row(row).dot(r.row(row)), wr = product.row(row).dot(targets_[g].row(row));
      const double factor = rr > 0 ? wr / rr : 1;
      // Far from 1 it is noise, or a row of nothing but zeros.
      float& scale = refined[g * static_cast<size_t>(r.rows()) + static_cast<size_t>(row)];
      if (factor > 0.5 && factor < 2) scale = static_cast<float>(scale * factor);
    }
  }
  return refined;
}

// Damping and re-fits, by the samples that were held back.
void LayerSearch::Choose(const WeightFit& fit, bool may_refit_codebook) {
  // Activations that are not finite leave nothing to decide by.
  const bool decides =
      std::all_of(held_.begin(), held_.end(), [](const Moments& m) { return m.qq.allFinite() && m.xq.allFinite(); });
  if (!held_.empty() && decides) {
    double best = std::numeric_limits<double>::infinity();
    Orders orders;
    for (double damping : kDampings) {
      Orders candidate = MakeOrders(kept_, damping);
      const double error = HeldBackError(Round(weights_, candidate, fit.codebook, fit.channel_scales));
      if (error < best) best = error, damping_ = damping, orders = std::move(candidate);
    }
    const double plain = best;
    for (double ridge : kRidges) {
      const double error = HeldBackError(Round(Refit(kept_, ridge), orders, fit.codebook, fit.channel_scales));
      if (error < best) best = error, ridge_ = ridge;
    }
    if (best > plain - kWorthwhile * std::fabs(plain)) ridge_ = 0;
    if (may_refit_codebook) {
      const std::vector<RowMatrix> targets = ridge_ > 0 ? Refit(kept_, ridge_) : weights_;
      const Rounding rounding = Round(targets, orders, fit.codebook, fit.channel_scales);
      const std::optional<Codebook> refit =
          RefitCodebook(fit.codebook, rounding.codes, fit.channel_scales, targets, kept_, pool_);
      const double before = HeldBackError(rounding);
      refits_codebook_ = refit && HeldBackError(Round(targets, orders, *refit, fit.channel_scales)) <
                                      before - kWorthwhile * std::fabs(before);
    }
  }
  targets_ = ridge_ > 0 ? Refit(all_, ridge_) : weights_;
  orders_ = MakeOrders(all_, damping_);
}

absl::StatusOr<QuantizedWeight> LayerSearch::Quantize(const WeightFitOptions& options) {
  QuantizedWeight result;
  TALLY_ASSIGN_OR_RETURN(result.fit, fitter_.Fit(options));
  // Uniform levels are to stay uniform.
  Choose(result.fit, !options.uniform);
  Rounding rounding = Round(targets_, orders_, result.fit.codebook, result.fit.channel_scales);
  bool refined = false;
  if (!result.fit.channel_scales.empty()) {
    const std::vector<float> scales = RefineScales(rounding, result.fit.channel_scales);
    Rounding again = Round(targets_, orders_, result.fit.codebook, scales);
    if (Error(again) < Error(rounding)) {
      rounding = std::move(again), result.fit.channel_scales = scales;
      refined = true;
    }
  }
  bool refitted = false;
  if (refits_codebook_) {
    const std::optional<Codebook> refit =
        RefitCodebook(result.fit.codebook, rounding.codes, result.fit.channel_scales, targets_, all_, pool_);
    if (refit) {
      Rounding again = Round(targets_, orders_, *refit, result.fit.channel_scales);
      if (Error(again) < Error(rounding)) {
        rounding = std::move(again), result.fit.codebook = *refit;
        refitted = true;
      }
    }
  }
  result.codes = std::move(rounding.codes);
  result.fit.error = fitter_.Measure(result.fit.codebook, result.fit.channel_scales);
  result.notes = absl::StrCat("compensated, damping ", damping_, ridge_ > 0 ? absl::StrCat(", re-fit ", ridge_) : "",
                              refined ? ", scales refined" : "", refitted ? ", codebook re-fitted" : "");
  return result;
}

absl::StatusOr<double> LayerSearch::ErrorAt(const WeightFitOptions& options, int exponent_bits) const {
  WeightFitOptions other = options;
  other.exponent_bits = exponent_bits;
  TALLY_ASSIGN_OR_RETURN(const WeightFit fit, fitter_.Fit(other));
  double signal = 0;
  for (size_t g = 0; g < all_.size(); ++g) {
    signal += (targets_[g] * all_[g].qq).cwiseProduct(targets_[g]).sum();
  }
  const double error = Error(Round(targets_, orders_, fit.codebook, fit.channel_scales));
  return signal > 0 ? std::max(0.0, error / signal) : std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> LayerSearch::MeanErrors(const QuantizedWeight& quantized) const {
  const std::vector<double> values = quantized.fit.codebook.Values();
  std::vector<double> errors;
  for (size_t g = 0; g < all_.size(); ++g) {
    const Eigen::VectorXd reference = weights_[g] * all_[g].mean_x;
    for (Eigen::Index row = 0; row < weights_[g].rows(); ++row) {
      const size_t channel = errors.size();
      const std::vector<float>& scales = quantized.fit.channel_scales;
      double sum = 0;
      for (int64_t k = 0; k < per_channel_; ++k) {
        sum += values[quantized.codes[channel * static_cast<size_t>(per_channel_) + static_cast<size_t>(k)]] *
               all_[g].mean_q[k];
      }
      errors.push_back(reference[row] - sum * (scales.empty() ? 1.0 : static_cast<double>(scales[channel])));
    }
  }
  return errors;
}

}  // namespace tally
