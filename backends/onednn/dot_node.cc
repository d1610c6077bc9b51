#include "backends/onednn/dot_node.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally::onednn {
namespace {

// oneDNN computes extents and offsets in 32 bits in places; no real network comes near these.
constexpr int64_t kMaxExtent = int64_t{1} << 20;
constexpr int64_t kMaxElements = int64_t{1} << 28;

absl::Status CheckExtents(const Window2d& w) {
  // The products of the last two are computed once their factors are known to be small.
  for (int64_t extent : {w.in_h, w.in_w, w.out_h, w.out_w, w.stride_h, w.stride_w, w.pad_top, w.pad_left, w.pad_bottom,
                         w.pad_right, w.kernel_h, w.kernel_w, w.dilation_h, w.dilation_w}) {
    if (extent > kMaxExtent) return Unsupported(absl::StrCat("extent, pad or stride ", extent, " > ", kMaxExtent));
  }
  for (int64_t extent : {(w.kernel_h - 1) * w.dilation_h + 1, (w.kernel_w - 1) * w.dilation_w + 1}) {
    if (extent > kMaxExtent) return Unsupported(absl::StrCat("dilated kernel of ", extent, " > ", kMaxExtent));
  }
  return absl::OkStatus();
}

absl::Status CheckOperand(const NodeContext& context, size_t index, const char* role) {
  const Tensor* tensor = context.input(index);
  if (tensor == nullptr) return absl::OkStatus();
  if (tensor->is_constant() && !tensor->has_data) {
    return Unsupported(absl::StrCat(Subject(role, *tensor), " has no float32 values"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Unsupported(const std::string& reason) { return MakeError(ErrorId::kUnsupportedNode, reason); }

std::string Subject(const char* role, const Tensor& tensor) { return absl::StrCat(role, " ", Quoted(tensor.name)); }

absl::StatusOr<DotNode> ResolveDotNode(const NodeContext& context) {
  const Node& node = context.node;
  DotNode dot;
  dot.is_conv = node.op == "Conv";
  if (!dot.is_conv && node.op != "Gemm") return Unsupported(absl::StrCat("takes Conv and Gemm, not ", Quoted(node.op)));
  const Tensor* x = context.input(0);
  const Tensor* weight = context.input(1);
  if (x == nullptr || weight == nullptr) return Unsupported("input or weight is absent");
  if (x->is_constant()) return Unsupported(absl::StrCat(Subject("input", *x), " is a constant"));
  if (!weight->is_constant()) return Unsupported(absl::StrCat(Subject("weight", *weight), " is not constant"));
  TALLY_RETURN_IF_ERROR(CheckOperand(context, 2, "bias"));
  TALLY_RETURN_IF_ERROR(CheckOperand(context, 3, "residual"));
  dot.has_bias = context.input(2) != nullptr;
  dot.has_residual = context.input(3) != nullptr;
  TALLY_ASSIGN_OR_RETURN(dot.activation, FusedActivation(node));

  const Shape& shape = context.inputs[0].shape;
  if (dot.is_conv) {
    TALLY_ASSIGN_OR_RETURN(dot.window, ConvWindow(node, shape, weight->shape));
  } else {
    dot.window.in_channels = weight->shape[1];
    dot.window.out_channels = weight->shape[0];
    dot.window.in_h = dot.window.in_w = dot.window.out_h = dot.window.out_w = 1;
    dot.window.batch = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) dot.window.batch *= shape[i];
  }
  const Window2d& w = dot.window;
  TALLY_RETURN_IF_ERROR(CheckExtents(w));
  const int64_t inputs = context.inputs[0].elements();
  if (dot.outputs() > 0 && (w.k() == 0 || inputs == 0)) return Unsupported("dot products of no elements");
  for (int64_t elements : {inputs, dot.outputs(), static_cast<int64_t>(weight->elements())}) {
    if (elements > kMaxElements) return Unsupported(absl::StrCat(elements, " elements > ", kMaxElements));
  }
  return dot;
}

DotLayouts MakeDotLayouts(const DotNode& node, int64_t channels, dnnl::memory::data_type output_type) {
  using dnnl::memory;
  const Window2d& w = node.window;
  const auto u8 = memory::data_type::u8;
  const auto s8 = memory::data_type::s8;
  DotLayouts l;
  l.bias = memory::desc({w.out_channels}, memory::data_type::f32, memory::format_tag::a);
  if (!node.is_conv) {
    const memory::dims weights = {w.out_channels, channels};
    l.source = memory::desc({w.batch, channels}, u8, memory::format_tag::ab);
    l.plain_weights = memory::desc(weights, s8, memory::format_tag::ab);
    l.any_weights = memory::desc(weights, s8, memory::format_tag::any);
    l.destination = memory::desc({w.batch, w.out_channels}, output_type, memory::format_tag::ab);
    return l;
  }
  const bool grouped = w.group > 1;
  const memory::dims weights = grouped
                                   ? memory::dims{w.group, w.out_channels_per_group(), channels, w.kernel_h, w.kernel_w}
                                   : memory::dims{w.out_channels, channels, w.kernel_h, w.kernel_w};
  l.source = memory::desc({w.batch, w.group * channels, w.in_h, w.in_w}, u8, memory::format_tag::nhwc);
  l.plain_weights = memory::desc(weights, s8, grouped ? memory::format_tag::goihw : memory::format_tag::oihw);
  l.any_weights = memory::desc(weights, s8, memory::format_tag::any);
  l.destination = memory::desc({w.batch, w.out_channels, w.out_h, w.out_w}, output_type, memory::format_tag::nhwc);
  return l;
}

DotPrimitive MakeDotPrimitive(const DotNode& node, const DotLayouts& l, bool with_bias,
                              const dnnl::primitive_attr& attributes, const dnnl::engine& engine) {
  const dnnl::memory::desc bias = with_bias ? l.bias : dnnl::memory::desc();
  if (!node.is_conv) {
    const dnnl::inner_product_forward::desc d(dnnl::prop_kind::forward_inference, l.source, l.any_weights, bias,
                                              l.destination);
    const dnnl::inner_product_forward::primitive_desc pd(d, attributes, engine);
    return {dnnl::inner_product_forward(pd), pd, pd.weights_desc()};
  }
  const Window2d& w = node.window;
  // oneDNN counts the skipped pixels, ONNX the distance.
  const dnnl::convolution_forward::desc d(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
                                          l.source, l.any_weights, bias, l.destination, {w.stride_h, w.stride_w},
                                          {w.dilation_h - 1, w.dilation_w - 1}, {w.pad_top, w.pad_left},
                                          {w.pad_bottom, w.pad_right});
  const dnnl::convolution_forward::primitive_desc pd(d, attributes, engine);
  return {dnnl::convolution_forward(pd), pd, pd.weights_desc()};
}

}  // namespace tally::onednn
