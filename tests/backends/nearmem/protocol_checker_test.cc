// The checker that the channel's tests rely on must see what it is there to see.
#include "tests/backends/nearmem/protocol_checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/dram_replay.h"
#include "backends/nearmem/sim/dram_trace.h"

namespace tally::nearmem {
namespace {

using testing::FindViolation;

// Commands that are legal for `machine`, under rules of which one asks for more.
std::string ViolationUnder(const std::string& machine, Pattern pattern,
                           const std::function<void(DramTiming*)>& stricter) {
  const absl::StatusOr<Machine> loaded = LoadMachine(machine);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  DramConfig config = loaded->dram;
  const std::vector<DramRequest> trace = GenerateTrace(pattern, config.geometry, 4096, 3);
  std::vector<DramIssue> commands;
  const absl::StatusOr<DramReplay> replay =
      ReplayTrace(config, trace, [&](const DramIssue& issue) { commands.push_back(issue); });
  EXPECT_TRUE(replay.ok()) << replay.status();
  EXPECT_EQ(FindViolation(config, trace, commands), "");
  stricter(&config.timing);
  return FindViolation(config, trace, commands);
}

TEST(ProtocolChecker, SeesEveryParameterThatIsBroken) {
  using ::testing::HasSubstr;
  const auto hmc = [](Pattern pattern, const std::function<void(DramTiming*)>& stricter) {
    return ViolationUnder("hmc", pattern, stricter);
  };
  const auto hbm2 = [](Pattern pattern, const std::function<void(DramTiming*)>& stricter) {
    return ViolationUnder("hbm2", pattern, stricter);
  };
  EXPECT_THAT(hmc(Pattern::kRandom, [](DramTiming* t) { ++t->rcd_read; }), HasSubstr("breaks rcd"));
  EXPECT_THAT(hmc(Pattern::kRandom, [](DramTiming* t) { ++t->rp; }), HasSubstr("breaks r"));
  EXPECT_THAT(hmc(Pattern::kRandomOneBank, [](DramTiming* t) { ++t->ras; }), HasSubstr("breaks ra"));
  EXPECT_THAT(hmc(Pattern::kStreamOneBank, [](DramTiming* t) { ++t->rtp; }), HasSubstr("breaks rtp"));
  EXPECT_THAT(hmc(Pattern::kStreamRow, [](DramTiming* t) { ++t->rrd_s, ++t->rrd_l; }), HasSubstr("breaks rrd"));
  EXPECT_THAT(hmc(Pattern::kStreamRow, [](DramTiming* t) { t->faw += 8; }), HasSubstr("breaks faw"));
  EXPECT_THAT(hmc(Pattern::kStreamRow, [](DramTiming* t) { ++t->burst; }), HasSubstr("meets another burst"));
  EXPECT_THAT(hmc(Pattern::kReadsAndWrites, [](DramTiming* t) { ++t->turnaround; }), HasSubstr("meets another burst"));
  EXPECT_THAT(hmc(Pattern::kReadsAndWrites, [](DramTiming* t) { ++t->wtr_l; }), HasSubstr("breaks wtr"));
  EXPECT_THAT(hmc(Pattern::kReadsAndWrites, [](DramTiming* t) { ++t->wr; }), HasSubstr("breaks wr"));
  EXPECT_THAT(hmc(Pattern::kRandom, [](DramTiming* t) { ++t->rfc; }), HasSubstr("breaks rfc"));
  EXPECT_THAT(hbm2(Pattern::kStreamOneBank, [](DramTiming* t) { ++t->ccd_l; }), HasSubstr("breaks ccd"));
  EXPECT_THAT(hbm2(Pattern::kStreamBankInt, [](DramTiming* t) { ++t->ccd_s; }), HasSubstr("breaks ccd"));
  EXPECT_THAT(
      ViolationUnder("dramsim3.hmc_vault64_closed", Pattern::kReadsAndWrites, [](DramTiming* t) { t->rtp_auto += 8; }),
      HasSubstr("auto-precharge"));
  EXPECT_THAT(ViolationUnder("ramulator2.hbm2_2000_open_refpb", Pattern::kRandom, [](DramTiming* t) { ++t->rrefd; }),
              HasSubstr("breaks rrefd"));
  EXPECT_THAT(
      ViolationUnder("ramulator2.hbm2_2000_open_refpb", Pattern::kRandomOneBank, [](DramTiming* t) { ++t->rfc_bank; }),
      HasSubstr("breaks rfc_bank"));
}

TEST(ProtocolChecker, SeesWrongStatesAndBuses) {
  using ::testing::HasSubstr;
  const absl::StatusOr<Machine> machine = LoadMachine("hmc");
  ASSERT_TRUE(machine.ok());
  const DramConfig& config = machine->dram;
  const std::vector<DramRequest> trace = {{{0, 0, 5, 0}, false, 0}};
  const DramIssue open = {0, DramCommand::kActivate, 0, 5, -1};
  const DramIssue read = {40, DramCommand::kRead, 0, 5, 0};
  EXPECT_EQ(FindViolation(config, trace, {open, read}), "");
  EXPECT_THAT(FindViolation(config, trace, {read}), HasSubstr("another row"));
  EXPECT_THAT(FindViolation(config, trace, {open, {100, DramCommand::kActivate, 0, 6, -1}}), HasSubstr("a row open"));
  EXPECT_THAT(FindViolation(config, trace, {open, {100, DramCommand::kRefreshAll, -1, -1, -1}}),
              HasSubstr("a row open"));
  EXPECT_THAT(FindViolation(config, trace, {open, {0, DramCommand::kPrecharge, 3, -1, -1}}), HasSubstr("bus taken"));
  EXPECT_THAT(FindViolation(config, trace, {open, {40, DramCommand::kWrite, 0, 5, 0}}), HasSubstr("asks for"));
  EXPECT_THAT(FindViolation(config, trace, {read, open}), HasSubstr("another row"));
}

}  // namespace
}  // namespace tally::nearmem
