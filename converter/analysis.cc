#include "converter/analysis.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/options.h"
#include "converter/search/sensitivity.h"
#include "converter/search/simulation.h"
#include "format/error.h"

namespace tally {
namespace {

constexpr double kMeasuredWeightBits = 4, kMeasuredActivationBits = 5;

// A change of the graph is kept when it takes this share off the error of the output.
constexpr double kWorthwhile = 0.02;

}  // namespace

SearchOptions MakeSearchOptions(const ConvertOptions& o) {
  SearchOptions s;
  s.dnateq = o.strategy == Strategy::kDnateq;
  switch (o.grid) {
    case GridChoice::kAuto: break;
    case GridChoice::kQ7: s.grid = Grid::kQ7; break;
    case GridChoice::kQ14: s.grid = Grid::kQ14; break;
    case GridChoice::kReal: s.grid = Grid::kReal; break;
  }
  s.rule = o.encode_rule;
  s.channel_scales = o.granularity == Granularity::kChannel && !s.dnateq;
  s.shared_base = SharesBase(o);
  s.uniform = o.levels == Levels::kUniform;
  s.weight_bits = o.weight_bits;
  s.activation_bits = o.activation_bits;
  return s;
}

Analysis::Analysis(const Graph& graph, const Dataset& calibration, const ConvertOptions& options, bool insists,
                   const Memo& memo, Runner* runner, ThreadPool* pool)
    : graph_(graph),
      calibration_(calibration),
      options_(options),
      memo_(memo),
      runner_(runner),
      pool_(pool),
      insists_(insists) {}

absl::Status Analysis::Prepare(const std::map<int, std::string>& left_float) {
  TALLY_ASSIGN_OR_RETURN(fitted_, FitGraph(graph_, left_float, MakeSearchOptions(options_), options_.seed, runner_,
                                           pool_, PhaseProgress("fit codebooks")));
  TALLY_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, runner_->SampleShapes());
  extents_ = SymbolValues(graph_, shapes);
  TALLY_ASSIGN_OR_RETURN(types_, InferTensorTypes(graph_, extents_));
  measured_ = has_output_errors_ = false;
  allow_q14_ = !runner_->runs_quantized();
  elements_.clear();
  for (const ActivationTarget& a : targets().activations) {
    // The network's own inputs are outside the mean: they take no share of a budget.
    elements_.push_back(a.network_input ? 0 : types_[static_cast<size_t>(a.tensor)].elements());
  }
  weights_ = search().WeightItems();
  TALLY_ASSIGN_OR_RETURN(const BitStatistics statistics, ComputeBitStatistics(graph_, extents_));
  weight_elements_ = static_cast<double>(statistics.weight_elements);
  activations_ = search().ActivationItems(elements_, allow_q14_);
  CandidateOptions candidates;
  candidates.compensates = options_.rounding == Rounding::kCompensated;
  candidates.shares_base = SharesBase(options_);
  candidates.seed = options_.seed;
  candidates.memo = &memo_;
  candidates.progress = PhaseProgress("round weights");
  candidates_ =
      std::make_unique<Candidates>(graph_, targets(), search(), samples(), calibration_, runner_, pool_, candidates);
  TALLY_ASSIGN_OR_RETURN(const bool runs_layers, candidates_->Prepare(extents_));
  if (runs_layers || !candidates.compensates) return absl::OkStatus();
  if (insists_) {
    return MakeError(
        ErrorId::kUsage,
        "compensated rounding needs tensors in which one sample follows the other; with this model's fixed "
        "batch they are not so, expected rounding nearest");
  }
  candidates_->set_compensates(false);
  return absl::OkStatus();
}

std::function<void(double)> Analysis::PhaseProgress(const std::string& phase) const {
  if (!options_.progress) return nullptr;
  return [this, phase](double done) { options_.progress(phase, done); };
}

Choices Analysis::MakeChoices(const Allocation& weights, const Allocation& activations) const {
  Choices choices;
  for (size_t i = 0; i < weights.size(); ++i)
    choices.weights.push_back({weights_[i].options[weights[i]].exponent_bits, {}, {}});
  for (size_t i = 0; i < activations.size(); ++i) {
    choices.activations.push_back({activations_[i].options[activations[i]].exponent_bits, {}, {}});
  }
  search().ChooseGrids(allow_q14_, &choices);
  return choices;
}

