// A float network that computes what a quantized one does, short of the rounding of sums: weights are decoded,
// activations pass through their codebooks in nodes of their own. Any tensor may be quantized without the others, and
// every backend can run the rest.
#ifndef TALLY_CONVERTER_SEARCH_SIMULATION_H_
#define TALLY_CONVERTER_SEARCH_SIMULATION_H_

#include <memory>
#include <string>
#include <vector>

#include "converter/search/quantized_weight.h"
#include "converter/search/targets.h"
#include "format/graph.h"
#include "runtime/backend/backend.h"

namespace tally {

// `weights` and `activations`: one per target, null: stays float.
Graph SimulateQuantization(const Graph& source, const Targets& targets,
                           const std::vector<const QuantizedWeight*>& weights,
                           const std::vector<const Codebook*>& activations);

// Runs the nodes that activations pass through.
std::shared_ptr<const Backend> MakeRoundTripBackend();
inline constexpr char kRoundTripBackend[] = "round-trip";

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_SIMULATION_H_
