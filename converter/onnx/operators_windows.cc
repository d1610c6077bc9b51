// Convolutions, pools and resizing. Our windows have one or two spatial axes; the rest is made of those:
//
// - a 3-D convolution is a 2-D one whose input channels are the slices of depth that a window reaches, stacked;
// - a 3-D pool is a pool over rows and columns, then one over depth (an average over a box is the average of its
//   slices' averages, padding counted or not);
// - a transposed convolution spreads its input, zeros in between, and convolves it with the turned weight.
//
// So all of them run, quantized or not, wherever a convolution does.
#include <limits>
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

struct Window {
  std::vector<int64_t> strides, dilations;  // one per spatial axis
  std::vector<int64_t> pads;                // those at the beginnings, then those at the ends
  int64_t group = 1;
};

// The attributes, ones and zeros where there are none. False after Fail().
bool ReadWindow(NodeImport& n, size_t axes, Window* window) {
  const auto read = [&](const char* name, size_t count, int64_t absent) {
    std::vector<int64_t> values = n.Ints(name);
    if (!n.Has(name)) values.assign(count, absent);
    if (values.size() != count) n.Fail(std::string(name) + ": expected " + std::to_string(count) + " values");
    return values;
  };
  window->strides = read("strides", axes, 1);
  window->dilations = read("dilations", axes, 1);
  window->pads = read("pads", 2 * axes, 0);
  window->group = n.Int("group", 1);
  for (int64_t v : window->strides) {
    if (v < 1 || v > kMaxExtent) n.Fail("strides: expected values of 1 or more");
  }
  for (int64_t v : window->dilations) {
    if (v < 1 || v > kMaxExtent) n.Fail("dilations: expected values of 1 or more");
  }
  for (int64_t v : window->pads) {
    if (v < -kMaxExtent || v > kMaxExtent) n.Fail("pads: too large");
  }
  return n.ok();
}

int Transpose(NodeImport& n, int x, std::vector<int64_t> perm) {
  Node node = n.MakeNode("Transpose", {x});
  node.SetInts("perm", std::move(perm));
  return n.EmitPart(std::move(node), "transposed");
}

int Concat(NodeImport& n, std::vector<int> inputs, int64_t axis) {
  Node node = n.MakeNode("Concat", std::move(inputs));
  node.SetInts("axis", {axis});
  return n.EmitPart(std::move(node), "concat");
}

// Extents first .. last - 1 of x, as a value.
int Extents(NodeImport& n, int x, int64_t first, int64_t last = kEnd) {
  Node node = n.MakeNode("Shape", {x});
  node.SetInts("start", {first});
  if (last != kEnd) node.SetInts("end", {last});
  return n.EmitPart(std::move(node), "extents");
}

// Reshape to the extents of the parts, in order.
Node ReshapeTo(NodeImport& n, int x, std::vector<int> parts) {
  return n.MakeNode("Reshape", {x, Concat(n, std::move(parts), 0)});
}

int PadSpatially(NodeImport& n, int x, const std::vector<int64_t>& pads) {
  const size_t axes = pads.size() / 2;
  std::vector<int64_t> all(2 * (axes + 2), 0);
  for (size_t i = 0; i < axes; ++i) {
    all[2 + i] = pads[i];
    all[axes + 4 + i] = pads[axes + i];
  }
  return n.Part("Pad", {x, n.AddInts("pads", all)});
}

// A convolution of x `[N,C,D,H,W]` by a weight of these extents `[O,C/group,kd,kh,kw]`.
void EmitVolumeConv(NodeImport& n, int x, int weight, int bias, const Shape& shape, const Window& w) {
  const int64_t taps = shape[2];
  if (taps < 1 || taps > 64) return n.Unsupported("a kernel of depth " + std::to_string(taps) + " (1 to 64)");
  if (w.pads[0] != 0 || w.pads[3] != 0) x = PadSpatially(n, x, {w.pads[0], 0, 0, w.pads[3], 0, 0});
  const int depth_axis = n.AddInts("depth", {2});
  std::vector<int> slices;
  for (int64_t t = 0; t < taps; ++t) {
    // From the end, so that every tap gives as many slices, whatever the depth.
    const int64_t behind = (taps - 1 - t) * w.dilations[0];
    const int slice =
        n.Part("Slice", {x, n.AddInts("start", {t * w.dilations[0]}), n.AddInts("end", {behind == 0 ? kEnd : -behind}),
                         depth_axis, n.AddInts("step", {w.strides[0]})});
    slices.push_back(n.Part("Unsqueeze", {slice, depth_axis}));
  }
  // [N, C, taps, D', H, W] -> [N D', C taps, H, W]
  const int stacked = Transpose(n, Concat(n, std::move(slices), 2), {0, 3, 1, 2, 4, 5});
  const int64_t channels = shape[1] * w.group * taps;
  const int images =
      n.EmitPart(ReshapeTo(n, stacked, {n.AddInts("images", {-1, channels}), Extents(n, x, 3)}), "images");
  const int flat = n.Part("Reshape", {weight, n.AddInts("flat", {shape[0], shape[1] * taps, shape[3], shape[4]})});
  Node conv = n.MakeNode("Conv", {images, flat, bias});
  conv.SetInts("strides", {w.strides[1], w.strides[2]});
  conv.SetInts("dilations", {w.dilations[1], w.dilations[2]});
  conv.SetInts("pads", {w.pads[1], w.pads[2], w.pads[4], w.pads[5]});
  conv.SetInts("group", {w.group});
  const int y = n.EmitPart(std::move(conv), "planes");
  const int volume =
      n.EmitPart(ReshapeTo(n, y, {Extents(n, x, 0, 1), n.AddInts("depth", {-1}), Extents(n, y, 1)}), "volume");
  Node back = n.MakeNode("Transpose", {volume});
  back.SetInts("perm", {0, 2, 1, 3, 4});
  n.Emit(std::move(back));
}

