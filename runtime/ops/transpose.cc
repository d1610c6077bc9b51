#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"

namespace tally {

absl::Status EvalTranspose(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  const size_t rank = x.shape.size();
  const absl::Span<const int64_t> perm = IntsAttribute(context.node, "perm");
  StridedCopy copy;
  copy.rank = rank;
  copy.element = DTypeSize(x.dtype);
  int64_t strides[kMaxRank];
  int64_t stride = static_cast<int64_t>(copy.element);
  for (size_t i = rank; i-- > 0;) {
    strides[i] = stride;
    stride *= x.shape[i];
  }
  stride = static_cast<int64_t>(copy.element);
  for (size_t i = rank; i-- > 0;) {
    const size_t axis = perm.empty() ? rank - 1 - i : static_cast<size_t>(perm[i]);
    copy.extents[i] = x.shape[axis];
    copy.from[i] = strides[axis];
    copy.to[i] = stride;
    stride *= x.shape[axis];
  }
  CopyStrided(copy, x.data, context.outputs[0].data, context.pool);
  return absl::OkStatus();
}

}  // namespace tally
