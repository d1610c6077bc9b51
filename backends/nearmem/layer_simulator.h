// One layer on one machine: its results, and in the same run its events, bytes, time and energy.
//
// The codes of the layer are counted output by output, in the order in which the lanes would, and what that does
// (steps, spills, drains) becomes the program whose time each vault then takes. Vaults with equal programs are timed
// once.
#ifndef TALLY_BACKENDS_NEARMEM_LAYER_SIMULATOR_H_
#define TALLY_BACKENDS_NEARMEM_LAYER_SIMULATOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/accelerator.h"
#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/lane_array.h"
#include "backends/nearmem/sim/layer_result.h"
#include "backends/nearmem/sim/layer_shape.h"
#include "backends/nearmem/sim/mapper.h"
#include "backends/nearmem/sim/vault.h"
#include "runtime/core/thread_pool.h"

namespace tally::nearmem {

// A machine with a lane program: what a layer is simulated on.
struct Accelerator {
  LaneProgram program = LaneProgram::kBucketed;
  AcceleratorConfig config;
  DramConfig dram;
  DramMode dram_mode = DramMode::kEvent;
};

// A layer's codes, one a byte, and where each lies.
struct LayerOperands {
  const uint8_t* activations = nullptr;
  std::vector<int64_t> activation_groups;               // first element of each group
  int64_t image = 0, channel = 0, row = 0, column = 0;  // strides
  const uint8_t* weights = nullptr;
  std::vector<int64_t> weight_groups;
  int64_t weight_output = 0, weight_k = 0;  // strides
};

// What the lanes must know of the codes besides their width; empty for kFolded and kMac.
struct LayerMantissas {
  std::vector<int32_t> activation, weight;
};

struct Layer {
  LayerShape shape;
  OperandBits bits;
  OutputTraffic output;
  LayerMantissas mantissas;
  bool weights_move = false;  // they are activations too (MatMul), and cross the network
};

// Takes the results; calls for different outputs come from several threads.
class ResultSink {
 public:
  virtual ~ResultSink() = default;
  virtual void TakeInteger(int64_t output, int64_t position, int64_t sum) = 0;
  virtual void TakeFolded(int64_t output, int64_t position, const LaneArray::Folded& counters) = 0;
};

// A layer laid over a machine. Immutable; safe to share between threads.
class LayerSimulator {
 public:
  LayerSimulator(const Accelerator& accelerator, const Layer& layer);
  // Laid over it in one given way, for tests of machines under one mapping.
  // REQUIRES: the mapping fits the machine's vaults and lanes.
  LayerSimulator(const Accelerator& accelerator, const Layer& layer, const Mapping& mapping);

  const Accelerator& accelerator() const { return accelerator_; }
  const Layer& layer() const { return layer_; }
  // As MapLayer orders them: the first is used.
  const std::vector<MappingChoice>& mappings() const { return mappings_; }

  // Weights in the order in which each part of the outputs reads them, as bit planes. Empty for kMac, whose results
  // nobody wants.
  using Streams = std::vector<std::vector<uint8_t>>;
  Streams PackWeights(const LayerOperands& operands) const;

  // `sink`: null where only time matters. `spans`: null, or where the slowest vault's time line goes.
  absl::StatusOr<LayerResult> Run(const LayerOperands& operands, const Streams& weights, ThreadPool* pool,
                                  ResultSink* sink, std::vector<VaultSpan>* spans) const;

 private:
  const Accelerator accelerator_;
  const Layer layer_;
  std::vector<MappingChoice> mappings_;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_LAYER_SIMULATOR_H_
