// Puts chosen codebooks and codes into a copy of the float graph.
#ifndef TALLY_CONVERTER_SEARCH_QUANTIZED_GRAPH_H_
#define TALLY_CONVERTER_SEARCH_QUANTIZED_GRAPH_H_

#include <vector>

#include "converter/search/quantized_weight.h"
#include "converter/search/tensor_search.h"
#include "format/graph.h"

namespace tally {

struct FormOptions {
  bool keep_int8 = false;   // adds int8 weights and the ranges of activations
  bool keep_float = false;  // keeps float32 weights
};

// Weights rounded to the nearest codes of their fits. `correct_bias`: a bias takes up the mean error that the rounded
// weights cause on the calibration data's mean inputs.
std::vector<QuantizedWeight> RoundToNearest(const Graph& source, const Targets& targets, const TensorSearch& search,
                                            const std::vector<ActivationSamples>& samples,
                                            const std::vector<WeightFit>& fits, bool correct_bias);

// `weights` and `activations`: one per target. `samples` give the ranges of activations.
Graph BuildQuantizedGraph(const Graph& source, const Targets& targets, const std::vector<QuantizedWeight>& weights,
                          const std::vector<CodebookFit>& activations, const std::vector<ActivationSamples>& samples,
                          const FormOptions& options);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_QUANTIZED_GRAPH_H_
