#include "converter/calibration/dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/converter/dataset/files.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::Code;
using ::testing::HasSubstr;
using testing::JpegBytes;
using testing::NpyBytes;
using testing::Raw;
using testing::WriteText;

class DatasetTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& bytes) { WriteText(dir_ + "/" + name, bytes); }
  // Opens a description made of `json` for one input "x".
  absl::StatusOr<Dataset> Open(const std::string& json, const Shape& shape, DType dtype = DType::kFloat32) {
    return OpenFor(json, {{"x", dtype, shape}});
  }
  absl::StatusOr<Dataset> OpenFor(const std::string& json, const std::vector<TensorInfo>& inputs) {
    Write("data.json", json);
    return Dataset::Open(dir_ + "/data.json", inputs);
  }
  static std::vector<float> Floats(const BatchInput& input) {
    std::vector<float> values(input.data.size() / sizeof(float));
    std::memcpy(values.data(), input.data.data(), input.data.size());
    return values;
  }
  std::vector<float> ReadAll(const absl::StatusOr<Dataset>& data) {
    EXPECT_TRUE(data.ok()) << data.status();
    if (!data.ok()) return {};
    const absl::StatusOr<Batch> batch = data->Read(0, data->size());
    EXPECT_TRUE(batch.ok()) << batch.status();
    return batch.ok() ? Floats(batch->inputs[0]) : std::vector<float>();
  }

  std::string dir_ = testing::TempDir();
};

TEST_F(DatasetTest, NormalisesPerChannelAndChangesTheLayout) {
  // Two samples of 1 x 2 pixels with three channels.
  Write("x.npy", NpyBytes("|u1", "(2, 1, 2, 3)", Raw<uint8_t>({0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110})));
  Write("y.npy", NpyBytes("|u1", "(2,)", Raw<uint8_t>({7, 3})));
  const auto data =
      Open(R"({"name": "n", "inputs": [{"name": "x", "kind": "npy", "path": "x.npy", "from_layout": "NHWC",
      "to_layout": "NCHW", "scale": 0.1, "mean": [1, 2, 3], "std": [1, 2, 4]}],
      "target": {"kind": "class", "path": "y.npy"}, "metric": "top1"})",
           {-1, 3, 1, 2});
  EXPECT_EQ(ReadAll(data), (std::vector<float>{-1, 2, -0.5f, 1, -0.25f, 0.5f, 5, 8, 2.5f, 4, 1.25f, 2}));
  const absl::StatusOr<Batch> batch = data->Read(1, 1);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ(batch->inputs[0].type, (TensorType{DType::kFloat32, {1, 3, 1, 2}}));
  EXPECT_EQ(batch->labels, (std::vector<int64_t>{3}));
  EXPECT_EQ(batch->views()[0].name, "x");
  EXPECT_EQ(data->name(), "n");
  EXPECT_EQ(data->metric(), "top1");
}

TEST_F(DatasetTest, MeanAndStdApplyAfterChannelReversal) {
  Write("x.npy", NpyBytes("|u1", "(1, 1, 1, 3)", Raw<uint8_t>({10, 20, 30})));
  const auto data = Open(R"({"inputs": [{"name": "*", "kind": "npy", "path": "x.npy", "from_layout": "NHWC",
      "channel_order": "BGR", "mean": [1, 2, 3]}]})",
                         {1, 1, 1, 3});
  EXPECT_EQ(ReadAll(data), (std::vector<float>{29, 18, 7}));
  EXPECT_EQ(data->metric(), "agreement");
}

TEST_F(DatasetTest, CropsTheCentreInBothLayouts) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 4 * 5; ++i) pixels.push_back(static_cast<uint8_t>(i));
  Write("x.npy", NpyBytes("|u1", "(1, 4, 5, 1)", Raw(pixels)));
  const std::vector<float> expected = {6, 7, 8, 11, 12, 13};
  EXPECT_EQ(ReadAll(Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy", "from_layout": "NHWC",
      "crop": [2, 3], "to_layout": "NCHW"}]})",
                         {1, 1, 2, 3})),
            expected);
  Write("x.npy", NpyBytes("|u1", "(1, 1, 4, 5)", Raw(pixels)));
  EXPECT_EQ(ReadAll(Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy", "from_layout": "NCHW",
      "size": [4, 5], "crop": [2, 3], "to_layout": "NHWC"}]})",
                         {1, 2, 3, 1})),
            expected);
}

