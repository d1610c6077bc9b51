#include "converter/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <set>

#include "absl/strings/str_cat.h"
#include "converter/options.h"
#include "converter/search/candidates.h"
#include "converter/search/equalize.h"
#include "converter/search/memo.h"
#include "converter/search/runner.h"
#include "converter/search/sensitivity.h"
#include "converter/search/simulation.h"
#include "converter/search/tensor_search.h"
#include "format/error.h"
#include "format/model_file.h"
#include "runtime/core/thread_pool.h"
#include "runtime/exec/infer.h"

namespace tally {
namespace {

constexpr double kDefaultWeightTarget = 4, kActivationMargin = 2;
// Mean bits of activations: where max_drop begins, and how far it goes when the weights alone cannot reach the goal.
constexpr double kMaxDropActivationTarget = 6, kMaxDropActivationLimit = 8;
// Layers that may stay float so that the goal is reached: one in so many.
constexpr size_t kLayersPerFloatLayer = 8;
constexpr double kMeasuredWeightBits = 4, kMeasuredActivationBits = 5;

// A change of the graph is kept when it takes this share off the error of the output.
constexpr double kWorthwhile = 0.02;

absl::Status Usage(const std::string& detail) { return MakeError(ErrorId::kUsage, detail); }

// Rounds layer by layer where a layer's quantized inputs can be computed, unless the method or the user says otherwise.
ConvertOptions WithRounding(ConvertOptions o, const Registry& registry) {
  if (o.rounding) return o;
  const bool compensates = o.strategy == Strategy::kJoint && Runner::RunsQuantized(registry);
  o.rounding = compensates ? Rounding::kCompensated : Rounding::kNearest;
  return o;
}

bool AllFixed(const std::vector<BitItem>& items) {
  return std::all_of(items.begin(), items.end(), [](const BitItem& item) { return item.options.size() == 1; });
}

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

double SumOfElements(const std::vector<BitItem>& items) {
  double sum = 0;
  for (const BitItem& item : items) sum += item.elements;
  return sum;
}

class Converter {
 public:
  // `equalized`: tensors whose channels were, for the report.
  Converter(const Graph& graph, std::vector<int> equalized, const Dataset& calibration, const Dataset* eval,
            const ConvertOptions& options, const Registry& registry, std::shared_ptr<ThreadPool> pool)
      : graph_(graph),
        equalized_(std::move(equalized)),
        calibration_(calibration),
        options_(WithRounding(options, registry)),
        labelled_((eval != nullptr ? *eval : calibration).target() == TargetKind::kClass),
        runner_(graph, calibration, eval != nullptr ? *eval : calibration, registry, options.float_backend, pool,
                options.progress),
        pool_(std::move(pool)) {}

  absl::StatusOr<ConvertResult> Run() {
    TALLY_ASSIGN_OR_RETURN(calibration_hash_, calibration_.Hash());
    TALLY_ASSIGN_OR_RETURN(memo_, OpenMemo());
    TALLY_RETURN_IF_ERROR(Analyse());
    const absl::StatusOr<EvalResult> float_result = runner_.EvaluateFloat();
    if (float_result.ok()) float_result_ = *float_result;
    // Without a figure the search goes on; with labels that are wrong it must not.
    if (labelled_ && ExitStatus(float_result.status()) == 3) return float_result.status();
    if (options_.max_drop) {
      TALLY_RETURN_IF_ERROR(float_result.status());
      TALLY_ASSIGN_OR_RETURN(const Choices choices, SearchMaxDrop());
      return Finish(choices, /*measure=*/true);
    }
    if (options_.target_size) return ConvertToSize();
    TALLY_ASSIGN_OR_RETURN(const Choices choices, ChooseWithin(WeightMean() * SumOfElements(weights_)));
    return Finish(choices, /*measure=*/true);
  }

