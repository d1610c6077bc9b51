#include "converter/search/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "converter/search/simulation.h"
#include "format/error.h"

namespace tally {

absl::StatusOr<Sensitivity> MeasureSensitivity(const Graph& graph, const Targets& targets,
                                               const QuantizedNetwork& network, Runner* runner, const Memo& memo,
                                               const std::string& key,
                                               const std::function<void(double done)>& progress) {
  const size_t weights = targets.weights.size(), activations = targets.activations.size();
  Sensitivity sensitivity;
  const std::string memo_key = "sensitivity " + key;
  if (const std::optional<nlohmann::json> kept = memo.Find(memo_key); kept && kept->is_array()) {
    std::vector<double> values;
    for (const nlohmann::json& value : *kept) values.push_back(value.is_number() ? value.get<double>() : -1);
    if (!values.empty() && values.size() == weights + activations &&
        *std::min_element(values.begin(), values.end()) >= 0) {
      sensitivity.weights.assign(values.begin(), values.begin() + static_cast<int64_t>(weights));
      sensitivity.activations.assign(values.begin() + static_cast<int64_t>(weights), values.end());
      return sensitivity;
    }
  }
  for (size_t i = 0; i < weights + activations; ++i) {
    std::vector<const QuantizedWeight*> weight(weights);
    std::vector<const Codebook*> activation(activations);
    if (i < weights) {
      weight[i] = &network.weights[i];
    } else {
      activation[i - weights] = &network.activations[i - weights].codebook;
    }
    TALLY_ASSIGN_OR_RETURN(const double error,
                           runner->SimulatedError(SimulateQuantization(graph, targets, weight, activation)));
    (i < weights ? sensitivity.weights : sensitivity.activations).push_back(error);
    if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(weights + activations));
  }
  std::vector<double> values = sensitivity.weights;
  values.insert(values.end(), sensitivity.activations.begin(), sensitivity.activations.end());
  TALLY_RETURN_IF_ERROR(memo.Keep(memo_key, values));
  return sensitivity;
}

void ScaleErrors(const std::vector<double>& measured, const Allocation& allocation, std::vector<BitItem>* items) {
  for (size_t i = 0; i < items->size(); ++i) {
    std::vector<BitOption>& options = (*items)[i].options;
    const double own = options[allocation[i]].error;
    // A tensor that did not err where it was measured keeps what is known of it alone.
    if (!(own > 0) || !std::isfinite(own) || !std::isfinite(measured[i])) continue;
    const double factor = measured[i] / own;
    for (BitOption& option : options) option.error *= factor;
  }
}

}  // namespace tally
