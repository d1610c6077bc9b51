// Operators that apply a function to each element. Instantiated in the operator table.
#ifndef TALLY_RUNTIME_OPS_UNARY_H_
#define TALLY_RUNTIME_OPS_UNARY_H_

#include "format/error.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/op.h"
#include "runtime/ops/parallel.h"

namespace tally {

// y = fn(x); the output may be the input itself.
template <typename To, typename From, typename Fn>
void MapElements(const EvalContext& context, const Fn& fn) {
  const From* x = context.inputs[0].as<From>();
  To* y = context.outputs[0].as<To>();
  ParallelFor(context.pool, static_cast<size_t>(ElementsOf(context.inputs[0].shape)), kElementTile,
              [&](size_t begin, size_t end) {
                for (size_t i = begin; i < end; ++i) y[i] = fn(x[i]);
              });
}

// float32 -> float32.
template <float (*kFn)(float)>
absl::Status EvalMap(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  MapElements<float, float>(context, [](float x) { return kFn(x); });
  return absl::OkStatus();
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_UNARY_H_