 private:
  // Steps are kept under all that they depend on but the goal.
  absl::StatusOr<Memo> OpenMemo() const {
    if (options_.resume.empty()) return Memo();
    ConvertOptions without_goal = options_;
    without_goal.weight_bits = without_goal.activation_bits = std::nullopt;
    without_goal.max_drop = without_goal.target_bits = without_goal.activation_target_bits = std::nullopt;
    without_goal.target_size = std::nullopt;
    TALLY_ASSIGN_OR_RETURN(const std::vector<uint8_t> file, SerializeModel(graph_));
    std::string context =
        absl::StrCat(options_.tool_version, " ", options_.float_backend, " calibration=", calibration_hash_,
                     " model=", Memo::Hash(std::string(file.begin(), file.end())));
    for (const auto& [name, value] : OptionNames(without_goal)) absl::StrAppend(&context, " ", name, "=", value);
    return Memo::Open(options_.resume, context);
  }

  // Finds what can be quantized, calibrates, and fits everything at every width. Again when a layer was left float.
  absl::Status Analyse() {
    TALLY_ASSIGN_OR_RETURN(targets_, FindTargets(graph_, left_float_));
    collector_ = std::make_unique<ActivationCollector>(graph_, targets_, calibration_.size(), options_.seed);
    TALLY_RETURN_IF_ERROR(runner_.Calibrate(collector_.get()));
    const std::vector<bool> non_negative = NonNegativeTensors(graph_, runner_.InputsNonNegative());
    TALLY_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, runner_.SampleShapes());
    extents_ = SymbolValues(graph_, shapes);
    TALLY_ASSIGN_OR_RETURN(types_, InferTensorTypes(graph_, extents_));
    measured_ = has_output_errors_ = false;
    front_.clear();
    allow_q14_ = !runner_.runs_quantized();
    elements_.clear();
    std::vector<bool> target_non_negative;
    for (const ActivationTarget& a : targets_.activations) {
      target_non_negative.push_back(non_negative[static_cast<size_t>(a.tensor)]);
      // The network's own inputs are outside the mean: they take no share of a budget.
      elements_.push_back(a.network_input ? 0 : types_[static_cast<size_t>(a.tensor)].elements());
    }
    search_ = std::make_unique<TensorSearch>(graph_, targets_, collector_->samples(), target_non_negative,
                                             MakeSearchOptions(options_));
    TALLY_RETURN_IF_ERROR(search_->FitAll(pool_.get(), PhaseProgress("fit codebooks")));
    weights_ = search_->WeightItems();
    activations_ = search_->ActivationItems(elements_, allow_q14_);
    CandidateOptions candidates;
    candidates.compensates = compensates();
    candidates.shares_base = SharesBase(options_);
    candidates.seed = options_.seed;
    candidates.memo = &memo_;
    candidates.progress = PhaseProgress("round weights");
    candidates_ = std::make_unique<Candidates>(graph_, targets_, *search_, collector_->samples(), calibration_,
                                               &runner_, pool_.get(), candidates);
    return candidates_->Prepare(extents_);
  }

  std::function<void(double)> PhaseProgress(const std::string& phase) const {
    if (!options_.progress) return nullptr;
    return [this, phase](double done) { options_.progress(phase, done); };
  }

  bool compensates() const { return options_.rounding == Rounding::kCompensated; }

  // Mean stored bits asked for. A fixed number leaves one option per tensor, which the budget must admit.
  double WeightMean() const { return options_.weight_bits ? 8 : options_.target_bits.value_or(kDefaultWeightTarget); }
  double ActivationMean() const {
    if (options_.activation_bits) return 8;
    if (options_.activation_target_bits) return *options_.activation_target_bits;
    if (options_.max_drop || options_.target_size) return max_drop_activations_;
    const double weights =
        options_.weight_bits ? *options_.weight_bits : options_.target_bits.value_or(kDefaultWeightTarget);
    return std::min(8.0, weights + kActivationMargin);
  }

  Choices MakeChoices(const Allocation& weights, const Allocation& activations) const {
    Choices choices;
    for (size_t i = 0; i < weights.size(); ++i)
      choices.weights.push_back({weights_[i].options[weights[i]].exponent_bits, {}, {}});
    for (size_t i = 0; i < activations.size(); ++i) {
      choices.activations.push_back({activations_[i].options[activations[i]].exponent_bits, {}, {}});
    }
    search_->ChooseGrids(allow_q14_, &choices);
    return choices;
  }

