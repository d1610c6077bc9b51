#include "backends/nearmem/sim/dram_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/str_cat.h"

namespace tally::nearmem {
namespace {

using ::testing::HasSubstr;

DramGeometry SmallGeometry() {
  DramGeometry g;
  g.bank_groups = 2;
  g.banks_per_group = 4;
  g.rows = 16384;
  g.bursts_per_row = 8;
  g.burst_bytes = 32;
  g.pseudo_channels = 1;
  return g;
}

std::string Text(const std::vector<DramRequest>& trace) {
  std::string text;
  for (const DramRequest& r : trace) {
    absl::StrAppend(&text, r.is_write ? "W " : "R ", r.address.bank_group, " ", r.address.bank, " ", r.address.row, " ",
                    r.address.column, "\n");
  }
  return text;
}

TEST(DramTrace, ReadsWhatItWasWrittenFrom) {
  for (Pattern pattern : kAllPatterns) {
    const std::vector<DramRequest> trace = GenerateTrace(pattern, SmallGeometry(), 1000, 3);
    const absl::StatusOr<std::vector<DramRequest>> read = ParseTrace(Text(trace), SmallGeometry(), 1);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(Text(*read), Text(trace));
    for (size_t i = 0; i < read->size(); ++i) EXPECT_EQ((*read)[i].id, static_cast<int64_t>(i));
  }
}

TEST(DramTrace, SkipsCommentsAndEmptyLinesAndTakesTabsAndCarriageReturns) {
  const auto trace = ParseTrace("# made by hand\r\n\r\nR\t1 3 7   2\r\n   \nW 0 0 0 0", SmallGeometry(), 1);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(Text(*trace), "R 1 3 7 2\nW 0 0 0 0\n");
}

TEST(DramTrace, ALineMayStandForSeveralBursts) {
  const auto trace = ParseTrace("R 1 3 7 2\n", SmallGeometry(), 3);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(Text(*trace), "R 1 3 7 2\nR 1 3 7 3\nR 1 3 7 4\n");
  EXPECT_THAT(std::string(ParseTrace("R 1 3 7 6\n", SmallGeometry(), 3).status().message()),
              HasSubstr("line 1: expected column in 0..5, found \"6\""));
}

TEST(DramTrace, NamesLineFieldAndValue) {
  const auto message = [](const std::string& text) {
    const absl::Status status = ParseTrace("R 0 0 0 0\n" + text, SmallGeometry(), 1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(status.message());
  };
  EXPECT_EQ(message("X 0 0 0 0"), "line 2: expected op R or W, found \"X\"");
  EXPECT_EQ(message("R 0 0 0"), "line 2: expected \"op bank_group bank row column\", found 4 fields");
  EXPECT_EQ(message("R 0 0 0 0 0"), "line 2: expected \"op bank_group bank row column\", found 6 fields");
  EXPECT_EQ(message("\nR 2 0 0 0"), "line 3: expected bank_group in 0..1, found \"2\"");
  EXPECT_EQ(message("R 0 4 0 0"), "line 2: expected bank in 0..3, found \"4\"");
  EXPECT_EQ(message("R 0 0 16384 0"), "line 2: expected row in 0..16383, found \"16384\"");
  EXPECT_EQ(message("R 0 0 0 -1"), "line 2: expected column in 0..7, found \"-1\"");
  EXPECT_EQ(message("R 0 0 99999999999999999999 0"),
            "line 2: expected row in 0..16383, found \"99999999999999999999\"");
  EXPECT_EQ(message("R 0 0 0x1 0"), "line 2: expected row in 0..16383, found \"0x1\"");
  EXPECT_EQ(message(std::string("R 0 0 \0 0", 9)), "line 2: expected row in 0..16383, found \"\\x00\"");
  EXPECT_LT(message(std::string(100000, 'R')).size(), 200u);
}

RC_GTEST_PROP(DramTrace, NoTextCrashesTheReader, (const std::string& text)) {
  (void)ParseTrace(text, SmallGeometry(), 1);
}

// Damage of a good trace is either seen or still a trace within the geometry.
TEST(DramTrace, DamageNeverLeavesTheGeometry) {
  const DramGeometry g = SmallGeometry();
  const std::string good = Text(GenerateTrace(Pattern::kReadsAndWrites, g, 12, 3));
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'\0', '\n', ' ', '9', '-', 'W', '\xff', '#'}) {
      std::string text = good;
      text[i] = c;
      const auto trace = ParseTrace(text, g, 1);
      if (!trace.ok()) continue;
      for (const DramRequest& r : *trace) {
        ASSERT_TRUE(r.address.bank_group < g.bank_groups && r.address.bank < g.banks_per_group &&
                    r.address.row < g.rows && r.address.column < g.bursts_per_row);
      }
    }
  }
}

TEST(DramTrace, PatternsStayWithinTheGeometry) {
  DramGeometry g = SmallGeometry();
  g.rows = 3;
  for (Pattern pattern : kAllPatterns) {
    EXPECT_TRUE(ParseTrace(Text(GenerateTrace(pattern, g, 5000, 1)), g, 1).ok()) << PatternName(pattern);
  }
}

}  // namespace
}  // namespace tally::nearmem
