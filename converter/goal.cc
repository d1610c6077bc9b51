#include "converter/goal.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

constexpr double kDefaultWeightTarget = 4, kActivationMargin = 2;
// Mean bits of activations: where max_drop begins, and how far it goes when the weights alone cannot reach the goal.
constexpr double kMaxDropActivationTarget = 6, kMaxDropActivationLimit = 8;
// Standard errors beyond the goal at which a counted drop overrules an expected one. Bisection asks some six times and
// never looks below a refusal: one would refuse a good point more often than not.
constexpr double kContradiction = 2;
// Layers that may stay float so that the goal is reached: one in so many.
constexpr size_t kLayersPerFloatLayer = 8;

absl::StatusOr<Allocation> Require(const std::optional<Allocation>& allocation, const std::vector<BitItem>& items,
                                   const char* what) {
  if (allocation) return *allocation;
  const double least = TotalBits(items, Allocation(items.size(), 0)) / SumOfElements(items);
  return MakeError(ErrorId::kUsage,
                   absl::StrCat("the target for ", what, " is below ", least, " mean stored bits, the least possible"));
}

}  // namespace

bool StaysWithin(const PairedDrop& counted, const std::optional<PairedDrop>& expected, int64_t samples, double goal) {
  // Samples of which none changed prove no more than one that might have.
  const double error = std::max(counted.standard_error, 100 / std::max(1.0, static_cast<double>(samples)));
  return counted.drop + error <= goal || (expected && expected->drop + expected->standard_error <= goal &&
                                          counted.drop - kContradiction * error <= goal);
}

GoalSearch::GoalSearch(const ConvertOptions& options, const EvalResult& float_result, Analysis* analysis,
                       Runner* runner)
    : options_(options),
      float_result_(float_result),
      analysis_(analysis),
      runner_(runner),
      max_drop_activations_(kMaxDropActivationTarget) {}

// Mean stored bits asked for. A fixed number leaves one option per tensor, which the budget must admit.
double GoalSearch::WeightMean() const {
  return options_.weight_bits ? 8 : options_.target_bits.value_or(kDefaultWeightTarget);
}

double GoalSearch::ActivationMean() const {
  if (options_.activation_bits) return 8;
  if (options_.activation_target_bits) return *options_.activation_target_bits;
  if (options_.max_drop || options_.target_size) return max_drop_activations_;
  const double weights =
      options_.weight_bits ? *options_.weight_bits : options_.target_bits.value_or(kDefaultWeightTarget);
  return std::min(8.0, weights + kActivationMargin);
}

std::optional<Allocation> GoalSearch::LeastErrorActivations() const {
  const std::vector<BitItem>& items = analysis_->activations();
  return AllocateLeastError(items, ActivationMean() * SumOfElements(items));
}

absl::StatusOr<Allocation> GoalSearch::UniformActivations() const {
  const std::vector<BitItem>& items = analysis_->activations();
  return Require(AllocateUniform(items, ActivationMean() * SumOfElements(items)), items, "activations");
}

absl::StatusOr<Allocation> GoalSearch::ActivationsOfMaxDrop() const {
  if (auto best = LeastErrorActivations()) return *best;
  return UniformActivations();
}

absl::StatusOr<Choices> GoalSearch::Fewest() const {
  TALLY_ASSIGN_OR_RETURN(const Allocation activations, UniformActivations());
  return analysis_->MakeChoices(Allocation(analysis_->weights().size(), 0), activations);
}

absl::StatusOr<Choices> GoalSearch::Within(double weight_budget) {
  const std::vector<BitItem>& weights = analysis_->weights();
  TALLY_ASSIGN_OR_RETURN(Allocation w, Require(AllocateUniform(weights, weight_budget), weights, "weights"));
  TALLY_RETURN_IF_ERROR(UniformActivations().status());
  TALLY_RETURN_IF_ERROR(analysis_->Measure());
  TALLY_ASSIGN_OR_RETURN(Allocation a, UniformActivations());
  if (!runner_->runs_quantized()) return analysis_->MakeChoices(w, a);
  TALLY_ASSIGN_OR_RETURN(double error, analysis_->OutputError(w, a));
  if (const auto best = AllocateLeastError(weights, weight_budget)) {
    TALLY_ASSIGN_OR_RETURN(const double other, analysis_->OutputError(*best, a));
    if (other < error) error = other, w = *best;
  }
  if (const auto best = LeastErrorActivations()) {
    TALLY_ASSIGN_OR_RETURN(const double other, analysis_->OutputError(w, *best));
    if (other < error) a = *best;
  }
  return analysis_->MakeChoices(w, a);
}