  absl::StatusOr<double> OutputError(const Allocation& weights, const Allocation& activations) {
    return candidates_->OutputError(MakeChoices(weights, activations));
  }

  // Decides on the finer grid and on bias correction by what they do to the output, with these bits.
  absl::Status DecideRefinements(const Allocation& weights, const Allocation& activations) {
    if (!runner_.runs_quantized()) return absl::OkStatus();
    if (options_.grid == GridChoice::kAuto) {
      TALLY_ASSIGN_OR_RETURN(const double coarse, ActivationError(weights, activations, false));
      TALLY_ASSIGN_OR_RETURN(const double fine, ActivationError(weights, activations, true));
      allow_q14_ = fine < (1 - kWorthwhile) * coarse;
      activations_ = search_->ActivationItems(elements_, allow_q14_);
    }
    // Not part of the paper's method; compensated rounding has corrected already.
    if (options_.strategy == Strategy::kDnateq || compensates()) return absl::OkStatus();
    TALLY_ASSIGN_OR_RETURN(const double error, OutputError(weights, activations));
    candidates_->set_correct_bias(true);
    TALLY_ASSIGN_OR_RETURN(const double corrected, OutputError(weights, activations));
    candidates_->set_correct_bias(corrected < (1 - kWorthwhile) * error);
    return absl::OkStatus();
  }

  // The output's error with quantized activations and float weights.
  absl::StatusOr<double> ActivationError(const Allocation& weights, const Allocation& activations, bool allow_q14) {
    allow_q14_ = allow_q14;
    TALLY_ASSIGN_OR_RETURN(const ChosenFits fits, search_->Select(MakeChoices(weights, activations)));
    std::vector<const Codebook*> codebooks;
    for (const CodebookFit& fit : fits.activations) codebooks.push_back(&fit.codebook);
    return runner_.SimulatedError(
        SimulateQuantization(graph_, targets_, std::vector<const QuantizedWeight*>(weights.size()), codebooks));
  }

  // Makes the items' errors those of the network's output, as measured in the middle of the range of bits: whatever the
  // goal, so that another one needs no other measurement.
  absl::Status MeasureItems() {
    if (!runner_.runs_quantized() || measured_) return absl::OkStatus();
    measured_ = true;
    const auto middle = [](const std::vector<BitItem>& items, double bits) {
      return AllocateUniform(items, bits * SumOfElements(items)).value_or(Allocation(items.size(), 0));
    };
    const Allocation weights = middle(weights_, kMeasuredWeightBits);
    const Allocation activations = middle(activations_, kMeasuredActivationBits);
    TALLY_RETURN_IF_ERROR(DecideRefinements(weights, activations));
    if (AllFixed(weights_) && AllFixed(activations_)) return absl::OkStatus();
    const Choices choices = MakeChoices(weights, activations);
    TALLY_ASSIGN_OR_RETURN(const QuantizedNetwork* network, candidates_->Quantize(choices, /*with_errors=*/true));
    TALLY_ASSIGN_OR_RETURN(const Sensitivity sensitivity,
                           MeasureSensitivity(graph_, targets_, *network, &runner_, memo_, candidates_->KeyOf(choices),
                                              PhaseProgress("measure sensitivity")));
    for (size_t i = 0; i < weights_.size(); ++i) {
      const std::map<int, double>& errors = network->weights[i].errors;
      // All or none: the two kinds of error do not compare.
      if (errors.size() != weights_[i].options.size()) continue;
      for (BitOption& option : weights_[i].options) option.error = errors.at(option.exponent_bits);
    }
    ScaleErrors(sensitivity.weights, weights, &weights_);
    ScaleErrors(sensitivity.activations, activations, &activations_);
    has_output_errors_ = true;
    return absl::OkStatus();
  }

