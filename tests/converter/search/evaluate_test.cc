#include "converter/calibration/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backends/all/all.h"
#include "converter/calibration/batches.h"
#include "tests/converter/search/toy.h"

namespace tally {
namespace {

using testing::AddFloat;
using testing::AddInput;
using testing::AddNode;

// logits = x, by way of a product with the identity.
Graph Identity(int64_t batch) {
  Graph g;
  if (batch < 0) g.symbols = {"N"};
  const int x = AddInput(&g, "x", {batch, 3});
  g.outputs = {AddNode(&g, "Gemm", "logits", {x, AddFloat(&g, "eye", {3, 3}, {1, 0, 0, 0, 1, 0, 0, 0, 1})})};
  return g;
}

std::vector<float> Scores(const std::vector<int64_t>& answers) {
  std::vector<float> x(answers.size() * 3, 0.25f);
  for (size_t i = 0; i < answers.size(); ++i) x[i * 3 + static_cast<size_t>(answers[i])] = 1;
  return x;
}

absl::StatusOr<EvalResult> EvaluateIdentity(int64_t batch, const Dataset& data, const EvalOptions& options) {
  auto model = Model::FromGraph(Identity(batch));
  if (!model.ok()) return model.status();
  SessionOptions session_options;
  session_options.backends = {"reference"};
  auto session = Session::Create(*model, session_options, DefaultRegistry());
  if (!session.ok()) return session.status();
  return Evaluate(*session, data, options);
}

TEST(Evaluate, CountsEverySampleOnceWhateverTheBatch) {
  const std::vector<int64_t> answers = {0, 1, 2, 2, 1, 0, 0}, labels = {0, 1, 2, 0, 1, 2, 0};
  const auto data = testing::DataOf(Identity(-1), Scores(answers), 7, labels);
  ASSERT_TRUE(data.ok()) << data.status();
  for (int64_t model_batch : {-1, 1, 3}) {
    for (int64_t batch : {0, 1, 4, 100}) {
      EvalOptions options;
      options.batch = batch;
      options.keep_logits = true;
      int64_t last = 0;
      options.progress = [&](int64_t done, int64_t total) {
        EXPECT_GT(done, last);
        EXPECT_EQ(total, 7);
        last = done;
      };
      const auto result = EvaluateIdentity(model_batch, *data, options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->metric, "top1");
      EXPECT_EQ(result->samples, 7);
      EXPECT_EQ(result->correct, (std::vector<uint8_t>{1, 1, 1, 0, 1, 0, 1}));
      EXPECT_DOUBLE_EQ(result->value, 500.0 / 7);
      EXPECT_EQ(result->logits, Scores(answers));
      EXPECT_EQ(last, 7);
    }
  }
}

TEST(Evaluate, AgreesWithATeacherWhereThereAreNoLabels) {
  const auto data = testing::DataOf(Identity(-1), Scores({0, 1, 2, 2}), 4, {});
  ASSERT_TRUE(data.ok()) << data.status();
  EvalOptions options;
  const std::vector<int64_t> teacher = {0, 1, 0, 2}, too_few = {0};
  options.teacher = &teacher;
  const auto result = EvaluateIdentity(-1, *data, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metric, "agreement");
  EXPECT_DOUBLE_EQ(result->value, 75);
  options.teacher = &too_few;
  EXPECT_EQ(GetErrorInfo(EvaluateIdentity(-1, *data, options).status()).code, "TLY-E0321");
}

TEST(ArgMax, TakesTheFirstOfEqualsAndNeverNan) {
  const float nan = std::nanf("");
  const std::vector<float> x = {nan, 1, 3, 3, nan};
  EXPECT_EQ(ArgMax(x.data(), 5), 2);
  const std::vector<float> none = {nan, nan};
  EXPECT_EQ(ArgMax(none.data(), 2), -1);
  const std::vector<float> least = {nan, -std::numeric_limits<float>::infinity()};
  EXPECT_EQ(ArgMax(least.data(), 2), 1);
  const std::vector<float> low = {nan, -std::numeric_limits<float>::max()};
  EXPECT_EQ(ArgMax(low.data(), 2), 1);
}

TEST(Agreement, CountsEqualAnswers) {
  EvalResult a, b;
  a.answers = {1, 2, 3, -1};
  b.answers = {1, 2, 4, -1};
  EXPECT_EQ(Agreement(a, b), 75);
  EXPECT_EQ(Agreement(a, EvalResult()), 0);
}

TEST(ComparePaired, GivesTheStandardErrorOfTheMeanDifference) {
  EvalResult a, b;
  a.correct = {1, 1, 1, 1, 0, 0, 0, 0};
  b.correct = {1, 1, 0, 0, 1, 0, 0, 0};
  const PairedDrop drop = ComparePaired(a, b);
  EXPECT_DOUBLE_EQ(drop.drop, 12.5);
  // Differences 0 0 1 1 -1 0 0 0: mean 1/8, mean square 3/8.
  EXPECT_DOUBLE_EQ(drop.standard_error, 100 * std::sqrt((3.0 / 8 - 1.0 / 64) / 8));
}

TEST(ExpectedDrop, WeighsOtherAnswersByTheReferencesProbabilities) {
  EvalResult a, b;
  a.likeliest.resize(3 * EvalResult::kLikeliest);
  a.likeliest[0] = {7, 0.75f}, a.likeliest[1] = {4, 0.25f};
  a.likeliest[EvalResult::kLikeliest] = {1, 1.0f};
  a.likeliest[2 * EvalResult::kLikeliest] = {2, 0.5f};
  b.answers = {4, 1, 9};  // the second likeliest, the same, one that is not among the likeliest
  const PairedDrop drop = ExpectedDrop(a, b);
  EXPECT_DOUBLE_EQ(drop.drop, 100 * (0.5 + 0 + 0.5) / 3);
  EXPECT_DOUBLE_EQ(drop.standard_error, 100 * std::sqrt((0.5 / 3 - 1.0 / 9) / 3));
  EXPECT_EQ(ExpectedDrop(EvalResult(), b).drop, 0);
}

TEST(SqnrDb, IsTenDecibelsPerFactorTen) {
  const float x[] = {3, 4}, y[] = {3, 3};
  EXPECT_DOUBLE_EQ(SqnrDb(x, y, 2), 10 * std::log10(25.0));
  EXPECT_EQ(SqnrDb(x, x, 2), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace tally