// Decides on the finer grid and on bias correction by what they do to the output, with these bits.
absl::Status Analysis::DecideRefinements(const Allocation& weights, const Allocation& activations) {
  if (!runner_->runs_quantized()) return absl::OkStatus();
  if (options_.grid == GridChoice::kAuto) {
    TALLY_ASSIGN_OR_RETURN(const double coarse, ActivationError(weights, activations, false));
    TALLY_ASSIGN_OR_RETURN(const double fine, ActivationError(weights, activations, true));
    allow_q14_ = fine < (1 - kWorthwhile) * coarse;
    activations_ = search().ActivationItems(elements_, allow_q14_);
  }
  // Not part of the paper's method; compensated rounding has corrected already.
  if (options_.strategy == Strategy::kDnateq || candidates_->compensates()) return absl::OkStatus();
  TALLY_ASSIGN_OR_RETURN(const double error, OutputError(weights, activations));
  candidates_->set_correct_bias(true);
  TALLY_ASSIGN_OR_RETURN(const double corrected, OutputError(weights, activations));
  candidates_->set_correct_bias(corrected < (1 - kWorthwhile) * error);
  return absl::OkStatus();
}

// The output's error with quantized activations and float weights.
absl::StatusOr<double> Analysis::ActivationError(const Allocation& weights, const Allocation& activations,
                                                 bool allow_q14) {
  allow_q14_ = allow_q14;
  TALLY_ASSIGN_OR_RETURN(const ChosenFits fits, search().Select(MakeChoices(weights, activations)));
  std::vector<const Codebook*> codebooks;
  for (const CodebookFit& fit : fits.activations) codebooks.push_back(&fit.codebook);
  return runner_->SimulatedError(
      SimulateQuantization(graph_, targets(), std::vector<const QuantizedWeight*>(weights.size()), codebooks));
}

absl::Status Analysis::Measure() {
  if (!runner_->runs_quantized() || measured_) return absl::OkStatus();
  measured_ = true;
  const auto middle = [](const std::vector<BitItem>& items, double bits) {
    return AllocateUniform(items, bits * SumOfElements(items)).value_or(Allocation(items.size(), 0));
  };
  const Allocation weights = middle(weights_, kMeasuredWeightBits);
  const Allocation activations = middle(activations_, kMeasuredActivationBits);
  TALLY_RETURN_IF_ERROR(DecideRefinements(weights, activations));
  const Choices choices = MakeChoices(weights, activations);
  TALLY_ASSIGN_OR_RETURN(const QuantizedNetwork* network, candidates_->Quantize(choices, /*with_errors=*/true));
  // Choices have no names, and what is left float has no choice.
  std::string key = candidates_->KeyOf(choices);
  for (const WeightTarget& w : targets().weights)
    absl::StrAppend(&key, "\n", graph_.tensors[static_cast<size_t>(w.tensor)].name);
  for (const ActivationTarget& a : targets().activations)
    absl::StrAppend(&key, "\n", graph_.tensors[static_cast<size_t>(a.tensor)].name);
  TALLY_ASSIGN_OR_RETURN(const Sensitivity sensitivity, MeasureSensitivity(graph_, targets(), *network, runner_, memo_,
                                                                           key, PhaseProgress("measure sensitivity")));
  for (size_t i = 0; i < weights_.size(); ++i) {
    const std::map<int, double>& errors = network->weights[i].errors;
    // All or none: the two kinds of error do not compare.
    const std::vector<BitOption>& options = weights_[i].options;
    const bool all = errors.size() == options.size() &&
                     std::all_of(options.begin(), options.end(),
                                 [&](const BitOption& o) { return errors.count(o.exponent_bits) > 0; });
    if (!all) continue;
    for (BitOption& option : weights_[i].options) option.error = errors.at(option.exponent_bits);
  }
  ScaleErrors(sensitivity.weights, weights, &weights_);
  ScaleErrors(sensitivity.activations, activations, &activations_);
  has_output_errors_ = true;
  return absl::OkStatus();
}

}  // namespace tally
