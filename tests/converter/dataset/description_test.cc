#include "converter/calibration/description.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/converter/dataset/files.h"

namespace tally {
namespace {

using testing::Code;
using ::testing::HasSubstr;

TEST(ParseDescription, ReadsTheDocumentedExample) {
  const absl::StatusOr<DataDescription> data = ParseDescription(R"({
    "name": "cifar10_dev",
    "inputs": [ { "name": "input", "kind": "npy", "path": "images_u8.npy", "from_layout": "NHWC", "to_layout": "NCHW",
                  "scale": 0.00392156862745098, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225] } ],
    "target": { "kind": "class", "path": "labels_u8.npy" }, "metric": "top1" })",
                                                                "d.json");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->name, "cifar10_dev");
  ASSERT_EQ(data->inputs.size(), 1u);
  EXPECT_EQ(data->inputs[0].from_layout, Layout::kChannelsLast);
  EXPECT_EQ(data->inputs[0].to_layout, Layout::kChannelsFirst);
  EXPECT_EQ(data->inputs[0].mean, (std::vector<double>{0.485, 0.456, 0.406}));
  EXPECT_EQ(data->target, TargetKind::kClass);
  EXPECT_EQ(data->metric, "top1");
  EXPECT_EQ(data->limit, -1);
}

TEST(ParseDescription, WithoutTargetTheMetricIsAgreement) {
  const absl::StatusOr<DataDescription> data = ParseDescription(
      R"({"inputs": [{"name": "*", "kind": "npy", "path": "x.npy"}], "target": {"kind": "none"}, "limit": 64})",
      "d.json");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->target, TargetKind::kNone);
  EXPECT_EQ(data->metric, "agreement");
  EXPECT_EQ(data->limit, 64);
}

// `input` replaces the members of the only input; `rest` follows "inputs".
absl::Status Error(const std::string& input, const std::string& rest = "") {
  return ParseDescription(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy")" + input + "}]" + rest + "}",
                          "d.json")
      .status();
}

