#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/xnnpack/layout.h"
#include "backends/xnnpack/library.h"
#include "backends/xnnpack/xnnpack.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"
#include "runtime/ops/window.h"

namespace tally {
namespace xnnpack {
namespace {

// XNNPACK's extents are 32-bit; no real network comes near these.
constexpr int64_t kMaxExtent = int64_t{1} << 20;
constexpr int64_t kMaxElements = int64_t{1} << 28;
// It keeps one pointer per output pixel and kernel element.
constexpr int64_t kMaxPointers = int64_t{1} << 25;

absl::Status Unsupported(const std::string& reason) { return MakeError(ErrorId::kUnsupportedNode, reason); }

std::string Subject(const char* role, const Tensor& tensor) { return absl::StrCat(role, " ", Quoted(tensor.name)); }

// Conv, or Gemm seen as a 1x1 convolution over single-pixel images.
struct DotNode {
  bool is_conv = false;
  Window2d window;
  Activation activation;

  int64_t outputs() const { return window.batch * window.out_channels * window.out_h * window.out_w; }
};

absl::Status CheckWindow(const Window2d& w) {
  for (int64_t extent : {w.in_h, w.in_w, w.out_h, w.out_w, w.stride_h, w.stride_w, w.pad_top, w.pad_left, w.pad_bottom,
                         w.pad_right, w.kernel_h, w.kernel_w, w.dilation_h, w.dilation_w}) {
    if (extent > kMaxExtent) return Unsupported(absl::StrCat("extent, pad or stride ", extent, " > ", kMaxExtent));
  }
  // Neither product wraps: each factor is at most 2^20.
  const int64_t taps = w.kernel_h * w.kernel_w;
  if (w.out_h * w.out_w > kMaxPointers / std::max<int64_t>(taps, 1)) {
    return Unsupported(absl::StrCat(w.out_h * w.out_w, " output pixels x ", taps, " kernel elements > ", kMaxPointers));
  }
  return absl::OkStatus();
}

absl::Status CheckOperand(const Tensor* tensor, const char* role, bool must_be_constant) {
  if (tensor == nullptr) return absl::OkStatus();
  if (must_be_constant && !tensor->is_constant()) {
    return Unsupported(absl::StrCat(Subject(role, *tensor), " is not constant"));
  }
  if (tensor->is_constant() && !tensor->has_data) {
    return MakeError(ErrorId::kMissingForm,
                     absl::StrCat(Subject(role, *tensor), " has no float32 form; convert with --keep float"));
  }
  return absl::OkStatus();
}

absl::StatusOr<DotNode> Resolve(const NodeContext& context) {
  const Node& node = context.node;
  DotNode dot;
  dot.is_conv = node.op == "Conv";
  if (!dot.is_conv && node.op != "Gemm") return Unsupported(absl::StrCat("takes Conv and Gemm, not ", Quoted(node.op)));
  if (context.input(0) == nullptr || context.input(1) == nullptr) return Unsupported("input or weight is absent");
  TALLY_RETURN_IF_ERROR(CheckOperand(context.input(0), "input", false));
  TALLY_RETURN_IF_ERROR(CheckOperand(context.input(1), "weight", true));
  TALLY_RETURN_IF_ERROR(CheckOperand(context.input(2), "bias", true));
  TALLY_RETURN_IF_ERROR(CheckOperand(context.input(3), "residual", false));
  TALLY_ASSIGN_OR_RETURN(dot.activation, FusedActivation(node));
  const Shape& input = context.inputs[0].shape;
  const Tensor& weight = *context.input(1);
  if (dot.is_conv) {
    TALLY_ASSIGN_OR_RETURN(dot.window, ConvWindow(node, input, weight.shape));
  } else {
    Window2d& w = dot.window;
    w.in_channels = weight.shape[1];
    w.out_channels = weight.shape[0];
    w.in_h = w.in_w = w.out_h = w.out_w = 1;
    w.batch = 1;
    for (size_t i = 0; i + 1 < input.size(); ++i) w.batch *= input[i];
  }
  TALLY_RETURN_IF_ERROR(CheckWindow(dot.window));
  const int64_t inputs = context.inputs[0].elements();
  if (dot.outputs() > 0 && (dot.window.k() == 0 || inputs == 0)) return Unsupported("dot products of no elements");
  for (int64_t elements : {inputs, dot.outputs(), static_cast<int64_t>(weight.elements())}) {
    if (elements > kMaxElements) return Unsupported(absl::StrCat(elements, " elements > ", kMaxElements));
  }
  return dot;
}

class FloatDot : public CompiledNode {
 public:
  FloatDot(const NodeContext& context, const DotNode& dot)
      : dot_(dot), has_residual_(context.input(3) != nullptr), weight_elements_(context.input(1)->elements()) {
    const Window2d& w = dot_.window;
    inputs_ = {w.batch, w.in_channels, w.in_h * w.in_w};
    outputs_ = {w.batch, w.out_channels, w.out_h * w.out_w};
    tail_ = dot_.activation;
    if (!has_residual_ && dot_.activation.kind == ActivationKind::kRelu) {
      min_ = 0;
      tail_ = Activation();
    } else if (!has_residual_ && dot_.activation.kind == ActivationKind::kClip &&
               dot_.activation.a < dot_.activation.b) {
      min_ = dot_.activation.a;
      max_ = dot_.activation.b;
      tail_ = Activation();
    }
    scatters_ = outputs_.positions > 1 || has_residual_ || tail_.kind != ActivationKind::kNone;
    const size_t input_bytes =
        static_cast<size_t>(inputs_.batch * inputs_.channels * inputs_.positions) * sizeof(float);
    result_offset_ = (input_bytes + kSlack + kAlignment - 1) / kAlignment * kAlignment;
    scratch_bytes_ = result_offset_ + (scatters_ ? static_cast<size_t>(dot_.outputs()) * sizeof(float) + kSlack : 0);
  }

