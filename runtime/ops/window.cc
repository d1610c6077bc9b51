#include "runtime/ops/window.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"
#include "format/limits.h"
#include "runtime/ops/attributes.h"

namespace tally {
namespace {

// One spatial dimension. Every number is at most kMaxExtent (2^31 - 1) once it is read, so that the sums and products
// of two of them below stay far from int64's end.
struct Axis {
  int64_t in = 0;
  int64_t out = 0;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad_begin = 0;
  int64_t pad_end = 0;

  // Distance that one window covers.
  int64_t extent() const { return (kernel - 1) * dilation + 1; }
};

enum class AutoPad { kNotSet, kSameUpper, kSameLower, kValid };

absl::Status Bad(ErrorId id, const Node& node, const std::string& detail) {
  return MakeError(id, absl::StrCat(node.op, ": ", detail));
}

// Copies a list of `count` integers within [low, kMaxExtent]; leaves `values` alone when the attribute is absent.
absl::Status ReadList(const Node& node, const char* name, size_t count, int64_t low, int64_t* values) {
  const Attribute* attribute = FindAttribute(node, name);
  if (attribute == nullptr) return absl::OkStatus();
  if (attribute->ints.size() != count) {
    return Bad(ErrorId::kBadAttribute, node,
               absl::StrCat("attribute ", name, " has ", attribute->ints.size(), " integers, expected ", count));
  }
  for (size_t i = 0; i < count; ++i) {
    const int64_t value = attribute->ints[i];
    if (value < low || value > kMaxExtent) {
      return Bad(ErrorId::kBadAttribute, node,
                 absl::StrCat("attribute ", name, "[", i, "] is ", value, ", expected ", low, " .. ", kMaxExtent));
    }
    values[i] = value;
  }
  return absl::OkStatus();
}

absl::StatusOr<AutoPad> ReadAutoPad(const Node& node) {
  const std::string_view mode = StringAttribute(node, "auto_pad", "NOTSET");
  if (mode == "NOTSET") return AutoPad::kNotSet;
  if (mode == "SAME_UPPER") return AutoPad::kSameUpper;
  if (mode == "SAME_LOWER") return AutoPad::kSameLower;
  if (mode == "VALID") return AutoPad::kValid;
  return Bad(ErrorId::kBadAttribute, node,
             absl::StrCat("attribute auto_pad is ", Quoted(std::string(mode)),
                          ", expected NOTSET, SAME_UPPER, SAME_LOWER or VALID"));
}

// Strides, dilations and pads of `count` axes whose input and kernel extents are set.
absl::Status ReadGeometry(const Node& node, size_t count, Axis* axes, AutoPad* auto_pad) {
  int64_t strides[2] = {1, 1};
  int64_t dilations[2] = {1, 1};
  int64_t pads[4] = {0, 0, 0, 0};
  TALLY_RETURN_IF_ERROR(ReadList(node, "strides", count, 1, strides));
  TALLY_RETURN_IF_ERROR(ReadList(node, "dilations", count, 1, dilations));
  TALLY_RETURN_IF_ERROR(ReadList(node, "pads", 2 * count, 0, pads));
  TALLY_ASSIGN_OR_RETURN(*auto_pad, ReadAutoPad(node));
  if (*auto_pad != AutoPad::kNotSet && std::any_of(pads, pads + 4, [](int64_t p) { return p != 0; })) {
    return Bad(ErrorId::kBadAttribute, node, "attribute pads is not zero, expected none beside auto_pad");
  }
  for (size_t i = 0; i < count; ++i) {
    Axis& axis = axes[i];
    axis.stride = strides[i];
    axis.dilation = dilations[i];
    axis.pad_begin = pads[i];
    axis.pad_end = pads[count + i];
    if (axis.extent() > kMaxExtent) {
      return Bad(ErrorId::kBadAttribute, node,
                 absl::StrCat("attribute dilations[", i, "] is ", axis.dilation, ", which spreads a kernel of ",
                              axis.kernel, " over more than ", kMaxExtent));
    }
  }
  return absl::OkStatus();
}

// SAME: one output per stride, whatever the kernel; what it needs beyond the input is padding on both sides, an odd one
// at the end (UPPER) or at the beginning (LOWER).
void ApplyAutoPad(AutoPad auto_pad, Axis* axis) {
  if (auto_pad != AutoPad::kSameUpper && auto_pad != AutoPad::kSameLower) return;
  if (axis->in == 0) return;
  const int64_t out = (axis->in - 1) / axis->stride + 1;
  const int64_t total = std::max<int64_t>(0, (out - 1) * axis->stride + axis->extent() - axis->in);
  axis->pad_begin = auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
  axis->pad_end = total - axis->pad_begin;
}

// Sets axis->out. Windows lie wholly within the padded input; with ceil_mode the last one may hang over its end, unless
// it would begin in the padding at the end.
absl::Status CountWindows(const Node& node, bool ceil_mode, Axis* axis) {
  const int64_t padded = axis->in + axis->pad_begin + axis->pad_end;
  if (padded > kMaxExtent) {
    return Bad(ErrorId::kBadAttribute, node,
               absl::StrCat("padded extent ", padded, " exceeds ", kMaxExtent, ", attribute pads is too large"));
  }
  const int64_t room = padded - axis->extent();
  if (room >= 0) {
    axis->out = (ceil_mode ? room + axis->stride - 1 : room) / axis->stride + 1;
  } else {
    // A lone window that hangs over the end. It must not hang over by a whole stride.
    axis->out = ceil_mode && room + axis->stride - 1 >= 0 ? 1 : 0;
  }
  if (ceil_mode && axis->out > 0 && (axis->out - 1) * axis->stride >= axis->in + axis->pad_begin) --axis->out;
  if (axis->out == 0 && axis->in > 0) {
    return Bad(ErrorId::kBadNodeInputs, node,
               absl::StrCat("padded extent ", padded, " is smaller than the kernel's ", axis->extent()));
  }
  return absl::OkStatus();
}

// [N, C, spatial...] with one or two spatial dimensions.
absl::Status CheckInput(const Node& node, const Shape& input) {
  int64_t elements = 0;
  if (input.size() < 3 || input.size() > 4) {
    return Bad(ErrorId::kBadNodeInputs, node,
               absl::StrCat("input 0 has shape ", ShapeString(input), ", expected rank 3 or 4"));
  }
  if (!CheckedElements(input, &elements) || *std::max_element(input.begin(), input.end()) > kMaxExtent) {
    return Bad(ErrorId::kBadShape, node, absl::StrCat("input 0 has the impossible shape ", ShapeString(input)));
  }
  return absl::OkStatus();
}

Window2d MakeWindow(const Shape& input, size_t count, const Axis* axes) {
  Window2d w;
  w.batch = input[0];
  w.in_channels = input[1];
  const Axis x = axes[count - 1];
  Axis y;
  y.in = y.out = 1;
  if (count == 2) y = axes[0];
  w.in_h = y.in, w.in_w = x.in;
  w.out_h = y.out, w.out_w = x.out;
  w.kernel_h = y.kernel, w.kernel_w = x.kernel;
  w.stride_h = y.stride, w.stride_w = x.stride;
  w.dilation_h = y.dilation, w.dilation_w = x.dilation;
  w.pad_top = y.pad_begin, w.pad_left = x.pad_begin;
  w.pad_bottom = y.pad_end, w.pad_right = x.pad_end;
  return w;
}

}  // namespace

absl::StatusOr<Window2d> ConvWindow(const Node& node, const Shape& input, const Shape& weight) {
  TALLY_RETURN_IF_ERROR(CheckInput(node, input));
  if (weight.size() != input.size()) {
    return Bad(ErrorId::kBadNodeInputs, node,
               absl::StrCat("weight has shape ", ShapeString(weight), ", expected rank ", input.size()));
  }
  int64_t elements = 0;
  if (!CheckedElements(weight, &elements) || *std::max_element(weight.begin(), weight.end()) > kMaxExtent) {
    return Bad(ErrorId::kBadShape, node, absl::StrCat("weight has the impossible shape ", ShapeString(weight)));
  }
  int64_t group = 1;
  TALLY_RETURN_IF_ERROR(ReadList(node, "group", 1, 1, &group));
  if (input[1] % group != 0 || weight[0] % group != 0) {
    return Bad(ErrorId::kBadAttribute, node,
               absl::StrCat("attribute group is ", group, ", expected a divisor of ", input[1], " input and ",
                            weight[0], " output channels"));
  }
  if (weight[1] != input[1] / group) {
    return Bad(ErrorId::kBadNodeInputs, node,
               absl::StrCat("weight has shape ", ShapeString(weight), ", expected ", input[1] / group,
                            " input channels in dimension 1"));
  }
  const size_t count = input.size() - 2;
  Axis axes[2];
  for (size_t i = 0; i < count; ++i) {
    axes[i].in = input[2 + i];
    axes[i].kernel = weight[2 + i];
    if (axes[i].kernel < 1) {
      return Bad(ErrorId::kBadNodeInputs, node,
                 absl::StrCat("weight has shape ", ShapeString(weight), ", expected a kernel of at least 1"));
    }
  }
  AutoPad auto_pad = AutoPad::kNotSet;
  TALLY_RETURN_IF_ERROR(ReadGeometry(node, count, axes, &auto_pad));
  for (size_t i = 0; i < count; ++i) {
    ApplyAutoPad(auto_pad, &axes[i]);
    TALLY_RETURN_IF_ERROR(CountWindows(node, /*ceil_mode=*/false, &axes[i]));
  }
  Window2d window = MakeWindow(input, count, axes);
  window.out_channels = weight[0];
  window.group = group;
  return window;
}

absl::StatusOr<Window2d> PoolWindow(const Node& node, const Shape& input) {
  TALLY_RETURN_IF_ERROR(CheckInput(node, input));
  const size_t count = input.size() - 2;
  int64_t kernel[2] = {0, 0};
  TALLY_RETURN_IF_ERROR(ReadList(node, "kernel_shape", count, 1, kernel));
  if (kernel[0] == 0) return Bad(ErrorId::kBadAttribute, node, "attribute kernel_shape is missing");
  Axis axes[2];
  for (size_t i = 0; i < count; ++i) {
    axes[i].in = input[2 + i];
    axes[i].kernel = kernel[i];
  }
  AutoPad auto_pad = AutoPad::kNotSet;
  TALLY_RETURN_IF_ERROR(ReadGeometry(node, count, axes, &auto_pad));
  const bool ceil_mode = IntAttribute(node, "ceil_mode", 0) != 0;
  for (size_t i = 0; i < count; ++i) {
    Axis& axis = axes[i];
    ApplyAutoPad(auto_pad, &axis);
    // With more padding a window could lie in it alone, and have no maximum or average.
    if (std::max(axis.pad_begin, axis.pad_end) >= axis.extent()) {
      return Bad(ErrorId::kBadAttribute, node,
                 absl::StrCat("attribute pads has ", std::max(axis.pad_begin, axis.pad_end),
                              ", expected less than the kernel's extent of ", axis.extent()));
    }
    TALLY_RETURN_IF_ERROR(CountWindows(node, ceil_mode, &axis));
    if (axis.in == 0 && axis.out > 0) {
      return Bad(ErrorId::kBadNodeInputs, node,
                 absl::StrCat("input 0 has shape ", ShapeString(input), ", expected something to pool in each window"));
    }
  }
  Window2d window = MakeWindow(input, count, axes);
  window.out_channels = input[1];
  return window;
}

}  // namespace tally
