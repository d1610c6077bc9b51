#include "converter/calibration/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/calibration/batches.h"
#include "converter/calibration/correlation.h"
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

// Samples x steps x classes.
bool HasSteps(const BatchResult& run) {
  const Shape& shape = run.outputs[0].shape;
  return shape.size() == 3 && shape[0] == run.batch_size && shape[2] >= 2;
}

// Whether every sample's output is a vector of length 1, which scores of classes are not: those that add up to 1 are
// not negative.
bool AreDirections(const BatchResult& run) {
  constexpr double kTolerance = 1e-3;  // of float32 sums of squares, and of reduced precision before them
  const float* x = run.outputs[0].as<float>();
  const int64_t n = run.output_per_sample;
  for (int64_t i = 0; i < run.count; ++i) {
    if (!(std::fabs(std::sqrt(Dot(x + i * n, x + i * n, n)) - 1) < kTolerance)) return false;
  }
  return std::any_of(x, x + run.count * n, [](float v) { return v < 0; });
}

absl::StatusOr<Answers::Kind> KindOf(const Dataset& data, const Answers* teacher, const BatchResult& run) {
  const TensorView& output = run.outputs[0];
  if (output.dtype != DType::kFloat32) {
    return MakeError(ErrorId::kBadDataFile,
                     absl::StrCat("the first output is ", DTypeName(output.dtype), ", expected float32 scores"));
  }
  switch (data.target()) {
    case TargetKind::kClass:
      TALLY_RETURN_IF_ERROR(data.CheckClasses(run.output_per_sample));
      return Answers::Kind::kClasses;
    case TargetKind::kText:
      if (!HasSteps(run)) {
        return MakeError(ErrorId::kBadDataFile, absl::StrCat("the first output is ", ShapeString(output.shape),
                                                             ", expected samples x steps x classes for ctc_exact"));
      }
      TALLY_RETURN_IF_ERROR(data.CheckClasses(output.shape[2]));
      return Answers::Kind::kSequences;
    case TargetKind::kScore: return Answers::Kind::kDirections;
    case TargetKind::kNone: break;
  }
  if (teacher != nullptr) return teacher->kind;
  return HasSteps(run)        ? Answers::Kind::kSequences
         : AreDirections(run) ? Answers::Kind::kDirections
                              : Answers::Kind::kClasses;
}

void AddAnswer(const Dataset& data, const BatchResult& run, int64_t i, Answers* answers) {
  const int64_t n = run.output_per_sample;
  const float* scores = run.outputs[0].as<float>() + i * n;
  switch (answers->kind) {
    case Answers::Kind::kClasses: answers->classes.push_back(ArgMax(scores, n)); break;
    case Answers::Kind::kSequences: {
      const int64_t classes = run.outputs[0].shape.back();
      const int64_t blank = data.target() == TargetKind::kText ? data.charset().blank() : -1;
      answers->sequences.push_back(GreedyCtc(scores, n / classes, classes, blank));
      break;
    }
    case Answers::Kind::kDirections: {
      const std::vector<float> direction = Direction(scores, n);
      answers->directions.insert(answers->directions.end(), direction.begin(), direction.end());
      break;
    }
  }
}

// Whether sample i of the run, the last of `answers`, is right: 1 or 0, or how far.
double ShareOf(const Dataset& data, const Answers* teacher, const BatchResult& run, int64_t i, const Answers& answers) {
  const size_t at = static_cast<size_t>(i);
  switch (data.target()) {
    case TargetKind::kClass: return answers.classes.back() == run.batch.labels[at] ? 1 : 0;
    case TargetKind::kText: return data.charset().Text(answers.sequences.back()) == run.batch.texts[at] ? 1 : 0;
    case TargetKind::kScore: return 0;  // a pair has one, once both are known
    case TargetKind::kNone: break;
  }
  return teacher == nullptr ? 1 : answers.Agreement(*teacher, run.first + i);
}

Correlation CorrelateCosines(const Answers& answers, const std::vector<double>& scores) {
  std::vector<double> cosines;
  const size_t width = static_cast<size_t>(answers.width);
  for (size_t pair = 0; pair < scores.size(); ++pair) {
    const float* first = answers.directions.data() + 2 * pair * width;
    cosines.push_back(Dot(first, first + width, answers.width));
  }
  return Correlate(cosines, scores);
}

}  // namespace

int64_t Answers::size() const {
  switch (kind) {
    case Kind::kClasses: return static_cast<int64_t>(classes.size());
    case Kind::kSequences: return static_cast<int64_t>(sequences.size());
    case Kind::kDirections: return width == 0 ? 0 : static_cast<int64_t>(directions.size()) / width;
  }
  return 0;
}