TEST(ParseDescription, NamesTheKeyAndWhatItExpected) {
  const struct {
    const char* input;
    const char* rest;
    const char* expected;
  } cases[] = {
      {R"(, "meen": 1)", "", R"(inputs[0]: unknown key "meen"; known keys: name, kind, path)"},
      {"", R"(, "target": {"kind": "class", "path": "l", "offset": 1})", R"(target: unknown key "offset")"},
      {"", R"(, "labels": 1)", R"(unknown key "labels"; known keys: name, inputs, target)"},
      {R"(, "scale": "1")", "", R"(inputs[0].scale: expected a finite number, found string "1")"},
      {R"(, "mean": [])", "", "inputs[0].mean: expected at least one number"},
      {R"(, "mean": [1, null])", "", "inputs[0].mean: expected a finite number, found null"},
      {R"(, "std": 0)", "", "inputs[0].std: expected numbers other than 0"},
      {R"(, "from_layout": "NWHC")", "", R"(inputs[0].from_layout: expected one of NHWC, NCHW, found "NWHC")"},
      {R"(, "to_layout": "NCHW")", "", "inputs[0].to_layout: expected from_layout"},
      {R"(, "channel_order": "BGR")", "", "inputs[0].channel_order: expected from_layout"},
      {R"(, "mean": [1, 2, 3])", "", "inputs[0].mean: expected from_layout"},
      {R"(, "from_layout": "NHWC", "channel_order": "bgr")", "", "expected one of RGB, BGR"},
      {R"(, "reshape": [1, -1])", "", "inputs[0].reshape: expected an integer in 1..2147483647, found -1"},
      {R"(, "reshape": [1, 1, 1, 1, 1, 1])", "", "inputs[0].reshape: expected an array of 0..5 integers"},
      {R"(, "size": [227])", "", "inputs[0].size: expected an array of 2 integers, found an array of 1"},
      {R"(, "from_layout": "NHWC", "size": [8, 8], "crop": [9, 8])", "", "inputs[0].crop: expected at most the size"},
      {"", R"(, "limit": -1)", "limit: expected an integer in 0.."},
      {"", R"(, "limit": 18446744073709551615)", "limit: expected an integer in 0.."},
      {"", R"(, "offset": 1.5)", "offset: expected an integer in 0.."},
      {"", R"(, "metric": "top1")", R"(metric: expected one of agreement, found "top1")"},
      {"", R"(, "target": {"kind": "class"})", "target.path: expected this key, found none"},
      {"", R"(, "target": {"kind": "none", "label_offset": 1})", "target.label_offset: expected only with"},
      {"", R"(, "target": {"kind": "none", "path": "l"})", "target.path: expected only with"},
      {"", R"(, "target": {"kind": "text", "path": "l"})", "target.charset: expected this key, found none"},
      {"", R"(, "target": {"kind": "text", "charset": "c"})", "target.path: expected this key, found none"},
      {"", R"(, "target": {"kind": "text", "path": "l", "charset": 1})", "target.charset: expected a string"},
      {"", R"(, "target": {"kind": "text", "path": "l", "charset": "c", "blank": -1})",
       "target.blank: expected an int"},
      {"", R"(, "target": {"kind": "text", "path": "l", "charset": "c", "label_offset": 1})",
       "target.label_offset: expected only with target kind class"},
      {"", R"(, "target": {"kind": "class", "path": "l", "blank": 0})", "target.blank: expected only with"},
      {"", R"(, "target": {"kind": "score", "path": "l", "charset": "c"})", "target.charset: expected only with"},
      {"", R"(, "target": {"kind": "score", "path": "l"}, "metric": "top1")",
       R"(metric: expected one of pearson_of_cosine, found "top1")"},
      {"", R"(, "target": {"kind": "label"})", "target.kind: expected one of none, class, text, score"},
      {"", R"(, "target": 3)", "target: expected an object, found 3"},
      {R"(, "scale": 1, "scale": 2)", "", R"(key "scale" occurs twice)"},
      {"", R"(, "inputs": [])", R"(key "inputs" occurs twice)"},
      {"", ",", "expected JSON: parse error at line 1"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Error(c.input, c.rest);
    EXPECT_EQ(Code(status), "TLY-E0320") << c.input << c.rest;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.expected));
    EXPECT_THAT(std::string(status.message()), HasSubstr("d.json"));
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status;
  }
}

TEST(ParseDescription, RefusesOtherTopLevels) {
  for (const char* text : {"", "3", "[]", "{}", R"({"inputs": []})", R"({"inputs": 1})", "{\"inputs\": [1]}", "\xff"}) {
    EXPECT_EQ(Code(ParseDescription(text, "d.json").status()), "TLY-E0320") << text;
  }
}

TEST(ParseDescription, SurvivesDeepNesting) {
  EXPECT_EQ(Code(ParseDescription(std::string(900000, '['), "d.json").status()), "TLY-E0320");
  EXPECT_EQ(Code(ParseDescription(std::string(400000, '[') + std::string(400000, ']'), "d.json").status()),
            "TLY-E0320");
}

TEST(ParseDescription, ReadsTextsAndScores) {
  const std::string inputs = R"({"inputs": [{"name": "*", "kind": "npy", "path": "x.npy"}], )";
  const auto text = ParseDescription(
      inputs + R"("target": {"kind": "text", "path": "l.txt", "charset": "c.txt", "blank": 7}, "metric": "ctc_exact"})",
      "d.json");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->target, TargetKind::kText);
  EXPECT_EQ(text->target_path, "l.txt");
  EXPECT_EQ(text->charset_path, "c.txt");
  EXPECT_EQ(text->blank, 7);
  const auto score = ParseDescription(inputs + R"("target": {"kind": "score", "path": "s.npy"}})", "d.json");
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_EQ(score->target, TargetKind::kScore);
  EXPECT_EQ(score->metric, "pearson_of_cosine");
}

}  // namespace
}  // namespace tally
