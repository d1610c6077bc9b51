#include <algorithm>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/infer.h"
#include "runtime/ops/range.h"

namespace tally {
namespace {

absl::Status CheckIndices(const InferContext& context, size_t i) {
  return CheckType(context, i, "indices", {DType::kInt64, DType::kInt32});
}

absl::Status CheckReductionName(const InferContext& context) {
  const std::string_view name = StringAttribute(context.node, "reduction", "none");
  if (name == "none") return absl::OkStatus();
  if (name != "add" && name != "mul" && name != "max" && name != "min") {
    return BadAttribute(context, "reduction", "is unknown, expected none, add, mul, max or min");
  }
  if (context.inputs[0]->dtype != DType::kBool) return absl::OkStatus();
  return BadInput(context, 0, "data", "numbers");
}

// The one element of input i, which must be known before the run.
absl::Status KnownElement(const InferContext& context, size_t i, const char* name, double* value, int64_t* integer) {
  TALLY_RETURN_IF_ERROR(CheckType(context, i, name, {DType::kFloat32, DType::kInt64, DType::kInt32}));
  if (context.inputs[i]->elements() != 1) return BadInput(context, i, name, "one element");
  const void* data = i < context.values.size() ? context.values[i] : nullptr;
  if (data == nullptr) {
    return MakeError(ErrorId::kBadNodeInputs,
                     absl::StrCat(context.node.op, ": input ", i, " (", name,
                                  ") depends on the data, expected a value known before the run"));
  }
  WithWideType(context.inputs[i]->dtype, [&](auto zero) {
    using T = decltype(zero);
    const T element = static_cast<const T*>(data)[0];
    *value = static_cast<double>(element);
    if constexpr (std::is_integral_v<T>) *integer = element;
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status InferGatherElements(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  TALLY_RETURN_IF_ERROR(CheckIndices(context, 1));
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", 0, x.shape.size()));
  const Shape& indices = context.inputs[1]->shape;
  bool fits = indices.size() == x.shape.size();
  for (size_t i = 0; fits && i < indices.size(); ++i) fits = i == axis || indices[i] <= x.shape[i];
  if (!fits) {
    return BadInput(context, 1, "indices",
                    absl::StrCat("extents within ", ShapeString(x.shape), " except axis ", axis));
  }
  outputs->push_back({x.dtype, indices});
  return absl::OkStatus();
}

absl::Status InferScatterElements(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(InferGatherElements(context, outputs));
  TALLY_RETURN_IF_ERROR(CheckType(context, 2, "updates", {context.inputs[0]->dtype}));
  if (context.inputs[2]->shape != context.inputs[1]->shape) {
    return BadInput(context, 2, "updates", absl::StrCat("the indices' shape ", ShapeString(context.inputs[1]->shape)));
  }
  TALLY_RETURN_IF_ERROR(CheckReductionName(context));
  *outputs = {*context.inputs[0]};
  return absl::OkStatus();
}

absl::Status InferGatherND(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "indices", {DType::kInt64}));
  const Shape& indices = context.inputs[1]->shape;
  if (indices.empty()) return BadInput(context, 1, "indices", "rank 1 or more");
  const int64_t batch = IntAttribute(context.node, "batch_dims", 0);
  const int64_t limit = static_cast<int64_t>(std::min(indices.size() - 1, x.shape.size()));
  if (batch < 0 || batch > limit) {
    return BadAttribute(context, "batch_dims", absl::StrCat("is ", batch, ", expected 0 .. ", limit));
  }
  const size_t batch_dims = static_cast<size_t>(batch);
  if (!std::equal(x.shape.begin(), x.shape.begin() + batch, indices.begin())) {
    return BadInput(context, 1, "indices", absl::StrCat("the first ", batch, " extents of ", ShapeString(x.shape)));
  }
  const int64_t tuple = indices.back();
  if (tuple > static_cast<int64_t>(x.shape.size() - batch_dims)) {
    return BadInput(context, 1, "indices", absl::StrCat("tuples of at most ", x.shape.size() - batch_dims));
  }
  Shape out(indices.begin(), indices.end() - 1);
  out.insert(out.end(), x.shape.begin() + batch + tuple, x.shape.end());
  outputs->push_back({x.dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferScatterND(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(InferGatherND(context, outputs));
  TALLY_RETURN_IF_ERROR(CheckType(context, 2, "updates", {context.inputs[0]->dtype}));
  if (context.inputs[2]->shape != outputs->back().shape) {
    return BadInput(context, 2, "updates", absl::StrCat("shape ", ShapeString(outputs->back().shape)));
  }
  TALLY_RETURN_IF_ERROR(CheckReductionName(context));
  *outputs = {*context.inputs[0]};
  return absl::OkStatus();
}

absl::Status InferOneHot(const InferContext& context, std::vector<TensorType>* outputs) {
  const Shape& indices = context.inputs[0]->shape;
  double depth = 0;
  int64_t integer = -1;
  TALLY_RETURN_IF_ERROR(KnownElement(context, 1, "depth", &depth, &integer));
  if (!(depth >= 0 && depth <= static_cast<double>(kMaxExtent))) {
    return BadInput(context, 1, "depth", absl::StrCat("a value of 0 .. ", kMaxExtent));
  }
  if (context.inputs[2]->shape != Shape{2}) return BadInput(context, 2, "values", "two elements");
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", -1, indices.size() + 1));
  Shape out = indices;
  out.insert(out.begin() + static_cast<std::ptrdiff_t>(axis), static_cast<int64_t>(depth));
  outputs->push_back({context.inputs[2]->dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferReverseSequence(const InferContext& context, std::vector<TensorType>* outputs) {
  const Shape& x = context.inputs[0]->shape;
  if (x.size() < 2) return BadInput(context, 0, "x", "rank 2 or more");
  const int64_t batch_axis = IntAttribute(context.node, "batch_axis", 1);
  const int64_t time_axis = IntAttribute(context.node, "time_axis", 0);
  if (batch_axis < 0 || batch_axis > 1 || time_axis != 1 - batch_axis) {
    return BadAttribute(context, "batch_axis", "and time_axis are not 0 and 1, in either order");
  }
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "sequence_lens", {DType::kInt64}));
  if (context.inputs[1]->shape != Shape{x[static_cast<size_t>(batch_axis)]}) {
    return BadInput(context, 1, "sequence_lens", "one length per batch");
  }
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferArg(const InferContext& context, std::vector<TensorType>* outputs) {
  Shape out = context.inputs[0]->shape;
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", 0, out.size()));
  if (out[axis] == 0) return BadInput(context, 0, "x", "elements to search");
  if (IntAttribute(context.node, "keepdims", 1) != 0) {
    out[axis] = 1;
  } else {
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  outputs->push_back({DType::kInt64, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferTopK(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", -1, out.shape.size()));
  TALLY_ASSIGN_OR_RETURN(const absl::Span<const int64_t> k, KnownInts(context, 1, "k"));
  if (k.size() != 1 || k[0] < 0 || k[0] > out.shape[axis]) {
    return BadInput(context, 1, "k", absl::StrCat("one value of 0 .. ", out.shape[axis]));
  }
  out.shape[axis] = k[0];
  outputs->push_back(out);
  outputs->push_back({DType::kInt64, out.shape});
  return absl::OkStatus();
}

absl::Status InferCumSum(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "axis", {DType::kInt64, DType::kInt32}));
  if (context.inputs[1]->elements() != 1) return BadInput(context, 1, "axis", "one element");
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferExpand(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_ASSIGN_OR_RETURN(const absl::Span<const int64_t> wanted, KnownInts(context, 1, "shape"));
  Shape out;
  const Shape shape(wanted.begin(), wanted.end());
  if (std::any_of(shape.begin(), shape.end(), [](int64_t d) { return d < 0; }) ||
      !BroadcastShapes(context.inputs[0]->shape, shape, &out)) {
    return BadInput(context, 1, "shape",
                    absl::StrCat("extents that broadcast with ", ShapeString(context.inputs[0]->shape)));
  }
  outputs->push_back({context.inputs[0]->dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferTile(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  TALLY_ASSIGN_OR_RETURN(const absl::Span<const int64_t> repeats, KnownInts(context, 1, "repeats"));
  if (repeats.size() != out.shape.size()) return BadInput(context, 1, "repeats", "one value per dimension");
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (repeats[i] < 0 || !CheckedMul(out.shape[i], repeats[i], &out.shape[i])) {
      return BadInput(context, 1, "repeats", absl::StrCat("a number of repeats in place of ", repeats[i]));
    }
  }
  outputs->push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status InferRange(const InferContext& context, std::vector<TensorType>* outputs) {
  static constexpr const char* kNames[] = {"start", "limit", "delta"};
  const DType dtype = context.inputs[0]->dtype;
  double values[3] = {};
  int64_t integers[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    TALLY_RETURN_IF_ERROR(CheckType(context, i, kNames[i], {dtype}));
    TALLY_RETURN_IF_ERROR(KnownElement(context, i, kNames[i], &values[i], &integers[i]));
  }
  if (values[2] == 0) return BadInput(context, 2, "delta", "a value other than 0");
  const int64_t length = dtype == DType::kFloat32 ? RangeLength(values[0], values[1], values[2])
                                                  : RangeLength(integers[0], integers[1], integers[2]);
  outputs->push_back({dtype, {length}});
  return absl::OkStatus();
}

absl::Status InferTrilu(const InferContext& context, std::vector<TensorType>* outputs) {
  if (context.inputs[0]->shape.size() < 2) return BadInput(context, 0, "x", "rank 2 or more");
  if (context.has(1)) {
    TALLY_RETURN_IF_ERROR(CheckType(context, 1, "k", {DType::kInt64}));
    if (context.inputs[1]->elements() != 1) return BadInput(context, 1, "k", "one element");
  }
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

// DepthToSpace and SpaceToDepth.
absl::Status InferBlocks(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  if (out.shape.size() != 4) return BadInput(context, 0, "x", "rank 4");
  const int64_t b = IntAttribute(context.node, "blocksize", 0);
  if (b < 1 || b > 32768) return BadAttribute(context, "blocksize", absl::StrCat("is ", b, ", expected 1 .. 32768"));
  const std::string_view mode = StringAttribute(context.node, "mode", "DCR");
  if (mode != "DCR" && mode != "CRD") return BadAttribute(context, "mode", "is unknown, expected DCR or CRD");
  if (context.node.op == "DepthToSpace") {
    if (out.shape[1] % (b * b) != 0) return BadInput(context, 0, "x", absl::StrCat("channels a multiple of ", b * b));
    out.shape = {out.shape[0], out.shape[1] / (b * b), out.shape[2] * b, out.shape[3] * b};
  } else {
    if (out.shape[2] % b != 0 || out.shape[3] % b != 0) {
      return BadInput(context, 0, "x", absl::StrCat("rows and columns multiples of ", b));
    }
    out.shape = {out.shape[0], out.shape[1] * b * b, out.shape[2] / b, out.shape[3] / b};
  }
  outputs->push_back(std::move(out));
  return absl::OkStatus();
}

}  // namespace tally
