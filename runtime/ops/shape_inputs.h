// Inputs of a model from whose values shapes follow: what inference must know (OpDef::shaped_by: the shape of a
// Reshape, the limit of a Range, ...) is computed from them, or is one of them.
#ifndef TALLY_RUNTIME_OPS_SHAPE_INPUTS_H_
#define TALLY_RUNTIME_OPS_SHAPE_INPUTS_H_

#include <vector>

#include "format/graph.h"

namespace tally {

// Whether an input of a model can be one: a scalar or a vector. What is larger is data.
inline bool MayBeShapeInput(const Tensor& input) { return input.shape.size() <= 1; }

// Per input of the model: is it one? REQUIRES: nodes in topological order.
std::vector<bool> FindShapeInputs(const Graph& graph);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_SHAPE_INPUTS_H_