  absl::StatusOr<Allocation> Require(const std::optional<Allocation>& allocation, const std::vector<BitItem>& items,
                                     const char* what) const {
    if (allocation) return *allocation;
    const double least = TotalBits(items, Allocation(items.size(), 0)) / SumOfElements(items);
    return Usage(absl::StrCat("the target for ", what, " is below ", least, " mean stored bits, the least possible"));
  }

  absl::StatusOr<Allocation> UniformActivations() const {
    return Require(AllocateUniform(activations_, ActivationMean() * SumOfElements(activations_)), activations_,
                   "activations");
  }

  // Uniform bits or those of the least estimated errors, whichever the output prefers: first of weights, then of
  // activations.
  absl::StatusOr<Choices> ChooseWithin(double weight_budget) {
    TALLY_ASSIGN_OR_RETURN(Allocation w, Require(AllocateUniform(weights_, weight_budget), weights_, "weights"));
    TALLY_ASSIGN_OR_RETURN(Allocation a, UniformActivations());
    TALLY_RETURN_IF_ERROR(MeasureItems());
    if (!runner_.runs_quantized()) return MakeChoices(w, a);
    TALLY_ASSIGN_OR_RETURN(double error, OutputError(w, a));
    if (const auto best = AllocateLeastError(weights_, weight_budget)) {
      TALLY_ASSIGN_OR_RETURN(const double other, OutputError(*best, a));
      if (other < error) error = other, w = *best;
    }
    if (const auto best = LeastErrorActivations(ActivationMean())) {
      TALLY_ASSIGN_OR_RETURN(const double other, OutputError(w, *best));
      if (other < error) a = *best;
    }
    return MakeChoices(w, a);
  }

  // Allocations of bits to weights, from the most to the fewest.
  const std::vector<Allocation>& WeightFront() {
    std::vector<Allocation>& front = front_;
    if (!front.empty()) return front;
    front.push_back(AllocateByThreshold(weights_, -1));
    const auto add = [&](const Allocation& allocation) {
      if (allocation != front.back()) front.push_back(allocation);
    };
    if (options_.strategy == Strategy::kDnateq) {
      // The paper's: the fewest bits that meet an RMAE threshold, which rises.
      std::set<double> thresholds;
      for (const BitItem& item : weights_) {
        for (const BitOption& option : item.options) thresholds.insert(option.rmae);
      }
      for (double threshold : thresholds) add(AllocateByThreshold(weights_, threshold));
      return front;
    }
    constexpr double kStep = 0.125;
    for (double bits = 8 - kStep; bits > 2; bits -= kStep) {
      if (const auto allocation = AllocateLeastError(weights_, bits * SumOfElements(weights_))) add(*allocation);
    }
    add(Allocation(weights_.size(), 0));
    return front;
  }

  std::vector<ConvertReport::FrontPoint> Front() {
    std::vector<ConvertReport::FrontPoint> front;
    for (const Allocation& allocation : WeightFront()) {
      ConvertReport::FrontPoint point;
      point.weight_bits = TotalBits(weights_, allocation) / std::max(1.0, SumOfElements(weights_));
      for (size_t i = 0; i < weights_.size(); ++i) point.error += weights_[i].options[allocation[i]].error;
      front.push_back(point);
    }
    return front;
  }

