// Chooses bits for a goal: a mean, or the loss that may be.
#ifndef TALLY_CONVERTER_GOAL_H_
#define TALLY_CONVERTER_GOAL_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/analysis.h"
#include "converter/convert.h"

namespace tally {

// Whether a loss measured on so many samples may be trusted to stay within `goal` points on other data. The point with
// the fewest bits that pass is picked for its luck on these samples, too, so one standard error is kept to spare: of
// the drop that was counted, or, where samples are too few for that, of the expected one, unless what was counted
// speaks against it by two standard errors. Without an expected one the count has the only word.
bool StaysWithin(const PairedDrop& counted, const std::optional<PairedDrop>& expected, int64_t samples, double goal);

class GoalSearch {
 public:
  // Refers to its arguments; `float_result`: on the selection data.
  GoalSearch(const ConvertOptions& options, const EvalResult& float_result, Analysis* analysis, Runner* runner);

  // Uniform bits or those of the least estimated errors, whichever the output prefers: first of weights, then of
  // activations. Errors: kUsage when a budget (of all bits of the weights; a mean of activations) admits nothing.
  absl::StatusOr<Choices> Within(double weight_budget);
  // Mean stored bits asked for, defaults included; of activations, as far as the goal has raised them.
  double WeightMean() const;
  double ActivationMean() const;
  absl::StatusOr<Choices> WithinTargets() { return Within(WeightMean() * SumOfElements(analysis_->weights())); }

  // The fewest bits for weights that keep the loss within options.max_drop, by bisection. `reached` says whether they
  // do.
  absl::StatusOr<Choices> WithinMaxDrop();
  bool reached() const { return reached_; }

  // Scores points of the front, evenly spaced from the most bits to the fewest, and adds them to steps().
  absl::Status MeasureFront(int points);

  // The fewest bits of all for weights.
  absl::StatusOr<Choices> Fewest() const;

  const std::vector<ConvertReport::Step>& steps() const { return steps_; }
  // Empty unless errors of the output were measured.
  std::vector<ConvertReport::FrontPoint> Front();

 private:
  struct Point {
    Choices choices;
    ConvertReport::Step step;
  };
  std::optional<Allocation> LeastErrorActivations() const;
  absl::StatusOr<Allocation> UniformActivations() const;
  absl::StatusOr<Allocation> ActivationsOfMaxDrop() const;
  const std::vector<Allocation>& WeightFront();
  absl::StatusOr<Point> Try(const Allocation& weights, const Allocation& activations);
  bool IsWithin(const ConvertReport::Step& step) const {
    return StaysWithin(step.drop, step.expected_drop, static_cast<int64_t>(float_result_.shares.size()),
                       *options_.max_drop);
  }
  bool LeaveWorstLayerFloat(const Allocation& weights, const Allocation& activations);

  const ConvertOptions& options_;
  const EvalResult& float_result_;
  Analysis* const analysis_;
  Runner* const runner_;
  std::vector<ConvertReport::Step> steps_;
  std::vector<Allocation> front_;  // empty: not known yet
  bool reached_ = true;
  double max_drop_activations_;            // mean bits
  std::map<int, std::string> left_float_;  // nodes, with the reason
  size_t left_layers_ = 0;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_GOAL_H_
