#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/infer.h"
#include "runtime/ops/pad.h"
#include "runtime/ops/slice.h"

namespace tally {

absl::Status InferConcat(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  if (FindAttribute(context.node, "axis") == nullptr) return BadAttribute(context, "axis", "is missing");
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", 0, out.shape.size()));
  for (size_t i = 1; i < context.inputs.size(); ++i) {
    TALLY_RETURN_IF_ERROR(CheckType(context, i, "x", {out.dtype}));
    const Shape& shape = context.inputs[i]->shape;
    Shape other = shape;
    if (other.size() == out.shape.size()) other[axis] = out.shape[axis];
    if (other != out.shape)
      return BadInput(context, i, "x", absl::StrCat(ShapeString(out.shape), " outside axis ", axis));
    if (!CheckedAdd(out.shape[axis], shape[axis], &out.shape[axis])) {
      return BadInput(context, i, "x", "a sum of extents that fits");
    }
  }
  outputs->push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status InferSplit(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", 0, x.shape.size()));
  absl::Span<const int64_t> sizes = IntsAttribute(context.node, "split");
  const auto bad = [&](const std::string& problem) {
    if (!context.has(1)) return BadAttribute(context, "split", problem);
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Split: input 1 (sizes) ", problem));
  };
  if (context.has(1)) {
    if (FindAttribute(context.node, "split") != nullptr) return bad("is given beside attribute split");
    TALLY_ASSIGN_OR_RETURN(sizes, KnownInts(context, 1, "sizes"));
  }
  if (sizes.size() != context.node.outputs.size()) {
    return bad(
        absl::StrCat("has ", sizes.size(), " integers, expected ", context.node.outputs.size(), ", one per output"));
  }
  int64_t sum = 0;
  for (int64_t size : sizes) {
    if (size < 0 || !CheckedAdd(sum, size, &sum)) {
      return bad(absl::StrCat("holds ", size, ", expected sizes of 0 or more that add up to ", x.shape[axis]));
    }
    outputs->push_back(x);
    outputs->back().shape[axis] = size;
  }
  if (sum != x.shape[axis]) return bad(absl::StrCat("adds up to ", sum, ", expected ", x.shape[axis]));
  return absl::OkStatus();
}

absl::Status InferSlice(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  absl::Span<const int64_t> starts, ends, axes, steps;
  TALLY_ASSIGN_OR_RETURN(starts, KnownInts(context, 1, "starts"));
  TALLY_ASSIGN_OR_RETURN(ends, KnownInts(context, 2, "ends"));
  if (context.has(3)) {
    TALLY_ASSIGN_OR_RETURN(axes, KnownInts(context, 3, "axes"));
  }
  if (context.has(4)) {
    TALLY_ASSIGN_OR_RETURN(steps, KnownInts(context, 4, "steps"));
  }
  SliceRanges ranges;
  TALLY_RETURN_IF_ERROR(ResolveSlice(out.shape, starts, ends, axes, steps, &ranges));
  for (size_t i = 0; i < out.shape.size(); ++i) out.shape[i] = ranges[i].count;
  outputs->push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status InferPad(const InferContext& context, std::vector<TensorType>* outputs) {
  TensorType out = *context.inputs[0];
  TALLY_ASSIGN_OR_RETURN(const PadMode mode, ReadPadMode(context.node));
  TALLY_ASSIGN_OR_RETURN(const absl::Span<const int64_t> pads, KnownInts(context, 1, "pads"));
  if (context.has(2)) {
    TALLY_RETURN_IF_ERROR(CheckType(context, 2, "value", {out.dtype}));
    if (context.inputs[2]->elements() != 1) return BadInput(context, 2, "value", "one element");
  }
  PadRanges ranges;
  TALLY_RETURN_IF_ERROR(ResolvePad(out.shape, pads, mode, &ranges));
  for (size_t i = 0; i < out.shape.size(); ++i) out.shape[i] = ranges[i].count();
  outputs->push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status InferReshape(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  TALLY_ASSIGN_OR_RETURN(const absl::Span<const int64_t> wanted, KnownInts(context, 1, "shape"));
  if (wanted.size() > kMaxRank) {
    return BadInput(context, 1, "shape", absl::StrCat(kMaxRank, " extents or less"));
  }
  const bool allow_zero = IntAttribute(context.node, "allowzero", 0) != 0;
  const std::string rule = "extents that hold as many elements as x, one of them perhaps -1";
  const auto bad = [&](int64_t extent) {
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Reshape: input 1 (shape) has ", extent, ", expected ", rule,
                                                           " (x is ", ShapeString(x.shape), ")"));
  };
  Shape out(wanted.begin(), wanted.end());
  // Copied dimensions are left out of the products, so that a -1 has a value even when one of them is 0 (an empty
  // batch).
  std::vector<bool> copied(x.shape.size(), false);
  int64_t known = 1;
  bool zero = false;
  int inferred = -1;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && !allow_zero) {
      if (i >= x.shape.size()) return bad(0);
      out[i] = x.shape[i];
      copied[i] = true;
    } else if (out[i] == -1) {
      if (inferred >= 0) return bad(-1);
      inferred = static_cast<int>(i);
    } else if (out[i] < 0) {
      return bad(out[i]);
    } else if (out[i] == 0) {
      zero = true;
    } else if (!CheckedMul(known, out[i], &known)) {
      return bad(out[i]);
    }
  }
  if (zero) known = 0;
  int64_t rest = 1;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    if (!copied[i]) rest *= x.shape[i];
  }
  if (inferred >= 0) {
    if (known == 0 || rest % known != 0) return bad(-1);
    out[static_cast<size_t>(inferred)] = rest / known;
  }
  int64_t elements = 0;
  if (!CheckedElements(out, &elements) || elements != x.elements()) {
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Reshape: input 1 (shape) gives ", ShapeString(out),
                                                           ", expected ", rule, " (x is ", ShapeString(x.shape), ")"));
  }
  outputs->push_back({x.dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferFlatten(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  const int64_t rank = static_cast<int64_t>(x.shape.size());
  int64_t axis = IntAttribute(context.node, "axis", 1);
  // Unlike other axes this one separates dimensions, so that it may also lie behind the last.
  if (axis < -rank || axis > rank) {
    return BadAttribute(context, "axis", absl::StrCat("is ", axis, ", expected ", -rank, " .. ", rank));
  }
  if (axis < 0) axis += rank;
  const size_t split = static_cast<size_t>(axis);
  outputs->push_back({x.dtype, {Product(x.shape, 0, split), Product(x.shape, split, x.shape.size())}});
  return absl::OkStatus();
}

absl::Status InferSqueeze(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  std::vector<bool> removed(x.shape.size());
  if (context.has(1)) {
    TALLY_ASSIGN_OR_RETURN(removed, KnownAxes(context, 1, x.shape.size()));
  } else {
    for (size_t i = 0; i < x.shape.size(); ++i) removed[i] = x.shape[i] == 1;
  }
  Shape out;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    if (!removed[i]) {
      out.push_back(x.shape[i]);
    } else if (x.shape[i] != 1) {
      return BadInput(context, 0, "x", absl::StrCat("an extent of 1 in dimension ", i));
    }
  }
  outputs->push_back({x.dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferUnsqueeze(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  TALLY_RETURN_IF_ERROR(KnownInts(context, 1, "axes").status());
  const size_t rank = x.shape.size() + static_cast<size_t>(context.inputs[1]->shape[0]);
  if (rank > kMaxRank) return BadInput(context, 1, "axes", absl::StrCat("an output of rank ", kMaxRank, " or less"));
  TALLY_ASSIGN_OR_RETURN(const std::vector<bool> inserted, KnownAxes(context, 1, rank));
  Shape out;
  auto next = x.shape.begin();
  for (size_t i = 0; i < rank; ++i) out.push_back(inserted[i] ? 1 : *next++);
  outputs->push_back({x.dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferTranspose(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  const size_t rank = x.shape.size();
  TensorType out{x.dtype, Shape(x.shape.rbegin(), x.shape.rend())};
  if (const Attribute* perm = FindAttribute(context.node, "perm"); perm != nullptr) {
    std::vector<bool> used(rank, false);
    if (perm->ints.size() != rank) {
      return BadAttribute(context, "perm", absl::StrCat("has ", perm->ints.size(), " integers, expected ", rank));
    }
    for (size_t i = 0; i < rank; ++i) {
      const int64_t axis = perm->ints[i];
      if (axis < 0 || axis >= static_cast<int64_t>(rank) || used[static_cast<size_t>(axis)]) {
        return BadAttribute(context, "perm", absl::StrCat("has ", axis, ", expected a permutation of 0 .. rank - 1"));
      }
      used[static_cast<size_t>(axis)] = true;
      out.shape[i] = x.shape[static_cast<size_t>(axis)];
    }
  }
  outputs->push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status InferGather(const InferContext& context, std::vector<TensorType>* outputs) {
  const TensorType& x = *context.inputs[0];
  TALLY_RETURN_IF_ERROR(CheckType(context, 1, "indices", {DType::kInt64, DType::kInt32}));
  TALLY_ASSIGN_OR_RETURN(const size_t axis, AxisAttribute(context, "axis", 0, x.shape.size()));
  const Shape& indices = context.inputs[1]->shape;
  const auto at = x.shape.begin() + static_cast<std::ptrdiff_t>(axis);
  Shape out(x.shape.begin(), at);
  out.insert(out.end(), indices.begin(), indices.end());
  out.insert(out.end(), at + 1, x.shape.end());
  outputs->push_back({x.dtype, std::move(out)});
  return absl::OkStatus();
}

absl::Status InferShape(const InferContext& context, std::vector<TensorType>* outputs) {
  const int64_t rank = static_cast<int64_t>(context.inputs[0]->shape.size());
  const auto clamp = [rank](int64_t i) { return std::min(std::max<int64_t>(i < 0 ? i + rank : i, 0), rank); };
  const int64_t start = clamp(IntAttribute(context.node, "start", 0));
  const int64_t end = clamp(IntAttribute(context.node, "end", rank));
  outputs->push_back({DType::kInt64, {std::max<int64_t>(0, end - start)}});
  return absl::OkStatus();
}

absl::Status InferCast(const InferContext& context, std::vector<TensorType>* outputs) {
  const Attribute* to = FindAttribute(context.node, "to");
  if (to == nullptr) return BadAttribute(context, "to", "is missing");
  for (int i = 0; i < kNumDTypes; ++i) {
    const DType dtype = static_cast<DType>(i);
    if (to->string != DTypeName(dtype)) continue;
    const std::string_view precision = StringAttribute(context.node, "precision", "");
    if (!precision.empty() && (dtype != DType::kFloat32 || precision != "float16")) {
      return BadAttribute(context, "precision", "is not float16 of a cast to float32");
    }
    outputs->push_back({dtype, context.inputs[0]->shape});
    return absl::OkStatus();
  }
  return BadAttribute(context, "to", absl::StrCat("is ", Quoted(to->string), ", expected an element type"));
}

}  // namespace tally
