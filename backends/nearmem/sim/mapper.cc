#include "backends/nearmem/sim/mapper.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/sim/bit_planes.h"
#include "backends/nearmem/sim/mesh.h"
#include "backends/nearmem/sim/rounding.h"

namespace tally::nearmem {
namespace {

// Of the activations behind a ReLU, for estimates: what it leaves of a symmetric distribution.
constexpr double kDensity = 0.5;
// A mapping that is slower by so little is preferred if it moves less.
constexpr double kAsFast = 1.05;

struct Machine {
  const AcceleratorConfig& config;
  const DramConfig& dram;
  const LaneProgram program;
  const LayerShape& shape;
  const OperandBits& bits;
  const OutputTraffic& output;
};

// Copies of the weights in a vault's SRAM.
int64_t Copies(const Machine& m, const Mapping& map) { return m.program == LaneProgram::kBucketed ? map.lanes_p : 1; }

int64_t ActivationRoom(const Machine& m, const Mapping& map) {
  // Two lists: the sorter works on the next while the lanes read this one.
  const int64_t lists = m.program == LaneProgram::kBucketed ? 2 * kListBytes * map.lanes_p * map.k_tile : 0;
  return (m.config.sram.activation_bytes - lists) / 2;
}

// Chooses the tile of k, the residency of weights and the positions of a unit; false when nothing fits.
bool Fill(const Machine& m, Mapping* map) {
  const VaultPart part = PartOf(*map, m.shape, 0);
  const int64_t k = m.shape.k(), copies = Copies(m, *map);
  const int64_t all = PlaneStreamBytes(part.outputs * k, m.bits.weight_bits) * copies;
  // Lists take a quarter of the activations' SRAM at most.
  const int64_t listed =
      m.program == LaneProgram::kBucketed ? m.config.sram.activation_bytes / 4 / (2 * kListBytes * map->lanes_p) : k;
  map->weights_stay = all <= m.config.sram.weight_bytes && k <= listed;
  const int64_t row_bits = map->lanes_k * copies * m.bits.weight_bits;
  const int64_t half = m.config.sram.weight_bytes * int64_t{4};  // bits
  map->k_tile = map->weights_stay ? k : std::min({k, half / row_bits, listed});
  if (map->k_tile < 1) return false;
  if (map->k_tile < k && map->k_tile > 64) map->k_tile -= map->k_tile % 32;
  const bool tiled = map->k_tile < k;
  // Buckets end with the tile, so their sums can wait; so can those of MACs. Folded counters cannot.
  if (!tiled) map->parked = false;
  if (map->parked && m.program == LaneProgram::kFolded) return false;

  int64_t most = part.positions;
  if (map->parked) {
    most = m.config.sram.accumulator_bytes / 4 / (int64_t{map->lanes_k} * map->lanes_p) * map->lanes_p;
    if (most < map->lanes_p) return false;
    most = std::min(most, part.positions);
  }
  // The most positions whose windows fit, in whole sets of lanes and, if there are so many, whole rows.
  const int64_t room = ActivationRoom(m, *map) * 8 / m.bits.activation_bits;
  int64_t low = 1, high = most;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (CoveredElements(m.shape, part.first_position, middle) <= room) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  if (low < part.positions && low > m.shape.out_w) low -= low % m.shape.out_w;
  if (low < part.positions && low > map->lanes_p) low -= low % map->lanes_p;
  map->unit_positions = low;
  // As many sets of positions as before, evenly filled: fewer in step skip more zeros.
  map->lanes_p = static_cast<int>(CeilDiv(low, CeilDiv(low, map->lanes_p)));
  return true;
}

struct LaneGrid {
  int outputs, positions;
};

// Every grid that could be neither wider nor taller, whatever number the lanes are, and beside it the widest whose
// weights come through the SRAM's port in one cycle. Lanes beyond a group's outputs and a vault's positions stay idle.
std::vector<LaneGrid> LaneGrids(const Machine& m, int64_t vault_positions) {
  std::vector<LaneGrid> grids;
  const int lanes = m.config.lanes.lanes;
  const int most = static_cast<int>(std::min<int64_t>(lanes, vault_positions));
  for (int positions = 1; positions <= most;) {
    const int outputs = static_cast<int>(std::min<int64_t>(lanes / positions, m.shape.outputs));
    positions = std::min(most, lanes / outputs);  // as many as there is room for beside these outputs
    grids.push_back({outputs, positions});
    int narrow = outputs;
    while (narrow > 1 && CyclesPerStep(m.config, m.program, m.bits, narrow, positions) > 1) --narrow;
    if (narrow < outputs) grids.push_back({narrow, positions});
    ++positions;
  }
  return grids;
}

// What the vault with the most passes has to do: outputs of how many groups, in how many passes of the lanes.
struct Passes {
  int64_t groups = 0, passes = 0;
};
Passes MostPasses(const Machine& m, const Mapping& map) {
  Passes most;
  for (int v = 0; v < map.output_parts; ++v) {
    const VaultPart part = PartOf(map, m.shape, v);
    const int64_t end = part.first_output + part.outputs;
    Passes passes;
    for (int64_t o = part.first_output; o < end;) {
      const int64_t group_end = std::min(end, (o / m.shape.outputs + 1) * m.shape.outputs);
      passes.passes += CeilDiv(group_end - o, map.lanes_k);
      ++passes.groups;
      o = group_end;
    }
    if (passes.passes > most.passes) most = passes;
  }
  return most;
}

MappingChoice Estimate(const Machine& m, const Mapping& map) {
  const VaultPart part = PartOf(map, m.shape, 0);
  const double k = static_cast<double>(m.shape.k());
  const auto [groups, passes] = MostPasses(m, map);
  const int64_t units = CeilDiv(part.positions, map.unit_positions);
  // A set of positions does not reach into the next unit.
  const int64_t sets = part.positions / map.unit_positions * CeilDiv(map.unit_positions, map.lanes_p) +
                       CeilDiv(part.positions % map.unit_positions, map.lanes_p);
  const int64_t in_step = std::min<int64_t>(map.lanes_p, map.unit_positions);
  const int64_t tiles = CeilDiv(m.shape.k(), map.k_tile);
  const double step = static_cast<double>(CyclesPerStep(m.config, m.program, m.bits, map.lanes_k, map.lanes_p));
  double density = 1;
  if (m.config.lanes.skip_zeros && m.bits.non_negative) {
    density = m.program == LaneProgram::kBucketed ? kDensity : 1 - std::pow(1 - kDensity, in_step);
  }
  const double per_set = static_cast<double>(passes * sets);
  const double results = static_cast<double>(part.outputs * part.positions);
  double compute = per_set * k * density * step;
  const int counters = CountersPerLane(m.program, m.bits.activation_exponent_bits, m.bits.weight_exponent_bits);
  if (m.program == LaneProgram::kBucketed) {
    const double tile = k / static_cast<double>(tiles) * density;
    const double buckets = std::min(static_cast<double>((1 << m.bits.activation_exponent_bits) - 1), tile);
    compute += per_set * static_cast<double>(tiles) * buckets * (counters + 1) * m.config.lanes.lanes_per_multiplier;
    // The sorter has the windows of all positions to pass, twice, while the lanes count those before.
    compute = std::max(compute, per_set * 2 * k * static_cast<double>(in_step) / m.config.lanes.sorter_codes);
  }
  if (m.program == LaneProgram::kFolded) compute += counters * results / m.config.post.macs_per_cycle;
  const double post =
      results * (1.0 / m.config.post.macs_per_cycle + (m.output.quantized ? 1.0 / m.config.post.quantizer_values : 0));

  const bool tiled = tiles > 1;
  double weights = static_cast<double>(part.outputs) * k * m.bits.weight_bits / 8;
  if (!map.weights_stay && (units > 1 || (tiled && !map.parked)) && (passes > 1 || tiled)) {
    weights *= static_cast<double>(tiled && !map.parked ? sets : units);
  }
  const double refetch = Refetches(m.config, m.shape, m.bits, map, part.positions) ? static_cast<double>(passes) : 1;
  const double covered = static_cast<double>(groups * units) *
                         static_cast<double>(CoveredElements(m.shape, part.first_position, map.unit_positions)) *
                         m.bits.activation_bits / 8 * refetch;
  const double all = static_cast<double>(m.shape.groups * map.position_parts) * covered / static_cast<double>(groups);
  const double share = all / m.config.vaults();
  const double outputs = results * (m.output.written_bits + m.output.residual_bits) / 8;
  MappingChoice choice{map, 0, weights + share + outputs};
  const double peak =
      static_cast<double>(m.dram.geometry.burst_bytes) / std::max(m.dram.timing.burst, m.dram.timing.ccd_s);
  const double divider = m.config.lanes.clock_divider;
  const double lane_cycles = std::max(compute, post);
  const double network = covered / m.config.noc.bytes_per_cycle;
  // What comes before the first step overlaps nothing.
  const double fill = (share + covered / (peak * divider)) / static_cast<double>(groups * units) / peak +
                      std::min(weights, m.config.sram.weight_bytes / 2.0) / peak;
  choice.cycles = std::max({lane_cycles * divider, choice.dram_bytes / peak, network * divider}) + fill;
  return choice;
}

}  // namespace

std::string MappingText(const Mapping& m) {
  return absl::StrCat(m.output_parts, "x", m.position_parts, " vaults, ", m.lanes_k, "x", m.lanes_p, " lanes, k ",
                      m.k_tile, ", ", m.unit_positions, " positions", m.parked ? ", parked" : "",
                      m.weights_stay ? ", weights stay" : "");
}

VaultPart PartOf(const Mapping& mapping, const LayerShape& shape, int vault) {
  const auto slice = [](int64_t all, int parts, int part, int64_t* first, int64_t* count) {
    const int64_t each = CeilDiv(all, parts);
    *first = std::min(all, each * part);
    *count = std::min(all - *first, each);
  };
  VaultPart part;
  const int parts = mapping.output_parts, output_part = vault % parts;
  if (shape.groups % parts == 0) {
    slice(shape.groups, parts, output_part, &part.first_output, &part.outputs);
    part.first_output *= shape.outputs;
    part.outputs *= shape.outputs;
  } else if (parts % shape.groups == 0) {
    // A part that had outputs of two groups would take a pass more than the others.
    const int of_group = static_cast<int>(parts / shape.groups);
    slice(shape.outputs, of_group, output_part % of_group, &part.first_output, &part.outputs);
    part.first_output += output_part / of_group * shape.outputs;
  } else {
    slice(shape.all_outputs(), parts, output_part, &part.first_output, &part.outputs);
  }
  slice(shape.positions(), mapping.position_parts, vault / parts, &part.first_position, &part.positions);
  return part;
}

int64_t CoveredElements(const LayerShape& shape, int64_t first, int64_t positions) {
  const int64_t plane = shape.out_h * shape.out_w;
  int64_t elements = 0;
  for (int64_t p = first; p < first + positions;) {
    const int64_t end = std::min(first + positions, (p / plane + 1) * plane);
    const int64_t y0 = p % plane / shape.out_w, y1 = (end - 1) % plane / shape.out_w;
    const bool one_row = y0 == y1;
    const int64_t columns = one_row ? end - p : shape.out_w;
    const int64_t in_rows = (y1 - y0) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1;
    const int64_t in_columns = (columns - 1) * shape.stride_w + (shape.kernel_w - 1) * shape.dilation_w + 1;
    elements += shape.channels * std::min(in_rows, shape.in_h) * std::min(in_columns, shape.in_w);
    p = end;
  }
  return elements;
}

int64_t CyclesPerStep(const AcceleratorConfig& config, LaneProgram program, const OperandBits& bits, int lanes_k,
                      int lanes_p) {
  const bool bucketed = program == LaneProgram::kBucketed;
  const int64_t weight_bits = int64_t{lanes_k} * (bucketed ? lanes_p : 1) * bits.weight_bits;
  const int64_t activation_bits = int64_t{lanes_p} * (bucketed ? 8 * kListBytes : bits.activation_bits);
  return std::max<int64_t>(1, CeilDiv(std::max(weight_bits, activation_bits), 8 * int64_t{config.sram.port_bytes}));
}

bool Refetches(const AcceleratorConfig& config, const LayerShape& shape, const OperandBits& bits,
               const Mapping& mapping, int64_t vault_positions) {
  const int64_t bytes = CoveredElements(shape, 0, mapping.unit_positions) * bits.activation_bits / 8;
  const bool alone = mapping.unit_positions >= vault_positions && shape.groups == 1;
  return bytes > config.sram.activation_bytes / (alone ? 1 : 2);
}

std::vector<MappingChoice> MapLayer(const AcceleratorConfig& config, const DramConfig& dram, LaneProgram program,
                                    const LayerShape& shape, const OperandBits& bits, const OutputTraffic& output) {
  const Machine machine{config, dram, program, shape, bits, output};
  std::vector<MappingChoice> choices;
  for (int parts = 1; parts <= config.vaults(); ++parts) {
    if (config.vaults() % parts != 0) continue;
    for (const LaneGrid& grid : LaneGrids(machine, CeilDiv(shape.positions(), config.vaults() / parts))) {
      for (const bool parked : {false, true}) {
        Mapping map;
        map.output_parts = parts;
        map.position_parts = config.vaults() / parts;
        map.lanes_k = grid.outputs;
        map.lanes_p = grid.positions;
        map.parked = parked;
        if (Fill(machine, &map) && map.parked == parked) choices.push_back(Estimate(machine, map));
      }
    }
  }
  if (choices.empty()) {
    // Buffers that hold next to nothing: one weight, one position at a time.
    Mapping map;
    map.output_parts = config.vaults();
    map.k_tile = 1;
    map.unit_positions = 1;
    choices.push_back(Estimate(machine, map));
  }
  std::stable_sort(choices.begin(), choices.end(), [](const MappingChoice& a, const MappingChoice& b) {
    return a.cycles != b.cycles ? a.cycles < b.cycles : a.dram_bytes < b.dram_bytes;
  });
  const double as_fast = kAsFast * choices[0].cycles;
  const auto slower = std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return c.cycles > as_fast; });
  const auto least = std::min_element(choices.begin(), slower, [](const MappingChoice& a, const MappingChoice& b) {
    return a.dram_bytes < b.dram_bytes;
  });
  std::rotate(choices.begin(), least, least + 1);
  return choices;
}

}  // namespace tally::nearmem
