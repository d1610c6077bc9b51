// Properties of the event model on all machines that come with Tally, on regular and on random requests.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/dram_energy.h"
#include "backends/nearmem/sim/dram_replay.h"
#include "backends/nearmem/sim/dram_trace.h"
#include "tests/backends/nearmem/protocol_checker.h"

namespace tally::nearmem {
namespace {

using testing::FindViolation;

constexpr int64_t kRequests = 4096;
constexpr uint64_t kSeed = 7;

DramConfig ConfigOf(const std::string& machine) {
  const absl::StatusOr<Machine> loaded = LoadMachine(machine);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->dram;
}

struct Recorded {
  DramReplay replay;
  std::vector<DramIssue> commands;
};

Recorded Replay(const DramConfig& config, const std::vector<DramRequest>& trace) {
  Recorded recorded;
  const absl::StatusOr<DramReplay> replay =
      ReplayTrace(config, trace, [&](const DramIssue& issue) { recorded.commands.push_back(issue); });
  if (!replay.ok()) throw std::runtime_error(std::string(replay.status().message()));
  recorded.replay = *replay;
  return recorded;
}

Cycle CyclesOf(const DramConfig& config, Pattern pattern) {
  return Replay(config, GenerateTrace(pattern, config.geometry, kRequests, kSeed)).replay.cycles;
}

// What must hold for every channel and every trace; the first that does not.
std::string FindBrokenProperty(const DramConfig& config, const std::vector<DramRequest>& trace) {
  const Recorded recorded = Replay(config, trace);
  const DramReplay& replay = recorded.replay;
  const DramCounts& n = replay.counts;
  const int64_t requests = static_cast<int64_t>(trace.size());
  if (replay.requests != requests) return "requests are lost";
  if (n.reads + n.writes + n.forwarded_reads + n.coalesced_writes != requests) return "requests are not all served";
  const int64_t writes = std::count_if(trace.begin(), trace.end(), [](const DramRequest& r) { return r.is_write; });
  if (n.writes + n.coalesced_writes != writes) return "writes are not all served";
  if (n.activates != n.row_misses + n.row_conflicts) return "an activate is neither a miss nor a conflict";
  if (n.reads + n.writes != n.row_hits + n.activates - n.unused_activates) return "a column command is unaccounted for";
  // The roof: the data bus carries one burst at a time.
  if (replay.drained_cycles < (n.reads + n.writes) * config.timing.burst) return "beats the data bus";
  if (replay.cycles > replay.drained_cycles) return "ends after it is drained";
  if (n.active_cycles > replay.drained_cycles) return "rows are open for longer than there is time";
  const Cycle interval =
      config.controller.refresh == RefreshMode::kPerBank ? config.timing.refi_bank : config.timing.refi;
  const int64_t due = config.controller.refresh == RefreshMode::kNone ? 0 : replay.drained_cycles / interval;
  if (n.refreshes > due) return absl::StrCat("refreshes ", n.refreshes, " times, due ", due);
  const double bits = 8.0 * config.geometry.burst_bytes * static_cast<double>(n.reads + n.writes);
  const double flat = TotalEnergy(FlatEnergy(config, n, replay.drained_cycles));
  if (flat < bits * config.energy.flat_pj_per_bit) return "flat energy misses bits";
  if (config.links) return "";  // links renumber requests, and may change the order of two to one address
  std::string violation = FindViolation(config, trace, recorded.commands);
  if (!violation.empty()) return violation;
  // Two requests to one address, one of them a write, keep their order.
  std::map<int64_t, Cycle> issued;
  for (const DramIssue& issue : recorded.commands) {
    if (issue.request >= 0) issued[issue.request] = issue.at;
  }
  std::map<std::tuple<int, int, int, int>, std::vector<const DramRequest*>> by_address;
  for (const DramRequest& r : trace) {
    auto& earlier = by_address[{r.address.bank_group, r.address.bank, r.address.row, r.address.column}];
    for (const DramRequest* e : earlier) {
      const bool both = issued.count(e->id) > 0 && issued.count(r.id) > 0;
      if ((e->is_write || r.is_write) && both && issued[e->id] > issued[r.id]) {
        return absl::StrCat("request ", r.id, " overtakes ", e->id, " to its address");
      }
    }
    earlier.push_back(&r);
  }
  return "";
}

class EveryMachine : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryMachine, KeepsTheProtocolAndLosesNothing) {
  const DramConfig config = ConfigOf(GetParam());
  for (Pattern pattern : kAllPatterns) {
    EXPECT_EQ(FindBrokenProperty(config, GenerateTrace(pattern, config.geometry, kRequests, kSeed)), "")
        << PatternName(pattern);
  }
}

// Reads and writes of few rows and columns, so that they meet, in bursts of either kind.
TEST_P(EveryMachine, KeepsTheProtocolOnRequestsThatCollide) {
  const DramConfig config = ConfigOf(GetParam());
  const DramGeometry& g = config.geometry;
  const auto collide = [&] {
    std::vector<DramRequest> trace(static_cast<size_t>(*rc::gen::inRange(0, 600)));
    const int rows = *rc::gen::inRange(1, 4), columns = *rc::gen::inRange(1, g.bursts_per_row + 1);
    const int groups = *rc::gen::inRange(1, g.bank_groups + 1), banks = *rc::gen::inRange(1, g.banks_per_group + 1);
    const int run = *rc::gen::inRange(1, 60);
    uint64_t state = *rc::gen::arbitrary<uint64_t>();
    const auto below = [&state](int n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return static_cast<int>((state >> 33) % static_cast<uint64_t>(n));
    };
    for (size_t i = 0; i < trace.size(); ++i) {
      trace[i] = {{below(groups), below(banks), below(rows), below(columns)},
                  static_cast<int>(i) / run % 2 == 1,
                  static_cast<int64_t>(i)};
    }
    RC_ASSERT(FindBrokenProperty(config, trace) == "");
  };
  EXPECT_TRUE(rc::check(collide));
}

TEST_P(EveryMachine, IsDeterministic) {
  const DramConfig config = ConfigOf(GetParam());
  const std::vector<DramRequest> trace = GenerateTrace(Pattern::kReadsAndWrites, config.geometry, kRequests, kSeed);
  const Recorded a = Replay(config, trace), b = Replay(config, trace);
  EXPECT_EQ(a.replay.cycles, b.replay.cycles);
  ASSERT_EQ(a.commands.size(), b.commands.size());
  for (size_t i = 0; i < a.commands.size(); ++i) {
    ASSERT_TRUE(a.commands[i].at == b.commands[i].at && a.commands[i].command == b.commands[i].command &&
                a.commands[i].bank == b.commands[i].bank && a.commands[i].request == b.commands[i].request);
  }
}

// A scheduler that takes the oldest ready command is greedy: one that becomes ready earlier may lead it astray.
constexpr double kGreed = 1.02;

// More of something never costs time.
TEST_P(EveryMachine, IsNoSlowerWithMore) {
  const DramConfig config = ConfigOf(GetParam());
  const auto expect_no_slower = [&](const std::string& what, const DramConfig& better) {
    ASSERT_TRUE(Validate(better).ok()) << what << ": " << Validate(better);
    for (Pattern pattern : kAllPatterns) {
      EXPECT_LE(static_cast<double>(CyclesOf(better, pattern)), kGreed * static_cast<double>(CyclesOf(config, pattern)))
          << what << " on " << PatternName(pattern);
    }
  };
  DramConfig better = config;
  better.timing.burst = std::max(1, config.timing.burst / 2);
  better.timing.ccd_s = std::max(1, config.timing.ccd_s / 2);
  better.timing.ccd_l = std::max(1, config.timing.ccd_l / 2);
  expect_no_slower("bandwidth", better);

  better = config;
  better.controller.refresh = RefreshMode::kNone;
  expect_no_slower("no refresh", better);

  better = config;
  better.timing.rp /= 2;
  better.timing.rcd_read /= 2;
  better.timing.rcd_write /= 2;
  better.timing.ras /= 2;
  better.timing.faw = std::max(1, better.timing.faw / 2);
  expect_no_slower("faster rows", better);
}

INSTANTIATE_TEST_SUITE_P(Presets, EveryMachine, ::testing::ValuesIn(MachinePresets()), [](const auto& tested) {
  std::string name = tested.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

// A short read queue keeps banks waiting.
TEST(DramChannel, ALongerQueueIsNoSlower) {
  for (const char* machine : {"hmc", "hbm2"}) {
    DramConfig config = ConfigOf(machine);
    Cycle previous = kNever;
    for (int entries : {1, 2, 4, 8, 16, 32, 64}) {
      config.controller.read_queue = entries;
      const Cycle cycles = CyclesOf(config, Pattern::kRandom);
      EXPECT_LE(static_cast<double>(cycles), kGreed * static_cast<double>(previous)) << machine << ", " << entries;
      previous = cycles;
    }
  }
}

TEST(DramChannel, AnEmptyTraceTakesNoTime) {
  const absl::StatusOr<DramReplay> replay = ReplayTrace(ConfigOf("hmc"), {});
  ASSERT_TRUE(replay.ok());
  EXPECT_EQ(replay->cycles, 0);
  EXPECT_EQ(replay->counts.activates, 0);
}

// One read of an idle vault: activate, read, and the data.
TEST(DramChannel, OneReadTakesRcdClAndItsBurst) {
  const DramConfig config = ConfigOf("hmc");
  const Recorded r = Replay(config, {{{0, 3, 5, 1}, false, 0}});
  ASSERT_EQ(r.commands.size(), 2u);
  EXPECT_EQ(r.commands[0].command, DramCommand::kActivate);
  EXPECT_EQ(r.commands[0].row, 5);
  EXPECT_EQ(r.commands[1].command, DramCommand::kRead);
  EXPECT_EQ(r.commands[1].at - r.commands[0].at, 17);
  EXPECT_EQ(r.replay.cycles - r.commands[1].at, 17 + 8);
}

// Writes are posted: a read behind one to its address is served from the buffer, a second write is absorbed.
TEST(DramChannel, ServesReadsFromWaitingWrites) {
  for (const char* machine : {"hmc", "hbm2"}) {
    const DramConfig config = ConfigOf(machine);
    const DramAddress address{0, 1, 2, 3};
    const Recorded r = Replay(config, {{address, true, 0}, {address, false, 1}, {address, true, 2}});
    EXPECT_EQ(r.replay.counts.writes, 1) << machine;
    EXPECT_EQ(r.replay.counts.forwarded_reads, 1) << machine;
    EXPECT_EQ(r.replay.counts.coalesced_writes, 1) << machine;
    EXPECT_EQ(r.replay.counts.reads, 0) << machine;
    EXPECT_LT(r.replay.cycles, r.replay.drained_cycles) << machine;
  }
}

TEST(DramChannel, SaysWhatIsWrongWithAConfiguration) {
  DramConfig config = ConfigOf("hmc");
  config.timing.refi = config.timing.rfc;
  EXPECT_EQ(ReplayTrace(config, {}).status(), Validate(config));
  EXPECT_FALSE(Validate(config).ok());
}

}  // namespace
}  // namespace tally::nearmem
