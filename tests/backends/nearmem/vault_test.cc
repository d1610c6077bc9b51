// The parts below a layer: bit planes, the mesh, the memory behind its FIFO, and the time line of a vault.
#include "backends/nearmem/sim/vault.h"

#include <gtest/gtest.h>

#include <random>

#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/bit_planes.h"
#include "backends/nearmem/sim/layer_result.h"
#include "backends/nearmem/sim/mesh.h"
#include "backends/nearmem/sim/vault_memory.h"

namespace tally::nearmem {
namespace {

Machine Load(const char* name) {
  const absl::StatusOr<Machine> machine = LoadAccelerator(name);
  EXPECT_TRUE(machine.ok()) << machine.status();
  return *machine;
}

TEST(BitPlanes, RoundTripsEveryWidthFromAnyPlace) {
  std::mt19937 rng(91);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const size_t count : {size_t{1}, size_t{255}, size_t{256}, size_t{1000}}) {
      std::vector<uint8_t> codes(count);
      for (uint8_t& c : codes) c = static_cast<uint8_t>(rng() & ((1u << bits) - 1));
      const std::vector<uint8_t> stream = PackPlanes(codes.data(), count, bits);
      EXPECT_EQ(static_cast<int64_t>(stream.size()), (static_cast<int64_t>(count) + 255) / 256 * bits * 32);
      for (const size_t first : {size_t{0}, count / 3, count - 1}) {
        std::vector<uint8_t> back(count - first);
        UnpackPlanes(stream.data(), bits, first, back.size(), back.data());
        EXPECT_TRUE(std::equal(back.begin(), back.end(), codes.begin() + static_cast<std::ptrdiff_t>(first)))
            << bits << " bits, " << count << " codes from " << first;
      }
    }
  }
}

TEST(Mesh, MulticastsCrossALinkOnce) {
  NocConfig noc;
  noc.columns = 4;
  noc.rows = 4;
  // 16 bytes, one in each vault, all to vault 0: each goes its Manhattan distance, 48 in all.
  const MeshTraffic gather = Route(noc, {{16, {0}}});
  EXPECT_EQ(gather.byte_hops, 48);
  EXPECT_EQ(gather.longest_route, 6);
  // X first: 12 of them arrive in vault 0's column, through its southern neighbour.
  EXPECT_EQ(gather.busiest_link, 12);
  // To everybody: a tree of 15 links for each.
  std::vector<int> all;
  for (int v = 0; v < 16; ++v) all.push_back(v);
  EXPECT_EQ(Route(noc, {{16, all}}).byte_hops, 16 * 15);
  EXPECT_EQ(Route(noc, {}).byte_hops, 0);
}

Cycle Stream(const DramConfig& dram, int fifo_bytes, DramMode mode, int64_t bursts, bool granted) {
  const absl::StatusOr<std::unique_ptr<VaultMemory>> memory = MakeVaultMemory(dram, fifo_bytes, mode);
  EXPECT_TRUE(memory.ok()) << memory.status();
  const int segment = (*memory)->AddReads(Region::kWeights, 0, bursts);
  if (granted) (*memory)->Grant(segment, 0);
  const absl::StatusOr<Cycle> end = granted ? (*memory)->Arrival(segment) : (*memory)->Finish();
  EXPECT_TRUE(end.ok()) << end.status();
  const DramCounts counts = (*memory)->CountsAt(*end);
  EXPECT_EQ(counts.reads, bursts);
  EXPECT_EQ(counts.row_hits + counts.activates - counts.unused_activates, bursts);
  return *end;
}

// The memory's clock once ran ahead to the next refresh when all that was asked for had arrived, and whatever was
// written or granted in between had to wait for it.
TEST(VaultMemory, WhatComesLateIsServedAtOnce) {
  for (const char* name : {"hmc", "hbm2"}) {
    const DramConfig dram = Load(name).dram;
    for (const DramMode mode : {DramMode::kEvent, DramMode::kClosedForm}) {
      const absl::StatusOr<std::unique_ptr<VaultMemory>> memory = MakeVaultMemory(dram, 4096, mode);
      ASSERT_TRUE(memory.ok()) << memory.status();
      const int first = (*memory)->AddReads(Region::kActivations, 0, 8);
      const int second = (*memory)->AddReads(Region::kWeights, 0, 4096 / dram.geometry.burst_bytes + 100);
      (*memory)->Grant(first, 0);
      const absl::StatusOr<Cycle> early = (*memory)->Arrival(first);
      ASSERT_TRUE(early.ok()) << early.status();
      EXPECT_LT(*early, 200) << name;
      // Of the second segment, 100 bursts do not fit the FIFO and come from the grant on.
      (*memory)->Grant(second, 1000);
      const absl::StatusOr<Cycle> late = (*memory)->Arrival(second);
      ASSERT_TRUE(late.ok()) << late.status();
      EXPECT_GT(*late, 1000 + 100 * dram.timing.burst - 1) << name;
      EXPECT_LT(*late, 1000 + 100 * dram.timing.burst + 200) << name;
      (*memory)->Write(0, 4, 2500);
      const absl::StatusOr<Cycle> end = (*memory)->Finish();
      ASSERT_TRUE(end.ok()) << end.status();
      EXPECT_GT(*end, 2500) << name;
      EXPECT_LT(*end, 2700) << name;
    }
  }
}

