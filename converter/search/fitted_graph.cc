#include "converter/search/fitted_graph.h"

#include <utility>

#include "format/error.h"

namespace tally {

absl::StatusOr<std::unique_ptr<FittedGraph>> FitGraph(const Graph& graph, const std::map<int, std::string>& left_float,
                                                      const SearchOptions& options, uint64_t seed, Runner* runner,
                                                      ThreadPool* pool,
                                                      const std::function<void(double done)>& progress) {
  auto fitted = std::make_unique<FittedGraph>();
  TALLY_ASSIGN_OR_RETURN(fitted->targets, FindTargets(graph, left_float));
  fitted->collector = std::make_unique<ActivationCollector>(graph, fitted->targets, runner->samples(), seed);
  TALLY_RETURN_IF_ERROR(runner->Calibrate(fitted->collector.get()));
  const std::vector<bool> by_tensor = NonNegativeTensors(graph, runner->InputsNonNegative());
  std::vector<bool> non_negative;
  for (const ActivationTarget& a : fitted->targets.activations) {
    non_negative.push_back(by_tensor[static_cast<size_t>(a.tensor)]);
  }
  fitted->search =
      std::make_unique<TensorSearch>(graph, fitted->targets, fitted->samples(), std::move(non_negative), options);
  TALLY_RETURN_IF_ERROR(fitted->search->FitAll(pool, progress));
  return fitted;
}

}  // namespace tally
