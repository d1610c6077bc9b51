#include "converter/calibration/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "backends/all/all.h"
#include "converter/calibration/batches.h"
#include "format/error.h"
#include "tests/converter/search/toy.h"
#include "tests/testing/paths.h"

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
      EXPECT_EQ(result->shares, (std::vector<double>{1, 1, 1, 0, 1, 0, 1}));
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
  Answers teacher, too_few;
  teacher.classes = {0, 1, 0, 2};
  too_few.classes = {0};
  teacher.width = too_few.width = 3;
  options.teacher = &teacher;
  const auto result = EvaluateIdentity(-1, *data, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metric, "agreement");
  EXPECT_DOUBLE_EQ(result->value, 75);
  options.teacher = &too_few;
  EXPECT_EQ(GetErrorInfo(EvaluateIdentity(-1, *data, options).status()).code, "TLY-E0321");
}

// Scores of data whose right answers are texts or scores, by the model that gives its input back.
class KindsTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) { std::ofstream(folder_ + "/" + name) << text; }
  void WriteFloats(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    ASSERT_TRUE(WriteNpy(folder_ + "/" + name, {values.data(), DType::kFloat32, shape}).ok());
  }
  // `extents`: of the model's input x after the batch.
  absl::StatusOr<EvalResult> Run(const std::string& target, const Shape& extents, const EvalOptions& options = {},
                                 int64_t model_batch = -1) {
    Graph g;
    g.symbols = {"N"};
    Shape shape = {model_batch};
    shape.insert(shape.end(), extents.begin(), extents.end());
    const int64_t n = extents.back();
    std::vector<float> eye(static_cast<size_t>(n * n));
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) eye[i * static_cast<size_t>(n + 1)] = 1;
    const int x = AddInput(&g, "x", shape);
    g.outputs = {AddNode(&g, "MatMul", "y", {x, AddFloat(&g, "eye", {n, n}, eye)})};
    Write("data.json",
          R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}], "target": {"kind": )" + target + "}}");
    TALLY_ASSIGN_OR_RETURN(const Dataset data, Dataset::Open(folder_ + "/data.json", {{"x", DType::kFloat32, shape}}));
    TALLY_ASSIGN_OR_RETURN(const Model model, Model::FromGraph(g));
    SessionOptions session_options;
    session_options.backends = {"reference"};
    TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, session_options, DefaultRegistry()));
    return Evaluate(session, data, options);
  }

  const std::string folder_ = testing::TempDir();
};

TEST_F(KindsTest, CtcExactComparesDecodedTexts) {
  // Classes: blank, a, b, space. "ab", " a a" (spaces outside), "aa" by way of a blank, nothing, "b".
  const std::vector<std::vector<int>> steps = {{1, 1, 2, 0}, {3, 1, 0, 3}, {1, 0, 1, 1}, {0, 0, 0, 0}, {2, 2, 2, 0}};
  std::vector<float> x;
  for (const std::vector<int>& sample : steps) {
    for (int step : sample) {
      for (int c = 0; c < 4; ++c) x.push_back(c == step ? 2 : -1);
    }
  }
  WriteFloats("x.npy", {5, 4, 4}, x);
  Write("c.txt", "a\nb\n");
  Write("l.txt", "ab\na \naa\n\na\n");
  const std::string target = R"("text", "path": "l.txt", "charset": "c.txt", "blank": 0)";
  for (int64_t model_batch : {-1, 1, 2}) {
    for (int64_t batch : {0, 1, 2, 3}) {
      EvalOptions options;
      options.batch = batch;
      options.keep_likeliest = true;
      const auto result = Run(target, {4, 4}, options, model_batch);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->metric, "ctc_exact");
      EXPECT_EQ(result->value, 80);
      EXPECT_EQ(result->samples, 5);
      EXPECT_EQ(result->shares, (std::vector<double>{1, 1, 1, 1, 0}));
      EXPECT_FALSE(ExpectedDrop(*result, *result).has_value());
    }
  }
}

TEST_F(KindsTest, CtcExactRefusesModelsOfAnotherKind) {
  Write("c.txt", "a\nb\n");
  Write("l.txt", "ab\na\n");
  const std::string target = R"("text", "path": "l.txt", "charset": "c.txt")";
  WriteFloats("x.npy", {2, 3}, std::vector<float>(6));
  const auto flat = Run(target, {3});
  EXPECT_EQ(GetErrorInfo(flat.status()).code, "TLY-E0321");
  EXPECT_NE(flat.status().message().find("expected samples x steps x classes"), std::string::npos);
  WriteFloats("x.npy", {2, 3, 5}, std::vector<float>(30));
  EXPECT_NE(Run(target, {3, 5}).status().message().find("c.txt: expected a model with 4 classes"), std::string::npos);
}

TEST_F(KindsTest, PearsonOfCosineNeverSplitsAPair) {
  // Cosines 1, 0, -1, 0.6.
  WriteFloats("x.npy", {8, 2}, {1, 0, 5, 0, 1, 0, 0, 2, 0, 1, 0, -3, 3, 4, 1, 0});
  WriteFloats("s.npy", {4}, {5, 3, 0, 3});
  // By hand: deviations .85 -.15 -1.15 .45 and 2.25 .25 -2.75 .25; products 5.15, squares 2.27 and 12.75.
  const double r = 5.15 / std::sqrt(2.27 * 12.75);
  for (int64_t model_batch : {-1, 1, 3}) {
    for (int64_t batch : {0, 1, 3}) {
      EvalOptions options;
      options.batch = batch;
      const auto result = Run(R"("score", "path": "s.npy")", {2}, options, model_batch);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->metric, "pearson_of_cosine");
      EXPECT_NEAR(result->value, r, 1e-6);  // directions are float32
      EXPECT_EQ(result->samples, 8);
      ASSERT_EQ(result->shares.size(), 4u);
      EXPECT_TRUE(CheckDefined(*result).ok());
      // In points: 100 r.
      EvalResult perfect = *result;
      perfect.shares.assign(4, 1);
      EXPECT_NEAR(ComparePaired(perfect, *result).drop, 100 * (1 - r), 1e-4);
    }
  }
}