// 3 %: start and end, and where refreshes fall.
TEST(VaultMemory, EventAndClosedFormAgreeOnStreams) {
  for (const char* name : {"hmc", "hbm2"}) {
    const Machine machine = Load(name);
    for (const int fifo : {4096, 65536}) {
      const double event = static_cast<double>(Stream(machine.dram, fifo, DramMode::kEvent, 30000, true));
      const double closed = static_cast<double>(Stream(machine.dram, fifo, DramMode::kClosedForm, 30000, true));
      EXPECT_NEAR(event / closed, 1, 0.03) << name << " " << fifo;
    }
  }
}

// 0.1 %: once the bus is full, more requests at hand are served in another order, and the last may come a burst later.
TEST(VaultMemory, ALongerFifoIsNeverSlower) {
  const Machine machine = Load("hmc");
  Cycle before = kNever;
  for (int fifo = 64; fifo <= 16384; fifo *= 2) {
    const Cycle cycles = Stream(machine.dram, fifo, DramMode::kEvent, 4000, true);
    EXPECT_LE(static_cast<double>(cycles), 1.001 * static_cast<double>(before)) << fifo;
    before = std::min(before, cycles);
  }
  // Four bursts in flight do not cover the latency of one.
  EXPECT_GT(static_cast<double>(Stream(machine.dram, 256, DramMode::kEvent, 4000, true)),
            1.5 * static_cast<double>(before));
}

VaultProgram RandomProgram(std::mt19937* rng) {
  const auto draw = [&](int64_t low, int64_t high) { return low + static_cast<int64_t>((*rng)() % (high - low + 1)); };
  VaultProgram program;
  program.weights_stay = draw(0, 1) == 0;
  const int64_t units = draw(1, 4), loads = draw(1, 8);
  for (int64_t u = 0; u < units; ++u) program.units.push_back({draw(0, 60), draw(0, 400)});
  int64_t burst = 0;
  for (int64_t l = 0; l < loads; ++l) {
    program.loads.push_back({burst, draw(0, 200)});
    burst += program.loads.back().bursts;
  }
  // Loads and units are used in order.
  const int64_t steps = std::max(units, loads) * draw(1, 4);
  for (int64_t s = 0; s < steps; ++s) {
    VaultStep step;
    step.load = static_cast<int>(s * loads / steps);
    step.unit = static_cast<int>(s * units / steps);
    step.count = draw(0, 900);
    step.spill = draw(0, 9);
    step.drain = draw(0, 200);
    step.post = draw(0, 3) == 0 ? 0 : draw(1, 50);
    step.write_bursts = step.post > 0 ? draw(0, 3) : 0;
    program.steps.push_back(step);
  }
  return program;
}

TEST(Vault, PartsAddUpAndNothingIsFasterThanItsWork) {
  std::mt19937 rng(92);
  const Machine hmc = Load("hmc"), hbm = Load("hbm2");
  for (int trial = 0; trial < 200; ++trial) {
    const Machine& machine = trial % 3 == 0 ? hbm : hmc;
    const VaultProgram program = RandomProgram(&rng);
    std::vector<VaultSpan> spans;
    for (const DramMode mode : {DramMode::kEvent, DramMode::kClosedForm}) {
      spans.clear();
      const absl::StatusOr<VaultResult> result = RunVault(*machine.accelerator, machine.dram, mode, program, &spans);
      ASSERT_TRUE(result.ok()) << result.status();
      int64_t count = 0, spill = 0, drain = 0, bursts = 0, writes = 0;
      for (const VaultStep& s : program.steps) {
        count += s.count;
        spill += s.spill;
        drain += s.drain;
        writes += s.write_bursts;
      }
      for (const VaultLoad& l : program.loads) bursts += l.bursts;
      for (const VaultUnit& u : program.units) bursts += u.share_bursts;
      const int64_t divider = machine.accelerator->lanes.clock_divider;
      const CycleParts& c = result->cycles;
      EXPECT_EQ(c.compute, count * divider);
      EXPECT_EQ(c.spill, spill * divider);
      EXPECT_GE(c.post_processing, drain * divider);
      EXPECT_GE(std::min({c.dram_stall, c.refresh, c.noc}), 0) << "trial " << trial;
      EXPECT_EQ(result->dram.reads, bursts) << "trial " << trial;
      EXPECT_EQ(result->dram.writes + result->dram.coalesced_writes, writes) << "trial " << trial;
      EXPECT_GE(c.total(), (bursts + writes) * machine.dram.timing.burst) << "trial " << trial;
      // The lanes' spans and waits tile the time line but for what ends it.
      Cycle covered = 0;
      for (const VaultSpan& s : spans) covered += s.track == VaultSpan::Track::kPost ? 0 : s.end - s.begin;
      EXPECT_EQ(covered, c.total());
    }
  }
}