  // The fewest bits for weights that keep the loss within the goal, by bisection.
  absl::StatusOr<Choices> SearchMaxDrop() {
    TALLY_ASSIGN_OR_RETURN(Allocation a, UniformActivations());
    TALLY_RETURN_IF_ERROR(MeasureItems());
    if (const auto best = LeastErrorActivations(ActivationMean())) a = *best;
    TALLY_ASSIGN_OR_RETURN(Point best, Try(WeightFront()[0], a));
    const auto reached = [&] { return best.step.drop.drop <= *options_.max_drop; };
    // The paper's method trades bits of weights alone.
    while (!reached() && options_.strategy == Strategy::kJoint) {
      if (max_drop_activations_ < kMaxDropActivationLimit && !options_.activation_bits &&
          !options_.activation_target_bits) {
        ++max_drop_activations_;
      } else if (!LeaveWorstLayerFloat(best.choices)) {
        break;
      } else {
        TALLY_RETURN_IF_ERROR(Analyse());
        TALLY_RETURN_IF_ERROR(MeasureItems());
      }
      TALLY_ASSIGN_OR_RETURN(a, UniformActivations());
      if (const auto least = LeastErrorActivations(ActivationMean())) a = *least;
      TALLY_ASSIGN_OR_RETURN(best, Try(WeightFront()[0], a));
    }
    goal_reached_ = reached();
    const std::vector<Allocation>& front = WeightFront();
    // Where not even the most bits are proven to be within the goal (few samples, or a goal of nearly nothing), the
    // plain drop decides.
    const bool provable = IsWithinGoal(best.step);
    // `kept` is within the goal, `lost` beyond it. Without any point within, the most bits are the best offer.
    size_t kept = 0, lost = goal_reached_ ? front.size() : 0;
    while (kept + 1 < lost) {
      const size_t i = kept + (lost - kept) / 2;
      TALLY_ASSIGN_OR_RETURN(Point point, Try(front[i], a));
      if (provable ? IsWithinGoal(point.step) : point.step.drop.drop <= *options_.max_drop) {
        kept = i;
        best = std::move(point);
      } else {
        lost = i;
      }
    }
    return std::move(best.choices);
  }

  std::optional<Allocation> LeastErrorActivations(double mean) const {
    return AllocateLeastError(activations_, mean * SumOfElements(activations_));
  }

  // Excludes the layer whose weight and input cost the output most, with the bits chosen; false: no more may be.
  bool LeaveWorstLayerFloat(const Choices& choices) {
    const auto error_of = [](const BitItem& item, const Choice& choice) {
      for (const BitOption& option : item.options) {
        if (option.exponent_bits == choice.exponent_bits) return option.error;
      }
      return 0.0;
    };
    if (!has_output_errors_ || (left_float_.size() + 1) * kLayersPerFloatLayer > targets_.weights.size()) return false;
    size_t worst = 0;
    double largest = -1, sum = 0;
    std::vector<double> errors(weights_.size());
    for (size_t w = 0; w < weights_.size(); ++w) errors[w] = error_of(weights_[w], choices.weights[w]);
    for (size_t a = 0; a < activations_.size(); ++a) {
      for (int w : targets_.activations[a].weights) {
        errors[static_cast<size_t>(w)] += error_of(activations_[a], choices.activations[a]);
      }
    }
    for (size_t w = 0; w < errors.size(); ++w) {
      sum += errors[w];
      if (errors[w] > largest) largest = errors[w], worst = w;
    }
    for (int n : targets_.weights[worst].nodes) {
      left_float_[n] = absl::StrCat("it causes ", std::round(100 * largest / std::max(sum, 1e-300)),
                                    " % of the error that is left with the most bits, and max drop ",
                                    *options_.max_drop, " is out of reach with it");
    }
    return true;
  }

  // Whether a point's loss on other data may be trusted to stay within the goal. The point with the fewest bits that
  // pass is picked for its luck on these samples, too, so one standard error is kept to spare: of the drop that was
  // counted, or, where samples are too few for that, of the expected one, unless what was counted speaks against it.
  bool IsWithinGoal(const ConvertReport::Step& step) const {
    const auto most = [](const PairedDrop& d) { return d.drop + d.standard_error; };
    const double goal = *options_.max_drop;
    return most(step.drop) <= goal ||
           (most(step.expected_drop) <= goal && step.drop.drop - step.drop.standard_error <= goal);
  }

