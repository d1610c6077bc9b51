// What a search starts from: the tensors of a float graph that may be quantized, what they hold on the calibration
// data, and their codebooks at every number of bits that the options allow.
#ifndef TALLY_CONVERTER_SEARCH_FITTED_GRAPH_H_
#define TALLY_CONVERTER_SEARCH_FITTED_GRAPH_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/collector.h"
#include "converter/search/runner.h"
#include "converter/search/targets.h"
#include "converter/search/tensor_search.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// Its parts refer to each other: it stays where it was made.
struct FittedGraph {
  Targets targets;
  std::unique_ptr<ActivationCollector> collector;
  std::unique_ptr<TensorSearch> search;

  const std::vector<ActivationSamples>& samples() const { return collector->samples(); }
};

// Refers to `graph`, the graph of `runner`. `left_float`: nodes that are to stay as they are, with the reason. Errors:
// those of FindTargets, Runner::Calibrate and TensorSearch::FitAll.
absl::StatusOr<std::unique_ptr<FittedGraph>> FitGraph(const Graph& graph, const std::map<int, std::string>& left_float,
                                                      const SearchOptions& options, uint64_t seed, Runner* runner,
                                                      ThreadPool* pool,
                                                      const std::function<void(double done)>& progress);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_FITTED_GRAPH_H_
