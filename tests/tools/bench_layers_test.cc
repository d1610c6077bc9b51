// tally_bench_layers: every implementation computes the layers right, and the report says what was measured.
#include <fstream>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/paths.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;

Ended Bench(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--min_secs", "0", "--cold_mb", "0.02"});
  return testing::RunProgram(TALLY_BENCH_LAYERS_BINARY, arguments);
}

// Answers are checked before the clock starts, so a wrong one ends the program with an error.
TEST(BenchLayersTest, MeasuresEveryKindOfLayerOnEveryImplementation) {
  for (const std::string cache : {"hot", "cold"}) {
    const Ended ended =
        Bench({"--problem",       "fc:70x40",
               "--problem",       "matmul:5x33x17",
               "--problem",       "conv:6x9x8:10x3x3:2",
               "--problem",       "conv:8x7x7:8x3x3:1:8",
               "--problem",       "conv:3x12x12:4x5x5:1:1:0",
               "--bits",          "3,6",
               "--batch",         "1,2",
               "--zero_fraction", "0.5",
               "--backend",       "exponent,exponent+onednn-codebook,onednn,onednn-codebook,xnnpack,xnnpack-qs8",
               "--cache",         cache,
               "--num_threads",   "1,2",
               "--json",          "-"});
    ASSERT_EQ(ended.status, 0) << ended.err;
    const nlohmann::json report = ended.json();
    std::set<std::string> problems;
    size_t exponent = 0;
    for (const nlohmann::json& r : report["results"]) {
      problems.insert(r["problem"]);
      exponent += r["backend"] == "exponent" ? 1 : 0;
      for (const char* key :
           {"bits", "activation_bits", "batch", "zero_fraction", "kernel", "isa", "why", "num_threads", "cache",
            "gmac_s", "gb_s", "roof_fraction", "resident_weight_bytes", "speedup_vs_onednn"}) {
        EXPECT_TRUE(r.contains(key)) << key;
      }
      EXPECT_LE(r["time_us"]["min"], r["time_us"]["median"]);
      EXPECT_LE(r["time_us"]["median"], r["time_us"]["p90"]);
      EXPECT_GT(r["time_us"]["min"], 0);
    }
    EXPECT_EQ(problems.size(), 5u);
    EXPECT_EQ(exponent, 5u * 2 * 2 * 2);
  }
}

TEST(BenchLayersTest, TakesEveryFormOfActivationsAndKernel) {
  for (const std::string kernel : {"auto", "lookup", "bitsliced", "histogram"}) {
    for (const std::string grid : {"q7", "q14"}) {
      const Ended ended = Bench({"--problem", "fc:60x30", "--kernel", kernel, "--activation_grid", grid,
                                 "--activation_bits", "4", "--signed_activations", "--json", "-"});
      ASSERT_EQ(ended.status, 0) << ended.err;
      const std::string used = ended.json()["results"][0]["kernel"];
      EXPECT_THAT(used, ::testing::StartsWith(kernel == "auto" ? "" : kernel));
      EXPECT_NE(ended.json()["results"][0]["why"], "");
    }
  }
}

TEST(BenchLayersTest, ReadsTheProblemFilesOfTheProject) {
  for (const char* name :
       {"alexnet", "alexnet_conv", "fc", "lstm", "mobilenet_v1", "resnet50", "transformer", "vgg16"}) {
    const std::string path = testing::SourcePath(std::string("bench/layers/problems/") + name + ".txt");
    // A problem that is not understood behind the file's own: everything is read before anything runs.
    const std::string copy = testing::TempDir() + "/problems.txt";
    const std::string text = testing::ReadText(path);
    EXPECT_THAT(text, HasSubstr("x")) << name;
    std::ofstream(copy) << text << "fc:1\n";
    EXPECT_THAT(Bench({"--problems", copy}).err, HasSubstr("fc:1")) << name;
  }
}

TEST(BenchLayersTest, SaysWhatIsWrong) {
  const auto error = [](const std::vector<std::string>& arguments) {
    const Ended ended = Bench(arguments);
    EXPECT_EQ(ended.status, 2) << ended.err;
    return ended.err;
  };
  EXPECT_THAT(error({}), HasSubstr("--problem"));
  EXPECT_THAT(error({"--problem", "fc:0x4"}), HasSubstr("fc:KxN"));
  EXPECT_THAT(error({"--problem", "fc:1048576x1048576"}), HasSubstr("elements"));
  EXPECT_THAT(error({"--problem", "conv:6x4x4:4x9x9:1:1:0"}), HasSubstr("kernel is larger"));
  EXPECT_THAT(error({"--problem", "conv:6x4x4:4x3x3:1:4"}), HasSubstr("groups"));
  EXPECT_THAT(error({"--problem", "fc:4x4", "--activation_bits", "8"}), HasSubstr("exponent bits"));
  EXPECT_THAT(error({"--problem", "fc:4x4", "--backend", "mkl"}), HasSubstr("mkl"));
  EXPECT_THAT(error({"--problem", "fc:4x4", "--kernel", "fast"}), HasSubstr("fast"));
  EXPECT_THAT(error({"--problems", "/no/such/file"}), HasSubstr("/no/such/file"));
}

}  // namespace
}  // namespace tally
