#include "backends/nearmem/vault_work.h"

#include <algorithm>
#include <numeric>

#include "backends/nearmem/sim/bit_planes.h"
#include "backends/nearmem/sim/rounding.h"

namespace tally::nearmem {
namespace {

constexpr int64_t kListBits = 8 * kListBytes;
constexpr int64_t kSumBits = 32;  // of an accumulator that waits

size_t Z(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

VaultWork::VaultWork(const Accelerator& accelerator, const Layer& layer, const Mapping& mapping, int vault,
                     const LayerOperands& operands, const std::vector<uint8_t>& stream, ResultSink* sink)
    : accelerator_(accelerator),
      layer_(layer),
      mapping_(mapping),
      operands_(operands),
      stream_(stream),
      sink_(sink),
      part_(PartOf(mapping, layer.shape, vault)),
      k_(layer.shape.k()),
      tiles_(CeilDiv(layer.shape.k(), mapping.k_tile)),
      bursts_of_(accelerator.dram.geometry.burst_bytes),
      bucketed_(accelerator.program == LaneProgram::kBucketed),
      counts_codes_(accelerator.program != LaneProgram::kMac),
      lanes_(accelerator.program, accelerator.config.lanes.counter_bits, layer.bits.activation_exponent_bits,
             layer.bits.weight_exponent_bits, layer.mantissas.activation, layer.mantissas.weight) {}

void VaultWork::Run() {
  const LayerShape& shape = layer_.shape;
  const int64_t end = part_.first_output + part_.outputs;
  if (mapping_.weights_stay) resident_.assign(Z(part_.outputs), -1);
  if (part_.positions == 0) return;
  for (int64_t first = part_.first_output; first < end;) {
    const int64_t group = first / shape.outputs;
    const int64_t outputs = std::min(end, (group + 1) * shape.outputs) - first;
    for (int64_t p = 0; p < part_.positions; p += mapping_.unit_positions) {
      RunUnit(group, first, outputs, part_.first_position + p, std::min(mapping_.unit_positions, part_.positions - p));
    }
    first += outputs;
  }
  // The last burst of the outputs may be half full.
  if (output_bits_ > written_bursts_ * bursts_of_ * 8) ++program_.steps.back().write_bursts;
}

int64_t VaultWork::covered_bits() const { return std::accumulate(unit_bits_.begin(), unit_bits_.end(), int64_t{0}); }

int64_t VaultWork::residual_bits() const {
  return std::accumulate(unit_residual_bits_.begin(), unit_residual_bits_.end(), int64_t{0});
}

void VaultWork::RunUnit(int64_t group, int64_t first_output, int64_t outputs, int64_t first_position,
                        int64_t positions) {
  const int64_t passes = CeilDiv(outputs, mapping_.lanes_k);
  const bool again = Refetches(accelerator_.config, layer_.shape, layer_.bits, mapping_, part_.positions);
  const int64_t bits =
      CoveredElements(layer_.shape, first_position, positions) * layer_.bits.activation_bits * (again ? passes : 1);
  unit_bits_.push_back(bits);
  events_.activation_writes += bits;
  unit_residual_bits_.push_back(outputs * positions * layer_.output.residual_bits);
  program_.units.push_back({});  // LayerSimulator knows what the vaults share
  Gather(group, first_position, positions);
  if (counts_codes_) ListActivations(positions);
  for (int64_t o = 0; o < outputs; o += mapping_.lanes_k) {
    const int lanes = static_cast<int>(std::min<int64_t>(mapping_.lanes_k, outputs - o));
    RunPass(first_output + o, lanes, first_position, positions);
  }
}

void VaultWork::Gather(int64_t group, int64_t first_position, int64_t positions) {
  const LayerShape& s = layer_.shape;
  windows_.resize(Z(positions * k_));
  uint8_t* to = windows_.data();
  for (int64_t p = first_position; p < first_position + positions; ++p) {
    const int64_t image = p / (s.out_h * s.out_w), in_image = p % (s.out_h * s.out_w);
    const int64_t y0 = in_image / s.out_w * s.stride_h - s.pad_top, x0 = in_image % s.out_w * s.stride_w - s.pad_left;
    const uint8_t* from = operands_.activations + operands_.activation_groups[Z(group)] + image * operands_.image;
    for (int64_t c = 0; c < s.channels; ++c) {
      for (int64_t r = 0; r < s.kernel_h; ++r) {
        const int64_t y = y0 + r * s.dilation_h;
        for (int64_t q = 0; q < s.kernel_w; ++q) {
          const int64_t x = x0 + q * s.dilation_w;
          const bool inside = y >= 0 && y < s.in_h && x >= 0 && x < s.in_w;
          *to++ = inside ? from[c * operands_.channel + y * operands_.row + x * operands_.column] : uint8_t{0};
        }
      }
    }
  }
}

void VaultWork::ListActivations(int64_t positions) {
  const int exponent_bits = layer_.bits.activation_exponent_bits;
  const unsigned mask = (1u << exponent_bits) - 1;
  lists_.resize(std::max(lists_.size(), Z(positions * tiles_)));
  std::vector<int64_t> starts;
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      std::vector<Activation>& list = lists_[Z(p * tiles_ + tile)];
      list.clear();
      const uint8_t* codes = windows_.data() + p * k_;
      const int64_t begin = tile * mapping_.k_tile, end = std::min(k_, begin + mapping_.k_tile);
      const auto entry = [&](int64_t t) {
        return Activation{static_cast<int32_t>(t), static_cast<int16_t>((codes[t] & mask) - 1),
                          static_cast<int16_t>(codes[t] >> exponent_bits != 0 ? -1 : 1)};
      };
      if (!bucketed_) {
        for (int64_t t = begin; t < end; ++t) {
          if ((codes[t] & mask) != 0) list.push_back(entry(t));
        }
        continue;
      }
      // Sorted by counting, in the order of k within an exponent.
      starts.assign(mask + 2, 0);
      for (int64_t t = begin; t < end; ++t) ++starts[(codes[t] & mask) + 1];
      const int64_t zeros = starts[1];
      starts[1] = 0;
      for (size_t i = 2; i < starts.size(); ++i) starts[i] += starts[i - 1];
      list.resize(Z(end - begin - zeros));
      for (int64_t t = begin; t < end; ++t) {
        if ((codes[t] & mask) != 0) list[Z(starts[codes[t] & mask]++)] = entry(t);
      }
    }
  }
}

void VaultWork::RunPass(int64_t first_output, int lanes, int64_t first_position, int64_t positions) {
  if (counts_codes_) {
    codes_.resize(Z(k_ * lanes));
    UnpackPlanes(stream_.data(), layer_.bits.weight_bits, Z((first_output - part_.first_output) * k_), codes_.size(),
                 codes_.data());
    lanes_.Load(codes_.data(), k_, lanes);
  }
  const int64_t sets = CeilDiv(positions, mapping_.lanes_p);
  std::vector<Counts> counts(Z(sets * tiles_));
  for (int64_t set = 0; set < sets; ++set) {
    const int64_t begin = set * mapping_.lanes_p, end = std::min(positions, begin + mapping_.lanes_p);
    CountSet(first_output, lanes, first_position, begin, end, counts.data() + set * tiles_);
  }
  EmitSteps(first_output, lanes, positions, counts);
}

void VaultWork::CountSet(int64_t first_output, int lanes, int64_t first_position, int64_t begin, int64_t end,
                         Counts* tiles) {
  const AcceleratorConfig& config = accelerator_.config;
  const int64_t per_step = CyclesPerStep(config, accelerator_.program, layer_.bits, mapping_.lanes_k, mapping_.lanes_p);
  const int64_t drain_cycles = (int64_t{1} << layer_.bits.weight_exponent_bits) * config.lanes.lanes_per_multiplier;
  // Positions in step.
  if (!bucketed_) {
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      tiles[tile] = CountInStep(tile, begin, end, lanes);
      tiles[tile].count *= per_step;
    }
  }
  if (!counts_codes_) return;
  for (int64_t p = begin; p < end; ++p) {
    sums_.assign(Z(lanes), 0);
    if (!bucketed_) lanes_.Clear();
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      const std::vector<Activation>& list = ListOf(p, tile);
      const int64_t spills = events_.lanes.spills;
      if (!bucketed_) {
        lanes_.CountFolded(list.data(), list.size(), &events_.lanes);
      } else {
        const int64_t buckets = lanes_.CountBuckets(list.data(), list.size(), sums_.data(), &events_.lanes);
        const int64_t tile_k = std::min(mapping_.k_tile, k_ - tile * mapping_.k_tile);
        const int64_t nonzero = static_cast<int64_t>(list.size());
        const int64_t steps = config.lanes.skip_zeros ? nonzero : tile_k;
        Counts& slowest = tiles[tile];
        if (steps * per_step + buckets * drain_cycles > slowest.count + slowest.drain) {
          slowest.count = steps * per_step;
          slowest.drain = buckets * drain_cycles;
        }
        events_.lane_steps += steps * lanes;
        events_.weight_reads += steps * lanes * layer_.bits.weight_bits;
        // The sorter reads the window twice and writes its list, which the lanes read.
        events_.activation_reads += 2 * tile_k * layer_.bits.activation_bits + steps * kListBits;
        events_.activation_writes += steps * kListBits;
      }
      tiles[tile].spill += events_.lanes.spills - spills;
    }
    for (int lane = 0; sink_ != nullptr && lane < lanes; ++lane) {
      if (bucketed_) {
        sink_->TakeInteger(first_output + lane, first_position + p, sums_[Z(lane)]);
      } else {
        sink_->TakeFolded(first_output + lane, first_position + p, lanes_.ReadFolded(lane));
      }
    }
  }
  if (!bucketed_) return;
  for (int64_t tile = 0; tile < tiles_; ++tile) {
    // The sorter works on the next window meanwhile.
    const int64_t tile_k = std::min(mapping_.k_tile, k_ - tile * mapping_.k_tile);
    const int64_t sort = CeilDiv(2 * (end - begin) * tile_k, config.lanes.sorter_codes);
    tiles[tile].count = std::max(tiles[tile].count, sort - tiles[tile].drain);
  }
}