TEST_F(DatasetTest, ReshapesEachSample) {
  Write("x.npy", NpyBytes("<f2", "(2, 2, 2)", Raw<uint16_t>({0x3c00, 0, 0, 0, 0, 0, 0, 0xc000})));
  const auto data =
      Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy", "reshape": [1, 4]}]})", {-1, 1, -2});
  EXPECT_EQ(ReadAll(data), (std::vector<float>{1, 0, 0, 0, 0, 0, 0, -2}));
  const auto bad = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy", "reshape": [5]}]})", {-1, 5});
  EXPECT_EQ(Code(bad.status()), "TLY-E0320");
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("inputs[0].reshape: expected the 4 elements"));
}

TEST_F(DatasetTest, ConvertsIdsToTheModelsIntegers) {
  Write("x.npy", NpyBytes("<i2", "(2, 2)", Raw<int16_t>({1, -2, 300, 4})));
  const std::string json = R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy")";
  const auto data = Open(json + "}]}", {-1, 2}, DType::kInt64);
  ASSERT_TRUE(data.ok()) << data.status();
  const absl::StatusOr<Batch> batch = data->Read(0, 2);
  ASSERT_TRUE(batch.ok()) << batch.status();
  const int64_t* ids = batch->inputs[0].view().as<int64_t>();
  EXPECT_EQ(std::vector<int64_t>(ids, ids + 4), (std::vector<int64_t>{1, -2, 300, 4}));
  // What does not fit is found when it is read, with its place in the file.
  const auto bytes = Open(json + "}]}", {-1, 2}, DType::kInt8);
  ASSERT_TRUE(bytes.ok());
  EXPECT_THAT(std::string(bytes->Read(1, 1).status().message()),
              HasSubstr("x.npy: element 2: expected a value of int8"));
  const auto scaled = Open(json + R"(, "scale": 2}]})", {-1, 2}, DType::kInt64);
  EXPECT_EQ(Code(scaled.status()), "TLY-E0320");
}

TEST_F(DatasetTest, ReadsImageLists) {
  std::filesystem::create_directory(dir_ + "/img");
  Write("img/a.jpg", JpegBytes(6, 8, 255, 0, 0));
  Write("img/b.jpg", JpegBytes(6, 8, 0, 0, 255));
  Write("list.txt", "img/a.jpg 4\nimg/b.jpg\t9\r\n\n");
  const std::string json = R"({"inputs": [{"name": "x", "kind": "image_list", "path": "list.txt", "size": [6, 8],
      "crop": [2, 4], "channel_order": "BGR", "to_layout": "NCHW", "scale": 1, "mean": [100, 0, 0]}],
      "target": {"kind": "class", "path": "list.txt", "label_offset": 1}})";
  const auto data = Open(json, {-1, 3, 2, 4});
  ASSERT_TRUE(data.ok()) << data.status();
  const absl::StatusOr<Batch> batch = data->Read(0, 2);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->labels, (std::vector<int64_t>{5, 10}));
  const std::vector<float> values = Floats(batch->inputs[0]);
  ASSERT_EQ(values.size(), 2u * 3 * 2 * 4);
  // Sample 0 is red: planes B - 100, G, R. The tolerance is JPEG's own rounding of a saturated colour.
  EXPECT_NEAR(values[0], -100, 3);
  EXPECT_NEAR(values[8], 0, 3);
  EXPECT_NEAR(values[16], 255, 3);
  EXPECT_NEAR(values[24], 155, 3);
  EXPECT_NEAR(values[40], 0, 3);
}