  struct Point {
    Choices choices;
    ConvertReport::Step step;
  };
  absl::StatusOr<Point> Try(const Allocation& weights, const Allocation& activations) {
    Point point;
    point.choices = MakeChoices(weights, activations);
    TALLY_ASSIGN_OR_RETURN(const Graph graph, candidates_->Build(point.choices));
    TALLY_ASSIGN_OR_RETURN(const EvalResult result, runner_.EvaluateQuantized(graph));
    ConvertReport::Step& step = point.step;
    step.drop = ComparePaired(float_result_, result);
    step.expected_drop = ExpectedDrop(float_result_, result);
    for (size_t i = 0; i < weights.size(); ++i)
      step.threshold = std::max(step.threshold, weights_[i].options[weights[i]].rmae);
    step.weight_bits = TotalBits(weights_, weights) / std::max(1.0, SumOfElements(weights_));
    step.activation_bits = TotalBits(activations_, activations) / std::max(1.0, SumOfElements(activations_));
    step.value = result.value;
    steps_.push_back(step);
    return point;
  }

  // The best file of at most target_size bytes.
  absl::StatusOr<ConvertResult> ConvertToSize() {
    const double target = static_cast<double>(*options_.target_size);
    const Allocation fewest(weights_.size(), 0);
    const double least_bits = TotalBits(weights_, fewest);
    TALLY_ASSIGN_OR_RETURN(const Allocation a, UniformActivations());
    const Choices least = MakeChoices(fewest, a);
    TALLY_ASSIGN_OR_RETURN(ConvertResult smallest, Finish(least, /*measure=*/false));
    TALLY_ASSIGN_OR_RETURN(double bytes, SizeOf(smallest.graph));
    if (bytes > target && !smallest.graph.golden.empty()) {
      // Weights matter more than samples to check them with.
      golden_cases_ = 0;
      smallest.graph.golden.clear();
      TALLY_ASSIGN_OR_RETURN(bytes, SizeOf(smallest.graph));
    }
    if (bytes > target)
      return Usage(absl::StrCat("target size ", *options_.target_size, " is below ", static_cast<uint64_t>(bytes),
                                ", the least possible"));
    // The rest of the file hardly depends on the bits; what little it does is corrected for by trying again.
    double budget = least_bits + 8 * (target - bytes);
    while (true) {
      TALLY_ASSIGN_OR_RETURN(const Choices choices, ChooseWithin(std::max(budget, least_bits)));
      TALLY_ASSIGN_OR_RETURN(const ConvertResult trial, Finish(choices, /*measure=*/false));
      TALLY_ASSIGN_OR_RETURN(const double size, SizeOf(trial.graph));
      if (size <= target) return Finish(choices, /*measure=*/true);
      // What was refined since takes more than the smallest file did.
      if (budget <= least_bits) break;
      budget -= 8 * (size - target);
    }
    TALLY_ASSIGN_OR_RETURN(ConvertResult result, Finish(least, /*measure=*/true));
    TALLY_ASSIGN_OR_RETURN(bytes, SizeOf(result.graph));
    if (bytes <= target) return result;
    return Usage(absl::StrCat("target size ", *options_.target_size, " is below ", static_cast<uint64_t>(bytes),
                              ", the least possible"));
  }

  static absl::StatusOr<double> SizeOf(const Graph& graph) {
    TALLY_ASSIGN_OR_RETURN(const std::vector<uint8_t> file, SerializeModel(graph));
    return static_cast<double>(file.size());
  }

