// Operators whose output is the input's bytes under another shape, for callers that do not alias them; and Shape.
#include <algorithm>

#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"

namespace tally {
namespace {

absl::Status CopyInput(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  CopyBytes(context.pool, x.data, context.outputs[0].data,
            static_cast<size_t>(ElementsOf(x.shape)) * DTypeSize(x.dtype));
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalReshape(const EvalContext& context) { return CopyInput(context); }
absl::Status EvalFlatten(const EvalContext& context) { return CopyInput(context); }
absl::Status EvalSqueeze(const EvalContext& context) { return CopyInput(context); }
absl::Status EvalUnsqueeze(const EvalContext& context) { return CopyInput(context); }
absl::Status EvalIdentity(const EvalContext& context) { return CopyInput(context); }

absl::Status EvalShape(const EvalContext& context) {
  const Shape& shape = context.inputs[0].shape;
  const int64_t rank = static_cast<int64_t>(shape.size());
  int64_t start = IntAttribute(context.node, "start", 0);
  start = std::clamp<int64_t>(start < 0 ? start + rank : start, 0, rank);
  // Inference has clamped the end.
  std::copy_n(shape.begin() + start, context.outputs[0].shape[0], context.outputs[0].as<int64_t>());
  return absl::OkStatus();
}

}  // namespace tally