TEST_F(DatasetTest, ImagesOfAnotherSizeAreErrors) {
  Write("a.jpg", JpegBytes(8, 8, 1, 2, 3));
  Write("b.jpg", JpegBytes(8, 9, 1, 2, 3));
  Write("list.txt", "a.jpg\nb.jpg\n");
  const auto open = [&](const std::string& more, const Shape& shape) {
    return Open(R"({"inputs": [{"name": "x", "kind": "image_list", "path": "list.txt")" + more + "}]}", shape);
  };
  for (const char* more : {"", R"(, "size": [8, 8])"}) {
    const auto data = open(more, {-1, 8, 8, 3});
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_TRUE(data->Read(0, 1).ok());
    const absl::Status status = data->Read(0, 2).status();
    EXPECT_EQ(Code(status), "TLY-E0321");
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("b.jpg: expected an image of 8x8 (height x width), found 8x9"));
  }
  // With a crop and no size, images may differ as long as they hold it.
  const auto cropped = open(R"(, "crop": [8, 8])", {-1, 8, 8, 3});
  ASSERT_TRUE(cropped.ok()) << cropped.status();
  EXPECT_TRUE(cropped->Read(0, 2).ok());
  const auto large = open(R"(, "crop": [8, 9])", {-1, 8, 9, 3});
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_THAT(std::string(large->Read(0, 1).status().message()), HasSubstr("a.jpg: expected at least the crop 8x9"));
}

TEST_F(DatasetTest, OffsetLimitSliceAndStrideChooseSamples) {
  std::vector<float> values;
  for (int i = 0; i < 20; ++i) values.push_back(static_cast<float>(i));
  Write("x.npy", NpyBytes("<f4", "(20,)", Raw(values)));
  const std::string inputs = R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}])";
  auto data = Open(inputs + R"(, "offset": 2, "limit": 10})", {-1});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(ReadAll(data), (std::vector<float>{2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  ASSERT_TRUE(data->Slice(1, 7).ok());
  EXPECT_EQ(ReadAll(data), (std::vector<float>{3, 4, 5, 6, 7, 8, 9}));
  Dataset odd = *data;
  ASSERT_TRUE(data->Stride(0, 2).ok());
  EXPECT_EQ(ReadAll(data), (std::vector<float>{3, 5, 7, 9}));
  ASSERT_TRUE(odd.Stride(1, 2).ok());
  EXPECT_EQ(ReadAll(odd), (std::vector<float>{4, 6, 8}));
  // More than there is: all of it.
  auto all = Open(inputs + R"(, "limit": 1000})", {-1});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->size(), 20);
  ASSERT_TRUE(all->Slice(18, 1000).ok());
  EXPECT_EQ(ReadAll(all), (std::vector<float>{18, 19}));
  EXPECT_EQ(Code(all->Slice(2, -1)), "TLY-E0320");
  EXPECT_EQ(Code(all->Slice(0, 0)), "TLY-E0320");
  EXPECT_EQ(Code(Open(inputs + R"(, "offset": 20})", {-1}).status()), "TLY-E0320");
}

TEST_F(DatasetTest, DrawsSamplesBySeedInTheirOrder) {
  std::vector<float> values(200);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  Write("x.npy", NpyBytes("<f4", "(200,)", Raw<float>(values)));
  std::set<std::vector<float>> draws;
  std::vector<int> hits(values.size(), 0);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    auto data = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}]})", {-1});
    ASSERT_TRUE(data.ok()) << data.status();
    data->Draw(20, seed);
    const std::vector<float> drawn = ReadAll(data);
    ASSERT_EQ(drawn.size(), 20u);
    EXPECT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
    for (float v : drawn) ++hits[static_cast<size_t>(v)];
    draws.insert(drawn);
  }
  EXPECT_EQ(draws.size(), 50u);
  // 5 of 50 draws hold a sample on average; 17 are out of reach (six standard deviations).
  EXPECT_LT(*std::max_element(hits.begin(), hits.end()), 17);
  auto all = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}]})", {-1});
  all->Draw(500, 1);
  EXPECT_EQ(ReadAll(all), values);
}

