// Random layers on the simulator itself: events, bytes, cycles and energies against figures that are counted here, and
// more of anything that a machine has against less of it, under one mapping.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/layer_simulator.h"
#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/bit_planes.h"
#include "tests/format/status_matchers.h"

namespace tally::nearmem {
namespace {

using Rng = std::mt19937;

int64_t Draw(Rng& rng, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(rng() % static_cast<uint64_t>(high - low + 1));
}

Accelerator MachineFor(LaneProgram program) {
  const absl::StatusOr<Machine> machine = LoadAccelerator("hmc");
  EXPECT_TRUE(machine.ok()) << machine.status();
  return {program, *machine->accelerator, machine->dram, DramMode::kEvent};
}

// One on which buffers and ports are never the reason for anything.
Accelerator RoomyMachineFor(LaneProgram program) {
  Accelerator a = MachineFor(program);
  a.config.sram.activation_bytes = a.config.sram.weight_bytes = a.config.sram.accumulator_bytes = 1 << 26;
  a.config.sram.port_bytes = 1 << 16;
  return a;
}

struct Case {
  Layer layer;
  std::vector<uint8_t> activations, weights;
  LayerOperands operands;
};

std::vector<uint8_t> RandomCodes(Rng& rng, int64_t count, int exponent_bits, bool is_signed) {
  std::vector<uint8_t> codes(static_cast<size_t>(count));
  for (uint8_t& c : codes) {
    if (rng() % 3 == 0) continue;
    c = static_cast<uint8_t>(1 + rng() % ((1u << exponent_bits) - 1));
    if (is_signed && rng() % 2 == 0) c = static_cast<uint8_t>(c | 1u << exponent_bits);
  }
  return codes;
}

// Codes for a shape at so many exponent bits.
void Fill(Rng& rng, LaneProgram program, int activation_bits, int weight_bits, Case* c) {
  const LayerShape& s = c->layer.shape;
  OperandBits& b = c->layer.bits;
  b = {activation_bits + (b.non_negative ? 0 : 1), activation_bits, weight_bits + 1, weight_bits, b.non_negative};
  c->activations = RandomCodes(rng, s.input_elements(), activation_bits, !b.non_negative);
  c->weights = RandomCodes(rng, s.all_outputs() * s.k(), weight_bits, true);
  if (program == LaneProgram::kMac) b.activation_bits = b.weight_bits = 8;
  c->layer.mantissas = {};
  if (program == LaneProgram::kBucketed) {
    for (int i = 1; i < 1 << activation_bits; ++i) c->layer.mantissas.activation.push_back(3 * i);
    for (int j = 1; j < 1 << weight_bits; ++j) c->layer.mantissas.weight.push_back(5 * j);
  }
  c->operands.activations = c->activations.data();
  c->operands.weights = c->weights.data();
}

Case RandomCase(Rng& rng, LaneProgram program) {
  Case c;
  LayerShape& s = c.layer.shape;
  s.groups = Draw(rng, 0, 2) == 0 ? Draw(rng, 2, 4) : 1;
  s.outputs = Draw(rng, 1, 90);
  s.channels = Draw(rng, 1, 60);
  s.batch = Draw(rng, 1, 2);
  s.in_h = Draw(rng, 1, 8);
  s.in_w = Draw(rng, 1, 8);
  s.kernel_h = Draw(rng, 1, std::min<int64_t>(3, s.in_h));
  s.kernel_w = Draw(rng, 1, std::min<int64_t>(3, s.in_w));
  s.stride_h = Draw(rng, 1, 2);
  s.stride_w = Draw(rng, 1, 2);
  s.pad_top = Draw(rng, 0, s.kernel_h - 1);
  s.pad_left = Draw(rng, 0, s.kernel_w - 1);
  s.out_h = (s.in_h + 2 * s.pad_top - s.kernel_h) / s.stride_h + 1;
  s.out_w = (s.in_w + 2 * s.pad_left - s.kernel_w) / s.stride_w + 1;
  c.layer.bits.non_negative = Draw(rng, 0, 1) == 0;
  c.layer.output.quantized = Draw(rng, 0, 1) == 0;
  c.layer.output.written_bits = c.layer.output.quantized ? static_cast<int>(Draw(rng, 3, 8)) : 0;
  c.layer.output.residual_bits = Draw(rng, 0, 1) == 0 ? 32 : 0;
  for (int64_t g = 0; g < s.groups; ++g) {
    c.operands.activation_groups.push_back(g * s.channels * s.in_h * s.in_w);
    c.operands.weight_groups.push_back(g * s.outputs * s.k());
  }
  c.operands.column = 1;
  c.operands.row = s.in_w;
  c.operands.channel = s.in_h * s.in_w;
  c.operands.image = s.groups * s.channels * c.operands.channel;
  c.operands.weight_output = s.k();
  c.operands.weight_k = 1;
  Fill(rng, program, static_cast<int>(Draw(rng, 2, 4)), static_cast<int>(Draw(rng, 2, 4)), &c);
  return c;
}

// Products of two nonzero codes, and of a nonzero activation and anything, one by one.
struct Products {
  int64_t pairs = 0, steps = 0;
};
Products CountProducts(const Case& c) {
  const LayerShape& s = c.layer.shape;
  const unsigned a_mask = (1u << c.layer.bits.activation_exponent_bits) - 1;
  const unsigned w_mask = (1u << c.layer.bits.weight_exponent_bits) - 1;
  Products products;
  for (int64_t o = 0; o < s.all_outputs(); ++o) {
    for (int64_t p = 0; p < s.positions(); ++p) {
      const int64_t image = p / (s.out_h * s.out_w), in_image = p % (s.out_h * s.out_w);
      for (int64_t t = 0; t < s.k(); ++t) {
        const int64_t channel = o / s.outputs * s.channels + t / (s.kernel_h * s.kernel_w);
        const int64_t y = in_image / s.out_w * s.stride_h - s.pad_top + t / s.kernel_w % s.kernel_h;
        const int64_t x = in_image % s.out_w * s.stride_w - s.pad_left + t % s.kernel_w;
        if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) continue;
        const int64_t at = ((image * s.groups * s.channels + channel) * s.in_h + y) * s.in_w + x;
        if ((c.activations[static_cast<size_t>(at)] & a_mask) == 0) continue;
        ++products.steps;
        products.pairs += (c.weights[static_cast<size_t>(o * s.k() + t)] & w_mask) != 0;
      }
    }
  }
  return products;
}

LayerResult Simulate(const LayerSimulator& simulator, const Case& c, int threads = 1) {
  const absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(threads);
  EXPECT_TRUE(pool.ok()) << pool.status();
  const absl::StatusOr<LayerResult> result =
      simulator.Run(c.operands, simulator.PackWeights(c.operands), pool->get(), nullptr, nullptr);
  EXPECT_TRUE(result.ok()) << result.status();
  return *result;
}
LayerResult Simulate(const Accelerator& accelerator, const Case& c) {
  return Simulate(LayerSimulator(accelerator, c.layer), c);
}
LayerResult Simulate(const Accelerator& accelerator, const Mapping& mapping, const Case& c) {
  return Simulate(LayerSimulator(accelerator, c.layer, mapping), c);
}

Mapping AnyMapping(Rng& rng, const Accelerator& a, const Case& c) {
  const std::vector<MappingChoice> choices =
      MapLayer(a.config, a.dram, a.program, c.layer.shape, c.layer.bits, c.layer.output);
  return choices[rng() % choices.size()].mapping;
}

constexpr LaneProgram kPrograms[] = {LaneProgram::kBucketed, LaneProgram::kFolded, LaneProgram::kMac};

// A refresh may fall into one time line and not into the other.
double RefreshOf(const DramConfig& dram) { return dram.timing.rfc + dram.timing.rp + dram.timing.rcd_read; }

TEST(Layer, EventsAndBytesAreThoseThatAreCountedByHand) {
  const unsigned seed = 71;
  Rng rng(seed);
  for (int trial = 0; trial < 60; ++trial) {
    for (const LaneProgram program : kPrograms) {
      const std::string what = absl::StrCat("seed ", seed, " trial ", trial, " ", LaneProgramName(program));
      const Case c = RandomCase(rng, program);
      const Accelerator a = trial % 2 == 0 ? MachineFor(program) : RoomyMachineFor(program);
      const Mapping mapping = AnyMapping(rng, a, c);
      const LayerResult r = Simulate(a, mapping, c);
      const Products products = CountProducts(c);
      EXPECT_EQ(r.events.lane_steps, products.steps) << what;
      EXPECT_EQ(r.events.lanes.pairs, program == LaneProgram::kMac ? 0 : products.pairs) << what;
      const LayerShape& s = c.layer.shape;
      EXPECT_EQ(r.events.quantized, c.layer.output.quantized ? s.output_elements() : 0) << what;
      EXPECT_EQ(r.events.post_macs, s.output_elements() * (c.layer.output.residual_bits > 0 ? 2 : 1)) << what;
      EXPECT_EQ(r.bytes.outputs, (s.output_elements() * c.layer.output.written_bits + 7) / 8) << what;
      EXPECT_EQ(r.bytes.residuals, s.output_elements() * c.layer.output.residual_bits / 8) << what;
      EXPECT_EQ(r.bytes.dram(), (r.dram.reads + r.dram.writes) * a.dram.geometry.burst_bytes) << what;
      if (mapping.weights_stay) {
        // Each vault reads its packed weights once, and what bursts hold beyond is the tail of each stream.
        int64_t bits = 0;
        for (int v = 0; v < a.config.vaults(); ++v) {
          const VaultPart part = PartOf(mapping, s, v);
          if (part.positions > 0) bits += part.outputs * s.k() * c.layer.bits.weight_bits;
        }
        EXPECT_EQ(r.bytes.weights, (bits + 7) / 8) << what;
        const int64_t tail = c.layer.bits.weight_bits * kPlaneBytes + 3 * a.dram.geometry.burst_bytes;
        EXPECT_LE(r.bytes.padding, a.config.vaults() * tail) << what;
      }
      EXPECT_GE(r.bytes.padding, 0) << what;
      if (HasFailure()) return;
    }
  }
}

TEST(Layer, EnergiesAreWholeAndAddUpInAnyOrder) {
  Rng rng(72);
  for (int trial = 0; trial < 20; ++trial) {
    for (const LaneProgram program : kPrograms) {
      const Case c = RandomCase(rng, program);
      const Accelerator a = MachineFor(program);
      const LayerResult r = Simulate(a, c);
      for (const EnergyMode mode : {EnergyMode::kEvents, EnergyMode::kFlat}) {
        std::vector<EnergyPart> parts = LayerEnergy(a.config, a.dram, program, c.layer.bits, r, mode);
        const double total = TotalEnergy(parts);
        EXPECT_GT(total, 0);
        for (const EnergyPart& part : parts) EXPECT_EQ(part.pj, std::floor(part.pj)) << part.name;
        std::shuffle(parts.begin(), parts.end(), rng);
        EXPECT_EQ(TotalEnergy(parts), total);
      }
    }
  }
}

TEST(Layer, NothingIsFasterThanItsRoofs) {
  Rng rng(73);
  for (int trial = 0; trial < 40; ++trial) {
    for (const LaneProgram program : kPrograms) {
      const Case c = RandomCase(rng, program);
      const Accelerator a = trial % 2 == 0 ? MachineFor(program) : RoomyMachineFor(program);
      const LayerResult r = Simulate(a, AnyMapping(rng, a, c), c);
      const double peak = static_cast<double>(a.dram.geometry.burst_bytes) / a.dram.timing.burst;
      EXPECT_GE(static_cast<double>(r.vault_cycles), static_cast<double>(r.bytes.dram()) / peak);
      const int64_t lane_cycles = r.vault_cycles / a.config.lanes.clock_divider * a.config.lanes.lanes;
      EXPECT_GE(lane_cycles, r.events.lane_steps);
    }
  }
}

// Simulates random layers before and after `improve` and returns how many became faster.
template <typename Make, typename Improve>
int ExpectNeverSlower(unsigned seed, const Make& make, const Improve& improve) {
  Rng rng(seed);
  int faster = 0;
  for (int trial = 0; trial < 40; ++trial) {
    for (const LaneProgram program : kPrograms) {
      const Case c = RandomCase(rng, program);
      Accelerator a = make(program);
      Mapping mapping = AnyMapping(rng, a, c);
      const double before = static_cast<double>(Simulate(a, mapping, c).cycles.total());
      improve(trial, &a, &mapping);
      const double after = static_cast<double>(Simulate(a, mapping, c).cycles.total());
      EXPECT_LE(after, before + RefreshOf(a.dram)) << "trial " << trial << " " << LaneProgramName(program);
      faster += after < before;
    }
  }
  return faster;
}

TEST(Layer, MoreLanesAreNeverSlowerUnderOneMapping) {
  const auto make = [](LaneProgram program) {
    Accelerator a = RoomyMachineFor(program);
    a.config.lanes.lanes = 16;
    return a;
  };
  const auto improve = [](int trial, Accelerator* a, Mapping* mapping) {
    a->config.lanes.lanes = 32;
    (trial % 2 == 0 ? mapping->lanes_k : mapping->lanes_p) *= 2;
  };
  EXPECT_GT(ExpectNeverSlower(74, make, improve), 30);
}

TEST(Layer, MoreBandwidthIsNeverSlowerUnderOneMapping) {
  const auto make = [](LaneProgram program) {
    Accelerator a = MachineFor(program);
    a.dram.timing.burst *= 2;
    return a;
  };
  const auto improve = [](int, Accelerator* a, Mapping*) { a->dram.timing.burst /= 2; };
  EXPECT_GT(ExpectNeverSlower(75, make, improve), 60);
}

TEST(Layer, MoreBitsAreNeverFewerBytesUnderOneMapping) {
  Rng rng(76);
  for (int trial = 0; trial < 40; ++trial) {
    for (const LaneProgram program : {LaneProgram::kBucketed, LaneProgram::kFolded}) {
      Case c = RandomCase(rng, program);
      const Accelerator a = RoomyMachineFor(program);
      Fill(rng, program, 3, 3, &c);
      const Mapping mapping = AnyMapping(rng, a, c);
      const LayerBytes bytes = Simulate(a, mapping, c).bytes;
      Fill(rng, program, 3, 4, &c);
      const LayerBytes wider_weights = Simulate(a, mapping, c).bytes;
      EXPECT_GT(wider_weights.weights, bytes.weights);
      EXPECT_EQ(wider_weights.activations, bytes.activations);
      EXPECT_GE(wider_weights.dram(), bytes.dram());
      Fill(rng, program, 4, 3, &c);
      const LayerBytes wider_activations = Simulate(a, mapping, c).bytes;
      EXPECT_GT(wider_activations.activations, bytes.activations);
      EXPECT_EQ(wider_activations.weights, bytes.weights);
      EXPECT_GE(wider_activations.dram(), bytes.dram());
    }
  }
}

TEST(Layer, WiderCountersNeverSpillMore) {
  Rng rng(77);
  int64_t narrow_spills = 0;
  for (int trial = 0; trial < 20; ++trial) {
    for (const LaneProgram program : {LaneProgram::kBucketed, LaneProgram::kFolded}) {
      const Case c = RandomCase(rng, program);
      Accelerator a = RoomyMachineFor(program);
      const Mapping mapping = AnyMapping(rng, a, c);
      int64_t before = INT64_MAX;
      Cycle cycles_before = kNever;
      for (const int bits : {2, 3, 4, 8, 16}) {
        a.config.lanes.counter_bits = bits;
        const LayerResult r = Simulate(a, mapping, c);
        EXPECT_LE(r.events.lanes.spills, before) << bits;
        EXPECT_LE(r.cycles.spill, cycles_before) << bits;
        before = r.events.lanes.spills;
        cycles_before = r.cycles.spill;
        if (bits == 2) narrow_spills += before;
      }
      EXPECT_EQ(before, 0);
    }
  }
  EXPECT_GT(narrow_spills, 1000);
}

// The mapper may choose from more with more lanes, and so be misled by its estimates: by how much is held here. Any
// number of lanes is served, a power of two or not.
TEST(Layer, ChosenMappingsHardlyEverLoseByMoreLanes) {
  Rng rng(78);
  for (const LaneProgram program : kPrograms) {
    double log_sum = 0;
    int count = 0;
    for (int trial = 0; trial < 40; ++trial) {
      const Case c = RandomCase(rng, program);
      Accelerator a = MachineFor(program);
      double before = 0;
      for (const int lanes : {16, 24, 31, 32, 52, 64, 122}) {
        a.config.lanes.lanes = lanes;
        const LayerSimulator simulator(a, c.layer);
        const Mapping& m = simulator.mappings()[0].mapping;
        EXPECT_LE(m.lanes_k * m.lanes_p, lanes);
        const double cycles = static_cast<double>(Simulate(simulator, c).cycles.total());
        if (before > 0) {
          EXPECT_LE(cycles, 1.2 * before + RefreshOf(a.dram))
              << "trial " << trial << ", " << lanes << " lanes, " << MappingText(m);
          log_sum += std::log(cycles / before);
          ++count;
        }
        before = cycles;
      }
    }
    EXPECT_LT(log_sum / count, 0) << LaneProgramName(program);
  }
}

TEST(Layer, ResultsDependOnNoThreadCount) {
  Rng rng(79);
  for (int trial = 0; trial < 10; ++trial) {
    for (const LaneProgram program : kPrograms) {
      const Case c = RandomCase(rng, program);
      const Accelerator a = MachineFor(program);
      const LayerSimulator simulator(a, c.layer);
      const LayerResult one = Simulate(simulator, c, 1), three = Simulate(simulator, c, 3);
      EXPECT_EQ(one.cycles.total(), three.cycles.total());
      EXPECT_EQ(one.bytes.dram(), three.bytes.dram());
      EXPECT_EQ(one.bytes.noc_hops, three.bytes.noc_hops);
      for (const EnergyMode mode : {EnergyMode::kEvents, EnergyMode::kFlat}) {
        const auto parts = [&](const LayerResult& r) {
          return LayerEnergy(a.config, a.dram, program, c.layer.bits, r, mode);
        };
        const std::vector<EnergyPart> first = parts(one), second = parts(three);
        for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].pj, second[i].pj) << first[i].name;
      }
    }
  }
}

}  // namespace
}  // namespace tally::nearmem
