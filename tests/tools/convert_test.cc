// convert: its options and what it refuses; one conversion of a real model where there is one.
#include "format/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/paths.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using testing::Tally;

class ConvertTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) { return folder_ + "/" + name; }
  Ended Convert(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"convert",         Path("absent.onnx"), "-o",
                                          Path("out.tally"), "--calibration",     Path("data.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Tally(arguments);
  }
  const std::string folder_ = testing::MakeSampleFolder();
};

TEST_F(ConvertTest, RefusesContradictingOptions) {
  const std::vector<std::vector<std::string>> cases = {
      {"--bits", "4", "--target-bits", "4"},
      {"--max-drop", "1", "--target-size", "3MB"},
      {"--bits", "4", "--weight-bits", "4"},
      {"--bits", "9"},
      {"--bits", "1"},
      {"--best-effort"},
      {"--equalize", "--strategy", "dnateq"},
      {"--front", "3"},
      {"--front", "-1", "--report", "report"},
      {"--activation-target-bits", "5", "--activation-bits", "5"},
      {"--target-size", "large"},
      {"--keep", "none,int8"},
      {"--keep", "int4"},
      {"--rounding", "stochastic"},
      {"--levels", "uniform", "--strategy", "dnateq"},
      {"--levels", "uniform", "--encode", "log"},
      {"--levels", "uniform", "--grid", "real"},
      {"--calibration-samples", "0"},
      {"--grid", "q8"},
      {"--strategy", "random"},
      {"--shared-base", "maybe"},
      {"--num_threads", "257"},
  };
  for (const auto& options : cases) {
    const Ended ended = Convert(options);
    EXPECT_EQ(ended.status, 2) << options[0] << ": " << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("TLY-E0201"));
  }
  EXPECT_FALSE(testing::Exists(Path("out.tally")));
}

TEST_F(ConvertTest, FindsUnusableOutputsBeforeItSearches) {
  EXPECT_EQ(Convert({}).status, 4);  // the model is absent
  EXPECT_EQ(Tally({"convert", Path("x.npy"), "-o", Path("x.npy"), "--calibration", Path("data.json")}).status, 4);
  EXPECT_THAT(Tally({"convert", Path("x.npy"), "-o", Path("x.npy"), "--calibration", Path("data.json")}).err,
              HasSubstr("TLY-E0406"));
  EXPECT_THAT(Tally({"convert", Path("x.npy"), "-o", Path("data.json"), "--calibration", Path("data.json")}).err,
              HasSubstr("TLY-E0406"));
  EXPECT_THAT(Tally({"convert", Path("x.npy"), "-o", Path("no/out.tally"), "--calibration", Path("data.json")}).err,
              HasSubstr("TLY-E0401"));
  EXPECT_THAT(Tally({"convert", Path("x.npy"), "-o", folder_, "--calibration", Path("data.json")}).err,
              HasSubstr("TLY-E0403"));
  EXPECT_THAT(Convert({"--report", Path("x.npy")}).err, HasSubstr("report"));
  EXPECT_EQ(Convert({"--report", Path("report")}).status, 4);
  EXPECT_FALSE(testing::Exists(Path("report"))) << "made although nothing was converted";
  EXPECT_THAT(Convert({"--resume", Path("x.npy")}).err, HasSubstr("TLY-E0403"));
  EXPECT_THAT(Convert({"--resume", Path("no/such")}).err, HasSubstr("TLY-E0401"));
  EXPECT_THAT(Convert({"--resume", Path("out.tally")}).err, HasSubstr("TLY-E0406"));
  EXPECT_FALSE(testing::Exists(Path("out.tally")));
}

TEST_F(ConvertTest, WritesOverNoFileThatItReads) {
  const std::string model = testing::SourcePath("examples/digits/digits_mlp.onnx");
  const std::string data = testing::SourcePath("examples/digits/calibration.json");
  const nlohmann::json json = nlohmann::json::parse(testing::ReadText(data));
  const std::string images = testing::SourcePath("examples/digits/" + json["inputs"][0]["path"].get<std::string>());
  const std::string before = testing::ReadText(images);
  const Ended ended = Tally({"convert", model, "-o", images, "--calibration", data});
  EXPECT_EQ(ended.status, 4);
  EXPECT_THAT(ended.err, HasSubstr("TLY-E0406"));
  EXPECT_EQ(testing::ReadText(images), before);
}

TEST_F(ConvertTest, AStrippedFileIsHardlyLargerThanItsCodes) {
  const Ended converted =
      Tally({"convert", testing::SourcePath("examples/digits/digits_mlp.onnx"), "-o", Path("out.tally"),
             "--calibration", testing::SourcePath("examples/digits/calibration.json"), "--weight-bits", "4",
             "--activation-bits", "6", "--keep", "int8,float"});
  ASSERT_EQ(converted.status, 0) << converted.err;
  ASSERT_EQ(Tally({"strip", Path("out.tally"), "-o", Path("small.tally")}).status, 0);
  const absl::StatusOr<Graph> graph = ReadModelFile(Path("small.tally"));
  ASSERT_TRUE(graph.ok()) << graph.status();
  size_t codes = 0, channels = 0, constants = 0;
  for (const Tensor& tensor : graph->tensors) {
    if (tensor.codes) {
      codes += tensor.codes->packed.size();
      channels += static_cast<size_t>(tensor.shape[0]);
    } else if (tensor.has_data) {
      constants += tensor.data.size();
    }
  }
  ASSERT_GT(codes, 100000u);
  const size_t bytes = testing::ReadText(Path("small.tally")).size();
  EXPECT_LE(static_cast<double>(bytes), 1.02 * static_cast<double>(codes + 8 * channels + constants) + 16384);
}

