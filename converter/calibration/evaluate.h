// Runs a session over a dataset and scores it.
#ifndef TALLY_CONVERTER_CALIBRATION_EVALUATE_H_
#define TALLY_CONVERTER_CALIBRATION_EVALUATE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "tally/tally.h"

namespace tally {

// Called with samples done and samples in all.
using Progress = std::function<void(int64_t done, int64_t total)>;

// What a model answers, per sample, so that two models' answers can be compared.
struct Answers {
  // Of the first output. Classes: its largest value. Sequences: the largest at each step, as greedy CTC merges them
  // (without the blank where the data says which it is). Directions: the output at length 1.
  enum class Kind { kClasses, kSequences, kDirections };
  Kind kind = Kind::kClasses;
  std::vector<int64_t> classes;  // -1 where no value is the largest
  std::vector<std::vector<int32_t>> sequences;
  std::vector<float> directions;  // `width` each; zeros where there is none
  int64_t width = 0;

  int64_t size() const;
  // How far answers i are the same, 0..1; of directions their cosine. REQUIRES: the same kind and width.
  double Agreement(const Answers& other, int64_t i) const;
};

struct EvalResult {
  std::string metric;  // the data's
  double value = 0;    // percent; r of a correlation, NaN where all is the same
  int64_t samples = 0;
  int64_t scores_per_sample = 0;
  // Per sample (per pair of samples for a correlation) what it adds: the mean is the value, 1 for 100 percent.
  std::vector<double> shares;
  Answers answers;
  // First output, sample-major; kept only when asked for, and only of the first samples that have kMaxLogits values.
  static constexpr size_t kMaxLogits = size_t{1} << 26;
  std::vector<float> logits;
  // Per sample the kLikeliest answers of the largest scores, the largest first, with their probabilities; fewer answers
  // are filled up with -1. Kept only when asked for, and only of classes.
  static constexpr int kLikeliest = 16;
  struct Likely {
    int64_t answer = -1;
    float probability = 0;
  };
  std::vector<Likely> likeliest;
  double seconds = 0;
};

struct EvalOptions {
  int64_t batch = 0;  // samples per run; 0 = chosen so that a batch's inputs take about 4 MiB, at most 32
  bool keep_logits = false;
  bool keep_likeliest = false;
  // Without labels: the float model's answers to agree with; it itself agrees with itself.
  const Answers* teacher = nullptr;
  Progress progress;
};

// Resizes the session's batch (extent 0 of every input) where the model's is dynamic, else runs sample by sample.
// Without labels, answers are the teacher's kind of them; the float model's are sequences where its output has three
// dimensions, directions where all vectors of the first run are of length 1 and one has a negative value, else classes.
absl::StatusOr<EvalResult> Evaluate(Session& session, const Dataset& data, const EvalOptions& options = {});

// kUndefinedMetric where the value is NaN.
absl::Status CheckDefined(const EvalResult& result);

// Index of the largest of n values, the first of equals. NaN never wins; -1 when there is nothing else.
int64_t ArgMax(const float* values, int64_t n);

// Difference of two paired results in percent points (100 r of correlations) and its standard error: that of the mean
// of the shares' differences.
struct PairedDrop {
  double drop = 0;
  double standard_error = 0;
};
PairedDrop ComparePaired(const EvalResult& reference, const EvalResult& other);

// The drop that the reference's own probabilities lead to expect, labels aside: the mean of p(its answer) - p(the
// other's answer). It varies far less from draw to draw than a drop that is counted, but is right only as far as the
// probabilities are. Nothing unless `reference` holds likeliest answers; others count as impossible.
std::optional<PairedDrop> ExpectedDrop(const EvalResult& reference, const EvalResult& other);

// Percent of samples with the same answer; of directions the mean cosine in percent.
double Agreement(const EvalResult& a, const EvalResult& b);

// 10 log10(sum x^2 / sum (x - y)^2); +infinity for equal arrays.
double SqnrDb(const float* reference, const float* other, size_t n);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_EVALUATE_H_
