// Models that read text and lines of images, from ONNX through eval, convert and compare: what is right is a text or a
// score of a pair.
#include <cmath>
#include <fstream>
#include <random>

#include "converter/calibration/ctc.h"
#include "converter/calibration/dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/converter/onnx/onnx_builder.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using testing::OnnxBuilder;
using testing::Tally;

class DataKindsTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void WriteText(const std::string& name, const std::string& text) const { std::ofstream(Path(name)) << text; }
  template <typename T>
  void WriteArray(const std::string& name, DType dtype, const Shape& shape, const std::vector<T>& values) const {
    ASSERT_TRUE(WriteNpy(Path(name), {values.data(), dtype, shape}).ok());
  }
  std::vector<float> Normal(size_t n, double deviation) {
    std::normal_distribution<double> normal(0, deviation);
    std::vector<float> values(n);
    for (float& v : values) v = static_cast<float>(normal(random_));
    return values;
  }
  std::vector<uint8_t> Bytes(size_t n, unsigned below) {
    std::vector<uint8_t> values(n);
    for (uint8_t& v : values) v = static_cast<uint8_t>(random_() % below);
    return values;
  }
  std::vector<float> RunFloat(const std::vector<std::string>& inputs) const {
    std::vector<std::string> arguments = {"run", Path("model.onnx"), "--output", "y=" + Path("y.npy")};
    for (const std::string& input : inputs) arguments.insert(arguments.end(), {"--input", input});
    const Ended ended = Tally(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    const absl::StatusOr<NpyArray> y = ReadNpy(Path("y.npy"));
    EXPECT_TRUE(y.ok()) << y.status();
    if (!y.ok()) return {};
    std::vector<float> values(y->data.size() / sizeof(float));
    std::memcpy(values.data(), y->data.data(), y->data.size());
    return values;
  }
  nlohmann::json Eval(const std::string& model, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"eval", Path(model), "--data", Path("data.json"), "--json", "-"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ended ended = Tally(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.status == 0 ? ended.json()["results"] : nlohmann::json::array();
  }
  // convert, and what it, eval and compare say of `metric`.
  void ConvertAndCompare(const std::string& metric, double points) {
    const Ended converted =
        Tally({"convert", Path("model.onnx"), "-o", Path("model.tally"), "--calibration", Path("calibration.json"),
               "--eval", Path("data.json"), "--max-drop", "10", "--keep", "float", "--report", Path("report")});
    ASSERT_EQ(converted.status, 0) << converted.err;
    EXPECT_THAT(converted.out, HasSubstr(metric + "  float "));
    const nlohmann::json report = nlohmann::json::parse(testing::ReadText(Path("report/report.json")));
    EXPECT_EQ(report["metric"], metric);
    EXPECT_TRUE(report["expected_drop"].is_null());
    const double lost = report["float_value"].get<double>() - report["quantized_value"].get<double>();
    EXPECT_NEAR(report["drop"]["points"].get<double>(), points * lost, 1e-6);
    EXPECT_LE(report["drop"]["points"].get<double>(), 10);
    EXPECT_GT(report["steps"].size(), 1u);
    EXPECT_THAT(testing::ReadText(Path("report/report.html")), HasSubstr(metric + " quantized"));

    const nlohmann::json results = Eval("model.tally", {"--backend", "exponent,reference"});
    ASSERT_EQ(results.size(), 2u);
    EXPECT_NEAR(results[0]["value"].get<double>(), report["quantized_value"].get<double>(), 1e-9);
    EXPECT_NEAR(results[0]["drop"]["points"].get<double>(), report["drop"]["points"].get<double>(), points * 1e-5);
    EXPECT_GT(results[0]["agreement"]["percent"].get<double>(), 80);

    const auto compare = [&](double demand) {
      return Tally({"compare", Path("model.tally"), "--data", Path("data.json"), "--backend", "exponent",
                    "--error-samples", "0", "--html", Path("page.html"), "--fail-below",
                    metric + "=" + std::to_string(demand)});
    };
    const double value = results[0]["value"];
    EXPECT_EQ(compare(value - 0.001).status, 0);
    EXPECT_THAT(testing::ReadText(Path("page.html")), HasSubstr(metric));
    const Ended failed = compare(value + 0.001);
    EXPECT_EQ(failed.status, 1);
    EXPECT_THAT(failed.err, HasSubstr("TLY-E0101: exponent: " + metric + ": expected at least"));
  }

  std::mt19937 random_{5};
  const std::string folder_ = testing::TempDir();
};

// Lines of 8 x M pixels to M / 4 steps.
class TextTest : public DataKindsTest {
 protected:
  static constexpr int64_t kSamples = 60, kWidth = 64, kSteps = 16, kClasses = 6;
  void SetUp() override {
    OnnxBuilder b;
    b.Input("x", {-1, 3, 8, -2}).Output("y");
    b.Floats("w1", {16, 3, 8, 3}, Normal(16 * 72, 0.2)).Floats("w2", {16, kClasses}, Normal(16 * kClasses, 0.5));
    b.Ints("two", {2});
    onnx::NodeProto& conv = b.Node("Conv", {"x", "w1"}, {"c"}, "conv");
    testing::SetInts(conv, "pads", {0, 1, 0, 1});
    testing::SetInts(conv, "strides", {8, 4});
    b.Node("Relu", {"c"}, {"r"}, "relu");
    b.Node("Squeeze", {"r", "two"}, {"s"}, "squeeze");
    testing::SetInts(b.Node("Transpose", {"s"}, {"t"}, "transpose"), "perm", {0, 2, 1});
    b.Node("MatMul", {"t", "w2"}, {"l"}, "matmul");
    testing::SetInt(b.Node("Softmax", {"l"}, {"y"}, "softmax"), "axis", 2);
    testing::WriteBytes(Path("model.onnx"), b.Bytes());

    WriteArray("lines.npy", DType::kUint8, {kSamples, 8, kWidth, 3}, Bytes(kSamples * 8 * kWidth * 3, 256));
    const std::string input =
        R"({"inputs": [{"name": "x", "kind": "npy", "path": "lines.npy", "from_layout": "NHWC", "to_layout": "NCHW",
            "channel_order": "BGR", "scale": 0.00784313725490196, "mean": [1, 1, 1], "std": [1, 1, 1]}], "target": )";
    WriteText("data.json", input + R"({"kind": "text", "path": "labels.txt", "charset": "charset.txt", "blank": 0},
                                       "metric": "ctc_exact"})");
    WriteText("calibration.json", input + R"({"kind": "none"}})");
    WriteText("charset.txt", "a\nb\n\xc3\xa9\nd\n");

    // What the model itself reads, but for every fifth line.
    const auto data = Dataset::Open(Path("calibration.json"), {{"x", DType::kFloat32, {-1, 3, 8, -2}}});
    ASSERT_TRUE(data.ok()) << data.status();
    const absl::StatusOr<Batch> lines = data->Read(0, kSamples);
    ASSERT_TRUE(lines.ok()) << lines.status();
    ASSERT_TRUE(WriteNpy(Path("x.npy"), lines->inputs[0].view()).ok());
    const absl::StatusOr<Charset> charset = Charset::Read(Path("charset.txt"), 0);
    ASSERT_TRUE(charset.ok()) << charset.status();
    std::ofstream labels(Path("labels.txt"));
    const std::vector<float> y = RunFloat({"x=" + Path("x.npy")});
    ASSERT_EQ(y.size(), static_cast<size_t>(kSamples * kSteps * kClasses));
    for (int64_t i = 0; i < kSamples; ++i) {
      const std::vector<int32_t> read = GreedyCtc(y.data() + i * kSteps * kClasses, kSteps, kClasses, 0);
      labels << " " << *charset->Text(read) << (i % 5 == 4 ? "x" : "") << "  \n";
    }
  }
};