double Answers::Agreement(const Answers& other, int64_t i) const {
  const size_t at = static_cast<size_t>(i);
  switch (kind) {
    case Kind::kClasses: return classes[at] == other.classes[at] ? 1 : 0;
    case Kind::kSequences: return sequences[at] == other.sequences[at] ? 1 : 0;
    case Kind::kDirections: {
      const float *a = directions.data() + i * width, *b = other.directions.data() + i * width;
      return std::equal(a, a + width, b) ? 1 : Dot(a, b, width);  // a rounded length is not quite 1
    }
  }
  return 0;
}

absl::StatusOr<EvalResult> Evaluate(Session& session, const Dataset& data, const EvalOptions& options) {
  const Answers* teacher = data.target() == TargetKind::kNone ? options.teacher : nullptr;
  if (teacher != nullptr && teacher->size() != data.size()) {
    return MakeError(ErrorId::kBadDataFile, absl::StrCat("teacher has ", teacher->size(), " answers for ", data.size(),
                                                         " samples of ", Quoted(data.name())));
  }
  EvalResult result;
  result.metric = data.metric();
  std::vector<double> scores;  // one per pair
  const auto start = std::chrono::steady_clock::now();
  TALLY_RETURN_IF_ERROR(
      RunInBatches(session, data, options.batch, nullptr, [&](const BatchResult& run) -> absl::Status {
        Answers& answers = result.answers;
        if (run.first == 0) {
          TALLY_ASSIGN_OR_RETURN(answers.kind, KindOf(data, teacher, run));
          answers.width = result.scores_per_sample = run.output_per_sample;
          if (teacher != nullptr && teacher->width != answers.width) {
            return MakeError(ErrorId::kBadDataFile, absl::StrCat("expected the float model's ", teacher->width,
                                                                 " scores per sample, found ", answers.width));
          }
        }
        for (int64_t i = 0; i < run.count; ++i) {
          AddAnswer(data, run, i, &answers);
          if (data.target() != TargetKind::kScore) {
            result.shares.push_back(ShareOf(data, teacher, run, i, answers));
          } else if ((run.first + i) % 2 == 0) {
            scores.push_back(run.batch.scores[static_cast<size_t>(i)]);
          }
          if (options.keep_likeliest && answers.kind == Answers::Kind::kClasses) {
            AppendLikeliest(run.outputs[0].as<float>() + i * run.output_per_sample, run.output_per_sample,
                            &result.likeliest);
          }
        }
        const size_t values = static_cast<size_t>(run.count * run.output_per_sample);
        const bool is_next = result.logits.size() == static_cast<size_t>(run.first * run.output_per_sample);
        if (options.keep_logits && is_next && values <= EvalResult::kMaxLogits - result.logits.size()) {
          const float* output = run.outputs[0].as<float>();
          result.logits.insert(result.logits.end(), output, output + values);
        }
        if (options.progress) options.progress(run.first + run.count, data.size());
        return absl::OkStatus();
      }));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.samples = data.size();
  if (data.target() == TargetKind::kScore) {
    Correlation correlation = CorrelateCosines(result.answers, scores);
    result.value = correlation.r;
    result.shares = std::move(correlation.shares);
  } else {
    double sum = 0;
    for (double share : result.shares) sum += share;
    result.value = 100 * sum / static_cast<double>(result.samples);
  }
  return result;
}

absl::Status CheckDefined(const EvalResult& result) {
  if (!std::isnan(result.value)) return absl::OkStatus();
  return MakeError(
      ErrorId::kUndefinedMetric,
      absl::StrCat(result.metric, " of ", result.shares.size(),
                   " pairs: expected scores and cosines of the model's outputs that differ, found the same"));
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
  return MeanOf(std::min(reference.shares.size(), other.shares.size()),
                [&](size_t i) { return reference.shares[i] - other.shares[i]; });
}

std::optional<PairedDrop> ExpectedDrop(const EvalResult& reference, const EvalResult& other) {
  constexpr size_t kEach = EvalResult::kLikeliest;
  const std::vector<int64_t>& answers = other.answers.classes;
  const size_t n = std::min(reference.likeliest.size() / kEach, answers.size());
  if (n == 0) return std::nullopt;
  return MeanOf(n, [&](size_t i) {
    const auto begin = reference.likeliest.begin() + static_cast<int64_t>(i * kEach);
    const auto end = begin + kEach;
    const auto it = std::find_if(begin, end, [&](const EvalResult::Likely& l) { return l.answer == answers[i]; });
    return static_cast<double>(begin->probability) - (it == end ? 0 : static_cast<double>(it->probability));
  });
}

double Agreement(const EvalResult& a, const EvalResult& b) {
  if (a.answers.kind != b.answers.kind || a.answers.width != b.answers.width) return 0;
  const int64_t n = std::min(a.answers.size(), b.answers.size());
  double same = 0;
  for (int64_t i = 0; i < n; ++i) same += a.answers.Agreement(b.answers, i);
  return n == 0 ? 0 : 100 * same / static_cast<double>(n);
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