TEST_F(DatasetTest, RefusesDataThatDoesNotFitTheModel) {
  Write("x.npy", NpyBytes("|u1", "(2, 3)", Raw<uint8_t>({1, 2, 3, 4, 5, 6})));
  Write("one.npy", NpyBytes("|u1", "(1,)", "x"));
  Write("none.npy", NpyBytes("|u1", "(0, 3)", ""));
  Write("scalar.npy", NpyBytes("|u1", "()", "x"));
  Write("neg.npy", NpyBytes("|i1", "(2,)", std::string("\x00\xff", 2)));
  const auto npy = [](const std::string& name, const std::string& path) {
    return R"({"name": ")" + name + R"(", "kind": "npy", "path": ")" + path + R"("})";
  };
  const std::vector<TensorInfo> one = {{"x", DType::kFloat32, {-1, 3}}};
  const std::vector<TensorInfo> two = {{"x", DType::kFloat32, {-1, 3}}, {"m", DType::kFloat32, {-1}}};
  const std::string label = R"(, "target": {"kind": "class", "path": ")";
  const struct {
    std::string inputs;
    std::string rest;
    const std::vector<TensorInfo>& model;
    const char* code;
    const char* expected;
  } cases[] = {
      {npy("z", "x.npy"), "", one, "TLY-E0320", R"(expected one of the model's inputs "x", found "z")"},
      {npy("x", "x.npy"), "", two, "TLY-E0320", R"(expected the model's input "m", found none)"},
      {npy("*", "x.npy"), "", two, "TLY-E0320", "expected a model with one input"},
      {npy("x", "x.npy") + "," + npy("*", "x.npy"), "", one, "TLY-E0320", "given twice"},
      {npy("x", "x.npy") + "," + npy("m", "one.npy"), "", two, "TLY-E0320", R"(expected 2 samples in "one.npy")"},
      {npy("x", "one.npy"), "", one, "TLY-E0321", "expected samples of ?x3 without its first extent, found scalar"},
      {npy("x", "scalar.npy"), "", one, "TLY-E0321", "found a scalar"},
      {npy("x", "none.npy"), "", one, "TLY-E0320", "expected at least one sample"},
      {npy("x", "absent.npy"), "", one, "TLY-E0401", "absent.npy"},
      {npy("x", "x.npy"), label + R"(one.npy"})", one, "TLY-E0321", "expected 2 labels, one per sample, found 1"},
      {npy("x", "x.npy"), label + R"(x.npy"})", one, "TLY-E0321", "expected labels of shape [N], found 2x3"},
      {npy("x", "x.npy"), label + R"(neg.npy"})", one, "TLY-E0321", "sample 1: expected a class of at least 0"},
  };
  for (const auto& c : cases) {
    const auto data = OpenFor(R"({"inputs": [)" + c.inputs + "]" + c.rest + "}", c.model);
    EXPECT_EQ(Code(data.status()), c.code) << c.expected;
    EXPECT_THAT(std::string(data.status().message()), HasSubstr(c.expected));
  }
  for (const char* list : {"a b c\n", "a.jpg x\n", "a.jpg\n"}) {
    Write("l.txt", list);
    EXPECT_EQ(Code(OpenFor(R"({"inputs": [)" + npy("x", "x.npy") + "]" + label + R"(l.txt"}})", one).status()),
              "TLY-E0321")
        << list;
  }
}

TEST_F(DatasetTest, TellsTheExtentsOfDynamicDimensions) {
  Write("x.npy", NpyBytes("|u1", "(2, 3, 2)", "abcdefghijkl"));
  Write("m.npy", NpyBytes("|u1", "(2, 3)", "abcdef"));
  const auto data = OpenFor(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"},
                                           {"name": "m", "kind": "npy", "path": "m.npy"}]})",
                            {{"x", DType::kFloat32, {-2, -1, -3}}, {"m", DType::kFloat32, {-2, -1}}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->Dimensions({"T", "N", "D"}), (std::vector<std::pair<std::string, int64_t>>{{"T", 3}, {"D", 2}}));
}

TEST_F(DatasetTest, CountsNoMoreSamplesThanItCanHold) {
  Write("x.npy", NpyBytes("<f4", "(4611686018427387904, 0)", ""));
  const auto data = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}]})", {-1, -2});
  EXPECT_EQ(Code(data.status()), "TLY-E0505") << data.status();
}

TEST_F(DatasetTest, NamesTheSampleThatHoldsNaN) {
  Write("x.npy", NpyBytes("<f4", "(2, 2)", Raw<float>({1, 2, 3, std::nanf("")})));
  const auto data = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}]})", {-1, 2});
  ASSERT_TRUE(data.ok());
  EXPECT_TRUE(data->Read(0, 1).ok());
  const absl::Status status = data->Read(0, 2).status();
  EXPECT_EQ(Code(status), "TLY-E0321");
  EXPECT_THAT(std::string(status.message()), HasSubstr("sample 1: expected finite values, found nan at element 1"));
}

