#include <gtest/gtest.h>

#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/dram_closed_form.h"
#include "backends/nearmem/sim/dram_replay.h"
#include "backends/nearmem/sim/dram_trace.h"

namespace tally::nearmem {
namespace {

constexpr int64_t kRequests = 32768;

double Event(const DramConfig& config, Pattern pattern) {
  const absl::StatusOr<DramReplay> replay =
      ReplayTrace(config, GenerateTrace(pattern, config.geometry, kRequests, /*seed=*/5));
  EXPECT_TRUE(replay.ok()) << replay.status();
  return static_cast<double>(replay->cycles);
}

double Closed(const DramConfig& config, Regularity regularity) {
  const absl::StatusOr<double> cycles = ClosedFormCycles(config, regularity, kRequests);
  EXPECT_TRUE(cycles.ok()) << cycles.status();
  return cycles.value_or(0);
}

bool HasClosedForm(const DramConfig& config) { return ClosedFormCycles(config, Regularity::kStream, 1).ok(); }

// 3 %: start and end, which the formula leaves out, and refreshes that fall where they fall.
TEST(ClosedForm, GivesTheEventModelsStreams) {
  int machines = 0;
  for (const std::string& name : MachinePresets()) {
    const absl::StatusOr<Machine> machine = LoadMachine(name);
    ASSERT_TRUE(machine.ok()) << machine.status();
    const DramConfig& config = machine->dram;
    if (!HasClosedForm(config) || config.controller.page_policy != PagePolicy::kOpen) continue;
    ++machines;
    const double stream = Closed(config, Regularity::kStream);
    for (Pattern pattern : {Pattern::kStreamRow, Pattern::kStreamBankInt, Pattern::kStreamBankGroup}) {
      // One bank group at a time is limited by ccd_l instead.
      if (config.geometry.bank_groups == 1 && pattern == Pattern::kStreamBankGroup) continue;
      EXPECT_NEAR(Event(config, pattern) / stream, 1, 0.03) << name << " " << PatternName(pattern);
    }
    EXPECT_NEAR(Event(config, Pattern::kStreamOneBank) / Closed(config, Regularity::kStreamOneBank), 1, 0.03) << name;
    EXPECT_NEAR(Event(config, Pattern::kRandomOneBank) / Closed(config, Regularity::kRandomOneBank), 1, 0.03) << name;
  }
  EXPECT_EQ(machines, 10);
}

// The formula once took the short distance where all banks are in one group.
TEST(ClosedForm, OneBankGroupKeepsTheLongDistance) {
  absl::StatusOr<Machine> machine = LoadMachine("hmc");
  ASSERT_TRUE(machine.ok()) << machine.status();
  machine->dram.timing.ccd_l = 12;
  EXPECT_NEAR(Event(machine->dram, Pattern::kStreamRow) / Closed(machine->dram, Regularity::kStream), 1, 0.03);
}

// Random banks collide: the formula is what they would reach if they did not.
TEST(ClosedForm, BoundsRandomRequestsFromBelow) {
  for (const char* name : {"hmc", "dramsim3.hmc_vault64_closed", "hbm2", "dramsim3.hbm2_open"}) {
    const absl::StatusOr<Machine> machine = LoadMachine(name);
    ASSERT_TRUE(machine.ok()) << machine.status();
    const double ratio = Event(machine->dram, Pattern::kRandom) / Closed(machine->dram, Regularity::kRandom);
    EXPECT_GT(ratio, 0.99) << name;
    EXPECT_LT(ratio, 1.25) << name;
  }
}

// Closed pages make a row of every access.
TEST(ClosedForm, StreamsOnClosedPagesAreBoundByRows) {
  const absl::StatusOr<Machine> machine = LoadMachine("dramsim3.hmc_vault64_closed");
  ASSERT_TRUE(machine.ok());
  EXPECT_NEAR(Event(machine->dram, Pattern::kStreamRow) / Closed(machine->dram, Regularity::kStream), 1, 0.03);
  EXPECT_NEAR(Event(machine->dram, Pattern::kStreamOneBank) / Closed(machine->dram, Regularity::kStreamOneBank), 1,
              0.03);
}

TEST(ClosedForm, RefusesWhatItDoesNotKnow) {
  for (const char* name : {"ramulator2.hbm2_2000_open_refpb", "ramulator2.hbm2_2000_closedcap1_noref"}) {
    const absl::StatusOr<Machine> machine = LoadMachine(name);
    ASSERT_TRUE(machine.ok());
    const absl::Status status = ClosedFormCycles(machine->dram, Regularity::kStream, 1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_NE(std::string(status.message()).find("closed form: "), std::string::npos);
  }
}

}  // namespace
}  // namespace tally::nearmem