TEST_F(KindsTest, OutputsWithoutADirectionHaveCosineZero) {
  WriteFloats("s.npy", {3}, {5, 3, 0});
  WriteFloats("x.npy", {6, 2}, {1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, -1});
  const auto zero = Run(R"("score", "path": "s.npy")", {2});
  WriteFloats("x.npy", {6, 2}, {1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, -1});
  const auto right = Run(R"("score", "path": "s.npy")", {2});
  ASSERT_TRUE(zero.ok() && right.ok());
  EXPECT_DOUBLE_EQ(zero->value, right->value);
}

TEST_F(KindsTest, CorrelationOfConstantsIsUndefined) {
  WriteFloats("s.npy", {2}, {5, 3});
  WriteFloats("x.npy", {4, 2}, {1, 2, 1, 2, 1, 2, 2, 4});
  const auto outputs = Run(R"("score", "path": "s.npy")", {2});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_TRUE(std::isnan(outputs->value));
  EXPECT_EQ(GetErrorInfo(CheckDefined(*outputs)).code, "TLY-E0327");
  // For a search it is the worst that there is.
  EXPECT_FALSE(ComparePaired(*outputs, *outputs).drop <= 100);
  WriteFloats("s.npy", {2}, {3, 3});
  WriteFloats("x.npy", {4, 2}, {1, 2, 1, 2, 1, 2, -2, 4});
  EXPECT_EQ(GetErrorInfo(CheckDefined(*Run(R"("score", "path": "s.npy")", {2}))).code, "TLY-E0327");
}

TEST_F(KindsTest, WithoutLabelsSequencesAgreeWhenTheyDecodeAlike) {
  // Steps 0 0 1 and 2 1 1 against 0 1 1 and 1 2 1.
  const auto one_hot = [](const std::vector<int>& steps) {
    std::vector<float> x(steps.size() * 3);
    for (size_t i = 0; i < steps.size(); ++i) x[i * 3 + static_cast<size_t>(steps[i])] = 1;
    return x;
  };
  WriteFloats("x.npy", {2, 3, 3}, one_hot({0, 0, 1, 2, 1, 1}));
  const auto teacher = Run(R"("none")", {3, 3});
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_EQ(teacher->value, 100);
  EXPECT_EQ(teacher->answers.kind, Answers::Kind::kSequences);
  WriteFloats("x.npy", {2, 3, 3}, one_hot({0, 1, 1, 1, 2, 1}));
  EvalOptions options;
  options.teacher = &teacher->answers;
  const auto result = Run(R"("none")", {3, 3}, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metric, "agreement");
  EXPECT_EQ(result->shares, (std::vector<double>{1, 0}));
  EXPECT_EQ(Agreement(*teacher, *result), 50);
}

TEST_F(KindsTest, WithoutLabelsEmbeddingsAgreeByTheirCosine) {
  WriteFloats("x.npy", {2, 2}, {0.6f, -0.8f, 1, 0});
  const auto teacher = Run(R"("none")", {2});
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_EQ(teacher->answers.kind, Answers::Kind::kDirections);
  WriteFloats("x.npy", {2, 2}, {3, -4, 3, 4});  // whatever their length
  EvalOptions options;
  options.teacher = &teacher->answers;
  const auto result = Run(R"("none")", {2}, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->value, 80, 1e-4);
  EXPECT_NEAR(Agreement(*teacher, *result), 80, 1e-4);
  // Probabilities are not taken for embeddings, nor are scores of any length.
  WriteFloats("x.npy", {2, 2}, {0, 1, 1, 0});
  EXPECT_EQ(Run(R"("none")", {2})->answers.kind, Answers::Kind::kClasses);
  WriteFloats("x.npy", {2, 2}, {0.6f, -0.8f, 2, 0});
  EXPECT_EQ(Run(R"("none")", {2})->answers.kind, Answers::Kind::kClasses);
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
  a.answers.classes = {1, 2, 3, -1};
  b.answers.classes = {1, 2, 4, -1};
  EXPECT_EQ(Agreement(a, b), 75);
  EXPECT_EQ(Agreement(a, EvalResult()), 0);
}

TEST(ComparePaired, GivesTheStandardErrorOfTheMeanDifference) {
  EvalResult a, b;
  a.shares = {1, 1, 1, 1, 0, 0, 0, 0};
  b.shares = {1, 1, 0, 0, 1, 0, 0, 0};
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
  b.answers.classes = {4, 1, 9};  // the second likeliest, the same, one that is not among the likeliest
  const std::optional<PairedDrop> drop = ExpectedDrop(a, b);
  ASSERT_TRUE(drop.has_value());
  EXPECT_DOUBLE_EQ(drop->drop, 100 * (0.5 + 0 + 0.5) / 3);
  EXPECT_DOUBLE_EQ(drop->standard_error, 100 * std::sqrt((0.5 / 3 - 1.0 / 9) / 3));
  EXPECT_FALSE(ExpectedDrop(EvalResult(), b).has_value());
}

TEST(SqnrDb, IsTenDecibelsPerFactorTen) {
  const float x[] = {3, 4}, y[] = {3, 3};
  EXPECT_DOUBLE_EQ(SqnrDb(x, y, 2), 10 * std::log10(25.0));
  EXPECT_EQ(SqnrDb(x, x, 2), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace tally
