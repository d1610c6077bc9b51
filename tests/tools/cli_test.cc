// What every subcommand has in common: spellings, help, errors, exit status, output that does not arrive.
#include "tools/cli.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tally/status.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using ::testing::AllOf;
using testing::Ended;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
using testing::Tally;

class CliTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { folder_ = testing::MakeSampleFolder(); }
  static std::string Path(const std::string& name) { return folder_ + "/" + name; }
  static std::string folder_;
};
std::string CliTest::folder_;

// One line, with the program's name and a code of this exit status.
void ExpectError(const Ended& ended, int status, const std::string& code) {
  EXPECT_EQ(ended.status, status) << ended.err;
  EXPECT_THAT(ended.err, StartsWith("tally: " + code + ": "));
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
}

TEST_F(CliTest, VersionAndHelpEndWithZero) {
  const Ended version = Tally({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(version.out, MatchesRegex("tally [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  const Ended help = Tally({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* name : {"convert", "inspect", "run", "eval", "bench", "compare", "verify", "strip"}) {
    EXPECT_THAT(help.out, HasSubstr(name));
    const Ended sub = Tally({name, "--help"});
    EXPECT_EQ(sub.status, 0) << name;
    EXPECT_THAT(sub.out, AllOf(HasSubstr("Example"), HasSubstr(std::string("tally ") + name))) << name;
    EXPECT_EQ(sub.err, "") << name;
  }
}

TEST_F(CliTest, UsageErrorsEndWithTwo) {
  ExpectError(Tally({}), 2, "TLY-E0201");
  ExpectError(Tally({"frobnicate"}), 2, "TLY-E0201");
  ExpectError(Tally({"inspect"}), 2, "TLY-E0201");
  ExpectError(Tally({"inspect", Path("model.tally"), "--frob"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench", Path("model.tally"), "--num_threads", "-1"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench", Path("model.tally"), "--num_threads", "1000000"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench", Path("model.tally"), "--output", "xml"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench"}), 2, "TLY-E0201");
  ExpectError(Tally({"eval", Path("model.tally"), "--data", Path("data.json"), "--limit", "0"}), 2, "TLY-E0201");
}

TEST_F(CliTest, BadFilesEndWithTheirStatus) {
  ExpectError(Tally({"inspect", Path("absent.tally")}), 4, "TLY-E0401");
  ExpectError(Tally({"inspect", folder_}), 4, "TLY-E0403");
  ExpectError(Tally({"inspect", Path("images.npy")}), 3, "TLY-E0302");
  ExpectError(Tally({"eval", Path("model.tally"), "--data", Path("labels.npy")}), 3, "TLY-E0320");
  ExpectError(Tally({"eval", Path("model.tally"), "--data", Path("absent.json")}), 4, "TLY-E0401");
}

TEST_F(CliTest, UnknownBackendListsWhatThereIs) {
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"bench", Path("model.tally"), "--backend", "exponent,warp"},
           {"eval", Path("model.tally"), "--data", Path("data.json"), "--backend", "exponent+warp"},
           {"run", Path("model.tally"), "--explain", "--backend", "warp"},
           {"verify", Path("model.tally"), "--backend", "warp"}}) {
    const Ended ended = Tally(command);
    ExpectError(ended, 2, "TLY-E0202");
    EXPECT_THAT(ended.err, AllOf(HasSubstr("exponent"), HasSubstr("reference"), HasSubstr("\"warp\"")));
  }
}

TEST_F(CliTest, LongOptionsTakeEitherSpelling) {
  for (const char* threads : {"--num_threads", "--num-threads"}) {
    const Ended ended =
        Tally({"bench", Path("model.tally"), threads, "2", "--num-runs", "2", "--min_secs=0", "--json", "-"});
    ASSERT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(ended.json()["results"][0]["num_threads"], 2);
  }
}

TEST_F(CliTest, ListsTakeCommasOrRepetition) {
  const std::vector<std::string> tail = {"--num_runs", "1", "--min_secs", "0", "--json", "-"};
  for (std::vector<std::string> backends :
       {std::vector<std::string>{"--backend", "exponent,reference"},
        std::vector<std::string>{"--backend", "exponent", "--backend", "reference"}}) {
    // The model last: a list must not swallow it.
    std::vector<std::string> arguments = {"bench"};
    arguments.insert(arguments.end(), backends.begin(), backends.end());
    arguments.push_back(Path("model.tally"));
    arguments.insert(arguments.end(), tail.begin(), tail.end());
    const Ended ended = Tally(arguments);
    ASSERT_EQ(ended.status, 0) << ended.err;
    ASSERT_EQ(ended.json()["results"].size(), 2u);
    EXPECT_EQ(ended.json()["results"][1]["backend"], "reference");
  }
}

TEST_F(CliTest, OutputThatDoesNotArriveEndsWithFour) {
  for (const char* out : {"/dev/full", "closed"}) {
    for (const auto& command : std::vector<std::vector<std::string>>{
             {"--help"}, {"--version"}, {"inspect", Path("model.tally"), "--json"}, {"inspect", Path("model.tally")}}) {
      const Ended ended = Tally(command, out);
      ExpectError(ended, 4, "TLY-E0405");
    }
  }
  ExpectError(Tally({"bench", Path("model.tally"), "--num_runs", "1", "--min_secs", "0", "--json", "/dev/full"}), 4,
              "TLY-E0405");
}

TEST_F(CliTest, AClosedStdoutDoesNotCorruptTheFileThatIsWritten) {
  const Ended ended = Tally({"strip", Path("model.tally"), "-o", Path("closed.tally")}, "closed");
  ExpectError(ended, 4, "TLY-E0405");
  EXPECT_EQ(Tally({"verify", Path("closed.tally")}).status, 0);
}

TEST_F(CliTest, AForcedIsaThatTheCpuLacksIsUnsupported) {
  setenv("TALLY_FORCE_ISA", "neon512", 1);
  const Ended ended = Tally({"run", Path("model.tally"), "--explain"});
  unsetenv("TALLY_FORCE_ISA");
  ExpectError(ended, 6, "TLY-E0607");
}

TEST(ParseBytes, TakesUnits) {
  EXPECT_EQ(*tools::ParseBytes("3000000"), 3000000u);
  EXPECT_EQ(*tools::ParseBytes("3MB"), 3000000u);
  EXPECT_EQ(*tools::ParseBytes("2.5MiB"), 2621440u);
  EXPECT_EQ(*tools::ParseBytes("64k"), 64000u);
  EXPECT_EQ(*tools::ParseBytes("1gib"), 1073741824u);
  for (const char* bad : {"", "MB", "3 MB", "3XB", "-3MB", "0", "1e3", "nan", "99999999999999GB", "1.2.3MB"}) {
    EXPECT_EQ(ExitStatus(tools::ParseBytes(bad).status()), 2) << bad;
  }
}

}  // namespace
}  // namespace tally