// Extents of the weight; kernel_shape must agree. Empty after Fail() or Unsupported().
Shape WeightShape(NodeImport& n) {
  const TensorType* weight = n.input_type(1);
  const std::vector<int64_t> kernel = n.Ints("kernel_shape");
  if (weight == nullptr) {
    n.Unsupported("a weight of unknown extents");
    return {};
  }
  const size_t rank = weight->shape.size();
  if (rank < 3) {
    n.Fail("weight: expected rank 3 or more, found " + ShapeString(weight->shape));
    return {};
  }
  if (rank > 5) {
    n.Unsupported(std::to_string(rank - 2) + "-D (supported: 1-D to 3-D)");
    return {};
  }
  if (!kernel.empty() && Shape(weight->shape.begin() + 2, weight->shape.end()) != kernel) {
    n.Fail("kernel_shape: expected the weight's " + ShapeString(weight->shape) + " without its first two, found " +
           ShapeString(kernel));
    return {};
  }
  return weight->shape;
}

void ImportPool(NodeImport& n, Node node) {
  const std::vector<int64_t> kernel = n.Ints("kernel_shape");
  if (kernel.empty()) return n.Fail("attribute kernel_shape is missing");
  if (kernel.size() > 3) return n.Unsupported(std::to_string(kernel.size()) + "-D (supported: 1-D to 3-D)");
  if (kernel.size() < 3) {
    node.SetInts("kernel_shape", kernel);
    n.CopyAttributes(&node);
    return n.Emit(std::move(node));
  }
  if (n.String("auto_pad", "NOTSET") != "NOTSET") return n.Unsupported("auto_pad of a 3-D pool");
  Window w;
  if (!ReadWindow(n, 3, &w)) return;
  n.CopyAttributes(&node);
  const bool dilated = node.op == "MaxPool";
  const int x = n.input(0);
  // [N, C D, H, W], then [N, C, D, H' W'].
  node.inputs = {n.EmitPart(ReshapeTo(n, x, {n.AddInts("planes", {0, -1}), Extents(n, x, 3)}), "planes")};
  node.SetInts("kernel_shape", {kernel[1], kernel[2]});
  node.SetInts("strides", {w.strides[1], w.strides[2]});
  node.SetInts("pads", {w.pads[1], w.pads[2], w.pads[4], w.pads[5]});
  if (dilated) node.SetInts("dilations", {w.dilations[1], w.dilations[2]});
  Node depth = node;
  const int planes = n.EmitPart(std::move(node), "pooled");
  depth.inputs = {n.EmitPart(ReshapeTo(n, planes, {Extents(n, x, 0, 3), n.AddInts("flat", {-1})}), "columns")};
  depth.SetInts("kernel_shape", {kernel[0], 1});
  depth.SetInts("strides", {w.strides[0], 1});
  depth.SetInts("pads", {w.pads[0], 0, w.pads[3], 0});
  if (dilated) depth.SetInts("dilations", {w.dilations[0], 1});
  const int columns = n.EmitPart(std::move(depth), "pooled");
  n.Emit(ReshapeTo(n, columns, {n.AddInts("kept", {0, 0, 0}), Extents(n, planes, 2)}));
}

