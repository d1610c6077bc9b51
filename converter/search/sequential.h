// Rounds all weights of a network, layer by layer, each on the inputs that the quantized layers before it produce.
#ifndef TALLY_CONVERTER_SEARCH_SEQUENTIAL_H_
#define TALLY_CONVERTER_SEARCH_SEQUENTIAL_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/search/layer_search.h"
#include "converter/search/memo.h"
#include "converter/search/staged_run.h"
#include "converter/search/targets.h"
#include "format/graph.h"
#include "runtime/core/thread_pool.h"

namespace tally {

struct SequentialOptions {
  uint64_t seed = 1;
  // Of each weight, the exponent bits at which QuantizedWeight::errors are wanted; empty: none.
  std::vector<std::vector<int>> error_bits;
  // Finished layers are kept here, under keys made of all that came before them and of their own options.
  const Memo* memo = nullptr;
  SessionMaker make_float, make_quantized;
  std::function<void(double done)> progress;
};

// `activations`: one codebook per activation target. `fit`: how to fit a weight target. `batch`: samples per run;
// `types`: of every tensor, at that batch. Errors: those of sessions and of the fits.
absl::StatusOr<std::vector<QuantizedWeight>> QuantizeSequentially(
    const Graph& graph, const Targets& targets, const std::vector<Codebook>& activations,
    const std::function<WeightFitOptions(size_t weight)>& fit, const Dataset& calibration, int64_t batch,
    const std::vector<TensorType>& types, const SequentialOptions& options, ThreadPool* pool);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_SEQUENTIAL_H_
