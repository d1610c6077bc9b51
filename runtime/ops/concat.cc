// Concat and Split: each part is one run per outer index, side by side in the whole.
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"

namespace tally {
namespace {

// Bytes of one outer index of a tensor: all from `axis` inwards.
int64_t RunBytes(const Shape& shape, size_t axis, size_t element) {
  int64_t n = static_cast<int64_t>(element);
  for (size_t i = axis; i < shape.size(); ++i) n *= shape[i];
  return n;
}

// Copies `outer` runs of `bytes` whose starts lie `from_stride` and `to_stride` apart.
void CopyRuns(ThreadPool* pool, int64_t outer, int64_t bytes, const uint8_t* from, int64_t from_stride, uint8_t* to,
              int64_t to_stride) {
  StridedCopy copy;
  copy.Add(outer, from_stride, to_stride);
  copy.Add(bytes, 1, 1);
  CopyStrided(copy, from, to, pool);
}

size_t AxisOf(const Node& node, size_t rank) {
  size_t axis = 0;
  const bool valid = NormalizeAxis(IntAttribute(node, "axis", 0), rank, &axis);
  static_cast<void>(valid);  // checked by inference
  return axis;
}

int64_t OuterOf(const Shape& shape, size_t axis) {
  int64_t n = 1;
  for (size_t i = 0; i < axis; ++i) n *= shape[i];
  return n;
}

}  // namespace

absl::Status EvalConcat(const EvalContext& context) {
  if (absl::Status status = CheckData(context, context.inputs.size()); !status.ok()) return status;
  const MutableTensorView& out = context.outputs[0];
  const size_t axis = AxisOf(context.node, out.shape.size());
  const int64_t whole = RunBytes(out.shape, axis, DTypeSize(out.dtype));
  const int64_t outer = OuterOf(out.shape, axis);
  uint8_t* to = out.as<uint8_t>();
  for (const TensorView& x : context.inputs) {
    const int64_t part = RunBytes(x.shape, axis, DTypeSize(x.dtype));
    CopyRuns(context.pool, outer, part, x.as<uint8_t>(), part, to, whole);
    if (outer > 0) to += part;
  }
  return absl::OkStatus();
}

absl::Status EvalSplit(const EvalContext& context) {
  if (absl::Status status = CheckData(context, 1); !status.ok()) return status;
  const TensorView& x = context.inputs[0];
  const size_t axis = AxisOf(context.node, x.shape.size());
  const int64_t whole = RunBytes(x.shape, axis, DTypeSize(x.dtype));
  const int64_t outer = OuterOf(x.shape, axis);
  const uint8_t* from = x.as<uint8_t>();
  for (const MutableTensorView& out : context.outputs) {
    const int64_t part = RunBytes(out.shape, axis, DTypeSize(out.dtype));
    CopyRuns(context.pool, outer, part, from, whole, out.as<uint8_t>(), part);
    if (outer > 0) from += part;
  }
  return absl::OkStatus();
}

}  // namespace tally
