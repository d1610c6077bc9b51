// The uniform INT8 baseline: u8 activations with a zero point, symmetric s8 weights, everything but the residual
// applied by oneDNN.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/onednn/dot_node.h"
#include "backends/onednn/layout.h"
#include "backends/onednn/library.h"
#include "backends/onednn/onednn.h"
#include "backends/onednn/sliced_dot.h"
#include "format/error.h"
#include "runtime/dot/embedding.h"
#include "runtime/ops/encode.h"

namespace tally {
namespace onednn {
namespace {

// Bytes of one padded image.
constexpr int64_t kMaxPaddedBytes = int64_t{1} << 28;

int MaxSource() { return HasExactU8Products() ? 255 : 127; }

// Padding means the value 0, hence the zero point. oneDNN pads with 0; where that is not the same, the input is padded
// beforehand and the node has no padding of its own.
DotNode NodeOfProduct(const DotNode& node, const UniformQuantizer& quantizer) {
  DotNode product = node;
  if (quantizer.zero_point == 0) return product;
  Window2d& w = product.window;
  w.in_h += w.pad_top + w.pad_bottom;
  w.in_w += w.pad_left + w.pad_right;
  w.pad_top = w.pad_left = w.pad_bottom = w.pad_right = 0;
  return product;
}

class Int8Dot : public CompiledNode {
 public:
  Int8Dot(const NodeContext& context, const DotNode& dot, const dnnl::engine& engine)
      : dot_(dot), max_source_(MaxSource()) {
    if (dot_.outputs() == 0) return;
    const Window2d& w = dot_.window;
    const Int8Form& form = *context.input(1)->int8;
    const UniformQuantizer quantizer = MakeUniformQuantizer(*context.input(0)->range, max_source_);
    zero_point_ = static_cast<uint8_t>(quantizer.zero_point);
    std::vector<float> scales(static_cast<size_t>(w.out_channels));
    for (size_t o = 0; o < scales.size(); ++o) {
      scales[o] = quantizer.scale * form.scales[form.scales.size() == 1 ? 0 : o];
    }
    MakeBias(context, form, quantizer, scales);
    const dnnl::post_ops post_ops = FuseActivation();

    DotOperands operands;
    operands.segments = {all_channels()};
    operands.weight_planes = {form.values.as<int8_t>()};
    operands.output_type = dnnl::memory::data_type::f32;
    operands.bias = bias_.empty() ? nullptr : bias_.data();
    operands.attributes = [&](const Slice& slice) {
      dnnl::primitive_attr attributes = UserScratchpad();
      attributes.set_output_scales(
          1 << 1, std::vector<float>(scales.begin() + slice.channel_begin, scales.begin() + slice.channel_end));
      attributes.set_post_ops(post_ops);
      return attributes;
    };
    product_.emplace(NodeOfProduct(dot_, quantizer), operands, context.num_threads, engine);
  }

  absl::Status Run(const RunArgs& args) override {
    if (!product_.has_value()) return absl::OkStatus();
    const uint8_t* source = static_cast<const uint8_t*>(args.inputs[0]);
    float* out = static_cast<float*>(args.outputs[0]);
    Tail tail;
    if (dot_.has_residual) tail.residual = static_cast<const float*>(args.inputs[3]);
    tail.activation = tail_activation_;
    const auto gather = [&](const Block& block, size_t, uint8_t* to) {
      if (zero_point_ == 0) {
        GatherPixels(source, block, dot_.window.group, all_channels(), ByteMap(), to);
      } else {
        GatherPadded(source, block, to);
      }
    };
    const auto finish = [&](const Block& block, const uint8_t* results) {
      ScatterPixels(reinterpret_cast<const float*>(results), block, tail, out);
    };
    return product_->Run(args.scratch, args.pool, gather, finish);
  }

  Encoding input_encoding(size_t i) const override { return i == 0 ? Encoding::kInt8 : Encoding::kPlain; }
  int int8_max_value() const override { return max_source_; }
  size_t scratch_bytes() const override { return product_.has_value() ? product_->scratch_bytes() : 0; }
  size_t resident_weight_bytes() const override {
    return (product_.has_value() ? product_->weight_bytes() : 0) + bias_.size() * sizeof(float);
  }
  std::string kernel() const override { return product_.has_value() ? product_->implementation() : "empty"; }
  std::string isa() const override { return EffectiveIsaName(); }

 private:
  Segment all_channels() const { return {0, dot_.window.in_channels_per_group()}; }

  // GatherPixels for a block of the padded input.
  void GatherPadded(const uint8_t* source, const Block& padded, uint8_t* to) const {
    const Window2d& w = dot_.window;
    const int64_t width = w.in_w + w.pad_left + w.pad_right;
    const size_t row_bytes = static_cast<size_t>(width * w.in_channels);
    Block row = padded;
    row.positions = w.in_h * w.in_w;
    row.position_count = w.in_w;
    row.images = 1;
    for (int64_t image = 0; image < padded.images; ++image) {
      row.image_begin = padded.image_begin + image;
      const int64_t first = padded.position_begin / width - w.pad_top;
      for (int64_t y = first; y < first + padded.position_count / width; ++y, to += row_bytes) {
        const bool inside = y >= 0 && y < w.in_h;
        if (!inside || w.in_w < width) std::memset(to, zero_point_, row_bytes);
        if (!inside) continue;
        row.position_begin = y * w.in_w;
        GatherPixels(source, row, w.group, all_channels(), ByteMap(), to + w.pad_left * w.in_channels);
      }
    }
  }

