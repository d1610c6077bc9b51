// Codebooks of every target of a graph at every number of bits, and the choice among them. Fit once, then read from any
// thread.
#ifndef TALLY_CONVERTER_SEARCH_TENSOR_SEARCH_H_
#define TALLY_CONVERTER_SEARCH_TENSOR_SEARCH_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converter/search/bit_allocation.h"
#include "converter/search/collector.h"
#include "converter/search/targets.h"
#include "converter/search/weight_fit.h"
#include "runtime/core/thread_pool.h"

namespace tally {

struct SearchOptions {
  bool dnateq = false;
  std::optional<Grid> grid;  // unset: q7, and for activations q14 where it pays
  EncodeRule rule = EncodeRule::kNearest;
  bool channel_scales = true;
  bool shared_base = false;
  bool uniform = false;                             // levels, for comparison
  std::optional<int> weight_bits, activation_bits;  // stored; unset: all that the strategy allows
};

// The bits and grid of one target.
struct Choice {
  int exponent_bits = 0;
  Grid grid = Grid::kQ7;
  std::string reason;
};
struct Choices {
  std::vector<Choice> weights, activations;  // by target
};

struct ChosenFits {
  std::vector<WeightFit> weights;
  std::vector<CodebookFit> activations;
};

class TensorSearch {
 public:
  // Refers to its arguments, which must outlive it. `non_negative` has one entry per activation target.
  TensorSearch(const Graph& graph, const Targets& targets, const std::vector<ActivationSamples>& samples,
               std::vector<bool> non_negative, const SearchOptions& options);

  // Fits all. Errors: kUsage when the bits asked for leave a tensor no exponent; kOutOfMemory.
  absl::Status FitAll(ThreadPool* pool, const std::function<void(double done)>& progress);

  const WeightFitter& fitter(size_t weight) const { return *fitters_[weight]; }
  bool is_signed(size_t activation) const { return !non_negative_[activation]; }

  // What bits cost and bring, one item per target; of activations, on q14 where that is open, allowed, and takes a
  // tenth off the error. `elements` is per target; a network input takes no share of a budget and gets 0.
  std::vector<BitItem> WeightItems() const;
  std::vector<BitItem> ActivationItems(const std::vector<int64_t>& elements, bool allow_q14) const;

  // Sets the grids of `choices`, whose bits are set. An activation gets q14, when that is open and `allow_q14`, where
  // it takes at least a tenth off the error of the layer: its own and that of what it is multiplied with.
  void ChooseGrids(bool allow_q14, Choices* choices) const;

  // The fits of the choices; with a shared base, fitted anew: one base for all tensors that meet in a layer.
  absl::StatusOr<ChosenFits> Select(const Choices& choices) const;

  WeightFitOptions WeightOptions(int bits) const;

  const Magnitudes& magnitudes(size_t activation) const { return magnitudes_[activation]; }

  // Uniform levels at equal stored bits: RMAE max-scaled and clipped.
  FitRecord Record(size_t activation, const CodebookFit& fit) const;
  FitRecord Record(size_t weight, const WeightFit& fit) const;

 private:
  struct Bits {
    int first = kMinExponentBits, last = kMaxExponentBits;
  };
  absl::StatusOr<Bits> AllowedBits(std::optional<int> stored, bool is_signed, int tensor) const;
  Grid coarse_grid() const { return options_.grid.value_or(Grid::kQ7); }
  FitOptions ActivationOptions(size_t activation, int bits, Grid grid) const;
  absl::StatusOr<CodebookFit> FitActivation(size_t activation, const FitOptions& options) const;
  const WeightFit& weight_fit(size_t weight, int bits) const { return weight_fits_[weight][Index(bits)]; }
  const CodebookFit& activation_fit(size_t activation, int bits, Grid grid) const {
    return activation_fits_[activation][grid == Grid::kQ14 && !options_.grid ? 1 : 0][Index(bits)];
  }
  static size_t Index(int bits) { return static_cast<size_t>(bits - kMinExponentBits); }
  std::vector<std::vector<size_t>> Groups() const;
  absl::Status ShareBase(const std::vector<size_t>& group, const Choices& choices, ChosenFits* fits) const;

  const Graph& graph_;
  const Targets& targets_;
  const std::vector<ActivationSamples>& samples_;
  const std::vector<bool> non_negative_;
  const SearchOptions options_;
  std::vector<std::unique_ptr<WeightFitter>> fitters_;
  std::vector<Magnitudes> magnitudes_;  // per activation target
  std::vector<Bits> weight_bits_, activation_bits_;
  std::vector<std::vector<WeightFit>> weight_fits_;                     // [target][Index(bits)]
  std::vector<std::vector<std::vector<CodebookFit>>> activation_fits_;  // [target][0: coarse or given grid, 1: q14]
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_TENSOR_SEARCH_H_