// Everything one after the other is the slowest that a vault may be: each segment with the latency of its first burst,
// bursts at half the bus's rate, as streams in one row of one bank group have them, and every refresh in full.
TEST(Vault, NothingIsSlowerThanOneThingAfterTheOther) {
  std::mt19937 rng(94);
  const Machine hmc = Load("hmc"), hbm = Load("hbm2");
  for (int trial = 0; trial < 200; ++trial) {
    const Machine& machine = trial % 3 == 0 ? hbm : hmc;
    const DramTiming& t = machine.dram.timing;
    const VaultProgram program = RandomProgram(&rng);
    int64_t lane_cycles = 0, bursts = 0, segments = 0;
    for (const VaultStep& s : program.steps) {
      lane_cycles += s.count + s.spill + s.drain + s.post;
      bursts += s.write_bursts;
      segments += s.write_bursts > 0;
    }
    for (const VaultLoad& l : program.loads) bursts += l.bursts;
    for (const VaultUnit& u : program.units) {
      bursts += u.share_bursts;
      lane_cycles += u.noc_cycles;
    }
    segments += static_cast<int64_t>(program.loads.size() + program.units.size());
    const Cycle latency = t.wr + t.cwl + t.rp + t.rcd_read + t.cl + t.burst;
    const Cycle serial = lane_cycles * machine.accelerator->lanes.clock_divider + segments * latency +
                         2 * bursts * std::max(t.burst, t.ccd_l);
    const Cycle refreshes = (1 + serial / (t.refi - t.rfc - t.rp)) * (t.rfc + t.rp + t.ras);
    for (const DramMode mode : {DramMode::kEvent, DramMode::kClosedForm}) {
      const absl::StatusOr<VaultResult> result = RunVault(*machine.accelerator, machine.dram, mode, program, nullptr);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_LE(result->cycles.total(), serial + refreshes) << "trial " << trial;
    }
  }
}

// Monotone for one program: a longer FIFO and a faster bus are never slower, but for a refresh that requests at other
// times meet.
TEST(Vault, MoreIsNeverSlower) {
  std::mt19937 rng(93);
  const Machine machine = Load("hmc");
  for (int trial = 0; trial < 60; ++trial) {
    const VaultProgram program = RandomProgram(&rng);
    const auto cycles = [&](int fifo, int burst) {
      AcceleratorConfig config = *machine.accelerator;
      DramConfig dram = machine.dram;
      config.fifo_bytes = fifo;
      dram.timing.burst = burst;
      const absl::StatusOr<VaultResult> result = RunVault(config, dram, DramMode::kEvent, program, nullptr);
      EXPECT_TRUE(result.ok()) << result.status();
      return static_cast<double>(result->cycles.total());
    };
    const DramTiming& t = machine.dram.timing;
    const double refresh = t.rfc + t.rp + t.rcd_read;
    EXPECT_LE(cycles(4096, 8), cycles(512, 8) + refresh) << "trial " << trial;
    EXPECT_LE(cycles(4096, 8), cycles(4096, 16) + refresh) << "trial " << trial;
  }
}

TEST(Accelerator, CountersAndAreasAreThoseOfTheDesign) {
  EXPECT_EQ(CountersPerLane(LaneProgram::kBucketed, 5, 3), 7);
  EXPECT_EQ(CountersPerLane(LaneProgram::kFolded, 2, 2), 12);  // 5 of i + j, 3 of i, 3 of j, the signs
  EXPECT_EQ(CountersPerLane(LaneProgram::kFolded, 4, 4), 60);
  EXPECT_EQ(CountersPerLane(LaneProgram::kMac, 4, 4), 0);
  const LaneConfig lanes = Load("hmc").accelerator->lanes;
  const double mac = LaneArea(lanes, LaneProgram::kMac, 0);
  EXPECT_EQ(mac, 490);
  // About 2.1 times a MAC lane at 3 stored bits, 8.4 times at 5.
  EXPECT_NEAR(LaneArea(lanes, LaneProgram::kFolded, 12) / mac, 2.1, 0.1);
  EXPECT_NEAR(LaneArea(lanes, LaneProgram::kFolded, 60) / mac, 8.4, 0.1);
}

TEST(Accelerator, RefusesWhatCannotWork) {
  AcceleratorConfig config = *Load("hmc").accelerator;
  EXPECT_TRUE(Validate(config).ok());
  config.lanes.lanes = 0;
  EXPECT_EQ(Validate(config).message(), "lanes.lanes: expected an integer in 1..4096, found 0");
  config = *Load("hmc").accelerator;
  config.lanes.counter_bits = 1;
  EXPECT_FALSE(Validate(config).ok());
  config = *Load("hmc").accelerator;
  config.link.gb_s = 0;
  EXPECT_FALSE(Validate(config).ok());
}

}  // namespace
}  // namespace tally::nearmem
