// What every subcommand has in common: spellings, help, errors, exit status, output that does not arrive.
#include "tools/cli.h"

#include <unistd.h>

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/core/cpu.h"
#include "tally/status.h"
#include "tests/testing/paths.h"
#include "tests/testing/sanitized.h"
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
  EXPECT_THAT(Tally({"frobnicate"}).err, AllOf(HasSubstr("\"frobnicate\""), HasSubstr("convert")));
  EXPECT_THAT(Tally({"bench", Path("model.tally"), "--num_threads", "257"}).err, HasSubstr("expected 0..256"));
  ExpectError(Tally({"inspect"}), 2, "TLY-E0201");
  ExpectError(Tally({"inspect", Path("model.tally"), "--frob"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench", Path("model.tally"), "--num_threads", "-1"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench", Path("model.tally"), "--num_threads", "1000000"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench", Path("model.tally"), "--output", "xml"}), 2, "TLY-E0201");
  ExpectError(Tally({"bench"}), 2, "TLY-E0201");
  ExpectError(Tally({"eval", Path("model.tally"), "--data", Path("data.json"), "--limit", "0"}), 2, "TLY-E0201");
}

TEST_F(CliTest, WhatWouldBeIgnoredIsRefused) {
  const std::string model = Path("model.tally"), data = Path("data.json");
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"inspect", ""},
           {"inspect", model, "--html", ""},
           {"eval", model, "--data", data, "--json", ""},
           {"bench", model, "--min_secs", "nan"},
           {"bench", model, "--json", "a.json", "--output_file", "b.json"},
           {"bench", model, "--json", "a.json", "--output", "csv"},
           {"bench", model, "--backend", "exponent+exponent"},
           {"compare", model, "--data", data, "--json", "-", "--html", "-"},
           {"run", model, "--input", "input=" + Path("x.npy"), "--input", "input=" + Path("x.npy")},
           {"strip", model, "-o", "-"},
           {"convert", model, "-o", "o", "--calibration", data, "--seed", "-1"},
           {"convert", model, "-o", "o", "--calibration", data, "--target-size", ""}}) {
    ExpectError(Tally(command), 2, "TLY-E0201");
  }
}

// Whatever name an input is given under as an output, it is found out before any work and stays as it was.
TEST_F(CliTest, NoInputIsOverwritten) {
  const std::string model = Path("model.tally"), data = Path("data.json"), x = Path("x.npy");
  const std::string images = Path("images.npy"), labels = Path("labels.npy");
  const std::string link = Path("link.json");
  ASSERT_EQ(symlink(model.c_str(), link.c_str()), 0);
  const std::string other_name = folder_ + "/./model.tally", both = Path("both.npy");
  std::map<std::string, std::string> before;
  for (const std::string& path : {model, data, x, images, labels}) before[path] = testing::ReadText(path);
  for (const auto& command :
       std::vector<std::vector<std::string>>{{"run", model, "--input", x, "--output", "logits=" + model},
                                             {"run", model, "--input", x, "--output", "logits=" + x},
                                             {"run", model, "--explain", "--json", model},
                                             {"run", model, "--input", x, "--output", both, "--json", both},
                                             {"eval", model, "--data", data, "--json", other_name},
                                             {"eval", model, "--data", data, "--json", link},
                                             {"eval", model, "--data", data, "--json", data},
                                             {"eval", model, "--data", data, "--json", images},
                                             {"eval", model, "--data", data, "--json", labels},
                                             {"compare", model, "--data", data, "--html", images},
                                             {"compare", model, "--data", data, "--html", both, "--json", both},
                                             {"bench", model, "--json", model},
                                             {"bench", model, "--output_file", model},
                                             {"verify", model, "--json", model},
                                             {"inspect", model, "--html", model},
                                             {"strip", model, "-o", link}}) {
    ExpectError(Tally(command), 4, "TLY-E0406");
  }
  for (const auto& [path, text] : before) EXPECT_EQ(testing::ReadText(path), text) << path;
  EXPECT_FALSE(testing::Exists(both));
}

TEST_F(CliTest, OutputsThatCannotBeAreFoundOutBeforeAnyWork) {
  const std::string model = Path("model.tally"), data = Path("data.json");
  ExpectError(Tally({"eval", model, "--data", data, "--json", Path("no/eval.json")}), 4, "TLY-E0401");
  ExpectError(Tally({"compare", model, "--data", data, "--html", folder_}), 4, "TLY-E0403");
  ExpectError(Tally({"bench", model, "--json", Path("no/bench.json")}), 4, "TLY-E0401");
  // Nothing was printed: the check came first.
  EXPECT_EQ(Tally({"eval", model, "--data", data, "--json", Path("no/eval.json")}).out, "");
}

TEST_F(CliTest, AnOnnxFileWhereATallyFileIsExpectedIsToBeConverted) {
  const std::string onnx = testing::SourcePath("examples/digits/digits_mlp.onnx");
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"inspect", onnx}, {"bench", onnx}, {"verify", onnx}, {"strip", onnx, "-o", Path("s.tally")}}) {
    const Ended ended = Tally(command);
    ExpectError(ended, 3, "TLY-E0302");
    EXPECT_THAT(ended.err, HasSubstr("tally convert"));
  }
}

TEST_F(CliTest, ThreadsThatCannotStartAreAnError) {
  if (testing::kSanitized) GTEST_SKIP() << "sanitizers need the address space that this test takes away";
  // 255 stacks of 8 MiB do not fit.
  const Ended ended = testing::RunProgram(
      "/bin/sh", {"-c", "ulimit -s 8192; ulimit -v 1000000; exec \"$0\" run \"$1\" --explain --num_threads 256",
                  TALLY_BINARY, Path("model.tally")});
  ExpectError(ended, 5, "TLY-E0506");
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
  for (const char* isa : {"neon512", "neon"}) {
    if (DetectCpu().Has(Isa::kNeon) && std::string(isa) == "neon") continue;
    setenv("TALLY_FORCE_ISA", isa, 1);
    const Ended run = Tally({"run", Path("model.tally"), "--explain"});
    // No backend can be skipped for it: it would be the same with all of them.
    const Ended verify = Tally({"verify", Path("model.tally")});
    const Ended compare = Tally({"compare", Path("model.tally"), "--data", Path("data.json")});
    unsetenv("TALLY_FORCE_ISA");
    ExpectError(run, 6, "TLY-E0607");
    ExpectError(verify, 6, "TLY-E0607");
    ExpectError(compare, 6, "TLY-E0607");
  }
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