TEST_F(ConvertTest, RefusesWhatIsNoOnnxFile) {
  const Ended ended = Tally({"convert", Path("x.npy"), "-o", Path("out.tally"), "--calibration", Path("data.json")});
  EXPECT_EQ(ended.status, 3);
  EXPECT_THAT(ended.err, HasSubstr("TLY-E0317"));
  EXPECT_FALSE(testing::Exists(Path("out.tally")));
}

TEST_F(ConvertTest, GoesOnToTheSameBytesAfterAKill) {
  const auto arguments = [&](const std::string& out, const std::string& steps) {
    return std::vector<std::string>{"convert",
                                    testing::SourcePath("examples/digits/digits_cnn.onnx"),
                                    "-o",
                                    Path(out),
                                    "--calibration",
                                    testing::SourcePath("examples/digits/calibration.json"),
                                    "--resume",
                                    Path(steps),
                                    "--bits",
                                    "5"};
  };
  ASSERT_EQ(Tally(arguments("whole.tally", "whole_steps")).status, 0);
  // Killed as soon as a step was kept.
  std::string command = "\"" TALLY_BINARY "\"";
  for (const std::string& argument : arguments("killed.tally", "steps")) command += " \"" + argument + "\"";
  command += " & pid=$!; until ls \"" + Path("steps") +
             "\"/*.json > /dev/null 2>&1; do kill -0 $pid || exit 3; done; " + "kill -9 $pid; wait $pid; exit 0";
  ASSERT_EQ(testing::RunProgram("/bin/sh", {"-c", command}).status, 0);
  EXPECT_FALSE(testing::Exists(Path("killed.tally")));
  ASSERT_EQ(Tally(arguments("killed.tally", "steps")).status, 0);
  EXPECT_EQ(testing::ReadText(Path("killed.tally")), testing::ReadText(Path("whole.tally")));
}

TEST_F(ConvertTest, ExplainsTheModelThatShips) {
  const Ended ended = Tally({"convert", testing::SourcePath("examples/digits/digits_cnn.onnx"), "-o", Path("out.tally"),
                             "--calibration", testing::SourcePath("examples/digits/calibration.json"), "--report",
                             Path("report"), "--front", "2", "--calibration-samples", "64"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json report = nlohmann::json::parse(testing::ReadText(Path("report/report.json")));
  EXPECT_GE(report["front"].size(), 2u);
  size_t weights = 0;
  for (const nlohmann::json& tensor : report["tensors"]) {
    if (tensor["encoding"] != "codes") continue;
    weights += tensor["kind"] == "weight" ? 1 : 0;
    double sum = 0;
    for (double share : tensor["distribution"]["shares"]) sum += share;
    EXPECT_NEAR(sum, 1, 0.01) << tensor["tensor"];
    EXPECT_GT(tensor["rmae"], 0);
  }
  EXPECT_GE(weights, 2u);
  const std::string page = testing::ReadText(Path("report/report.html"));
  for (const char* part : {"<svg", "exponents win", "Kolmogorov", "Magnitudes and levels"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_EQ(page.find("http"), std::string::npos) << "nothing is fetched";
  // Defaults are part of what the file tells.
  const nlohmann::json metadata = Tally({"inspect", Path("out.tally"), "--json"}).json()["metadata"];
  EXPECT_EQ(metadata["option.target_bits"], "4");
  EXPECT_EQ(metadata["option.activation_target_bits"], "6");
}

TEST_F(ConvertTest, ConvertsARealModel) {
  TALLY_ASSET_OR_SKIP(model, "models/mlperftiny_resnet8_cifar10.onnx");
  TALLY_ASSET_OR_SKIP(data, "data/cifar10_calibration/data_raw.json");
  const Ended ended = Tally({"convert", model, "-o", Path("out.tally"), "--calibration", data, "--weight-bits", "5",
                             "--activation-bits", "6", "--keep", "int8,float", "--report", Path("report")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("stored bits"));
  const nlohmann::json report = nlohmann::json::parse(testing::ReadText(Path("report/report.json")));
  for (const nlohmann::json& tensor : report["tensors"]) {
    if (tensor["encoding"] != "codes") continue;
    double sum = 0;
    for (double share : tensor["distribution"]["shares"]) sum += share;
    EXPECT_GE(sum, 0.99) << tensor["tensor"];
    for (const auto& [family, distance] : tensor["distribution"]["distance"].items()) {
      EXPECT_GT(distance, 0) << family;
      EXPECT_LT(distance, 1) << family;
    }
  }
  const std::string page = testing::ReadText(Path("report/report.html"));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_EQ(page.find("http"), std::string::npos) << "nothing is fetched";
  EXPECT_EQ(Tally({"verify", Path("out.tally")}).status, 0);
  const Ended inspect = Tally({"inspect", Path("out.tally"), "--json"});
  EXPECT_EQ(inspect.json()["weights"]["stored_bits_mean"], 5.0);
  // ONNX and the kept float weights are the same model.
  const Ended onnx = Tally({"eval", model, "--data", data, "--limit", "200", "--json", "-"});
  ASSERT_EQ(onnx.status, 0) << onnx.err;
  const Ended tally = Tally({"eval", Path("out.tally"), "--data", data, "--limit", "200", "--backend",
                             onnx.json()["results"][0]["backend"], "--json", "-"});
  ASSERT_EQ(tally.status, 0) << tally.err;
  EXPECT_EQ(onnx.json()["results"][0]["value"], tally.json()["results"][0]["value"]);
  EXPECT_EQ(Tally({"eval", model, "--data", data, "--backend", "exponent"}).status, 6);
}

}  // namespace
}  // namespace tally
