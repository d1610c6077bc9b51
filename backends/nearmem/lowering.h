// From a node of a model to a layer of the machine: Gemm, MatMul and Conv (direct, depthwise, grouped) in one geometry.
// Functions without state.
#ifndef TALLY_BACKENDS_NEARMEM_LOWERING_H_
#define TALLY_BACKENDS_NEARMEM_LOWERING_H_

#include "backends/nearmem/layer_simulator.h"
#include "runtime/backend/backend.h"
#include "runtime/dot/problem.h"

namespace tally::nearmem {

// Where a value goes. A tensor behind views (Reshape, ...) counts as the tensor.
struct Consumers {
  bool codes = false;     // products that read its codes
  bool residual = false;  // products that add it as float32
  bool host = false;      // other operators, or the caller
};
Consumers ConsumersOf(const Graph& graph, int tensor);

// Bits that one element of `tensor` takes in memory: codes of `code_bits`, and float32 where a product adds it.
OutputTraffic TrafficOf(const Graph& graph, int tensor, int code_bits, bool has_residual);

// The layer as codes; as INT8 with `int8`. REQUIRES: !problem.is_empty.
Layer LowerLayer(const Problem& problem, const NodeContext& context, bool int8);
// Where its codes lie; pointers are left null.
LayerOperands LowerOperands(const Problem& problem, const LayerShape& shape);

// The element of the node's output that holds an output at a position, and the channel of the epilogue.
struct OutputPlace {
  size_t element;
  size_t channel;
};
OutputPlace PlaceOf(const Problem& problem, const LayerShape& shape, int64_t output, int64_t position);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_LOWERING_H_
