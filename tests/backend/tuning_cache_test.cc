// The file of decisions is untrusted text.
#include "runtime/backend/tuning_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "format/error.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] = "tally tuning 1\nkey one\t1\t20 10.5\n";

class TuningCacheTest : public ::testing::Test {
 protected:
  std::string path() const { return directory_ + "/" + kTuningFile; }
  void Write(const std::string& text) const { std::ofstream(path()) << text; }
  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(path()).rdbuf();
    return text.str();
  }
  // Whether "key one" is known after reading `text`.
  bool Knows(const std::string& text) const {
    Write(text);
    TuningCache cache;
    const absl::Status status = cache.Sync(directory_);
    EXPECT_TRUE(status.ok()) << status;
    const std::optional<TuningDecision> found = cache.Find("key one");
    EXPECT_TRUE(!found.has_value() || found->chosen < found->microseconds.size());
    return found.has_value();
  }

  const std::string directory_ = testing::TempDir();
};

TEST_F(TuningCacheTest, WritesWhatItReadsAndMergesWithWhatIsThere) {
  TuningCache one, two;
  one.Insert("key one", {1, {20, 10.5}});
  EXPECT_TRUE(one.Sync(directory_).ok());
  EXPECT_EQ(Read(), kGood);
  two.Insert("key two", {0, {1, 2, 3}});
  two.Insert("key one", {0, {1, 2}});
  EXPECT_TRUE(two.Sync(directory_).ok());
  EXPECT_EQ(two.Find("key one")->chosen, 0u) << "memory wins";
  EXPECT_EQ(Read(), "tally tuning 1\nkey one\t0\t1 2\nkey two\t0\t1 2 3\n");
  EXPECT_TRUE(one.Sync(directory_).ok());
  EXPECT_EQ(one.Find("key two")->microseconds, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(one.Find("key one")->chosen, 1u) << "memory wins";
}

TEST_F(TuningCacheTest, ReadingAloneDoesNotTouchTheFile) {
  Write(kGood);
  struct stat before, after;
  ASSERT_EQ(stat(path().c_str(), &before), 0);
  TuningCache cache;
  EXPECT_TRUE(cache.Sync(directory_).ok());
  ASSERT_EQ(stat(path().c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  TuningCache nothing;
  const std::string fresh = testing::TempDir();
  EXPECT_TRUE(nothing.Sync(fresh).ok());
  EXPECT_NE(access((fresh + "/" + kTuningFile).c_str(), F_OK), 0);
}

TEST_F(TuningCacheTest, IgnoresLinesThatAreNoDecisions) {
  EXPECT_TRUE(Knows(kGood));
  const std::string header = "tally tuning 1\n";
  for (const std::string line :
       {"key one", "key one\t1", "key one\t1\t", "key one\t1\t20", "key one\t2\t20 10", "key one\t-1\t20 10",
        "key one\t1\t20 nan", "key one\t1\t20 inf", "key one\t1\t20 -1", "key one\t1\t20 1e99", "key one\t1\t20  10",
        "key one\tx\t20 10", "key one\t1\t20 10\t", "key one\t99999999999999999999\t20 10", "key one\x1b\t1\t20 10",
        "\xff\xfe", ""}) {
    EXPECT_FALSE(Knows(header + line + "\n")) << line;
    EXPECT_TRUE(Knows(header + line + "\nkey one\t1\t20 10\n")) << "the next line counts after " << line;
  }
  EXPECT_FALSE(Knows(header + "key one\t1\t" + std::string(3000, '1') + "\n"));
  std::string many = "1";
  for (int i = 0; i < 100; ++i) many += " 1";
  EXPECT_FALSE(Knows(header + "key one\t1\t" + many + "\n"));
}

TEST_F(TuningCacheTest, SurvivesEveryTruncationAndEveryFlippedByte) {
  const std::string good = kGood;
  for (size_t i = 0; i < good.size(); ++i) {
    Knows(good.substr(0, i));
    for (const int flip : {0x01, 0x20, 0x80, 0xFF}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      Knows(bad);
    }
  }
}

TEST_F(TuningCacheTest, AForeignFileStartsAnew) {
  for (const std::string text : {"tally tuning 2\nkey one\t1\t20 10\n", "\n\n\n", "TALY\x01\x02", ""}) {
    EXPECT_FALSE(Knows(text)) << text;
  }
  TuningCache cache;
  cache.Insert("key one", {1, {20, 10.5}});
  EXPECT_TRUE(cache.Sync(directory_).ok());
  EXPECT_EQ(Read(), kGood);
}

TEST_F(TuningCacheTest, AHugeFileIsNeitherReadNorKept) {
  Write("");
  ASSERT_EQ(truncate(path().c_str(), off_t{1} << 40), 0);
  TuningCache cache;
  cache.Insert("key one", {1, {20, 10.5}});
  EXPECT_TRUE(cache.Sync(directory_).ok());
  EXPECT_EQ(Read(), kGood);
}

TEST_F(TuningCacheTest, StaysBoundedInMemoryAndOnDisk) {
  std::string text = "tally tuning 1\n";
  for (int i = 0; i < 12000; ++i) text += "key " + std::to_string(i) + "\t0\t1 2\n";
  Write(text);
  TuningCache cache;
  cache.Insert("key one", {0, {1, 2}});
  EXPECT_TRUE(cache.Sync(directory_).ok());
  const std::string kept = Read();
  EXPECT_EQ(std::count(kept.begin(), kept.end(), '\n'), 10001);
  EXPECT_THAT(kept, HasSubstr("key one"));
  cache.Insert(std::string(5000, 'k'), {0, {1, 2}});
  EXPECT_FALSE(cache.Find(std::string(5000, 'k')).has_value()) << "would not fit a line";
  cache.Insert("key two", {0, {1, 2}});
  EXPECT_TRUE(cache.Find("key two").has_value());
  EXPECT_FALSE(cache.Find("key one").has_value()) << "full: decisions start anew";
}

TEST_F(TuningCacheTest, WhatIsNoRegularFileIsAnErrorAndStays) {
  ASSERT_EQ(mkdir(path().c_str(), 0700), 0);
  TuningCache cache;
  cache.Insert("key one", {1, {20, 10.5}});
  EXPECT_EQ(GetErrorInfo(cache.Sync(directory_)).code, "TLY-E0403");
  ASSERT_EQ(rmdir(path().c_str()), 0);
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  EXPECT_EQ(GetErrorInfo(cache.Sync(directory_)).code, "TLY-E0403") << "and does not block";
  EXPECT_TRUE(cache.Find("key one").has_value());
}

TEST_F(TuningCacheTest, ADirectoryThatMayNotBeWrittenIsAnError) {
  TuningCache cache;
  cache.Insert("key one", {1, {20, 10.5}});
  EXPECT_FALSE(cache.Sync("/proc/self/fd").ok());
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_FALSE(cache.Sync(directory_ + "/file").ok());
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ASSERT_EQ(chmod(directory_.c_str(), 0500), 0);
  EXPECT_FALSE(cache.Sync(directory_).ok());
  ASSERT_EQ(chmod(directory_.c_str(), 0700), 0);
}

}  // namespace
}  // namespace tally