// Allocations of bits to weights, from the most to the fewest.
const std::vector<Allocation>& GoalSearch::WeightFront() {
  std::vector<Allocation>& front = front_;
  if (!front.empty()) return front;
  const std::vector<BitItem>& weights = analysis_->weights();
  front.push_back(AllocateByThreshold(weights, -1));
  const auto add = [&](const Allocation& allocation) {
    if (allocation != front.back()) front.push_back(allocation);
  };
  if (options_.strategy == Strategy::kDnateq) {
    // The paper's: the fewest bits that meet an RMAE threshold, which rises.
    std::set<double> thresholds;
    for (const BitItem& item : weights) {
      for (const BitOption& option : item.options) thresholds.insert(option.rmae);
    }
    for (double threshold : thresholds) add(AllocateByThreshold(weights, threshold));
    return front;
  }
  for (int eighths = 8 * 8 - 1; eighths > 2 * 8; --eighths) {
    if (const auto allocation = AllocateLeastError(weights, eighths / 8.0 * SumOfElements(weights))) add(*allocation);
  }
  add(Allocation(weights.size(), 0));
  return front;
}

std::vector<ConvertReport::FrontPoint> GoalSearch::Front() {
  std::vector<ConvertReport::FrontPoint> front;
  if (!analysis_->has_output_errors()) return front;
  const std::vector<BitItem>& weights = analysis_->weights();
  for (const Allocation& allocation : WeightFront()) {
    ConvertReport::FrontPoint point;
    point.weight_bits = (TotalBits(weights, allocation) + 32 * analysis_->float_elements()) /
                        std::max(1.0, analysis_->weight_elements());
    for (size_t i = 0; i < weights.size(); ++i) {
      const BitOption& option = weights[i].options[allocation[i]];
      point.error += option.error;
      point.stored_bits.push_back(option.stored_bits);
    }
    front.push_back(point);
  }
  return front;
}

absl::StatusOr<Choices> GoalSearch::WithinMaxDrop() {
  if (float_result_.answers.kind == Answers::Kind::kClasses && float_result_.scores_per_sample < 2) {
    return MakeError(ErrorId::kUsage,
                     absl::StrCat("max drop counts answers, the largest of several scores; the first output has ",
                                  float_result_.scores_per_sample, " value per sample, expected 2 or more"));
  }
  TALLY_RETURN_IF_ERROR(UniformActivations().status());
  TALLY_RETURN_IF_ERROR(analysis_->Measure());
  TALLY_ASSIGN_OR_RETURN(Allocation activations, ActivationsOfMaxDrop());
  TALLY_ASSIGN_OR_RETURN(Point best, Try(WeightFront()[0], activations));
  const auto reached = [&] { return IsWithin(best.step) || best.step.drop.drop <= *options_.max_drop; };
  // The paper's method trades bits of weights alone.
  while (!reached() && options_.strategy == Strategy::kJoint) {
    if (max_drop_activations_ < kMaxDropActivationLimit && !options_.activation_bits &&
        !options_.activation_target_bits) {
      ++max_drop_activations_;
    } else if (LeaveWorstLayerFloat(WeightFront()[0], activations)) {
      front_.clear();
      TALLY_RETURN_IF_ERROR(analysis_->Prepare(left_float_));
      TALLY_RETURN_IF_ERROR(analysis_->Measure());
    } else {
      break;
    }
    TALLY_ASSIGN_OR_RETURN(activations, ActivationsOfMaxDrop());
    TALLY_ASSIGN_OR_RETURN(best, Try(WeightFront()[0], activations));
  }
  reached_ = reached();
  const std::vector<Allocation>& front = WeightFront();
  // Where not even the most bits are proven to be within the goal (few samples, or a goal of nearly nothing), the plain
  // drop decides.
  const bool provable = IsWithin(best.step);
  // `kept` is within the goal, `lost` beyond it. Without any point within, the most bits are the best offer.
  size_t kept = 0, lost = reached_ ? front.size() : 0;
  while (kept + 1 < lost) {
    const size_t i = kept + (lost - kept) / 2;
    TALLY_ASSIGN_OR_RETURN(Point point, Try(front[i], activations));
    if (provable ? IsWithin(point.step) : point.step.drop.drop <= *options_.max_drop) {
      kept = i;
      best = std::move(point);
    } else {
      lost = i;
    }
  }
  return std::move(best.choices);
}

