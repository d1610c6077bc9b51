#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/infer.h"
#include "runtime/ops/resize.h"
#include "runtime/ops/window.h"

namespace tally {
namespace {

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
  if (!BroadcastShapes(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2), &out)) {
    return BadInput(context, 1, "b", absl::StrCat("leading extents that broadcast with those of ", ShapeString(a)));
  }
  if (!a_vector) out.push_back(a[a.size() - 2]);
  if (!b_vector) out.push_back(b.back());
  outputs->push_back({DType::kFloat32, std::move(out)});
  return absl::OkStatus();
}

// RNN, GRU, LSTM: x (the gates) [T,B,G*H], weight [G*H,H], [sequence_lens int32 [B]], [initial_h [B,H]], then of LSTM
// [initial_c [B,H]], [peephole [3H]], of GRU [bias [H]].
absl::Status InferRecurrent(const InferContext& context, std::vector<TensorType>* outputs) {
  const bool lstm = context.node.op == "LSTM";
  const int64_t gates = lstm ? 4 : context.node.op == "GRU" ? 3 : 1;
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "weight", {DType::kFloat32}));
  const Shape& x = context.inputs[0]->shape;
  const Shape& weight = context.inputs[1]->shape;
  if (weight.size() != 2 || weight[1] > kMaxExtent / gates || weight[0] != gates * weight[1]) {
    return BadInput(context, 1, "weight", absl::StrCat("rank 2, ", gates, " times as many rows as columns"));
  }
  if (x.size() != 3 || x[2] != weight[0])
    return BadInput(context, 0, "x", absl::StrCat("rank 3, ", weight[0], " last"));
  const Shape state = {x[1], weight[1]};
  if (context.has(2)) {
    TALLY_RETURN_IF_ERROR(CheckType(context, 2, "sequence_lens", {DType::kInt32}));
    if (context.inputs[2]->shape != Shape{x[1]}) return BadInput(context, 2, "sequence_lens", "one length per batch");
  }
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 3, "initial_h", state));
  if (lstm) {
    TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 4, "initial_c", state));
    TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 5, "peephole", {3 * weight[1]}));
  } else {
    TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 4, "bias", {weight[1]}));
  }
  outputs->push_back({DType::kFloat32, {x[0], x[1], weight[1]}});
  outputs->resize(lstm ? 3 : 2, {DType::kFloat32, state});
  return absl::OkStatus();
}

absl::Status InferResize(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  struct Choice {
    const char* name;
    std::initializer_list<std::string_view> values;
  };
  const Choice choices[] = {
      {"mode", {"nearest", "linear", "cubic"}},
      {"coordinate_transformation_mode",
       {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_half_pixel_for_nn"}},
      {"nearest_mode", {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
  };
  for (const Choice& choice : choices) {
    const std::string_view value = StringAttribute(context.node, choice.name, *choice.values.begin());
    if (std::find(choice.values.begin(), choice.values.end(), value) == choice.values.end()) {
      return BadAttribute(context, choice.name, absl::StrCat("is ", Quoted(std::string(value)), ", which is unknown"));
    }
  }
  absl::Span<const float> scales;
  absl::Span<const int64_t> sizes;
  if (context.has(1)) {
    TALLY_ASSIGN_OR_RETURN(scales, KnownFloats(context, 1, "scales"));
  }
  if (context.has(2)) {
    TALLY_ASSIGN_OR_RETURN(sizes, KnownInts(context, 2, "sizes"));
  }
  ResizeAxes axes;
  TALLY_RETURN_IF_ERROR(ResolveResize(out.shape, scales, sizes, &axes));
  for (size_t i = 0; i < out.shape.size(); ++i) out.shape[i] = axes[i].out;
  outputs->push_back(std::move(out));
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

absl::Status InferReduce(const InferContext& context, std::vector<TensorType>* outputs) {
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
  // A sum or product of nothing has a value.
  if (context.node.op != "ReduceSum" && context.node.op != "ReduceProd") {
    TALLY_RETURN_IF_ERROR(CheckReduction(context, out));
  }
  outputs->push_back({context.inputs[0]->dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferLayerNormalization(const InferContext& context, std::vector<TensorType>* outputs) {
  const Shape& x = context.inputs[0]->shape;
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", -1, x.size()));
  const Shape normalized(x.begin() + static_cast<std::ptrdiff_t>(axis), x.end());
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 1, "scale", normalized));
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 2, "bias", normalized));
  Shape reduced = x;
  std::fill(reduced.begin() + static_cast<std::ptrdiff_t>(axis), reduced.end(), 1);
  TALLY_RETURN_IF_ERROR(CheckReduction(context, reduced));
  outputs->push_back(*context.inputs[0]);
  while (outputs->size() < context.node.outputs.size()) outputs->push_back({DType::kFloat32, reduced});
  return absl::OkStatus();
}

absl::Status InferChannelNormalization(const InferContext& context, std::vector<TensorType>* outputs) {
  const Shape& x = context.inputs[0]->shape;
  if (x.size() < 2) return BadInput(context, 0, "x", "rank 2 or more");
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 1, "scale", {x[1]}));
  TALLY_RETURN_IF_ERROR(CheckOptionalFloats(context, 2, "bias", {x[1]}));
  if (context.node.op == "GroupNormalization") {
    const int64_t groups = IntAttribute(context.node, "num_groups", 0);
    if (groups < 1 || x[1] % groups != 0) {
      return BadAttribute(context, "num_groups", absl::StrCat("is ", groups, ", expected a divisor of ", x[1]));
    }
  }
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

absl::Status InferLRN(const InferContext& context, std::vector<TensorType>* outputs) {
  if (context.inputs[0]->shape.size() < 2) return BadInput(context, 0, "x", "rank 2 or more");
  const int64_t size = IntAttribute(context.node, "size", 0);
  if (size < 1 || size > kMaxExtent) {
    return BadAttribute(context, "size", absl::StrCat("is ", size, ", expected 1 .. ", kMaxExtent));
  }
  outputs->push_back(*context.inputs[0]);
  return absl::OkStatus();
}

}  // namespace tally
