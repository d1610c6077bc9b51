// Layers on the simulated machine: the histogram's bits whatever the machine is like, and events, bytes and cycles that
// add up.
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/nearmem.h"
#include "runtime/ops/window.h"
#include "tests/backends/exponent/harness.h"
#include "tests/format/status_matchers.h"

namespace tally::testing {
namespace {

using nearmem::DramMode;
using nearmem::LaneProgram;
using nearmem::LayerRecord;
using nearmem::MachineRecord;
using nearmem::SimulatedMachine;

SimulatedMachine Hmc() {
  const absl::StatusOr<nearmem::Machine> machine = nearmem::LoadAccelerator("hmc");
  EXPECT_TRUE(machine.ok()) << machine.status();
  return {false, *machine->accelerator, machine->dram, DramMode::kEvent};
}

// Any machine: buffers from a few bytes on, lanes that are no power of two, every width of counters.
SimulatedMachine RandomMachine(Rng& rng) {
  SimulatedMachine machine = Hmc();
  if (Pick(rng, 4) == 0) machine.dram = nearmem::LoadMachine("hbm2")->dram;
  nearmem::AcceleratorConfig& c = machine.config;
  const int lanes[] = {1, 3, 16, 52, 64}, counters[] = {2, 4, 8, 16}, bytes[] = {64, 300, 2048, 32768};
  c.lanes.lanes = lanes[Pick(rng, 5)];
  c.lanes.counter_bits = counters[Pick(rng, 4)];
  c.lanes.lanes_per_multiplier = 1 + static_cast<int>(Pick(rng, 16));
  c.lanes.skip_zeros = Pick(rng, 2) == 0;
  c.sram.activation_bytes = bytes[Pick(rng, 4)];
  c.sram.weight_bytes = bytes[Pick(rng, 4)];
  c.sram.accumulator_bytes = bytes[Pick(rng, 4)];
  c.noc.columns = 1 << Pick(rng, 3);
  c.noc.rows = 1 + static_cast<int>(Pick(rng, 4));
  c.fifo_bytes = 64 << Pick(rng, 7);
  return machine;
}

// What must hold of every record.
void ExpectConserved(const SimulatedMachine& machine, const LayerRecord& record, const MachineRecord& m,
                     const std::string& what) {
  const nearmem::LayerResult& r = m.result;
  const nearmem::LayerEvents& e = r.events;
  const nearmem::CycleParts& c = r.cycles;
  const int64_t vaults = machine.config.vaults(), burst = machine.dram.geometry.burst_bytes;
  for (const nearmem::Cycle part : {c.compute, c.spill, c.post_processing, c.dram_stall, c.refresh, c.noc}) {
    EXPECT_GE(part, 0) << what;
  }
  // Bytes are bursts, which may hold more than was asked for.
  EXPECT_EQ(r.bytes.dram(), (r.dram.reads + r.dram.writes) * burst) << what;
  EXPECT_GE(r.bytes.padding, 0) << what;
  const int64_t positions = record.shape.positions(), k = record.shape.k();
  const int64_t passes = r.mapping.position_parts;  // at least one reading of all weights by each part of the positions
  EXPECT_GE(r.bytes.weights * 8, record.shape.all_outputs() * k * m.bits.weight_bits) << what;
  if (r.mapping.weights_stay && positions >= passes) {
    EXPECT_LE(r.bytes.weights * 8, record.shape.all_outputs() * k * m.bits.weight_bits * passes + 7) << what;
  }
  // Commands: every activate is a counted miss or conflict, every access the first of its row or a hit.
  EXPECT_EQ(r.dram.activates, r.dram.row_misses + r.dram.row_conflicts) << what;
  EXPECT_EQ(r.dram.reads + r.dram.writes, r.dram.row_hits + r.dram.activates - r.dram.unused_activates) << what;
  // Both roofs.
  const double peak = static_cast<double>(burst) / machine.dram.timing.burst;
  EXPECT_GE(static_cast<double>(r.vault_cycles) * peak, static_cast<double>(r.bytes.dram())) << what;
  EXPECT_GE(r.vault_cycles / machine.config.lanes.clock_divider * machine.config.lanes.lanes, e.lane_steps) << what;
  EXPECT_EQ(r.vault_cycles, vaults * c.total()) << what;
  // Every product takes a step of a lane, but for zeros that are skipped.
  EXPECT_LE(e.lane_steps, record.shape.macs()) << what;
  if (!machine.config.lanes.skip_zeros) {
    EXPECT_EQ(e.lane_steps, record.shape.macs()) << what;
  }
  EXPECT_LE(e.lanes.pairs, e.lane_steps) << what;
  if (m.program == LaneProgram::kBucketed) {
    EXPECT_EQ(e.lanes.updates, e.lanes.pairs) << what;
  }
  if (m.program == LaneProgram::kFolded) {
    EXPECT_EQ(e.lanes.updates, 4 * e.lanes.pairs) << what;
  }
  if (m.program == LaneProgram::kMac) {
    EXPECT_EQ(e.lanes.updates + e.lanes.spills + e.lanes.multiplies, 0) << what;
  }
  EXPECT_GE(e.post_macs, record.shape.output_elements()) << what;
  for (const nearmem::EnergyMode mode : {nearmem::EnergyMode::kEvents, nearmem::EnergyMode::kFlat}) {
    for (const nearmem::EnergyPart& part :
         nearmem::LayerEnergy(machine.config, machine.dram, m.program, m.bits, r, mode)) {
      EXPECT_GE(part.pj, 0) << what << " " << part.name;
    }
  }
}

// Runs `c` on a machine and its INT8 counterpart; expects the histogram's bits, at one thread and three.
LayerRecord ExpectMatches(const NodeCase& c, const SimulatedMachine& machine, const std::string& what) {
  static const std::shared_ptr<const Backend> histogram = MakeHistogramBackend();
  const NodeCase::Result expected = c.Run(*histogram, CpuFeatures(), 1);
  EXPECT_TRUE(expected.status.ok()) << what << expected.status;
  nearmem::Options options;
  options.machines = {machine, machine};
  options.machines[1].int8 = true;
  options.recorder = std::make_shared<nearmem::Recorder>();
  LayerRecord first;
  for (const int threads : {1, 3}) {
    const NodeCase::Result actual = c.Run(*MakeNearmemBackend(options), CpuFeatures(), threads);
    EXPECT_TRUE(actual.status.ok()) << what << ": " << actual.status;
    EXPECT_TRUE(actual.output.size() == expected.output.size() &&
                (actual.output.empty() ||
                 std::memcmp(actual.output.data(), expected.output.data(), actual.output.size() * sizeof(float)) == 0))
        << what << ", " << threads << " threads";
    std::vector<LayerRecord> records = options.recorder->Take();
    if (records.empty()) continue;
    for (const MachineRecord& m : records[0].machines) ExpectConserved(machine, records[0], m, what);
    if (threads == 1) {
      first = std::move(records[0]);
    } else {
      for (size_t m = 0; m < first.machines.size(); ++m) {
        EXPECT_EQ(records[0].machines[m].result.cycles.total(), first.machines[m].result.cycles.total()) << what;
        EXPECT_EQ(records[0].machines[m].result.dram.activates, first.machines[m].result.dram.activates) << what;
      }
    }
  }
  return first;
}

// A real codebook with the base of another.
Codebook WithBase(Codebook book, double base) {
  book.base = base;
  return book;
}

int64_t Draw(Rng& rng, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(Pick(rng, static_cast<size_t>(high - low + 1)));
}

struct Books {
  Codebook a, w;
};
// Integer grids, or both real with one base.
Books RandomBooks(Rng& rng) {
  if (Pick(rng, 3) > 0) return {RandomCodebook(rng), RandomCodebook(rng)};
  const auto real = [&] {
    return RandomCodebook(rng, 2 + static_cast<int>(Pick(rng, 4)), Pick(rng, 2) == 0, Grid::kReal);
  };
  const Codebook a = real();
  return {a, WithBase(real(), a.base)};
}

NodeCase GemmCase(Rng& rng, const Books& books, int64_t rows, int64_t k, int64_t outputs) {
  NodeCase c("Gemm");
  c.AddCodes(books.a, {rows, k}, RandomCodes(rng, books.a, static_cast<size_t>(rows * k)));
  c.AddWeight(books.w, {outputs, k}, RandomCodes(rng, books.w, static_cast<size_t>(outputs * k)));
  c.AddFloat({outputs}, RandomFloats(rng, static_cast<size_t>(outputs)));
  if (Pick(rng, 2) == 0) c.AddFloat({rows, outputs}, RandomFloats(rng, static_cast<size_t>(rows * outputs)));
  c.SetOutput({rows, outputs});
  return c;
}

TEST(NearmemNode, GemmMatchesOnAnyMachine) {
  const unsigned seed = 81;
  Rng rng(seed);
  for (int trial = 0; trial < 120; ++trial) {
    const int64_t rows = Pick(rng, 2) == 0 ? 1 : Draw(rng, 2, 9);
    const NodeCase c = GemmCase(rng, RandomBooks(rng), rows, Draw(rng, 1, 700), Draw(rng, 1, 150));
    ExpectMatches(c, RandomMachine(rng), absl::StrCat("seed ", seed, " trial ", trial));
    if (HasFailure()) return;
  }
}

TEST(NearmemNode, ConvMatchesOnAnyMachine) {
  const unsigned seed = 82;
  Rng rng(seed);
  int ran = 0;
  for (int trial = 0; trial < 150; ++trial) {
    const Books books = RandomBooks(rng);
    NodeCase c("Conv");
    const int64_t group = Pick(rng, 2) == 0 ? 1 : Draw(rng, 2, 20);
    const int64_t per_group = Pick(rng, 2) == 0 ? 1 : Draw(rng, 1, 6);  // 1: depthwise
    const Shape x = {Draw(rng, 1, 2), group * per_group, Draw(rng, 1, 10), Draw(rng, 1, 20)};
    const Shape weight = {group * Draw(rng, 1, 12), per_group, Draw(rng, 1, 4), Draw(rng, 1, 4)};
    c.node().SetInts("strides", {Draw(rng, 1, 3), Draw(rng, 1, 3)});
    c.node().SetInts("dilations", {Draw(rng, 1, 2), Draw(rng, 1, 2)});
    c.node().SetInts("pads", {Draw(rng, 0, 3), Draw(rng, 0, 3), Draw(rng, 0, 3), Draw(rng, 0, 3)});
    c.node().SetInts("group", {group});
    const absl::StatusOr<Window2d> w = ConvWindow(c.node(), x, weight);
    if (!w.ok()) continue;
    ++ran;
    const Shape y = {w->batch, w->out_channels, w->out_h, w->out_w};
    const auto elements = [](const Shape& s) { return static_cast<size_t>(TensorType{DType::kFloat32, s}.elements()); };
    c.AddCodes(books.a, x, RandomCodes(rng, books.a, elements(x)));
    c.AddWeight(books.w, weight, RandomCodes(rng, books.w, elements(weight)));
    c.AddAbsent();
    if (Pick(rng, 2) == 0) c.AddFloat(y, RandomFloats(rng, elements(y)));
    c.SetOutput(y);
    ExpectMatches(c, RandomMachine(rng), absl::StrCat("seed ", seed, " trial ", trial));
    if (HasFailure()) return;
  }
  EXPECT_GT(ran, 80);
}

TEST(NearmemNode, MatMulMatchesOnAnyMachine) {
  const unsigned seed = 83;
  Rng rng(seed);
  for (int trial = 0; trial < 60; ++trial) {
    const Books books = RandomBooks(rng);
    const int64_t heads = Draw(rng, 1, 4), rows = Draw(rng, 1, 12), k = Draw(rng, 1, 90), outputs = Draw(rng, 1, 40);
    NodeCase c("MatMul");
    const bool broadcast = Pick(rng, 2) == 0;
    const Shape b = broadcast ? Shape{k, outputs} : Shape{heads, k, outputs};
    c.AddCodes(books.a, {heads, rows, k}, RandomCodes(rng, books.a, static_cast<size_t>(heads * rows * k)));
    c.AddCodes(books.w, b, RandomCodes(rng, books.w, static_cast<size_t>((broadcast ? 1 : heads) * k * outputs)));
    c.SetOutput({heads, rows, outputs});
    ExpectMatches(c, RandomMachine(rng), absl::StrCat("seed ", seed, " trial ", trial));
    if (HasFailure()) return;
  }
}

TEST(NearmemNode, SumsOverNothingAreTheEpilogue) {
  Rng rng(84);
  const Books books = {RandomCodebook(rng), RandomCodebook(rng)};
  ExpectMatches(GemmCase(rng, books, 3, 0, 5), Hmc(), "k = 0");
  ExpectMatches(GemmCase(rng, books, 0, 4, 5), Hmc(), "no rows");
}

// Equal signs and one exponent fill a counter fastest: the counts still are those of an int32.
TEST(NearmemNode, SpillsHappenAndChangeNoBit) {
  Rng rng(85);
  for (const Grid grid : {Grid::kQ7, Grid::kReal}) {
    const Codebook a = RandomCodebook(rng, 3, false, grid);
    const Codebook w = WithBase(RandomCodebook(rng, 3, true, grid), a.base);
    int64_t spills_before = INT64_MAX;
    for (const int bits : {4, 8, 16}) {
      NodeCase c("Gemm");
      const int64_t k = 70000;  // beyond 2^16
      c.AddCodes(a, {1, k}, RandomCodes(rng, a, static_cast<size_t>(k), Fill::kLargest));
      c.AddWeight(w, {3, k}, RandomCodes(rng, w, static_cast<size_t>(3 * k), Fill::kLargestNegative));
      c.SetOutput({1, 3});
      SimulatedMachine machine = Hmc();
      machine.config.lanes.counter_bits = bits;
      // So that no tile of k ends before the counters are full.
      machine.config.sram.weight_bytes = machine.config.sram.activation_bytes = 1 << 25;
      const LayerRecord record = ExpectMatches(c, machine, absl::StrCat(GridName(grid), " ", bits, " bits"));
      ASSERT_EQ(record.machines.size(), 2u);
      const nearmem::LayerResult& r = record.machines[0].result;
      // A counter of b bits goes down to -2^(b-1); after that many updates the next one spills. Folded: four counters.
      const int64_t capacity = int64_t{1} << (bits - 1);
      EXPECT_EQ(r.events.lanes.spills, (grid == Grid::kReal ? 4 : 1) * 3 * ((k - 1) / capacity)) << bits;
      EXPECT_GT(r.events.lanes.spills, 0);
      EXPECT_GT(r.cycles.spill, 0);
      EXPECT_LT(r.events.lanes.spills, spills_before);
      spills_before = r.events.lanes.spills;
    }
  }
}

TEST(NearmemNode, RefusesWithTheReason) {
  Rng rng(86);
  const auto refusal = [&](const Books& books, std::optional<LaneProgram> program) {
    nearmem::Options options;
    options.program = program;
    const NodeCase c = GemmCase(rng, books, 1, 8, 4);
    const absl::Status status = MakeNearmemBackend(options)->Supports(c.Context(CpuFeatures(), 1));
    EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0609");
    return std::string(status.message());
  };
  const Books integer = {RandomCodebook(rng), RandomCodebook(rng)};
  const Codebook real = RandomCodebook(rng, 3, true, Grid::kReal);
  EXPECT_NE(refusal(integer, LaneProgram::kFolded).find("no function of i + j"), std::string::npos);
  EXPECT_NE(refusal({real, real}, LaneProgram::kBucketed).find("no integer mantissas"), std::string::npos);
  EXPECT_NE(refusal({real, WithBase(real, real.base + 1)}, std::nullopt).find("one base"), std::string::npos);
}

}  // namespace
}  // namespace tally::testing