  // Forms, records, metadata, golden cases and the report.
  absl::StatusOr<ConvertResult> Finish(const Choices& choices, bool measure) {
    ConvertResult result;
    result.goal_reached = goal_reached_;
    FormOptions forms;
    forms.keep_int8 = options_.keep_int8;
    forms.keep_float = options_.keep_float;
    TALLY_ASSIGN_OR_RETURN(result.graph, candidates_->Build(choices, forms));
    TALLY_RETURN_IF_ERROR(RecordFits(choices, &result));
    for (const Targets::Skipped& skipped : targets_.skipped) {
      TensorReport report;
      report.node = graph_.nodes[static_cast<size_t>(skipped.node)].name;
      if (skipped.tensor >= 0) report.tensor = graph_.tensors[static_cast<size_t>(skipped.tensor)].name;
      report.reason = absl::StrCat("stays float32: ", skipped.reason);
      result.report.tensors.push_back(std::move(report));
    }
    TALLY_RETURN_IF_ERROR(AddMetadata(&result.graph));
    if (runner_.runs_quantized()) {
      TALLY_ASSIGN_OR_RETURN(result.graph.golden, runner_.MakeGolden(result.graph, golden_cases_));
    }
    ConvertReport& report = result.report;
    report.steps = steps_;
    if (has_output_errors_ && measure) report.front = Front();
    report.metric = float_result_.metric;
    if (measure && runner_.runs_quantized() && float_result_.samples > 0) {
      TALLY_ASSIGN_OR_RETURN(const EvalResult quantized, runner_.EvaluateQuantized(result.graph));
      report.float_value = float_result_.value;
      report.quantized_value = quantized.value;
      report.selection_samples = quantized.samples;
      report.drop = ComparePaired(float_result_, quantized);
      report.expected_drop = ExpectedDrop(float_result_, quantized);
    }
    TALLY_ASSIGN_OR_RETURN(const BitStatistics bits, ComputeBitStatistics(result.graph));
    report.weight_bits_mean = bits.weight_stored_bits;
    report.weight_exponent_bits_mean = bits.weight_exponent_bits;
    report.activation_bits_mean = bits.activation_stored_bits;
    return result;
  }

  absl::Status RecordFits(const Choices& choices, ConvertResult* result) {
    TALLY_ASSIGN_OR_RETURN(const QuantizedNetwork* network, candidates_->Quantize(choices));
    const auto record = [&](int index, const Codebook& codebook, const FitRecord& fit, const BitItem& item,
                            const Magnitudes& magnitudes, TensorReport report) {
      Tensor& tensor = result->graph.tensors[static_cast<size_t>(index)];
      tensor.fit = fit;
      report.tensor = tensor.name;
      report.codebook = codebook;
      report.rmae = fit.rmae;
      report.rmae_uniform_max = fit.rmae_uniform_max;
      report.rmae_uniform_clipped = fit.rmae_uniform_clipped;
      report.distribution = Describe(magnitudes);
      for (const BitOption& option : item.options) {
        if (has_output_errors_) report.output_errors[option.stored_bits] = option.error;
      }
      result->report.tensors.push_back(std::move(report));
    };
    for (size_t i = 0; i < network->weights.size(); ++i) {
      const WeightTarget& target = targets_.weights[i];
      const QuantizedWeight& weight = network->weights[i];
      TensorReport report;
      report.node = graph_.nodes[static_cast<size_t>(target.nodes[0])].name;
      report.is_weight = true;
      report.elements = target.channels * target.per_channel;
      report.channel_scales = !weight.fit.channel_scales.empty();
      report.reason = absl::StrCat(report.channel_scales ? "a scale per channel" : "one scale", ", ", weight.notes,
                                   target.read_elsewhere ? ", float32 kept for other nodes" : "");
      record(target.tensor, weight.fit.codebook, search_->Record(i, weight.fit), weights_[i],
             search_->fitter(i).magnitudes(), std::move(report));
    }
    const std::vector<std::string> producers = Producers();
    for (size_t i = 0; i < network->activations.size(); ++i) {
      const ActivationTarget& target = targets_.activations[i];
      const CodebookFit& fit = network->activations[i];
      TensorReport report;
      report.node = producers[static_cast<size_t>(target.tensor)];
      report.elements = types_[static_cast<size_t>(target.tensor)].elements();
      report.reason = fit.codebook.is_signed ? "signed" : "non-negative";
      if (target.network_input) absl::StrAppend(&report.reason, ", network input");
      if (std::count(equalized_.begin(), equalized_.end(), target.tensor) > 0) {
        absl::StrAppend(&report.reason, ", channels equalized");
      }
      if (!choices.activations[i].reason.empty()) absl::StrAppend(&report.reason, ", ", choices.activations[i].reason);
      if (collector_->samples()[i].empty()) absl::StrAppend(&report.reason, ", never seen on the calibration data");
      record(target.tensor, fit.codebook, search_->Record(i, fit), activations_[i], search_->magnitudes(i),
             std::move(report));
    }
    return absl::OkStatus();
  }