TEST_F(TextTest, EvalDecodesLinesOfAnyWidth) {
  const nlohmann::json all = Eval("model.onnx");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0]["metric"], "ctc_exact");
  EXPECT_EQ(all[0]["value"], 80);
  EXPECT_EQ(all[0]["samples"], 60);
  EXPECT_EQ(Eval("model.onnx", {"--offset", "4", "--limit", "1"})[0]["value"], 0);
  EXPECT_EQ(Eval("model.onnx", {"--limit", "4"})[0]["value"], 100);
}

TEST_F(TextTest, ConvertKeepsExactTexts) { ConvertAndCompare("ctc_exact", 1); }

TEST_F(TextTest, WithoutLabelsTextsAgree) {
  const Ended ended =
      Tally({"eval", Path("model.onnx"), "--data", Path("calibration.json"), "--backend", "reference", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.json()["results"][0]["metric"], "agreement");
  EXPECT_EQ(ended.json()["results"][0]["value"], 100);
}

// Mean of word vectors, and a product.
class PairsTest : public DataKindsTest {
 protected:
  static constexpr int64_t kSamples = 160, kWords = 40, kLength = 6, kWidth = 16;
  void SetUp() override {
    OnnxBuilder b;
    b.Input("ids", {-1, -2}, onnx::TensorProto::INT64).Input("mask", {-1, -2}).Output("y");
    b.Floats("table", {kWords, kWidth}, Normal(kWords * kWidth, 1));
    b.Floats("w", {kWidth, kWidth}, Normal(kWidth * kWidth, 0.25));
    b.Ints("two", {2});
    b.Node("Gather", {"table", "ids"}, {"e"}, "gather");
    b.Node("Unsqueeze", {"mask", "two"}, {"m"}, "unsqueeze");
    b.Node("Mul", {"e", "m"}, {"masked"}, "mul");
    onnx::NodeProto& mean = b.Node("ReduceMean", {"masked"}, {"mean"}, "mean");
    testing::SetInts(mean, "axes", {1});
    testing::SetInt(mean, "keepdims", 0);
    b.Node("MatMul", {"mean", "w"}, {"y"}, "matmul");
    testing::WriteBytes(Path("model.onnx"), b.Bytes());

    const std::vector<uint8_t> words = Bytes(kSamples * kLength, kWords);
    const std::vector<int64_t> ids(words.begin(), words.end());
    std::vector<float> mask(ids.size(), 1);
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % kLength >= 3 + i % 4 ? 0.0f : 1.0f;
    const std::string header = std::string("\x93NUMPY\x01\x00v\x00", 10);
    std::string npy = header + "{'descr': '<i2', 'fortran_order': False, 'shape': (160, 6), }";
    npy.resize(127, ' ');
    npy += '\n';
    for (int64_t id : ids) npy += {static_cast<char>(id), '\0'};
    testing::WriteBytes(Path("ids.npy"), npy);
    WriteArray("ids64.npy", DType::kInt64, {kSamples, kLength}, ids);
    WriteArray("mask.npy", DType::kFloat32, {kSamples, kLength}, mask);
    const std::string inputs = R"({"inputs": [{"name": "ids", "kind": "npy", "path": "ids.npy"},
                                              {"name": "mask", "kind": "npy", "path": "mask.npy"}], "target": )";
    WriteText("data.json", inputs + R"({"kind": "score", "path": "scores.npy"}, "metric": "pearson_of_cosine"})");
    WriteText("calibration.json", inputs + R"({"kind": "none"}, "limit": 81})");

    const std::vector<float> y = RunFloat({"ids=" + Path("ids64.npy"), "mask=" + Path("mask.npy")});
    ASSERT_EQ(y.size(), static_cast<size_t>(kSamples * kWidth));
    const std::vector<float> noise = Normal(kSamples / 2, 0.5);
    std::vector<float> scores;
    for (size_t k = 0; k < kSamples / 2; ++k) {
      double ab = 0, aa = 0, bb = 0;
      for (size_t i = 0; i < kWidth; ++i) {
        const double a = y[2 * k * kWidth + i], c = y[(2 * k + 1) * kWidth + i];
        ab += a * c, aa += a * a, bb += c * c;
      }
      cosines_.push_back(ab / std::sqrt(aa * bb));
      scores.push_back(static_cast<float>(2.5 + 2.5 * cosines_[k]) + noise[k]);
    }
    scores_.assign(scores.begin(), scores.end());
    WriteArray("scores.npy", DType::kFloat32, {kSamples / 2}, scores);
  }
  // Of the pairs first .. first + count - 1.
  double Pearson(size_t first, size_t count) const {
    double x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t k = first; k < first + count; ++k) {
      x += cosines_[k], y += scores_[k];
      xx += cosines_[k] * cosines_[k], yy += scores_[k] * scores_[k], xy += cosines_[k] * scores_[k];
    }
    const double n = static_cast<double>(count);
    return (xy - x * y / n) / std::sqrt((xx - x * x / n) * (yy - y * y / n));
  }

  std::vector<double> cosines_, scores_;
};

