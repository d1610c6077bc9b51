#include "converter/search/tensor_search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <new>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "format/error.h"

namespace tally {
namespace {

// The finer grid costs time: it must take this share off an error.
constexpr double kWorthQ14 = 0.1;
constexpr size_t kWidths = kMaxExponentBits - kMinExponentBits + 1;

}  // namespace

TensorSearch::TensorSearch(const Graph& graph, const Targets& targets, const std::vector<ActivationSamples>& samples,
                           std::vector<bool> non_negative, const SearchOptions& options)
    : graph_(graph),
      targets_(targets),
      samples_(samples),
      non_negative_(std::move(non_negative)),
      options_(options),
      fitters_(targets.weights.size()),
      magnitudes_(targets.activations.size()),
      weight_fits_(targets.weights.size(), std::vector<WeightFit>(kWidths)),
      activation_fits_(targets.activations.size(),
                       std::vector<std::vector<CodebookFit>>(2, std::vector<CodebookFit>(kWidths))) {}

absl::StatusOr<TensorSearch::Bits> TensorSearch::AllowedBits(std::optional<int> stored, bool is_signed,
                                                             int tensor) const {
  Bits bits;
  // The paper's range of exponents; fewer only when asked for.
  if (!stored) {
    if (options_.dnateq) bits.first = 3;
    return bits;
  }
  bits.first = bits.last = std::min(*stored - (is_signed ? 1 : 0), kMaxExponentBits);
  if (bits.first >= kMinExponentBits) return bits;
  return MakeError(
      ErrorId::kUsage,
      absl::StrCat(*stored, " stored bits leave tensor ", Quoted(graph_.tensors[static_cast<size_t>(tensor)].name),
                   ", which is signed, ", bits.first, " exponent bits; the least is ", kMinExponentBits));
}

WeightFitOptions TensorSearch::WeightOptions(int bits) const {
  WeightFitOptions options;
  options.exponent_bits = bits;
  options.grid = coarse_grid();
  options.rule = options_.rule;
  options.dnateq = options_.dnateq;
  options.channel_scales = options_.channel_scales;
  options.uniform = options_.uniform;
  return options;
}

FitOptions TensorSearch::ActivationOptions(size_t activation, int bits, Grid grid) const {
  FitOptions options;
  options.exponent_bits = bits;
  options.is_signed = is_signed(activation);
  options.grid = grid;
  options.rule = options_.rule;
  options.uniform = options_.uniform;
  return options;
}

absl::StatusOr<CodebookFit> TensorSearch::FitActivation(size_t activation, const FitOptions& options) const {
  return options_.dnateq ? FitDnateq(magnitudes_[activation], options) : FitJoint(magnitudes_[activation], options);
}

absl::Status TensorSearch::FitAll(ThreadPool* pool, const std::function<void(double done)>& progress) {
  const size_t weights = targets_.weights.size(), activations = targets_.activations.size();
  absl::Status failure;
  std::mutex mutex;
  std::atomic<size_t> done{0};
  // Runs body(i) for all i on the pool; the first failure is kept.
  const auto for_each = [&](size_t count, const std::function<absl::Status(size_t)>& body) {
    pool->ParallelFor(count, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        absl::Status status;
        try {
          status = body(i);
        } catch (const std::bad_alloc&) {
          status = MakeError(ErrorId::kOutOfMemory, "out of memory while fitting codebooks");
        }
        ++done;
        if (!status.ok()) {
          const std::lock_guard<std::mutex> lock(mutex);
          failure.Update(status);
        }
      }
    });
  };
  for_each(weights, [&](size_t i) {
    const WeightTarget& target = targets_.weights[i];
    const float* data = graph_.tensors[static_cast<size_t>(target.tensor)].data.as<float>();
    fitters_[i] = std::make_unique<WeightFitter>(data, target.channels, target.per_channel);
    return absl::OkStatus();
  });
  for_each(activations, [&](size_t i) {
    magnitudes_[i] = Magnitudes(samples_[i].histogram);
    return absl::OkStatus();
  });
  TALLY_RETURN_IF_ERROR(failure);
  for (size_t i = 0; i < weights; ++i) {
    TALLY_ASSIGN_OR_RETURN(Bits bits,
                           AllowedBits(options_.weight_bits, fitters_[i]->is_signed(), targets_.weights[i].tensor));
    weight_bits_.push_back(bits);
  }
  for (size_t i = 0; i < activations; ++i) {
    TALLY_ASSIGN_OR_RETURN(Bits bits,
                           AllowedBits(options_.activation_bits, is_signed(i), targets_.activations[i].tensor));
    activation_bits_.push_back(bits);
  }
  done = 0;
  const size_t all = (weights + activations) * kWidths;
  for (size_t width = 0; width < kWidths; ++width) {
    const int bits = kMinExponentBits + static_cast<int>(width);
    for_each(weights, [&](size_t i) -> absl::Status {
      if (bits < weight_bits_[i].first || bits > weight_bits_[i].last) return absl::OkStatus();
      TALLY_ASSIGN_OR_RETURN(weight_fits_[i][width], fitters_[i]->Fit(WeightOptions(bits)));
      return absl::OkStatus();
    });
    for_each(activations, [&](size_t i) -> absl::Status {
      if (bits < activation_bits_[i].first || bits > activation_bits_[i].last) return absl::OkStatus();
      TALLY_ASSIGN_OR_RETURN(activation_fits_[i][0][width],
                             FitActivation(i, ActivationOptions(i, bits, coarse_grid())));
      if (options_.grid) return absl::OkStatus();
      TALLY_ASSIGN_OR_RETURN(activation_fits_[i][1][width], FitActivation(i, ActivationOptions(i, bits, Grid::kQ14)));
      return absl::OkStatus();
    });
    TALLY_RETURN_IF_ERROR(failure);
    if (progress) progress(static_cast<double>(done) / static_cast<double>(std::max<size_t>(1, all)));
  }
  return absl::OkStatus();
}

