#include "converter/calibration/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "converter/calibration/batches.h"
#include "format/error.h"

namespace tally {
namespace {

// The likeliest answers of n scores: of probabilities as they are, else by their softmax.
void AppendLikeliest(const float* scores, int64_t n, std::vector<EvalResult::Likely>* likeliest) {
  std::vector<int64_t> order;
  double sum = 0, least = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(scores[i])) continue;
    order.push_back(i);
    sum += scores[i];
    least = std::min(least, static_cast<double>(scores[i]));
  }
  const size_t kept = std::min<size_t>(order.size(), EvalResult::kLikeliest);
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(kept), order.end(),
                    [&](int64_t a, int64_t b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); });
  const bool probabilities = least >= 0 && std::fabs(sum - 1) < 1e-3;
  double exponentials = 0;
  for (int64_t i : order) exponentials += std::exp(static_cast<double>(scores[i]) - scores[order[0]]);
  for (size_t k = 0; k < EvalResult::kLikeliest; ++k) {
    EvalResult::Likely likely;
    if (k < kept) {
      const double x = scores[order[k]];
      likely.answer = order[k];
      const double p = probabilities ? x : std::exp(x - scores[order[0]]) / exponentials;
      likely.probability = std::isfinite(p) ? static_cast<float>(p) : 0;  // not so among infinite scores
    }
    likeliest->push_back(likely);
  }
}

// Mean of n differences, in percent, and its standard error.
template <typename Difference>
PairedDrop MeanOf(size_t n, const Difference& difference) {
  if (n == 0) return {};
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double d = difference(i);
    sum += d;
    squares += d * d;
  }
  const double count = static_cast<double>(n), mean = sum / count;
  return {100 * mean, 100 * std::sqrt(std::max(0.0, squares / count - mean * mean) / count)};
}

}  // namespace

absl::StatusOr<EvalResult> Evaluate(Session& session, const Dataset& data, const EvalOptions& options) {
  const bool labelled = data.target() == TargetKind::kClass;
  if (!labelled && options.teacher != nullptr && static_cast<int64_t>(options.teacher->size()) != data.size()) {
    return MakeError(ErrorId::kBadDataFile, absl::StrCat("teacher has ", options.teacher->size(), " answers for ",
                                                         data.size(), " samples of ", Quoted(data.name())));
  }
  EvalResult result;
  result.metric = labelled ? "top1" : "agreement";
  result.correct.reserve(static_cast<size_t>(std::max<int64_t>(0, data.size())));
  int64_t right = 0;
  const auto start = std::chrono::steady_clock::now();
  TALLY_RETURN_IF_ERROR(
      RunInBatches(session, data, options.batch, nullptr, [&](const BatchResult& run) -> absl::Status {
        const TensorView& output = run.outputs[0];
        if (output.dtype != DType::kFloat32) {
          return MakeError(ErrorId::kBadDataFile,
                           absl::StrCat("the first output is ", DTypeName(output.dtype), ", expected float32 scores"));
        }
        if (labelled && run.first == 0) {
          if (absl::Status labels = data.CheckLabels(run.output_per_sample); !labels.ok()) return labels;
        }
        const float* scores = output.as<float>();
        result.scores_per_sample = run.output_per_sample;
        for (int64_t i = 0; i < run.count; ++i) {
          const int64_t answer = ArgMax(scores + i * run.output_per_sample, run.output_per_sample);
          // Without labels and teacher the model agrees with itself.
          const int64_t expected = labelled                     ? run.batch.labels[static_cast<size_t>(i)]
                                   : options.teacher != nullptr ? (*options.teacher)[static_cast<size_t>(run.first + i)]
                                                                : answer;
          result.answers.push_back(answer);
          result.correct.push_back(answer == expected ? 1 : 0);
          right += answer == expected ? 1 : 0;
          if (options.keep_likeliest) {
            AppendLikeliest(scores + i * run.output_per_sample, run.output_per_sample, &result.likeliest);
          }
        }
        if (options.keep_logits) {
          result.logits.insert(result.logits.end(), scores, scores + run.count * run.output_per_sample);
        }
        if (options.progress) options.progress(run.first + run.count, data.size());
        return absl::OkStatus();
      }));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.samples = static_cast<int64_t>(result.correct.size());
  if (result.samples > 0) result.value = 100.0 * static_cast<double>(right) / static_cast<double>(result.samples);
  return result;
}

int64_t ArgMax(const float* values, int64_t n) {
  int64_t best = -1;
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    if (values[i] > largest || (best < 0 && values[i] == largest)) largest = values[i], best = i;
  }
  return best;
}

PairedDrop ComparePaired(const EvalResult& reference, const EvalResult& other) {
  return MeanOf(std::min(reference.correct.size(), other.correct.size()), [&](size_t i) {
    return static_cast<double>(reference.correct[i]) - static_cast<double>(other.correct[i]);
  });
}

PairedDrop ExpectedDrop(const EvalResult& reference, const EvalResult& other) {
  constexpr size_t kEach = EvalResult::kLikeliest;
  return MeanOf(std::min(reference.likeliest.size() / kEach, other.answers.size()), [&](size_t i) {
    const auto begin = reference.likeliest.begin() + static_cast<int64_t>(i * kEach);
    const auto end = begin + kEach;
    const auto it = std::find_if(begin, end, [&](const EvalResult::Likely& l) { return l.answer == other.answers[i]; });
    return static_cast<double>(begin->probability) - (it == end ? 0 : static_cast<double>(it->probability));
  });
}

double Agreement(const EvalResult& a, const EvalResult& b) {
  const size_t n = std::min(a.answers.size(), b.answers.size());
  size_t same = 0;
  for (size_t i = 0; i < n; ++i) same += a.answers[i] == b.answers[i] ? 1 : 0;
  return n == 0 ? 0 : 100 * static_cast<double>(same) / static_cast<double>(n);
}

double SqnrDb(const float* reference, const float* other, size_t n) {
  double signal = 0, noise = 0;
  for (size_t i = 0; i < n; ++i) {
    const double x = reference[i], e = x - static_cast<double>(other[i]);
    signal += x * x;
    noise += e * e;
  }
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

}  // namespace tally
