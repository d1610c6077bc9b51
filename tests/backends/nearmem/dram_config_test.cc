#include "backends/nearmem/sim/dram_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <iterator>
#include <random>

#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/dram_replay.h"
#include "backends/nearmem/sim/dram_trace.h"
#include "tests/backends/nearmem/protocol_checker.h"

namespace tally::nearmem {
namespace {

DramConfig ConfigOf(const std::string& machine) {
  const absl::StatusOr<Machine> loaded = LoadMachine(machine);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->dram;
}

TEST(DramConfig, NamesTheFieldTheExpectedAndTheFoundValue) {
  const auto message = [](const std::string& machine, const std::function<void(DramConfig*)>& change) {
    DramConfig config = ConfigOf(machine);
    change(&config);
    return std::string(Validate(config).message());
  };
  EXPECT_EQ(message("hmc", [](DramConfig* c) { c->timing.cl = -1; }),
            "timing.cl: expected an integer in 0..1048576, found -1");
  EXPECT_EQ(message("hmc", [](DramConfig* c) { c->timing.tck_ns = 0; }),
            "timing.tck_ns: expected a number in 0.001..1000, found 0");
  EXPECT_EQ(message("hmc", [](DramConfig* c) { c->controller.bank_queue = 0; }),
            "controller.bank_queue: expected an integer in 1..4096, found 0");
  using ::testing::HasSubstr;
  using ::testing::StartsWith;
  EXPECT_THAT(message("hmc", [](DramConfig* c) { c->timing.refi = c->timing.rfc + 100; }), StartsWith("timing.refi: "));
  EXPECT_THAT(message("hmc", [](DramConfig* c) { c->controller.page_policy = PagePolicy::kClosedCap; }),
              HasSubstr("found closed_cap"));
  EXPECT_THAT(message("hmc", [](DramConfig* c) { c->timing.act_cycles = 2; }), StartsWith("timing.act_cycles: "));
  EXPECT_THAT(message("hmc", [](DramConfig* c) { c->geometry.banks_per_group = 0; }),
              StartsWith("geometry.banks_per_group: "));
  EXPECT_THAT(message("hmc", [](DramConfig* c) { c->geometry.bank_groups = c->geometry.banks_per_group = 256; }),
              HasSubstr("256 banks"));
  EXPECT_THAT(message("hbm2", [](DramConfig* c) { c->controller.writes = WriteMode::kInOrder; }),
              HasSubstr("found in_order"));
  EXPECT_THAT(message("hbm2", [](DramConfig* c) { c->controller.drain_low = 27; }),
              HasSubstr("controller.drain_low: expected an integer in 1..26, found 27"));
  EXPECT_THAT(message("hbm2", [](DramConfig* c) { c->controller.drain_high = 33; }),
              HasSubstr("controller.drain_high"));
  EXPECT_THAT(message("ramulator2.hbm2_2000_open_refpb", [](DramConfig* c) { c->timing.refi_bank = 20; }),
              StartsWith("timing.refi_bank: "));
  EXPECT_THAT(message("dramsim3.hmc_gen1_links_closed", [](DramConfig* c) { c->links->queue_depth = 0; }),
              StartsWith("links.queue_depth: "));
  EXPECT_THAT(message("hmc", [](DramConfig* c) { c->energy.read_pj = -1; }), StartsWith("energy.events.read_pj: "));
}

// Whatever Validate lets through gets every request served, by legal commands, in a time that is in proportion.
TEST(DramConfig, EveryValidConfigurationMakesProgress) {
  constexpr uint32_t kSeed = 20261128;
  std::mt19937 random(kSeed);
  const auto below = [&](size_t n) { return static_cast<int>(random() % n); };
  const std::vector<std::string> machines = MachinePresets();
  int valid = 0;
  for (int round = 0; round < 4000; ++round) {
    DramConfig c = ConfigOf(machines[static_cast<size_t>(below(machines.size()))]);
    DramTiming& t = c.timing;
    int* const cycles[] = {&t.burst,      &t.cl,         &t.cwl,   &t.rcd_read, &t.rcd_write, &t.rp,
                           &t.ras,        &t.rrd_s,      &t.rrd_l, &t.faw,      &t.ccd_s,     &t.ccd_l,
                           &t.wtr_s,      &t.wtr_l,      &t.wr,    &t.rtp,      &t.rfc,       &t.rtp_auto,
                           &t.turnaround, &t.act_cycles, &t.refi,  &t.rrefd,    &t.rfc_bank,  &t.refi_bank};
    DramController& q = c.controller;
    int* const counts[] = {&q.read_queue,
                           &q.write_queue,
                           &q.bank_queue,
                           &q.drain_high,
                           &q.drain_idle,
                           &q.drain_low,
                           &q.row_hit_limit,
                           &q.column_cap,
                           &c.geometry.bank_groups,
                           &c.geometry.banks_per_group,
                           &c.geometry.bursts_per_row,
                           &c.geometry.rows};
    for (int changes = below(6); changes > 0; --changes) {
      *cycles[below(std::size(cycles))] = below(700);
      *counts[below(std::size(counts))] = below(12);
    }
    if (below(2) == 0) q.refresh = static_cast<RefreshMode>(below(3));
    if (below(2) == 0) q.page_policy = static_cast<PagePolicy>(below(3));
    if (below(4) == 0) q.queues = static_cast<QueueKind>(below(2));
    if (below(4) == 0) q.writes = static_cast<WriteMode>(below(2));
    if (below(4) == 0) q.dual_command_bus = !q.dual_command_bus;
    if (!Validate(c).ok()) continue;
    ++valid;
    for (Pattern pattern : {Pattern::kReadsAndWrites, Pattern::kRandom, Pattern::kRandomOneBank}) {
      const std::vector<DramRequest> trace = GenerateTrace(pattern, c.geometry, 200, kSeed);
      std::vector<DramIssue> commands;
      const absl::StatusOr<DramReplay> replay =
          ReplayTrace(c, trace, [&](const DramIssue& issue) { commands.push_back(issue); });
      ASSERT_TRUE(replay.ok()) << "seed " << kSeed << ", round " << round << ": " << replay.status();
      ASSERT_LT(replay->cycles, 200 * 20000) << "seed " << kSeed << ", round " << round;
      // Links number requests anew.
      if (!c.links) {
        ASSERT_EQ(testing::FindViolation(c, trace, commands), "") << "seed " << kSeed << ", round " << round;
      }
    }
  }
  EXPECT_GT(valid, 500);
}

}  // namespace
}  // namespace tally::nearmem