VaultWork::Counts VaultWork::CountInStep(int64_t tile, int64_t begin, int64_t end, int lanes) {
  const uint8_t mask = static_cast<uint8_t>((1u << layer_.bits.activation_exponent_bits) - 1);
  const int64_t first = tile * mapping_.k_tile, last = std::min(k_, first + mapping_.k_tile);
  Counts counts;
  int64_t seen = 0;  // of a position by its lanes
  if (!accelerator_.config.lanes.skip_zeros) {
    counts.count = last - first;
    seen = counts.count * (end - begin);
  } else {
    std::vector<uint8_t>& any = any_nonzero_;
    any.assign(Z(last - first), 0);
    for (int64_t p = begin; p < end; ++p) {
      const uint8_t* codes = windows_.data() + p * k_ + first;
      for (size_t t = 0; t < any.size(); ++t) {
        const uint8_t nonzero = (codes[t] & mask) != 0;
        seen += nonzero;
        any[t] = any[t] | nonzero;
      }
    }
    for (const uint8_t nonzero : any) counts.count += nonzero;
  }
  events_.lane_steps += seen * lanes;
  events_.weight_reads += counts.count * lanes * layer_.bits.weight_bits;
  events_.activation_reads += (end - begin) * (last - first) * layer_.bits.activation_bits;
  return counts;
}

