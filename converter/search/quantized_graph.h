// Puts chosen codebooks and codes into a copy of the float graph.
#ifndef TALLY_CONVERTER_SEARCH_QUANTIZED_GRAPH_H_
#define TALLY_CONVERTER_SEARCH_QUANTIZED_GRAPH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/tensor_search.h"
#include "format/graph.h"

namespace tally {

struct FormOptions {
  bool keep_int8 = false;   // adds int8 weights and the ranges of activations
  bool keep_float = false;  // keeps float32 weights
  // Subtracts from each bias the mean error that the rounded weights cause on the calibration data's mean inputs.
  bool correct_bias = false;
};

absl::StatusOr<Graph> BuildQuantizedGraph(const Graph& source, const Targets& targets, const TensorSearch& search,
                                          const std::vector<ActivationSamples>& samples, const ChosenFits& fits,
                                          const FormOptions& options);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_QUANTIZED_GRAPH_H_
