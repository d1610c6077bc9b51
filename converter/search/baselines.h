// Takes the forms of weights that serve comparisons out of a graph.
#ifndef TALLY_CONVERTER_SEARCH_BASELINES_H_
#define TALLY_CONVERTER_SEARCH_BASELINES_H_

#include "format/graph.h"

namespace tally {

// Weights that have codes lose their float32 form, but for those that other nodes read too.
void DropFloatForms(Graph* graph);

// Weights lose their int8 form, activations the range that it needs.
void DropInt8Forms(Graph* graph);

// The biases of codes become those of their nodes. REQUIRES: no baseline form is left that needs the nodes' own.
void SettleCodeBiases(Graph* graph);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_BASELINES_H_