int VaultWork::LoadFor(int64_t first_output, int lanes, int64_t first_k, int64_t k) {
  const int64_t begin = (first_output - part_.first_output) * k_ + first_k * lanes, end = begin + k * lanes;
  if (mapping_.weights_stay && resident_[Z(first_output - part_.first_output)] >= 0) {
    return resident_[Z(first_output - part_.first_output)];
  }
  if (!program_.loads.empty() && begin == load_begin_ && end == load_end_) {
    return static_cast<int>(program_.loads.size()) - 1;
  }
  const int bits = layer_.bits.weight_bits;
  int64_t first_burst = begin / kBlockCodes * bits * kPlaneBytes / bursts_of_;
  const int64_t end_burst = CeilDiv(PlaneStreamBytes(end, bits), bursts_of_);
  // A stream goes on: the burst that both share has come already.
  if (begin == load_end_ && !program_.loads.empty()) {
    first_burst = program_.loads.back().first_burst + program_.loads.back().bursts;
  }
  program_.loads.push_back({first_burst, std::max<int64_t>(0, end_burst - first_burst)});
  load_begin_ = begin;
  load_end_ = end;
  weight_bits_ += (end - begin) * bits;
  events_.weight_writes += (end - begin) * bits * (bucketed_ ? mapping_.lanes_p : 1);
  const int load = static_cast<int>(program_.loads.size()) - 1;
  if (mapping_.weights_stay) resident_[Z(first_output - part_.first_output)] = load;
  return load;
}