  absl::Status Create(const NodeContext& context) {
    if (dot_.outputs() == 0) return absl::OkStatus();
    TALLY_RETURN_IF_ERROR(StatusOf(xnn_initialize(nullptr), "cannot initialise"));
    const float* weight = context.input(1)->data.as<float>();
    const float* bias = context.input(2) == nullptr ? nullptr : context.input(2)->data.as<float>();
    const Window2d& w = dot_.window;
    xnn_operator_t op = nullptr;
    if (!dot_.is_conv) {
      const size_t k = static_cast<size_t>(w.in_channels);
      const size_t n = static_cast<size_t>(w.out_channels);
      TALLY_RETURN_IF_ERROR(
          StatusOf(xnn_create_fully_connected_nc_f32(k, n, k, n, weight, bias, min_, max_, /*flags=*/0, &op),
                   "cannot create a fully connected layer"));
      operator_.reset(op);
      return absl::OkStatus();
    }
    const std::vector<float> pixels = KernelPixels(weight);
    const auto u32 = [](int64_t value) { return static_cast<uint32_t>(value); };
    TALLY_RETURN_IF_ERROR(StatusOf(
        xnn_create_convolution2d_nhwc_f32(
            u32(w.pad_top), u32(w.pad_right), u32(w.pad_bottom), u32(w.pad_left), u32(w.kernel_h), u32(w.kernel_w),
            u32(w.stride_h), u32(w.stride_w), u32(w.dilation_h), u32(w.dilation_w), u32(w.group),
            static_cast<size_t>(w.in_channels_per_group()), static_cast<size_t>(w.out_channels_per_group()),
            static_cast<size_t>(w.in_channels), static_cast<size_t>(w.out_channels), pixels.data(), bias, min_, max_,
            /*flags=*/0, &op),
        "cannot create a convolution"));
    operator_.reset(op);
    return absl::OkStatus();
  }