std::vector<BitItem> TensorSearch::WeightItems() const {
  std::vector<BitItem> items;
  for (size_t i = 0; i < targets_.weights.size(); ++i) {
    BitItem item;
    item.elements = static_cast<double>(targets_.weights[i].channels * targets_.weights[i].per_channel);
    for (int bits = weight_bits_[i].first; bits <= weight_bits_[i].last; ++bits) {
      const WeightFit& fit = weight_fit(i, bits);
      item.options.push_back({bits, fit.codebook.stored_bits(), fit.error.relative_mse, fit.error.rmae});
    }
    items.push_back(std::move(item));
  }
  return items;
}

std::vector<BitItem> TensorSearch::ActivationItems(const std::vector<int64_t>& elements, bool allow_q14) const {
  std::vector<BitItem> items;
  for (size_t i = 0; i < targets_.activations.size(); ++i) {
    BitItem item;
    item.elements = static_cast<double>(elements[i]);
    for (int bits = activation_bits_[i].first; bits <= activation_bits_[i].last; ++bits) {
      const CodebookFit& coarse = activation_fit(i, bits, coarse_grid());
      const CodebookFit& fine = options_.grid || !allow_q14 ? coarse : activation_fit(i, bits, Grid::kQ14);
      const bool pays = fine.error.relative_mse < (1 - kWorthQ14) * coarse.error.relative_mse;
      const CodebookFit& fit = pays ? fine : coarse;
      item.options.push_back({bits, fit.codebook.stored_bits(), fit.error.relative_mse, fit.error.rmae});
    }
    items.push_back(std::move(item));
  }
  return items;
}

void TensorSearch::ChooseGrids(bool allow_q14, Choices* choices) const {
  for (Choice& choice : choices->weights) choice.grid = coarse_grid();
  for (size_t i = 0; i < choices->activations.size(); ++i) {
    Choice& choice = choices->activations[i];
    choice.grid = coarse_grid();
    choice.reason.clear();
    if (options_.grid || !allow_q14) continue;
    // The error of a dot product is about the sum of its operands' relative errors; the most exact partner decides.
    double partner = std::numeric_limits<double>::infinity();
    for (int w : targets_.activations[i].weights) {
      const size_t index = static_cast<size_t>(w);
      partner = std::min(partner, weight_fit(index, choices->weights[index].exponent_bits).error.relative_mse);
    }
    for (int p : targets_.activations[i].partners) {
      const size_t index = static_cast<size_t>(p);
      const int bits = choices->activations[index].exponent_bits;
      partner = std::min(partner, activation_fit(index, bits, Grid::kQ7).error.relative_mse);
    }
    const double q7 = activation_fit(i, choice.exponent_bits, Grid::kQ7).error.relative_mse;
    const double q14 = activation_fit(i, choice.exponent_bits, Grid::kQ14).error.relative_mse;
    if (q7 - q14 < kWorthQ14 * (q7 + partner)) continue;
    choice.grid = Grid::kQ14;
    choice.reason = absl::StrFormat("q14 takes %.0f %% off the squared error on q7, %.0f %% off the layer's",
                                    100 * (q7 - q14) / q7, 100 * (q7 - q14) / (q7 + partner));
  }
}

absl::StatusOr<ChosenFits> TensorSearch::Select(const Choices& choices) const {
  ChosenFits fits;
  for (size_t i = 0; i < choices.weights.size(); ++i) {
    fits.weights.push_back(weight_fit(i, choices.weights[i].exponent_bits));
  }
  for (size_t i = 0; i < choices.activations.size(); ++i) {
    fits.activations.push_back(activation_fit(i, choices.activations[i].exponent_bits, choices.activations[i].grid));
  }
  if (options_.shared_base) {
    for (const std::vector<size_t>& group : Groups()) TALLY_RETURN_IF_ERROR(ShareBase(group, choices, &fits));
  }
  return fits;
}

