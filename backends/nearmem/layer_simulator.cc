#include "backends/nearmem/layer_simulator.h"

#include <algorithm>
#include <map>
#include <memory>

#include "backends/nearmem/sim/bit_planes.h"
#include "backends/nearmem/sim/mesh.h"
#include "backends/nearmem/sim/rounding.h"
#include "backends/nearmem/vault_work.h"

namespace tally::nearmem {
namespace {

size_t Z(int64_t i) { return static_cast<size_t>(i); }

using Works = std::vector<std::unique_ptr<VaultWork>>;

// How many vaults want the same activations: those of one range of positions, as far as their groups agree.
int64_t Sharers(const Layer& layer, const Mapping& mapping) {
  const int64_t groups = layer.shape.groups;
  return groups == 1 ? mapping.output_parts : std::max<int64_t>(1, mapping.output_parts / groups);
}

MeshTraffic RouteLayer(const Accelerator& accelerator, const Layer& layer, const Mapping& mapping, const Works& works) {
  std::map<std::pair<int64_t, int64_t>, Multicast> activations;  // by first position and group
  std::vector<Multicast> multicasts(Z(mapping.output_parts));    // of moving weights, by part
  for (size_t v = 0; v < works.size(); ++v) {
    const VaultPart part = PartOf(mapping, layer.shape, static_cast<int>(v));
    if (part.outputs == 0 || part.positions == 0) continue;
    Multicast& multicast = activations[{part.first_position, part.first_output / layer.shape.outputs}];
    multicast.bytes = std::max(multicast.bytes, CeilDiv(works[v]->covered_bits(), 8));
    multicast.vaults.push_back(static_cast<int>(v));
    Multicast& weights = multicasts[v % Z(mapping.output_parts)];
    weights.bytes = PlaneStreamBytes(part.outputs * layer.shape.k(), layer.bits.weight_bits);
    weights.vaults.push_back(static_cast<int>(v));
  }
  if (!layer.weights_move) multicasts.clear();
  for (auto& [key, multicast] : activations) multicasts.push_back(std::move(multicast));
  return Route(accelerator.config.noc, multicasts);
}

// Completes a vault's units: its share of the activations that are multicast, and the time of the network.
void CompleteUnits(const Accelerator& accelerator, int64_t sharers, const MeshTraffic& traffic, VaultWork* work) {
  const NocConfig& noc = accelerator.config.noc;
  const int64_t burst_bits = int64_t{accelerator.dram.geometry.burst_bytes} * 8;
  const int64_t all = std::max<int64_t>(1, work->covered_bits());
  // The port of the vault, or the busiest link.
  const int64_t bytes = std::max(CeilDiv(work->covered_bits(), 8), traffic.busiest_link);
  const double cycles_per_bit = static_cast<double>(bytes) / noc.bytes_per_cycle / static_cast<double>(all);
  int64_t covered = 0, own = 0, bursts = 0, cycles = 0;
  for (size_t u = 0; u < work->unit_bits().size(); ++u) {
    VaultUnit& unit = work->program().units[u];
    covered += work->unit_bits()[u];
    own += work->unit_residual_bits()[u];
    const int64_t bursts_so_far = CeilDiv(CeilDiv(covered, sharers) + own, burst_bits);
    const int64_t cycles_so_far = static_cast<int64_t>(cycles_per_bit * static_cast<double>(covered));
    unit = {bursts_so_far - bursts, cycles_so_far - cycles};
    if (u == 0) unit.noc_cycles += traffic.longest_route * noc.hop_cycles;
    bursts = bursts_so_far;
    cycles = cycles_so_far;
  }
}

// A vault whose DRAM is done goes on refreshing until the layer is.
int64_t Refreshes(const DramConfig& dram, Cycle layer) {
  switch (dram.controller.refresh) {
    case RefreshMode::kNone: return 0;
    case RefreshMode::kAllBank: return layer / dram.timing.refi;
    case RefreshMode::kPerBank: return layer / dram.timing.refi_bank;
  }
  return 0;
}

LayerBytes CountBytes(const Accelerator& accelerator, int64_t sharers, const Works& works, const DramCounts& dram) {
  LayerBytes bytes;
  int64_t weights = 0, activations = 0, residuals = 0, outputs = 0;
  for (const auto& work : works) {
    weights += work->weight_bits();
    activations += CeilDiv(work->covered_bits(), sharers);
    residuals += work->residual_bits();
    outputs += work->output_bits();
  }
  bytes.weights = CeilDiv(weights, 8);
  bytes.activations = CeilDiv(activations, 8);
  bytes.residuals = CeilDiv(residuals, 8);
  bytes.outputs = CeilDiv(outputs, 8);
  bytes.padding = (dram.reads + dram.writes) * accelerator.dram.geometry.burst_bytes - bytes.dram();
  return bytes;
}

}  // namespace

LayerSimulator::LayerSimulator(const Accelerator& accelerator, const Layer& layer)
    : accelerator_(accelerator),
      layer_(layer),
      mappings_(
          MapLayer(accelerator.config, accelerator.dram, accelerator.program, layer.shape, layer.bits, layer.output)) {}

LayerSimulator::LayerSimulator(const Accelerator& accelerator, const Layer& layer, const Mapping& mapping)
    : accelerator_(accelerator), layer_(layer), mappings_({{mapping, 0, 0}}) {}

LayerSimulator::Streams LayerSimulator::PackWeights(const LayerOperands& operands) const {
  Streams streams;
  if (accelerator_.program == LaneProgram::kMac) return streams;
  const Mapping& mapping = mappings_[0].mapping;
  const LayerShape& shape = layer_.shape;
  const int64_t k = shape.k();
  std::vector<uint8_t> codes;
  for (int part_index = 0; part_index < mapping.output_parts; ++part_index) {
    const VaultPart part = PartOf(mapping, shape, part_index);
    codes.resize(Z(part.outputs * k));
    uint8_t* to = codes.data();
    for (int64_t o = part.first_output; o < part.first_output + part.outputs;) {
      const int64_t group = o / shape.outputs;
      const int64_t end =
          std::min({o + mapping.lanes_k, (group + 1) * shape.outputs, part.first_output + part.outputs});
      const uint8_t* from = operands.weights + operands.weight_groups[Z(group)];
      for (int64_t t = 0; t < k; ++t) {
        for (int64_t lane = o; lane < end; ++lane) {
          *to++ = from[lane % shape.outputs * operands.weight_output + t * operands.weight_k];
        }
      }
      o = end;
    }
    streams.push_back(PackPlanes(codes.data(), codes.size(), layer_.bits.weight_bits));
  }
  return streams;
}

absl::StatusOr<LayerResult> LayerSimulator::Run(const LayerOperands& operands, const Streams& weights, ThreadPool* pool,
                                                ResultSink* sink, std::vector<VaultSpan>* spans) const {
  const Mapping& mapping = mappings_[0].mapping;
  const size_t vaults = Z(accelerator_.config.vaults());
  static const std::vector<uint8_t> kNoStream;
  Works works(vaults);
  pool->ParallelFor(vaults, 1, [&](size_t begin, size_t end) {
    for (size_t v = begin; v < end; ++v) {
      const std::vector<uint8_t>& stream = weights.empty() ? kNoStream : weights[v % Z(mapping.output_parts)];
      works[v] =
          std::make_unique<VaultWork>(accelerator_, layer_, mapping, static_cast<int>(v), operands, stream, sink);
      works[v]->Run();
    }
  });

  const int64_t sharers = Sharers(layer_, mapping);
  const MeshTraffic traffic = RouteLayer(accelerator_, layer_, mapping, works);
  std::vector<size_t> first_like(vaults), distinct;
  for (size_t v = 0; v < vaults; ++v) {
    CompleteUnits(accelerator_, sharers, traffic, works[v].get());
    const auto like = std::find_if(distinct.begin(), distinct.end(),
                                   [&](size_t d) { return works[d]->program() == works[v]->program(); });
    first_like[v] = like == distinct.end() ? v : *like;
    if (like == distinct.end()) distinct.push_back(v);
  }
  std::vector<absl::StatusOr<VaultResult>> results(vaults, VaultResult{});
  pool->ParallelFor(distinct.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      results[distinct[i]] = RunVault(accelerator_.config, accelerator_.dram, accelerator_.dram_mode,
                                      works[distinct[i]]->program(), nullptr);
    }
  });

  LayerResult layer;
  layer.mapping = mapping;
  layer.distinct_vaults = static_cast<int64_t>(distinct.size());
  size_t slowest = 0;
  for (const size_t v : distinct) {
    if (!results[v].ok()) return results[v].status();
    if (results[v]->cycles.total() > layer.cycles.total()) {
      layer.cycles = results[v]->cycles;
      slowest = v;
    }
  }
  for (size_t v = 0; v < vaults; ++v) {
    DramCounts counts = results[first_like[v]]->dram;
    counts.refreshes = std::max(counts.refreshes, Refreshes(accelerator_.dram, layer.cycles.total()));
    layer.dram.Add(counts);
    layer.events.Add(works[v]->events());
  }
  layer.vault_cycles = static_cast<Cycle>(vaults) * layer.cycles.total();
  layer.bytes = CountBytes(accelerator_, sharers, works, layer.dram);
  layer.bytes.noc_hops = traffic.byte_hops;
  if (spans != nullptr) {
    const absl::StatusOr<VaultResult> again =
        RunVault(accelerator_.config, accelerator_.dram, accelerator_.dram_mode, works[slowest]->program(), spans);
    if (!again.ok()) return again.status();
  }
  return layer;
}

}  // namespace tally::nearmem
