// One problem with random operands in every form that a candidate may want, and the answers.
#ifndef TALLY_BENCH_LAYERS_LAYER_H_
#define TALLY_BENCH_LAYERS_LAYER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/layers/problem.h"
#include "format/graph.h"
#include "runtime/backend/backend.h"

namespace tally::bench {

struct LayerSettings {
  int bits = 4;             // stored, of the weights
  int activation_bits = 6;  // stored
  Grid activation_grid = Grid::kQ7;
  bool signed_activations = false;
  int64_t batch = 1;
  double zero_fraction = 0;  // of the activations
};

class Layer {
 public:
  // Error: kUsage when no codebook has so many bits.
  static absl::StatusOr<Layer> Create(const Problem& problem, const LayerSettings& settings);

  const Problem& problem() const { return problem_; }  // with the batch
  const LayerSettings& settings() const { return settings_; }

  // The layer as a Conv or Gemm of codes.
  NodeContext Context(const CpuFeatures& cpu, int num_threads) const;
  // Codes of the activations, [batch, C, H, W].
  const std::vector<uint8_t>& codes() const { return codes_; }
  // The value of a result is the sum of integers times this.
  float scale() const { return scale_; }

  // The same layer with 8-bit operands: weights as mantissas, activations as the top 7 bits of theirs, plus 128 when
  // signed; [batch, H, W, C].
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  // [O, C/groups, R, S].
  const std::vector<int8_t>& weights() const { return weights_; }

  // Compares up to 200 outputs, chosen at random, with sums computed here one by one. `output(i)` is element i of the
  // result in [batch, O, H, W], as a sum; `of_bytes`: the candidate multiplied bytes(). The padding counts as zero.
  // Differences of up to relative * |sum| + absolute pass. Error: kInternal with the first other one.
  absl::Status Check(const std::function<double(size_t)>& output, bool of_bytes, double relative,
                     double absolute) const;

 private:
  Layer() = default;
  int64_t Sum(size_t output, bool of_bytes) const;

  Problem problem_;
  LayerSettings settings_;
  Graph graph_;
  std::vector<uint8_t> codes_, bytes_;
  std::vector<int8_t> weights_;
  std::vector<int32_t> mantissas_;  // by activation code
  float scale_ = 1;
};

}  // namespace tally::bench

#endif  // TALLY_BENCH_LAYERS_LAYER_H_
