// tally_dram_replay: what it prints, and how it ends when a file is wrong.
#include <zlib.h>

#include <algorithm>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/paths.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using testing::ReadText;

constexpr char kTrace[] = "# two rows of one bank\nR 0 0 1 0\nR 0 0 1 1\nW 0 0 2 0\nR 0 0 2 0\nW 0 0 2 0\n";

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string WriteGzip(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  gzFile file = gzopen(path.c_str(), "wb");
  EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  gzclose(file);
  return path;
}

Ended Replay(const std::vector<std::string>& arguments) {
  return testing::RunProgram(TALLY_DRAM_REPLAY_BINARY, arguments);
}

TEST(DramReplay, ReportsCountsTimeAndEnergyWhosePartsSumUp) {
  const Ended ended = Replay({"--machine", "hmc", "--trace", WriteFile("t.txt", kTrace), "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json report = ended.json();
  EXPECT_EQ(report["schema_version"], 1);
  EXPECT_EQ(report["source"], "simulated");
  EXPECT_EQ(report["requests"], 5);
  EXPECT_EQ(report["reads"], 3);
  EXPECT_EQ(report["writes"], 2);
  EXPECT_EQ(report["forwarded_reads"], 1);
  EXPECT_EQ(report["coalesced_writes"], 1);
  EXPECT_EQ(report["activates"], 2);
  EXPECT_EQ(report["precharges"], 1);
  EXPECT_EQ(report["refreshes"], 0);
  EXPECT_EQ(report["row_hits"], 1);
  EXPECT_DOUBLE_EQ(report["ns"].get<double>(), report["cycles"].get<double>() * 0.8);
  EXPECT_DOUBLE_EQ(report["gb_s"].get<double>(), 5 * 64 / report["ns"].get<double>());
  EXPECT_DOUBLE_EQ(report["energy_pj"]["activate"].get<double>(), 2 * 228.48);
  for (const char* mode : {"energy_pj", "energy_pj_flat"}) {
    // Parts in another order may round differently; JSON objects here come sorted.
    double sum = 0;
    for (const auto& [key, value] : report[mode].items()) sum += key == "total" ? 0 : value.get<double>();
    EXPECT_DOUBLE_EQ(report[mode]["total"].get<double>(), sum) << mode;
  }
  EXPECT_TRUE(report["environment"].contains("commit"));
}

TEST(DramReplay, TakesGzipUnderWhateverName) {
  const Ended plain = Replay({"--trace", WriteFile("t.txt", kTrace), "--json", "-"});
  const Ended packed = Replay({"--trace", WriteGzip("t.txt", kTrace), "--json", "-"});
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_EQ(packed.json()["cycles"], plain.json()["cycles"]);
  // Two members, as `cat a.gz b.gz` makes them.
  const std::string member = ReadText(WriteGzip("a.gz", kTrace));
  const Ended twice = Replay({"--trace", WriteFile("both.gz", member + member), "--json", "-"});
  ASSERT_EQ(twice.status, 0) << twice.err;
  EXPECT_EQ(twice.json()["requests"], 10);
}

TEST(DramReplay, ARequestMayBeSeveralBursts) {
  const std::string trace = WriteFile("t.txt", "R 0 0 1 0\nR 0 0 1 2\n");
  const Ended ended = Replay({"--machine", "hbm2", "--trace", trace, "--request-bytes", "64", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.json()["requests"], 4);
  for (const char* bytes : {"48", "0", "2048"}) {
    EXPECT_EQ(Replay({"--machine", "hbm2", "--trace", trace, "--request-bytes", bytes}).status, 2) << bytes;
  }
}

TEST(DramReplay, WritesEveryCommand) {
  const Ended ended = Replay({"--trace", WriteFile("t.txt", "R 0 3 1 0\n"), "--commands", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out, "1 ACT 3 1\n18 RD 3 1\n");
}

TEST(DramReplay, PrintsATableWithoutJson) {
  const Ended ended = Replay({"--trace", WriteFile("t.txt", kTrace)});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("simulated"));
  EXPECT_THAT(ended.out, HasSubstr("GB/s"));
}

TEST(DramReplay, NamesWhatIsWrong) {
  const std::string trace = WriteFile("t.txt", kTrace);
  const auto error = [](int status, const std::vector<std::string>& arguments) {
    const Ended ended = Replay(arguments);
    EXPECT_EQ(ended.status, status) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    return ended.err;
  };
  const std::string bad_trace = WriteFile("bad.txt", "R 0 0 0 0\nR 0 9 0 0\n");
  EXPECT_THAT(error(3, {"--trace", bad_trace}),
              HasSubstr("TLY-E0326: " + bad_trace + ": line 2: expected bank in 0..7"));
  const std::string bad_machine = WriteFile("m.json", R"({"base": "hmc", "dram": {"timing": {"tcl": [1, "ini"]}}})");
  EXPECT_THAT(error(3, {"--machine", bad_machine, "--trace", trace}),
              HasSubstr("TLY-E0325: " + bad_machine + ": dram.timing: unknown key \"tcl\""));
  EXPECT_THAT(error(3, {"--machine", WriteFile("n.json", "{"), "--trace", trace}), HasSubstr("line 1, column 2"));
  EXPECT_THAT(error(4, {"--machine", "hmd", "--trace", trace}), HasSubstr("hmc"));
  EXPECT_THAT(error(4, {"--trace", "/no/such/file"}), HasSubstr("/no/such/file"));
  EXPECT_THAT(error(4, {"--trace", trace, "--json", trace}), HasSubstr("TLY-E0406"));
  EXPECT_THAT(error(2, {}), HasSubstr("--trace"));
  EXPECT_THAT(error(2, {"--trace", trace, "--json", "-", "--commands", "-"}), HasSubstr("TLY-E0201"));
}

// Every truncation and a flipped bit in every byte of a compressed trace: an error, or a result.
TEST(DramReplay, DamagedGzipIsAnError) {
  const std::string good = ReadText(WriteGzip("t.gz", kTrace));
  for (size_t i = 2; i < good.size(); i += 5) {
    const Ended cut = Replay({"--trace", WriteFile("cut.gz", good.substr(0, i))});
    EXPECT_EQ(cut.status, 3) << i << ": " << cut.err;
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    const Ended ended = Replay({"--trace", WriteFile("flip.gz", flipped)});
    EXPECT_TRUE(ended.status == 3 || ended.status == 0) << i << ": " << ended.err;
  }
}

}  // namespace
}  // namespace tally