void VaultWork::EmitSteps(int64_t first_output, int lanes, int64_t positions, const std::vector<Counts>& counts) {
  const PostConfig& post = accelerator_.config.post;
  const int64_t sets = CeilDiv(positions, mapping_.lanes_p);
  const int64_t counters =
      CountersPerLane(accelerator_.program, layer_.bits.activation_exponent_bits, layer_.bits.weight_exponent_bits);
  const auto emit = [&](int64_t set, int64_t tile) {
    const Counts& c = counts[Z(set * tiles_ + tile)];
    const int64_t first_k = tile * mapping_.k_tile;
    VaultStep step;
    step.load = LoadFor(first_output, lanes, first_k, std::min(mapping_.k_tile, k_ - first_k));
    step.unit = static_cast<int>(program_.units.size()) - 1;
    step.count = c.count;
    step.spill = c.spill;
    step.drain = c.drain;
    const int64_t results = lanes * std::min<int64_t>(mapping_.lanes_p, positions - set * mapping_.lanes_p);
    if (mapping_.parked && tile > 0) events_.accumulator_reads += results * kSumBits;
    if (mapping_.parked && tile + 1 < tiles_) events_.accumulator_writes += results * kSumBits;
    if (tile + 1 == tiles_) {
      if (accelerator_.program == LaneProgram::kFolded) {
        step.drain += CeilDiv(counters * results, post.macs_per_cycle);
        events_.drain_macs += counters * results;
      }
      // Scale and bias are one multiply-add, a residual another.
      const int64_t macs = results * (layer_.output.residual_bits > 0 ? 2 : 1);
      step.post = CeilDiv(macs, post.macs_per_cycle);
      events_.post_macs += macs;
      if (layer_.output.quantized) {
        step.post = std::max(step.post, CeilDiv(results, post.quantizer_values));
        events_.quantized += results;
      }
      output_bits_ += results * layer_.output.written_bits;
      step.write_bursts = output_bits_ / 8 / bursts_of_ - written_bursts_;
      written_bursts_ += step.write_bursts;
    }
    program_.steps.push_back(step);
  };
  if (mapping_.parked) {
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      for (int64_t set = 0; set < sets; ++set) emit(set, tile);
    }
  } else {
    for (int64_t set = 0; set < sets; ++set) {
      for (int64_t tile = 0; tile < tiles_; ++tile) emit(set, tile);
    }
  }
}

}  // namespace tally::nearmem