TEST_F(PairsTest, EvalCorrelatesCosinesWithScores) {
  const nlohmann::json all = Eval("model.onnx");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0]["metric"], "pearson_of_cosine");
  EXPECT_EQ(all[0]["samples"], 160);
  // float32 outputs of two backends at most; r moves as they do.
  EXPECT_NEAR(all[0]["value"].get<double>(), Pearson(0, 80), 1e-5);
  EXPECT_LT(Pearson(0, 80), 0.95);
}

TEST_F(PairsTest, LimitAndOffsetKeepWholePairs) {
  const nlohmann::json some = Eval("model.onnx", {"--offset", "3", "--limit", "22"});
  EXPECT_EQ(some[0]["samples"], 20);
  EXPECT_NEAR(some[0]["value"].get<double>(), Pearson(2, 10), 1e-5);
  const Ended one = Tally({"eval", Path("model.onnx"), "--data", Path("data.json"), "--limit", "1"});
  EXPECT_EQ(one.status, 3);
  EXPECT_THAT(one.err, HasSubstr("TLY-E0320"));
}

TEST_F(PairsTest, ConvertKeepsTheCorrelation) { ConvertAndCompare("pearson_of_cosine", 100); }

TEST_F(PairsTest, ScoresThatAreAllTheSameAreNoData) {
  WriteArray("scores.npy", DType::kFloat32, {kSamples / 2}, std::vector<float>(kSamples / 2, 3));
  const Ended ended = Tally({"eval", Path("model.onnx"), "--data", Path("data.json")});
  EXPECT_EQ(ended.status, 3);
  EXPECT_THAT(ended.err, HasSubstr("TLY-E0327"));
  EXPECT_THAT(ended.err, HasSubstr("pearson_of_cosine of 80 pairs"));
  const Ended converted = Tally({"convert", Path("model.onnx"), "-o", Path("model.tally"), "--calibration",
                                 Path("calibration.json"), "--eval", Path("data.json")});
  EXPECT_EQ(converted.status, 3);
  EXPECT_THAT(converted.err, HasSubstr("TLY-E0327"));
  EXPECT_FALSE(testing::Exists(Path("model.tally")));
}

}  // namespace
}  // namespace tally
