#include "runtime/ops/infer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"

namespace tally {

absl::Status BadInput(const InferContext& context, size_t i, const char* name, const std::string& expected) {
  std::string actual = "is absent";
  if (context.has(i)) {
    const TensorType& type = *context.inputs[i];
    actual = absl::StrCat("is ", DTypeName(type.dtype), " ", ShapeString(type.shape));
  }
  return MakeError(ErrorId::kBadNodeInputs,
                   absl::StrCat(context.node.op, ": input ", i, " (", name, ") ", actual, ", expected ", expected));
}

absl::Status BadAttribute(const InferContext& context, const char* name, const std::string& problem) {
  return MakeError(ErrorId::kBadAttribute, absl::StrCat(context.node.op, ": attribute ", name, " ", problem));
}

absl::Status CheckType(const InferContext& context, size_t i, const char* name, std::initializer_list<DType> allowed) {
  if (context.has(i) && std::find(allowed.begin(), allowed.end(), context.inputs[i]->dtype) != allowed.end()) {
    return absl::OkStatus();
  }
  std::string names;
  for (DType dtype : allowed) absl::StrAppend(&names, names.empty() ? "" : " or ", DTypeName(dtype));
  return BadInput(context, i, name, names);
}

absl::Status CheckOptionalFloats(const InferContext& context, size_t i, const char* name, const Shape& shape) {
  if (!context.has(i)) return absl::OkStatus();
  TALLY_RETURN_IF_ERROR(CheckType(context, i, name, {DType::kFloat32}));
  if (context.inputs[i]->shape != shape) return BadInput(context, i, name, absl::StrCat("shape ", ShapeString(shape)));
  return absl::OkStatus();
}

absl::StatusOr<size_t> AxisAttribute(const InferContext& context, const char* name, int64_t absent, size_t rank) {
  const int64_t axis = IntAttribute(context.node, name, absent);
  size_t normalized = 0;
  if (!NormalizeAxis(axis, rank, &normalized)) {
    return BadAttribute(context, name, absl::StrCat("is ", axis, ", expected an axis of a tensor of rank ", rank));
  }
  return normalized;
}

namespace {

template <typename T>
absl::StatusOr<absl::Span<const T>> KnownVector(const InferContext& context, size_t i, const char* name, DType dtype) {
  TALLY_RETURN_IF_ERROR(CheckType(context, i, name, {dtype}));
  const Shape& shape = context.inputs[i]->shape;
  if (shape.size() != 1) return BadInput(context, i, name, "rank 1");
  const size_t count = static_cast<size_t>(shape[0]);
  if (count == 0) return absl::Span<const T>();
  const void* data = i < context.values.size() ? context.values[i] : nullptr;
  if (data == nullptr) {
    return MakeError(ErrorId::kBadNodeInputs,
                     absl::StrCat(context.node.op, ": input ", i, " (", name,
                                  ") depends on the data, expected values known before the run"));
  }
  return absl::Span<const T>(static_cast<const T*>(data), count);
}

}  // namespace

absl::StatusOr<absl::Span<const int64_t>> KnownInts(const InferContext& context, size_t i, const char* name) {
  return KnownVector<int64_t>(context, i, name, DType::kInt64);
}

absl::StatusOr<absl::Span<const float>> KnownFloats(const InferContext& context, size_t i, const char* name) {
  return KnownVector<float>(context, i, name, DType::kFloat32);
}

absl::StatusOr<std::vector<bool>> KnownAxes(const InferContext& context, size_t i, size_t rank) {
  TALLY_ASSIGN_OR_RETURN(const absl::Span<const int64_t> axes, KnownInts(context, i, "axes"));
  std::vector<bool> chosen(rank, false);
  for (int64_t value : axes) {
    size_t axis = 0;
    if (!NormalizeAxis(value, rank, &axis) || chosen[axis]) {
      return MakeError(ErrorId::kBadNodeInputs, absl::StrCat(context.node.op, ": input ", i, " (axes) has ", value,
                                                             ", expected distinct axes of a tensor of rank ", rank));
    }
    chosen[axis] = true;
  }
  return chosen;
}

int64_t Product(const Shape& shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= shape[i];
  return n;
}

}  // namespace tally