  absl::Status Run(const RunArgs& args) override {
    if (operator_ == nullptr) return absl::OkStatus();
    const Window2d& w = dot_.window;
    // Always a copy, also where the layouts agree: XNNPACK reads past the end of its input, which may be the
    // application's.
    float* input = reinterpret_cast<float*>(args.scratch);
    ToPixels(static_cast<const float*>(args.inputs[0]), inputs_, input, args.pool);
    float* out = static_cast<float*>(args.outputs[0]);
    float* result = scatters_ ? reinterpret_cast<float*>(args.scratch + result_offset_) : out;
    const size_t batch = static_cast<size_t>(w.batch);
    // Keeps its tables while the shapes are the same, whatever the pointers.
    const xnn_status status =
        dot_.is_conv ? xnn_setup_convolution2d_nhwc_f32(operator_.get(), batch, static_cast<size_t>(w.in_h),
                                                        static_cast<size_t>(w.in_w), input, result, args.pool->native())
                     : xnn_setup_fully_connected_nc_f32(operator_.get(), batch, input, result, args.pool->native());
    TALLY_RETURN_IF_ERROR(StatusOf(status, "cannot set an operator up"));
    TALLY_RETURN_IF_ERROR(StatusOf(xnn_run_operator(operator_.get(), args.pool->native()), "cannot run an operator"));
    if (scatters_) {
      const float* residual = has_residual_ ? static_cast<const float*>(args.inputs[3]) : nullptr;
      FromPixels(result, outputs_, residual, tail_, out, args.pool);
    }
    return absl::OkStatus();
  }

  size_t scratch_bytes() const override { return scratch_bytes_; }
  // XNNPACK does not tell what its packing adds.
  size_t resident_weight_bytes() const override { return weight_elements_ * sizeof(float); }
  std::string kernel() const override { return dot_.is_conv ? "convolution2d_nhwc_f32" : "fully_connected_nc_f32"; }
  std::string isa() const override { return "xnnpack"; }

 private:
  // [O][C][taps] -> [O][taps][C].
  std::vector<float> KernelPixels(const float* weight) const {
    const size_t channels = static_cast<size_t>(dot_.window.in_channels_per_group());
    const size_t taps = static_cast<size_t>(dot_.window.kernel_h * dot_.window.kernel_w);
    std::vector<float> pixels(weight_elements_);
    for (size_t o = 0; o < static_cast<size_t>(dot_.window.out_channels); ++o) {
      const float* from = weight + o * channels * taps;
      float* to = pixels.data() + o * channels * taps;
      for (size_t c = 0; c < channels; ++c) {
        for (size_t t = 0; t < taps; ++t) to[t * channels + c] = from[c * taps + t];
      }
    }
    return pixels;
  }

  DotNode dot_;
  bool has_residual_;
  size_t weight_elements_;
  Images inputs_, outputs_;
  float min_ = -std::numeric_limits<float>::infinity();
  float max_ = std::numeric_limits<float>::infinity();
  Activation tail_;        // what XNNPACK does not apply
  bool scatters_ = false;  // whether the result needs another layout, the residual or `tail_`
  Operator operator_;      // null when there are no outputs
  size_t result_offset_ = 0;
  size_t scratch_bytes_ = 0;
};

class XnnpackBackend : public Backend {
 public:
  std::string name() const override { return "xnnpack"; }
  // The library has no version; this is the date of its sources.
  std::string version() const override { return "XNNPACK 2022-02-16"; }

  absl::Status Supports(const NodeContext& context) const override { return Resolve(context).status(); }

  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    TALLY_ASSIGN_OR_RETURN(const DotNode dot, Resolve(context));
    auto compiled = std::make_unique<FloatDot>(context, dot);
    TALLY_RETURN_IF_ERROR(compiled->Create(context));
    return std::unique_ptr<CompiledNode>(std::move(compiled));
  }
};

}  // namespace
}  // namespace xnnpack

std::shared_ptr<const Backend> MakeXnnpackBackend() { return std::make_shared<xnnpack::XnnpackBackend>(); }

}  // namespace tally