  // oneDNN adds the bias before it scales. Its inner product takes no zero point, and its convolutions correct some
  // paddings for it wrongly (one side wider than the kernel, with groups); the bias corrects for it here.
  void MakeBias(const NodeContext& context, const Int8Form& form, const UniformQuantizer& quantizer,
                const std::vector<float>& scales) {
    const bool corrects = quantizer.zero_point != 0;
    if (!dot_.has_bias && !corrects) return;
    bias_.assign(scales.size(), 0.0f);
    const int64_t k = dot_.window.k();
    for (size_t o = 0; o < bias_.size(); ++o) {
      double bias = dot_.has_bias ? context.input(2)->data.as<float>()[o] / static_cast<double>(scales[o]) : 0.0;
      if (corrects) {
        const int8_t* row = form.values.as<int8_t>() + static_cast<int64_t>(o) * k;
        int64_t sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += row[i];
        bias -= static_cast<double>(sum * quantizer.zero_point);
      }
      bias_[o] = static_cast<float>(bias);
    }
  }

  // Hands Relu and Clip to oneDNN unless a residual comes before them; the rest is left to the shared implementation.
  dnnl::post_ops FuseActivation() {
    const Activation& a = dot_.activation;
    dnnl::post_ops post_ops;
    if (!dot_.has_residual && a.kind == ActivationKind::kRelu) {
      post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    } else if (!dot_.has_residual && a.kind == ActivationKind::kClip && a.a <= a.b) {
      post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_clip, a.a, a.b);
    } else {
      tail_activation_ = a;
    }
    return post_ops;
  }

  DotNode dot_;
  int max_source_;
  uint8_t zero_point_ = 0;
  std::vector<float> bias_;
  Activation tail_activation_;        // what oneDNN does not apply
  std::optional<SlicedDot> product_;  // none when there are no outputs
};

class Int8Backend : public QuantizedBackend {
 public:
  Int8Backend() : QuantizedBackend(TableForm::kInt8) {}
  std::string name() const override { return "onednn"; }
  std::string version() const override { return LibraryVersion(); }

 protected:
  absl::Status SupportsProduct(const NodeContext& context) const override {
    absl::StatusOr<DotNode> dot = ResolveDotNode(context);
    if (!dot.ok()) return dot.status();
    const Tensor& weight = *context.input(1);
    if (!weight.int8.has_value()) {
      // A layer that the converter left float has no form that could have been kept.
      const auto has_int8 = [](const Tensor& t) { return t.int8.has_value(); };
      const bool left_float = !weight.codes && weight.has_data &&
                              std::any_of(context.graph.tensors.begin(), context.graph.tensors.end(), has_int8);
      if (left_float) {
        return MakeError(ErrorId::kUnsupportedNode, absl::StrCat(Subject("weight", weight), " was left float"));
      }
      return MakeError(ErrorId::kMissingForm,
                       absl::StrCat(Subject("weight", weight), " has no int8 form; convert with --keep int8"));
    }
    const Tensor& input = *context.input(0);
    if (!input.range.has_value()) {
      return MakeError(ErrorId::kMissingForm, absl::StrCat(Subject("input", input), " has no calibrated range"));
    }
    if (!std::isfinite(input.range->min) || !std::isfinite(input.range->max)) {
      return Unsupported(absl::StrCat(Subject("input", input), " has a range that is not finite"));
    }
    const Tensor* bias = context.input(2);
    if (bias != nullptr && !bias->is_constant()) {
      return Unsupported(absl::StrCat(Subject("bias", *bias), " is not constant"));
    }
    const Window2d& w = dot->window;
    const int64_t padded = (w.in_h + w.pad_top + w.pad_bottom) * (w.in_w + w.pad_left + w.pad_right);
    if (padded > kMaxPaddedBytes / std::max<int64_t>(w.in_channels, 1)) {
      return Unsupported(
          absl::StrCat("padded input of ", padded, " pixels x ", w.in_channels, " channels > ", kMaxPaddedBytes));
    }
    const int64_t max_k = std::numeric_limits<int32_t>::max() / (MaxSource() * 127);
    if (dot->window.k() > max_k) {
      return Unsupported(absl::StrCat("dot products of ", dot->window.k(), " elements > ", max_k));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> CompileProduct(const NodeContext& context) const override {
    return Guarded([&]() -> absl::StatusOr<std::unique_ptr<CompiledNode>> {
      TALLY_ASSIGN_OR_RETURN(const DotNode dot, ResolveDotNode(context));
      const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
      return std::unique_ptr<CompiledNode>(std::make_unique<Int8Dot>(context, dot, engine));
    });
  }
};

}  // namespace
}  // namespace onednn

std::shared_ptr<const Backend> MakeOneDnnBackend() { return std::make_shared<onednn::Int8Backend>(); }

}  // namespace tally
