// What the network's output loses when one tensor alone is quantized, and items for bit_allocation.h made of it.
#ifndef TALLY_CONVERTER_SEARCH_SENSITIVITY_H_
#define TALLY_CONVERTER_SEARCH_SENSITIVITY_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/bit_allocation.h"
#include "converter/search/candidates.h"
#include "converter/search/runner.h"

namespace tally {

// Squared errors of the output relative to it, one per target.
struct Sensitivity {
  std::vector<double> weights, activations;
};

// Runs the simulated network once per target on a few calibration samples. Results are kept in `memo` under `key`,
// which stands for the network. Errors: those of sessions and of keeping.
absl::StatusOr<Sensitivity> MeasureSensitivity(const Graph& graph, const Targets& targets,
                                               const QuantizedNetwork& network, Runner* runner, const Memo& memo,
                                               const std::string& key,
                                               const std::function<void(double done)>& progress);

// Scales each item's errors so that with the option of `allocation` it costs what was measured with it: the output is
// taken to lose in proportion to the tensor (or layer).
void ScaleErrors(const std::vector<double>& measured, const Allocation& allocation, std::vector<BitItem>* items);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_SENSITIVITY_H_
