// Chooses codebook, channel scales and codes of one layer's weight by what they do to the layer's output.
//
// Everything that could fit noise of the calibration samples is decided on samples that were held back: how strongly
// the covariance is damped, whether weights are first re-fitted to the quantized inputs, and whether the codebook is
// fitted anew to the codes.
#ifndef TALLY_CONVERTER_SEARCH_LAYER_SEARCH_H_
#define TALLY_CONVERTER_SEARCH_LAYER_SEARCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/compensated.h"
#include "converter/search/layer_statistics.h"
#include "converter/search/quantized_weight.h"
#include "converter/search/weight_fit.h"

namespace tally {

class LayerSearch {
 public:
  // `weight`: channels rows of per_channel values, which must outlive the search. `centered`: a bias makes up for mean
  // errors.
  LayerSearch(const float* weight, int64_t channels, int64_t per_channel, const LayerStatistics& statistics,
              bool centered, ThreadPool* pool);

  // Without a bias. Called once. Errors: those of WeightFitter::Fit.
  absl::StatusOr<QuantizedWeight> Quantize(const WeightFitOptions& options);
  // After Quantize: the squared error of the layer's output, relative to it, with as many exponent bits instead. Not
  // finite where activations were not, or were nothing but zeros.
  absl::StatusOr<double> ErrorAt(const WeightFitOptions& options, int exponent_bits) const;

  // Mean over the samples of what the float layer gives and the quantized one does not, per channel.
  std::vector<double> MeanErrors(const QuantizedWeight& quantized) const;

 private:
  struct Rounding {
    std::vector<uint8_t> codes;
    std::vector<RowMatrix> values;  // per group
  };
  using Orders = std::vector<RoundingOrder>;  // per group
  Orders MakeOrders(const std::vector<Moments>& moments, double damping) const;
  Rounding Round(const std::vector<RowMatrix>& weights, const Orders& orders, const Codebook& codebook,
                 const std::vector<float>& scales) const;
  std::vector<RowMatrix> Refit(const std::vector<Moments>& moments, double ridge) const;
  double HeldBackError(const Rounding& rounding) const;
  double Error(const Rounding& rounding) const;
  std::vector<float> RefineScales(const Rounding& rounding, const std::vector<float>& scales) const;
  void Choose(const WeightFit& fit, bool may_refit_codebook);
  template <typename Body>
  void ForGroups(const Body& body) const;

  const int64_t channels_, per_channel_;
  ThreadPool* const pool_;
  const std::vector<Moments> all_, held_, kept_;  // kept: empty when nothing is held back
  const WeightFitter fitter_;
  std::vector<RowMatrix> weights_;     // per group
  double damping_ = 0.03, ridge_ = 0;  // 0: no re-fit
  bool refits_codebook_ = false;
  std::vector<RowMatrix> targets_;  // what is rounded
  Orders orders_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_LAYER_SEARCH_H_