TEST_F(DatasetTest, ADataFileCutWhileOpenIsAnError) {
  Write("x.npy", NpyBytes("|u1", "(4,)", "abcd"));
  const auto data = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}]})", {-1});
  ASSERT_TRUE(data.ok());
  std::filesystem::resize_file(dir_ + "/x.npy", 130);
  EXPECT_TRUE(data->Read(0, 2).ok());
  EXPECT_EQ(Code(data->Read(0, 4).status()), "TLY-E0404");
}

TEST_F(DatasetTest, HashFollowsSamplesAndLabels) {
  Write("x.npy", NpyBytes("|u1", "(4,)", "abcd"));
  Write("y.npy", NpyBytes("|u1", "(4,)", "abcd"));
  const std::string inputs = R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}])";
  const std::string target = R"(, "target": {"kind": "class", "path": "y.npy"})";
  const auto hash = [&](const std::string& more) { return *Open(inputs + more + "}", {-1})->Hash(); };
  const std::string first = hash(target);
  EXPECT_EQ(first.size(), 16u);
  EXPECT_EQ(hash(target), first);
  EXPECT_NE(hash(""), first);
  EXPECT_NE(hash(target + R"(, "limit": 3)"), first);
  Write("x.npy", NpyBytes("|u1", "(4,)", "abce"));
  EXPECT_NE(hash(target), first);
}

TEST_F(DatasetTest, ReadsTextsWithoutOuterSpaces) {
  Write("x.npy", NpyBytes("|u1", "(3,)", "abc"));
  Write("l.txt", " a b \r\n\nc");
  Write("c.txt", "a\nb\nc\n");
  const auto data = Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}],
      "target": {"kind": "text", "path": "l.txt", "charset": "c.txt", "blank": 0}})",
                         {-1});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->metric(), "ctc_exact");
  EXPECT_EQ(data->Read(0, 3)->texts, (std::vector<std::string>{"a b", "", "c"}));
  EXPECT_TRUE(data->CheckClasses(5).ok());
  EXPECT_EQ(Code(data->CheckClasses(4)), "TLY-E0321");
  EXPECT_THAT(data->files(), ::testing::Contains(HasSubstr("c.txt")));
  EXPECT_THAT(data->files(), ::testing::Contains(HasSubstr("l.txt")));
}

class PairsTest : public DatasetTest {
 protected:
  // Samples 0 .. count - 1, the pair 2k, 2k + 1 with score k.
  absl::StatusOr<Dataset> OpenPairs(int count, const std::string& more = "") {
    std::vector<uint8_t> x;
    std::vector<float> scores;
    for (int i = 0; i < count; ++i) {
      x.push_back(static_cast<uint8_t>(i));
      if (i % 2 == 0) scores.push_back(static_cast<float>(i / 2));
    }
    Write("x.npy", NpyBytes("|u1", "(" + std::to_string(count) + ",)", Raw(x)));
    Write("s.npy", NpyBytes("<f4", "(" + std::to_string(scores.size()) + ",)", Raw(scores)));
    return Open(R"({"inputs": [{"name": "x", "kind": "npy", "path": "x.npy"}],
        "target": {"kind": "score", "path": "s.npy"})" +
                    more + "}",
                {-1});
  }
  static void ExpectWholePairs(const Dataset& data) {
    const absl::StatusOr<Batch> batch = data.Read(0, data.size());
    ASSERT_TRUE(batch.ok()) << batch.status();
    const std::vector<float> x = Floats(batch->inputs[0]);
    ASSERT_EQ(x.size() % 2, 0u);
    for (size_t i = 0; i < x.size(); i += 2) {
      EXPECT_EQ(std::fmod(x[i], 2), 0);
      EXPECT_EQ(x[i + 1], x[i] + 1);
      EXPECT_EQ(batch->scores[i], x[i] / 2);
      EXPECT_EQ(batch->scores[i + 1], x[i] / 2);
    }
  }
};