// x with strides - 1 zeros behind every element of each spatial axis.
int Spread(NodeImport& n, int x, const std::vector<int64_t>& strides) {
  for (size_t i = 0; i < strides.size(); ++i) {
    if (strides[i] == 1) continue;
    const int64_t axis = static_cast<int64_t>(i) + 2;
    const int apart = n.Part("Unsqueeze", {x, n.AddInts("axis", {axis + 1})});
    std::vector<int64_t> pads(2 * (strides.size() + 3), 0);
    pads[strides.size() + 3 + i + 3] = strides[i] - 1;
    const int padded = n.Part("Pad", {apart, n.AddInts("pads", pads)});
    std::vector<int> parts = {Extents(n, x, 0, axis), n.AddInts("rest", {-1})};
    if (i + 1 < strides.size()) parts.push_back(Extents(n, x, axis + 1));
    x = n.EmitPart(ReshapeTo(n, padded, std::move(parts)), "spread");
  }
  return x;
}

// `[C, M/group, k...]` -> `[M, C/group, k...]` with the taps of every axis in reverse order.
int TurnWeight(NodeImport& n, int weight, const Shape& shape, int64_t group) {
  std::vector<int64_t> perm = {1, 0};
  for (size_t i = 2; i < shape.size(); ++i) perm.push_back(static_cast<int64_t>(i));
  if (group == 1) {
    weight = Transpose(n, weight, perm);
  } else {
    std::vector<int64_t> split = {group, shape[0] / group};
    split.insert(split.end(), shape.begin() + 1, shape.end());
    std::vector<int64_t> swapped = {0, 2, 1};
    for (size_t i = 3; i < split.size(); ++i) swapped.push_back(static_cast<int64_t>(i));
    std::vector<int64_t> merged = {shape[1] * group, shape[0] / group};
    merged.insert(merged.end(), shape.begin() + 2, shape.end());
    weight = Transpose(n, n.Part("Reshape", {weight, n.AddInts("groups", split)}), swapped);
    weight = n.Part("Reshape", {weight, n.AddInts("merged", merged)});
  }
  const size_t axes = shape.size() - 2;
  std::vector<int64_t> spatial;
  for (size_t i = 0; i < axes; ++i) spatial.push_back(static_cast<int64_t>(i) + 2);
  return n.Part("Slice", {weight, n.AddInts("last", std::vector<int64_t>(axes, -1)),
                          n.AddInts("first", std::vector<int64_t>(axes, std::numeric_limits<int64_t>::min())),
                          n.AddInts("axes", spatial), n.AddInts("backwards", std::vector<int64_t>(axes, -1))});
}

// The pads of a transposed convolution that is told its output's extents.
bool PadsOfOutputShape(NodeImport& n, const Shape& weight, const std::string& auto_pad,
                       const std::vector<int64_t>& output_padding, Window* w) {
  const std::vector<int64_t> wanted = n.Ints("output_shape");
  const size_t axes = w->strides.size();
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  if (auto_pad == "VALID") w->pads.assign(2 * axes, 0);
  if (wanted.empty() && !same) return true;
  // Some exporters list batch and channels, too.
  if (!wanted.empty() && wanted.size() != axes && wanted.size() != axes + 2) {
    n.Fail("output_shape: expected one extent per spatial axis");
    return false;
  }
  for (size_t i = 0; i < axes; ++i) {
    const int64_t in = n.FixedExtent(static_cast<int64_t>(i) + 2);
    if (in < 0) return false;
    const int64_t out = wanted.empty() ? in * w->strides[i] : wanted[wanted.size() - axes + i];
    const int64_t reach = (weight[2 + i] - 1) * w->dilations[i] + 1;
    const int64_t total = w->strides[i] * (in - 1) + output_padding[i] + reach - out;
    const int64_t half = total / 2;
    // What is missing is added at the end.
    w->pads[i] = total < 0 ? 0 : auto_pad == "SAME_UPPER" ? half : total - half;
    w->pads[axes + i] = total - w->pads[i];
  }
  return true;
}

}  // namespace

void ImportConv(NodeImport& n) {
  const TensorType* weight = n.input_type(1);
  if (weight != nullptr && weight->shape.size() == 5) {
    const Shape shape = WeightShape(n);
    if (n.String("auto_pad", "NOTSET") != "NOTSET") return n.Unsupported("auto_pad of a 3-D convolution");
    Window w;
    if (shape.empty() || !ReadWindow(n, 3, &w)) return;
    return EmitVolumeConv(n, n.input(0), n.input(1), n.input(2), shape, w);
  }
  const std::vector<int64_t> kernel = n.Ints("kernel_shape");
  if (weight != nullptr && WeightShape(n).empty()) return;
  if (weight == nullptr && kernel.size() > 2) return n.Unsupported("a 3-D weight of unknown extents");
  Node node = n.MakeNode("Conv", {n.input(0), n.input(1), n.input(2)});
  n.CopyAttributes(&node);
  n.Emit(std::move(node));
}