  // Name of the node behind each tensor; empty for inputs and constants.
  std::vector<std::string> Producers() const {
    std::vector<std::string> producers(graph_.tensors.size());
    for (const Node& node : graph_.nodes) {
      for (int output : node.outputs) producers[static_cast<size_t>(output)] = node.name;
    }
    return producers;
  }

  absl::Status AddMetadata(Graph* graph) {
    std::map<std::string, std::string>& m = graph->metadata;
    m["tool"] = options_.tool_version;
    for (const auto& [name, value] : OptionNames(options_)) m[absl::StrCat("option.", name)] = value;
    m["calibration.hash"] = calibration_hash_;
    m["calibration.samples"] = absl::StrCat(calibration_.size());
    m["bias_corrected"] = candidates_->correct_bias() || compensates() ? "yes" : "no";
    // So that element counts can be found again where extents beside the batch are dynamic.
    for (size_t s = 0; s < extents_.size(); ++s) {
      if (extents_[s] != 1) m[absl::StrCat("extent.", graph->symbols[s])] = absl::StrCat(extents_[s]);
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  const std::vector<int> equalized_;
  const Dataset& calibration_;
  const ConvertOptions options_;
  const bool labelled_;
  Runner runner_;
  const std::shared_ptr<ThreadPool> pool_;
  Memo memo_;
  Targets targets_;
  std::unique_ptr<ActivationCollector> collector_;
  std::unique_ptr<TensorSearch> search_;
  std::vector<BitItem> weights_, activations_;  // by target
  std::vector<int64_t> extents_;                // by symbol
  std::vector<TensorType> types_;               // by tensor, at batch 1
  std::vector<int64_t> elements_;               // of activation targets
  std::unique_ptr<Candidates> candidates_;
  bool measured_ = false;           // MeasureItems was called
  bool has_output_errors_ = false;  // items hold errors of the network's output
  std::vector<Allocation> front_;   // of weights, once items are measured
  EvalResult float_result_;
  std::vector<ConvertReport::Step> steps_;
  std::string calibration_hash_;
  int golden_cases_ = options_.golden_cases;
  bool goal_reached_ = true;
  double max_drop_activations_ = kMaxDropActivationTarget;
  std::map<int, std::string> left_float_;  // nodes, with the reason
  // Decided by DecideRefinements; without a backend to measure with, the finer grid is trusted.
  bool allow_q14_ = false;
};

absl::StatusOr<Equalized> Equalize(const Graph& graph, const Dataset& calibration, const ConvertOptions& options,
                                   const Registry& registry, const std::shared_ptr<ThreadPool>& pool) {
  const auto make_runner = [&](const Graph& g) {
    return Runner(g, calibration, calibration, registry, options.float_backend, pool, nullptr);
  };
  std::function<void(double)> progress;
  if (options.progress) progress = [&](double done) { options.progress("equalize channels", done); };
  return EqualizeChannels(graph, calibration.size(), MakeSearchOptions(options), options.seed, make_runner, pool.get(),
                          progress);
}

}  // namespace

absl::StatusOr<ConvertResult> Convert(const Graph& graph, const Dataset& calibration, const Dataset* eval,
                                      const ConvertOptions& options, const Registry& registry) {
  TALLY_RETURN_IF_ERROR(CheckOptions(options));
  try {
    TALLY_ASSIGN_OR_RETURN(std::shared_ptr<ThreadPool> pool,
                           ThreadPool::Create(options.num_threads, ThreadPool::Idle::kSleep));
    Equalized equalized = {graph, {}};
    // Not part of the paper's method.
    if (options.strategy == Strategy::kJoint && Runner::RunsQuantized(registry)) {
      TALLY_ASSIGN_OR_RETURN(equalized, Equalize(graph, calibration, options, registry, pool));
    }
    return Converter(equalized.graph, equalized.activations, calibration, eval, options, registry, std::move(pool))
        .Run();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "out of memory while converting");
  }
}

}  // namespace tally