absl::Status GoalSearch::MeasureFront(int points) {
  TALLY_ASSIGN_OR_RETURN(const Allocation activations, ActivationsOfMaxDrop());
  const std::vector<Allocation>& front = WeightFront();
  const size_t count = std::min(static_cast<size_t>(points), front.size());
  for (size_t i = 0; i < count; ++i) {
    const size_t at = count == 1 ? front.size() - 1 : i * (front.size() - 1) / (count - 1);
    TALLY_RETURN_IF_ERROR(Try(front[at], activations).status());
  }
  return absl::OkStatus();
}

// Excludes the layer whose weight and input cost the output most, with these bits; false: no more may be.
bool GoalSearch::LeaveWorstLayerFloat(const Allocation& weights, const Allocation& activations) {
  const Targets& targets = analysis_->targets();
  if (!analysis_->has_output_errors() ||
      (left_layers_ + 1) * kLayersPerFloatLayer > targets.weights.size() + left_layers_) {
    return false;
  }
  size_t worst = 0;
  double largest = -1, sum = 0;
  std::vector<double> errors;
  for (size_t w = 0; w < weights.size(); ++w) errors.push_back(analysis_->weights()[w].options[weights[w]].error);
  for (size_t a = 0; a < activations.size(); ++a) {
    const double error = analysis_->activations()[a].options[activations[a]].error;
    for (int w : targets.activations[a].weights) errors[static_cast<size_t>(w)] += error;
  }
  for (size_t w = 0; w < errors.size(); ++w) {
    sum += errors[w];
    if (errors[w] > largest) largest = errors[w], worst = w;
  }
  std::vector<int> nodes = targets.weights[worst].nodes;
  nodes.insert(nodes.end(), targets.weights[worst].lookups.begin(), targets.weights[worst].lookups.end());
  for (int n : nodes) {
    left_float_[n] = absl::StrCat("it causes ", std::round(100 * largest / std::max(sum, 1e-300)),
                                  " % of the error that is left with the most bits, and max drop ", *options_.max_drop,
                                  " is out of reach with it");
  }
  ++left_layers_;
  return true;
}

absl::StatusOr<GoalSearch::Point> GoalSearch::Try(const Allocation& weights, const Allocation& activations) {
  const std::vector<BitItem>& weight_items = analysis_->weights();
  Point point;
  point.choices = analysis_->MakeChoices(weights, activations);
  TALLY_ASSIGN_OR_RETURN(const Graph graph, analysis_->candidates().Build(point.choices));
  TALLY_ASSIGN_OR_RETURN(const EvalResult result, runner_->EvaluateQuantized(graph));
  ConvertReport::Step& step = point.step;
  step.drop = ComparePaired(float_result_, result);
  step.expected_drop = ExpectedDrop(float_result_, result);
  for (size_t i = 0; i < weights.size(); ++i)
    step.threshold = std::max(step.threshold, weight_items[i].options[weights[i]].rmae);
  TALLY_ASSIGN_OR_RETURN(const BitStatistics bits, ComputeBitStatistics(graph, analysis_->extents()));
  step.weight_bits = bits.weight_stored_bits;
  step.activation_bits = bits.activation_stored_bits;
  step.value = result.value;
  steps_.push_back(step);
  return point;
}

}  // namespace tally