void ImportConvTranspose(NodeImport& n) {
  const Shape weight = WeightShape(n);
  if (weight.empty()) return;
  const size_t axes = weight.size() - 2;
  Window w;
  if (!ReadWindow(n, axes, &w)) return;
  if (w.group < 1 || weight[0] % w.group != 0) return n.Fail("group: expected a divisor of the channels");
  std::vector<int64_t> output_padding = n.Ints("output_padding");
  if (output_padding.empty()) output_padding.assign(axes, 0);
  if (output_padding.size() != axes) return n.Fail("output_padding: expected one value per spatial axis");
  if (!PadsOfOutputShape(n, weight, n.String("auto_pad", "NOTSET"), output_padding, &w)) return;
  bool negative = false;
  std::vector<int64_t> pads(2 * axes);
  for (size_t i = 0; i < axes; ++i) {
    const int64_t reach = (weight[2 + i] - 1) * w.dilations[i];
    if (reach > kMaxExtent || output_padding[i] < 0 || output_padding[i] > kMaxExtent) return n.Fail("too large");
    pads[i] = reach - w.pads[i];
    // The zeros behind the last element are padding already.
    pads[axes + i] = reach - w.pads[axes + i] + output_padding[i] - (w.strides[i] - 1);
    negative = negative || pads[i] < 0 || pads[axes + i] < 0;
  }
  int x = Spread(n, n.input(0), w.strides);
  if (negative) x = PadSpatially(n, x, pads);
  Window inner;
  inner.strides.assign(axes, 1);
  inner.dilations = w.dilations;
  inner.pads = negative ? std::vector<int64_t>(2 * axes, 0) : pads;
  inner.group = w.group;
  const int turned = TurnWeight(n, n.input(1), weight, w.group);
  if (axes == 3) {
    Shape shape = {weight[1] * w.group, weight[0] / w.group, weight[2], weight[3], weight[4]};
    return EmitVolumeConv(n, x, turned, n.input(2), shape, inner);
  }
  Node conv = n.MakeNode("Conv", {x, turned, n.input(2)});
  conv.SetInts("dilations", inner.dilations);
  conv.SetInts("pads", inner.pads);
  conv.SetInts("group", {inner.group});
  n.Emit(std::move(conv));
}

void ImportAveragePool(NodeImport& n) {
  for (int64_t d : n.Ints("dilations")) {
    if (d != 1) return n.Unsupported("dilations");
  }
  ImportPool(n, n.MakeNode("AveragePool", {n.input(0)}));
}

void ImportMaxPool(NodeImport& n) {
  n.Ignore("storage_order");  // the order of Indices, whose use Finish() refuses
  ImportPool(n, n.MakeNode("MaxPool", {n.input(0)}));
}

void ImportResize(NodeImport& n) {
  const bool upsample = n.op() == "Upsample";
  const bool newer = !upsample && n.opset() >= 11;
  Node node = n.MakeNode("Resize", {n.input(0), -1, -1});
  node.inputs.resize(3, -1);
  if (upsample && n.opset() < 9) {
    if (!n.Has("scales")) return n.Fail("attribute scales is missing");
    node.inputs[1] = n.AddFloats("scales", n.Floats("scales"));
  } else {
    const size_t scales = newer ? 2 : 1;
    // Old exporters give an empty tensor for what is absent.
    const Tensor* given = n.constant(scales);
    if (given == nullptr || given->elements() > 0) node.inputs[1] = n.input(scales);
  }
  if (newer) {
    const Tensor* given = n.constant(3);
    if (given == nullptr || given->elements() > 0) node.inputs[2] = n.input(3);
  }
  if (node.inputs[2] >= 0) node.inputs[1] = -1;
  if (node.inputs[1] < 0 && node.inputs[2] < 0) return n.Fail("expected scales or sizes");
  while (node.inputs.back() < 0) node.inputs.pop_back();
  const std::string transform = n.String("coordinate_transformation_mode", newer ? "half_pixel" : "asymmetric");
  if (transform == "tf_crop_and_resize") return n.Unsupported("coordinate_transformation_mode tf_crop_and_resize");
  n.Ignore("extrapolation_value");  // of tf_crop_and_resize
  if (n.Int("antialias", 0) != 0) return n.Unsupported("antialias");
  if (n.String("keep_aspect_ratio_policy", "stretch") != "stretch") return n.Unsupported("keep_aspect_ratio_policy");
  if (n.Has("axes")) return n.Unsupported("axes");
  n.CopyAttributes(&node);
  node.SetString("coordinate_transformation_mode", transform);
  if (!newer) node.SetString("nearest_mode", "floor");
  if (node.GetString("mode") == "bilinear") node.SetString("mode", "linear");
  n.Emit(std::move(node));
}

}  // namespace tally