// Targets connected by layers, as indices: activations first, then weights.
std::vector<std::vector<size_t>> TensorSearch::Groups() const {
  const size_t activations = targets_.activations.size();
  std::vector<size_t> root(activations + targets_.weights.size());
  std::iota(root.begin(), root.end(), size_t{0});
  const auto find = [&](size_t i) {
    while (root[i] != i) i = root[i] = root[root[i]];
    return i;
  };
  for (size_t a = 0; a < activations; ++a) {
    for (int w : targets_.activations[a].weights) root[find(activations + static_cast<size_t>(w))] = find(a);
    for (int p : targets_.activations[a].partners) root[find(static_cast<size_t>(p))] = find(a);
  }
  std::vector<std::vector<size_t>> by_root(root.size()), groups;
  for (size_t i = 0; i < root.size(); ++i) by_root[find(i)].push_back(i);
  for (std::vector<size_t>& group : by_root) {
    if (!group.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

absl::Status TensorSearch::ShareBase(const std::vector<size_t>& group, const Choices& choices, ChosenFits* fits) const {
  const size_t activations = targets_.activations.size();
  // Weights take part as their own fits normalised them; their scales are refined again once the base is found.
  std::vector<Magnitudes> weights;
  int fewest = kMaxExponentBits, most = kMinExponentBits;
  for (size_t member : group) {
    const bool is_weight = member >= activations;
    const int bits =
        is_weight ? choices.weights[member - activations].exponent_bits : choices.activations[member].exponent_bits;
    fewest = std::min(fewest, bits);
    most = std::max(most, bits);
    weights.push_back(
        is_weight ? fitters_[member - activations]->Normalised(fits->weights[member - activations].channel_scales)
                  : Magnitudes());
  }
  const auto error = [&](double base) {
    double sum = 0;
    for (size_t i = 0; i < group.size(); ++i) {
      const bool is_weight = group[i] >= activations;
      FitOptions options;
      if (is_weight) {
        options.exponent_bits = choices.weights[group[i] - activations].exponent_bits;
        options.grid = coarse_grid();
        options.rule = options_.rule;
        options.is_weight = true;
      } else {
        options = ActivationOptions(group[i], choices.activations[group[i]].exponent_bits,
                                    choices.activations[group[i]].grid);
      }
      options.base = base;
      const Magnitudes& x = is_weight ? weights[i] : magnitudes_[group[i]];
      const absl::StatusOr<CodebookFit> fit = options_.dnateq ? FitDnateq(x, options) : FitJoint(x, options);
      if (!fit.ok()) return std::numeric_limits<double>::infinity();
      sum += fit->error.relative_mse;
    }
    return sum;
  };
  // ln(base) from nearly uniform at the most bits to the steepest that is useful at the fewest, then finer around the
  // best.
  const auto steps = [](int bits) { return 2.0 * ((1 << (bits - 1)) - 1); };
  const double low = std::log(0.05 / steps(most)), high = std::log(12.0 / steps(fewest));
  constexpr int kPoints = 24;
  double best = low, least = std::numeric_limits<double>::infinity();
  const auto consider = [&](double log_log_base) {
    const double e = error(std::exp(std::exp(log_log_base)));
    if (e < least) least = e, best = log_log_base;
  };
  double step = (high - low) / (kPoints - 1);
  for (int i = 0; i < kPoints; ++i) consider(low + step * i);
  for (int i = 0; i < 5; ++i) {
    step /= 2;
    const double middle = best;
    consider(middle - step);
    consider(middle + step);
  }
  if (!std::isfinite(least)) {
    return MakeError(ErrorId::kInternal, absl::StrCat("no base fits ", group.size(), " tensors that share one"));
  }
  const double base = std::exp(std::exp(best));
  for (size_t member : group) {
    if (member >= activations) {
      const size_t w = member - activations;
      WeightFitOptions options = WeightOptions(choices.weights[w].exponent_bits);
      options.base = base;
      TALLY_ASSIGN_OR_RETURN(fits->weights[w], fitters_[w]->Fit(options));
    } else {
      FitOptions options =
          ActivationOptions(member, choices.activations[member].exponent_bits, choices.activations[member].grid);
      options.base = base;
      TALLY_ASSIGN_OR_RETURN(fits->activations[member], FitActivation(member, options));
    }
  }
  return absl::OkStatus();
}

FitRecord TensorSearch::Record(size_t activation, const CodebookFit& fit) const {
  const int levels = UniformLevels(fit.codebook.stored_bits(), fit.codebook.is_signed);
  const Magnitudes& x = magnitudes_[activation];
  return {static_cast<float>(fit.error.rmae), static_cast<float>(FitUniformMax(x, levels).error.rmae),
          static_cast<float>(FitUniformClipped(x, levels).error.rmae)};
}

FitRecord TensorSearch::Record(size_t weight, const WeightFit& fit) const {
  const WeightFitter& fitter = *fitters_[weight];
  const int bits = fit.codebook.stored_bits();
  return {static_cast<float>(fit.error.rmae),
          static_cast<float>(fitter.UniformRmae(bits, options_.channel_scales, false)),
          static_cast<float>(fitter.UniformRmae(bits, options_.channel_scales, true))};
}

}  // namespace tally
