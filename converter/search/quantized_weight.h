// A weight as it will be stored, however it was rounded.
#ifndef TALLY_CONVERTER_SEARCH_QUANTIZED_WEIGHT_H_
#define TALLY_CONVERTER_SEARCH_QUANTIZED_WEIGHT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "converter/search/weight_fit.h"
#include "format/graph.h"

namespace tally {

struct QuantizedWeight {
  WeightFit fit;
  std::vector<uint8_t> codes;  // in element order
  std::vector<float> bias;     // replaces the node's; empty: that stays
  std::string notes;           // how it came about
  // By exponent bits, what the layer's output would lose, in any unit; empty: not measured.
  std::map<int, double> errors;
};

// The values that the codes stand for, in element order.
std::vector<float> Decode(const QuantizedWeight& weight);

CodeForm MakeCodeForm(const QuantizedWeight& weight);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_QUANTIZED_WEIGHT_H_
