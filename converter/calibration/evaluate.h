// Runs a session over a dataset and scores it.
#ifndef TALLY_CONVERTER_CALIBRATION_EVALUATE_H_
#define TALLY_CONVERTER_CALIBRATION_EVALUATE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "tally/tally.h"

namespace tally {

// Called with samples done and samples in all.
using Progress = std::function<void(int64_t done, int64_t total)>;

struct EvalResult {
  std::string metric;  // "top1" or "agreement"
  double value = 0;    // percent
  int64_t samples = 0;
  int64_t scores_per_sample = 0;
  std::vector<uint8_t> correct;  // per sample, for paired comparisons
  std::vector<int64_t> answers;  // per sample, the largest score
  std::vector<float> logits;     // first output, sample-major; kept only when asked for
  // Per sample the kLikeliest answers of the largest scores, the largest first, with their probabilities; fewer answers
  // are filled up with -1. Kept only when asked for.
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
  // Without labels: the float model's top-1 per sample to agree with.
  const std::vector<int64_t>* teacher = nullptr;
  Progress progress;
};

// Resizes the session's batch (extent 0 of every input) where the model's is dynamic, else runs sample by sample.
absl::StatusOr<EvalResult> Evaluate(Session& session, const Dataset& data, const EvalOptions& options = {});

// Index of the largest of n values, the first of equals. NaN never wins; -1 when there is nothing else.
int64_t ArgMax(const float* values, int64_t n);

// Difference in percent points of two paired results and its standard error: se of the mean of d_i, d_i in {-1, 0, 1}.
struct PairedDrop {
  double drop = 0;
  double standard_error = 0;
};
PairedDrop ComparePaired(const EvalResult& reference, const EvalResult& other);

// The drop that the reference's own probabilities lead to expect, labels aside: the mean of p(its answer) - p(the
// other's answer). It varies far less from draw to draw than a drop that is counted, but is right only as far as the
// probabilities are. `reference` must hold likeliest answers; others count as impossible.
PairedDrop ExpectedDrop(const EvalResult& reference, const EvalResult& other);

// Percent of samples with the same answer.
double Agreement(const EvalResult& a, const EvalResult& b);

// 10 log10(sum x^2 / sum (x - y)^2); +infinity for equal arrays.
double SqnrDb(const float* reference, const float* other, size_t n);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_EVALUATE_H_
