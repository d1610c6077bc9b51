#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/infer.h"
#include "runtime/ops/window.h"

namespace tally {
namespace {

// ONNX broadcasting: trailing dimensions are aligned, an extent of 1 repeats.
bool Broadcast(const Shape& a, const Shape& b, Shape* out) {
  const size_t rank = std::max(a.size(), b.size());
  out->assign(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) return false;
    (*out)[rank - 1 - i] = da == 1 ? db : da;
  }
  return true;
}

// The parts that Conv and Gemm share beyond the dot product.
absl::Status CheckEpilogue(const InferContext& context, int64_t channels, const Shape& out) {
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 2, "bias", {channels}));
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 3, "residual", out));
  return FusedActivation(context.node).status();
}

// A mean or maximum over no elements has no value.
absl::Status CheckReduction(const InferContext& context, const Shape& out) {
  const bool input_empty = context.inputs[0]->elements() == 0;
  if (!input_empty || std::find(out.begin(), out.end(), 0) != out.end()) return absl::OkStatus();
  return BadInput(context, 0, "x", "elements to reduce");
}

}  // namespace

absl::Status InferConv(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "weight", {DType::kFloat32}));
  const Shape& x = context.inputs[0]->shape;
  TALLY_ASSIGN_OR_RETURN(const Window2d w, ConvWindow(context.node, x, context.inputs[1]->shape));
  Shape out = {w.batch, w.out_channels};
  if (x.size() == 4) out.push_back(w.out_h);
  out.push_back(w.out_w);
  TALLY_RETURN_IF_ERROR(CheckEpilogue(context, w.out_channels, out));
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferGemm(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "weight", {DType::kFloat32}));
  const Shape& x = context.inputs[0]->shape;
  const Shape& weight = context.inputs[1]->shape;
  if (x.empty()) return BadInput(context, 0, "x", "rank 1 or more");
  if (weight.size() != 2 || weight[1] != x.back()) {
    return BadInput(context, 1, "weight", absl::StrCat("rank 2 with ", x.back(), " columns"));
  }
  Shape out = x;
  out.back() = weight[0];
  TALLY_RETURN_IF_ERROR(CheckEpilogue(context, weight[0], out));
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferMatMul(const InferContext& context, std::vector<TensorType>* outputs) {
  for (size_t i = 0; i < 2; ++i) {
    TALLY_RETURN_IF_ERROR(CheckType(context, i, i == 0 ? "a" : "b", {DType::kFloat32}));
    if (context.inputs[i]->shape.empty()) return BadInput(context, i, i == 0 ? "a" : "b", "rank 1 or more");
  }
  // A vector is a row on the left and a column on the right; the dimension of 1 that this adds is not in the output.
  Shape a = context.inputs[0]->shape;
  Shape b = context.inputs[1]->shape;
  const bool a_vector = a.size() == 1;
  const bool b_vector = b.size() == 1;
  if (a_vector) a.insert(a.begin(), 1);
  if (b_vector) b.push_back(1);
  if (a.back() != b[b.size() - 2]) {
    return BadInput(context, 1, "b", absl::StrCat(a.back(), " rows, as many as a (", ShapeString(a), ") has columns"));
  }
  Shape out;
  if (!Broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2), &out)) {
    return BadInput(context, 1, "b", absl::StrCat("leading extents that broadcast with those of ", ShapeString(a)));
  }
  if (!a_vector) out.push_back(a[a.size() - 2]);
  if (!b_vector) out.push_back(b.back());
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferPool(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  const Shape& x = context.inputs[0]->shape;
  TALLY_ASSIGN_OR_RETURN(const Window2d w, PoolWindow(context.node, x));
  Shape out = {w.batch, w.out_channels};
  if (x.size() == 4) out.push_back(w.out_h);
  out.push_back(w.out_w);
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferGlobalPool(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  Shape out = context.inputs[0]->shape;
  if (out.size() < 3) return BadInput(context, 0, "x", "rank 3 or more");
  std::fill(out.begin() + 2, out.end(), 1);
  TALLY_RETURN_IF_ERROR(CheckReduction(context, out));
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferActivation(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferArithmetic(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "a", {DType::kFloat32, DType::kInt64, DType::kInt32}));
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "b", {context.inputs[0]->dtype}));
  Shape out;
  if (!Broadcast(context.inputs[0]->shape, context.inputs[1]->shape, &out)) {
    return BadInput(context, 1, "b", absl::StrCat("one that broadcasts with ", ShapeString(context.inputs[0]->shape)));
  }
  outputs->push_back({context.inputs[0]->dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferSoftmax(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  TALLY_RETURN_IF_ERROR(AxisAttribute(context, "axis", -1, context.inputs[0]->shape.size()).status());
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferBatchNormalization(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  const Shape& x = context.inputs[0]->shape;
  if (x.size() < 2) return BadInput(context, 0, "x", "rank 2 or more");
  static constexpr const char* kNames[] = {"x", "scale", "bias", "mean", "variance"};
  for (size_t i = 1; i < 5; ++i) TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, i, kNames[i], {x[1]}));
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferReduceMean(const InferContext& context, std::vector<TensorType>* outputs) {
  TALLY_RETURN_IF_ERROR(CheckType(context, 0, "x", {DType::kFloat32}));
  const Shape& x = context.inputs[0]->shape;
  std::vector<bool> reduced(x.size(), false);
  bool none_given = true;
  if (context.has(1)) {
    TALLY_ASSIGN_OR_RETURN(reduced, KnownAxes(context, 1, x.size()));
    none_given = std::find(reduced.begin(), reduced.end(), true) == reduced.end();
  }
  if (none_given && IntAttribute(context.node, "noop_with_empty_axes", 0) == 0) reduced.assign(x.size(), true);
  const bool keep = IntAttribute(context.node, "keepdims", 1) != 0;
  Shape out;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!reduced[i]) {
      out.push_back(x[i]);
    } else if (keep) {
      out.push_back(1);
    }
  }
  TALLY_RETURN_IF_ERROR(CheckReduction(context, out));
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

}  // namespace tally
