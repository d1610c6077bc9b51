// Equalizes channels across layers: a factor per channel moves from one layer's weights and bias to those of the layers
// that read it, where nothing but ReLU, LeakyRelu or nothing at all lies between, so that the network computes the same
// function (after Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction"). One
// codebook then fits all channels of the activation better, at the price of columns of unequal size in the weights
// behind it; whether that pays is measured.
#ifndef TALLY_CONVERTER_SEARCH_EQUALIZE_H_
#define TALLY_CONVERTER_SEARCH_EQUALIZE_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/search/runner.h"
#include "converter/search/targets.h"
#include "converter/search/tensor_search.h"
#include "format/graph.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// An activation whose channels may be scaled.
struct EqualizablePair {
  size_t activation = 0;        // target
  int producer = -1;            // node: Conv or Gemm
  size_t producer_weight = 0;   // target
  std::vector<size_t> weights;  // targets that read it
};
std::vector<EqualizablePair> FindEqualizable(const Graph& graph, const Targets& targets);

// Divides channel c of the pair's activation by factors[c]. With powers of two the float network keeps its bits.
void ScaleChannels(const EqualizablePair& pair, const Targets& targets, const std::vector<float>& factors,
                   Graph* graph);

struct Equalized {
  Graph graph;
  std::vector<int> activations;  // tensors whose channels were scaled
};

// Scales the channels of every activation for which that takes 2 % off the error of the network's output with it and
// the weights that the factors change alone quantized. Every fifth sample is held back for that decision where there
// are
// 20. `make_runner` gives a runner of a graph on data. Errors: those of sessions and fits.
using RunnerMaker = std::function<Runner(const Graph& graph, const Dataset& data)>;
absl::StatusOr<Equalized> EqualizeChannels(const Graph& graph, const Dataset& calibration, const SearchOptions& options,
                                           uint64_t seed, const RunnerMaker& make_runner, ThreadPool* pool,
                                           const std::function<void(double done)>& progress);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_EQUALIZE_H_