TEST_F(PairsTest, AreNeverSplit) {
  const std::vector<std::array<int, 4>> slices = {{0, -1, 0, 20}, {0, 7, 0, 6},   {1, 7, 2, 6},
                                                  {3, 3, 4, 2},   {18, 9, 18, 2}, {5, -1, 6, 14}};
  for (const auto& [offset, limit, first, size] : slices) {
    auto data = OpenPairs(20);
    ASSERT_TRUE(data.ok()) << data.status();
    ASSERT_TRUE(data->Slice(offset, limit).ok());
    EXPECT_EQ(data->size(), size);
    EXPECT_EQ(ReadAll(data)[0], static_cast<float>(first));
    ExpectWholePairs(*data);
  }
  auto limited = OpenPairs(20, R"(, "offset": 1, "limit": 5)");
  EXPECT_EQ(ReadAll(limited), (std::vector<float>{2, 3, 4, 5}));
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto data = OpenPairs(20);
    data->Draw(9, seed);
    EXPECT_EQ(data->size(), 8);
    ExpectWholePairs(*data);
    data->Draw(1, seed);
    EXPECT_EQ(data->size(), 2);
    ExpectWholePairs(*data);
  }
  auto data = OpenPairs(20);
  Dataset held = data->HoldBack(3);
  EXPECT_EQ(held.size(), 6);
  EXPECT_EQ(data->size(), 14);
  ExpectWholePairs(held);
  ExpectWholePairs(*data);
  ASSERT_TRUE(data->Stride(1, 3).ok());
  EXPECT_EQ(ReadAll(data), (std::vector<float>{2, 3, 12, 13}));
}

TEST_F(PairsTest, OneSampleOfThemIsNoData) {
  auto data = OpenPairs(20);
  const absl::Status status = data->Slice(4, 1);
  EXPECT_EQ(Code(status), "TLY-E0320");
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected a pair of samples"));
  EXPECT_EQ(Code(data->Slice(19, -1)), "TLY-E0320");
  EXPECT_EQ(Code(OpenPairs(20, R"(, "limit": 1)").status()), "TLY-E0320");
}

TEST_F(DatasetTest, RefusesTextsAndScoresThatDoNotFit) {
  Write("x.npy", NpyBytes("|u1", "(4,)", "abcd"));
  Write("odd.npy", NpyBytes("|u1", "(3,)", "abc"));
  Write("c.txt", "a\nb\n");
  Write("l3.txt", "a\nb\na\n");
  Write("s2x2.npy", NpyBytes("<f4", "(2, 2)", Raw<float>({1, 2, 3, 4})));
  Write("s4.npy", NpyBytes("<f4", "(4,)", Raw<float>({1, 2, 3, 4})));
  Write("nan.npy", NpyBytes("<f4", "(2,)", Raw<float>({1, std::nanf("")})));
  Write("huge.npy", NpyBytes("<f4", "(4611686018427387904,)", ""));
  Write("complex.npy", NpyBytes("<c8", "(1,)", "12345678"));
  const struct {
    const char* x;
    const char* target;
    const char* code;
    const char* expected;
  } cases[] = {
      {"x", R"("text", "path": "l3.txt", "charset": "c.txt")", "TLY-E0321", "l3.txt: expected 4 lines, one per sample"},
      {"x", R"("text", "path": "no.txt", "charset": "c.txt")", "TLY-E0401", "no.txt"},
      {"x", R"("text", "path": "l3.txt", "charset": "no.txt")", "TLY-E0401", "no.txt"},
      {"x", R"("text", "path": "l3.txt", "charset": "c.txt", "blank": 9)", "TLY-E0321", "c.txt: expected at least 8"},
      {"x", R"("score", "path": "s4.npy")", "TLY-E0321", "s4.npy: expected 2 scores, one per pair of samples, found 4"},
      {"x", R"("score", "path": "s2x2.npy")", "TLY-E0321", "s2x2.npy: expected scores of shape [N], found 2x2"},
      {"x", R"("score", "path": "nan.npy")", "TLY-E0321", "nan.npy: score 1: expected a finite number, found nan"},
      {"x", R"("score", "path": "huge.npy")", "TLY-E0321", "huge.npy"},
      {"x", R"("score", "path": "complex.npy")", "TLY-E0321", "complex.npy"},
      {"x", R"("score", "path": "c.txt")", "TLY-E0321", "c.txt"},
      {"odd", R"("score", "path": "s4.npy")", "TLY-E0320", "expected pairs of samples 2k and 2k + 1, found 3 samples"},
  };
  for (const auto& c : cases) {
    const auto data = Open(std::string(R"({"inputs": [{"name": "x", "kind": "npy", "path": ")") + c.x +
                               R"(.npy"}], "target": {"kind": )" + c.target + "}}",
                           {-1});
    EXPECT_EQ(Code(data.status()), c.code) << c.target;
    EXPECT_THAT(std::string(data.status().message()), HasSubstr(c.expected));
  }
}

