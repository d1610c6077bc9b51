#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/infer.h"

namespace tally {
namespace {

absl::Status BroadcastWith(const InferContext& context, size_t i, const char* name, Shape* shape) {
  const Shape before = *shape;
  if (BroadcastShapes(before, context.inputs[i]->shape, shape)) return absl::OkStatus();
  return BadInput(context, i, name, absl::StrCat("one that broadcasts with ", ShapeString(before)));
}

// The broadcast of two operands of one type.
absl::Status InferOperands(const InferContext& context, Shape* shape) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "b", {context.inputs[0]->dtype}));
  *shape = context.inputs[0]->shape;
  return BroadcastWith(context, 1, "b", shape);
}

}  // namespace

absl::Status InferSame(const InferContext& context, std::vector<TensorType>* outputs) {
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferPredicate(const InferContext& context, std::vector<TensorType>* outputs) {
  outputs->push_back({DType::kBool, context.inputs[0]->shape});
  return absl::OkStatus();
}

absl::Status InferArithmetic(const InferContext& context, std::vector<TensorType>* outputs) {
  Shape shape;
  TALLY_RETURN_IF_ERROR(InferOperands(context, &shape));
  outputs->push_back({context.inputs[0]->dtype, std::move(shape)});
  return absl::OkStatus();
}

absl::Status InferComparison(const InferContext& context, std::vector<TensorType>* outputs) {
  Shape shape;
  TALLY_RETURN_IF_ERROR(InferOperands(context, &shape));
  outputs->push_back({DType::kBool, std::move(shape)});
  return absl::OkStatus();
}

absl::Status InferPow(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "exponent", {DType::kFloat32, DType::kInt64, DType::kInt32}));
  Shape shape = context.inputs[0]->shape;
  TALLY_RETURN_IF_ERROR(BroadcastWith(context, 1, "exponent", &shape));
  outputs->push_back({context.inputs[0]->dtype, std::move(shape)});
  return absl::OkStatus();
}

absl::Status InferMod(const InferContext& context, std::vector<TensorType>* outputs) {
  if (context.inputs[0]->dtype == DType::kFloat32 && IntAttribute(context.node, "fmod", 0) == 0) {
    return BadAttribute(context, "fmod", "is 0, expected 1 for float32");
  }
  return InferArithmetic(context, outputs);
}

absl::Status InferPRelu(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(InferArithmetic(context, outputs));
  if (outputs->back().shape == context.inputs[0]->shape) return absl::OkStatus();
  return BadInput(context, 1, "slope", absl::StrCat("one that broadcasts to ", ShapeString(context.inputs[0]->shape)));
}

absl::Status InferWhere(const InferContext& context, std::vector<TensorType>* outputs) {
  const DType dtype = context.inputs[1]->dtype;
  TALLY_RETURN_IF_ERROR(CheckType(context, 2, "y", {dtype}));
  Shape shape = context.inputs[0]->shape;
  TALLY_RETURN_IF_ERROR(BroadcastWith(context, 1, "x", &shape));
  TALLY_RETURN_IF_ERROR(BroadcastWith(context, 2, "y", &shape));
  outputs->push_back({dtype, std::move(shape)});
  return absl::OkStatus();
}

// QuantizeLinear and DequantizeLinear.
absl::Status InferQuantization(const InferContext& context, std::vector<TensorType>* outputs) {
  const bool quantize = context.node.op == "QuantizeLinear";
  const TensorType& x = *context.inputs[0];
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "scale", {DType::kFloat32}));
  const Shape& scale = context.inputs[1]->shape;
  if (context.inputs[1]->elements() != 1) {
    TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", 1, x.shape.size()));
    if (scale != Shape{x.shape[axis]})
      return BadInput(context, 1, "scale", "one element, or one per index of the axis");
  }
  DType quantized = quantize ? DType::kUint8 : x.dtype;
  if (context.has(2)) {
    if (quantize) {
      TALLY_RETURN_IF_ERROR(CheckType(context, 2, "zero_point", {DType::kUint8, DType::kInt8}));
      quantized = context.inputs[2]->dtype;
    } else {
      TALLY_RETURN_IF_ERROR(CheckType(context, 2, "zero_point", {x.dtype}));
    }
    if (context.inputs[2]->shape != scale) {
      return BadInput(context, 2, "zero_point", absl::StrCat("the scale's shape ", ShapeString(scale)));
    }
  }
  outputs->push_back({quantize ? quantized : DType::kFloat32, x.shape});
  return absl::OkStatus();
}

}  // namespace tally
