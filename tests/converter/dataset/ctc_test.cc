#include "converter/calibration/ctc.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/converter/dataset/files.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::Code;
using ::testing::HasSubstr;

// One step per class, which has the largest score; -1: a step of NaN.
std::vector<float> Steps(const std::vector<int>& answers, size_t classes) {
  std::vector<float> scores;
  for (int answer : answers) {
    for (size_t c = 0; c < classes; ++c) {
      scores.push_back(answer < 0 ? std::nanf("") : static_cast<int>(c) == answer ? 1.0f : -1.0f);
    }
  }
  return scores;
}

std::vector<int32_t> Decode(const std::vector<int>& answers, int64_t blank) {
  return GreedyCtc(Steps(answers, 5).data(), static_cast<int64_t>(answers.size()), 5, blank);
}

absl::StatusOr<Charset> CharsetOf(const std::string& text, int64_t blank) {
  const std::string path = testing::TempDir() + "/charset.txt";
  testing::WriteText(path, text);
  return Charset::Read(path, blank);
}

TEST(GreedyCtc, MergesRepeatsBeforeItLeavesOutTheBlank) {
  EXPECT_EQ(Decode({1, 1, 0, 1, 2, 2, 0, 0, 3}, 0), (std::vector<int32_t>{1, 1, 2, 3}));
  EXPECT_EQ(Decode({1, 1, 0, 1}, 4), (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(Decode({1, 1, 0, 1}, -1), (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(Decode({0, 0}, 0), (std::vector<int32_t>()));
  EXPECT_EQ(Decode({0, 0}, -1), (std::vector<int32_t>{0}));
  EXPECT_EQ(Decode({}, 0), (std::vector<int32_t>()));
}

TEST(GreedyCtc, KeepsStepsWithoutAnAnswer) {
  EXPECT_EQ(Decode({1, -1, -1, 1}, 0), (std::vector<int32_t>{1, -1, 1}));
  EXPECT_EQ(Decode({-1, 1}, -1), (std::vector<int32_t>{-1, 1}));
}

TEST(Charset, ClassKIsLineKAndTheLastASpace) {
  const auto charset = CharsetOf("a\n\xc3\xa9\r\n\xe6\x83\x91\n", 0);
  ASSERT_TRUE(charset.ok()) << charset.status();
  EXPECT_TRUE(charset->CheckClasses(5).ok());
  EXPECT_EQ(charset->Text({1, 4, 2, 3}), "a \xc3\xa9\xe6\x83\x91");
  EXPECT_EQ(charset->Text({4, 4, 1, 4}), "a");  // without spaces at the ends
  EXPECT_EQ(charset->Text({4}), "");
  EXPECT_EQ(charset->Text({}), "");
  EXPECT_EQ(charset->Text({1, -1}), std::nullopt);
}

TEST(Charset, TheBlankMayBeAnyClass) {
  const auto last = CharsetOf("a\nb", 3);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->Text({0, 1, 2, 0}), "ab a");
  const auto second = CharsetOf("a\nb", 1);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->Text({0, 2, 3, 0}), "ab a");
  EXPECT_EQ(Code(CharsetOf("a\nb", 4).status()), "TLY-E0321");
  EXPECT_EQ(Code(CharsetOf("a\nb", 2147483647).status()), "TLY-E0321");
}

TEST(Charset, SaysWhatModelItIsFor) {
  const auto charset = CharsetOf("a\nb\n", 0);
  ASSERT_TRUE(charset.ok()) << charset.status();
  for (int64_t classes : {0, 1, 3, 5}) {
    const absl::Status status = charset->CheckClasses(classes);
    EXPECT_EQ(Code(status), "TLY-E0321") << classes;
    EXPECT_THAT(std::string(status.message()), HasSubstr("charset.txt: expected a model with 4 classes (2 lines"));
  }
  EXPECT_EQ(Code(Charset::Read(testing::TempDir() + "/absent.txt", 0).status()), "TLY-E0401");
}

}  // namespace
}  // namespace tally