// Real descriptions: the shapes are the models'.
struct RealData {
  const char* path;
  Shape shape;
  int64_t size;
  int64_t classes;
};
class RealDataTest : public ::testing::TestWithParam<RealData> {};

TEST_P(RealDataTest, OpensAndReads) {
  const RealData& real = GetParam();
  TALLY_ASSET_OR_SKIP(path, std::string("data/") + real.path);
  const auto data = Dataset::Open(path, {{"input", DType::kFloat32, real.shape}});
  const auto named = Dataset::Open(path, {{"data", DType::kFloat32, real.shape}});
  const absl::StatusOr<Dataset>& opened = data.ok() ? data : named;
  ASSERT_TRUE(opened.ok()) << data.status();
  EXPECT_EQ(opened->size(), real.size);
  const absl::StatusOr<Batch> batch = opened->Read(real.size - 3, 3);
  ASSERT_TRUE(batch.ok()) << batch.status();
  Shape expected = real.shape;
  expected[0] = 3;
  EXPECT_EQ(batch->inputs[0].type.shape, expected);
  ASSERT_EQ(batch->labels.size(), 3u);
  for (int64_t label : batch->labels) EXPECT_LT(label, real.classes);
}

INSTANTIATE_TEST_SUITE_P(
    Assets, RealDataTest,
    ::testing::Values(RealData{"cifar10_dev/data.json", {-1, 3, 32, 32}, 5000, 10},
                      RealData{"cifar10_calibration/data_raw.json", {-1, 3, 32, 32}, 1000, 10},
                      RealData{"mnist_dev/data.json", {-1, 784}, 4750, 10},
                      RealData{"speech_dev/data_dnn.json", {-1, 250}, 1467, 12},
                      RealData{"speech_dev/data_cnn.json", {-1, 1, 49, 10}, 1467, 12},
                      RealData{"speech_calibration/data_kwt.json", {-1, 98, 40}, 489, 12},
                      RealData{"imagenet_dev/data_squeezenet.json", {-1, 3, 227, 227}, 650, 1000},
                      RealData{"imagenet_calibration/data_mobilenet.json", {-1, 3, 224, 224}, 200, 1001}),
    [](const ::testing::TestParamInfo<RealData>& parameter) {
      std::string name = parameter.param.path;
      for (char& c : name) {
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      }
      return name;
    });

TEST(RealTokens, BecomeInt64) {
  TALLY_ASSET_OR_SKIP(path, "data/stsb_dev/data_calibration.json");
  const auto data = Dataset::Open(path, {{"ids", DType::kInt64, {-1, 64}}, {"mask", DType::kInt64, {-1, 64}}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 256);
  EXPECT_TRUE(data->Read(0, 256).ok());
}

TEST(RealTokens, ComeInPairsWithScores) {
  TALLY_ASSET_OR_SKIP(path, "data/stsb_dev/data.json");
  auto data = Dataset::Open(path, {{"ids", DType::kInt64, {-1, -2}}, {"mask", DType::kFloat32, {-1, -2}}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 3000);
  EXPECT_EQ(data->metric(), "pearson_of_cosine");
  ASSERT_TRUE(data->Slice(11, 101).ok());
  EXPECT_EQ(data->size(), 100);
  const absl::StatusOr<Batch> batch = data->Read(0, 2);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->inputs[0].type, (TensorType{DType::kInt64, {2, 64}}));
  EXPECT_EQ(batch->inputs[1].type, (TensorType{DType::kFloat32, {2, 64}}));
  EXPECT_EQ(batch->scores[0], batch->scores[1]);
  EXPECT_LE(batch->scores[0], 5);
}

TEST(RealLines, HaveTextsOfTheirCharset) {
  TALLY_ASSET_OR_SKIP(path, "data/ocr_dev/data.json");
  const auto data = Dataset::Open(path, {{"x", DType::kFloat32, {-1, 3, 48, -2}}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 200);
  EXPECT_EQ(data->metric(), "ctc_exact");
  EXPECT_TRUE(data->CheckClasses(6625).ok());
  const absl::StatusOr<Batch> batch = data->Read(0, 4);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->inputs[0].type.shape, (Shape{4, 3, 48, 320}));
  EXPECT_EQ(batch->texts[3], "running is");
}

}  // namespace
}  // namespace tally
