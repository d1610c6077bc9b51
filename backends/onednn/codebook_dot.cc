#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/onednn/codebook_nodes.h"
#include "backends/onednn/decode.h"
#include "backends/onednn/digits.h"
#include "backends/onednn/dot_node.h"
#include "backends/onednn/layout.h"
#include "backends/onednn/library.h"
#include "backends/onednn/sliced_dot.h"
#include "format/error.h"

namespace tally::onednn {
namespace {

class CodebookDot : public CompiledNode {
 public:
  CodebookDot(const NodeContext& context, const DotNode& dot, const dnnl::engine& engine)
      : dot_(dot), decode_(ChooseDecode(context.cpu)) {
    const Window2d& w = dot_.window;
    const CodeForm& form = *context.input(1)->codes;
    const Codebook& codebook = *context.input(0)->codebook;
    const double scale = static_cast<double>(codebook.scale) * static_cast<double>(form.codebook.scale);
    for (size_t o = 0; o < static_cast<size_t>(w.out_channels); ++o) {
      const double channel = form.channel_scales.empty() ? 1.0 : static_cast<double>(form.channel_scales[o]);
      sum_.scales.push_back(static_cast<float>(scale * channel));
    }
    code_bias_ = form.bias;
    if (dot_.outputs() == 0) return;

    planes_ = MakeSourcePlanes(codebook);
    entries_ = static_cast<size_t>(codebook.code_count());
    const WeightDigits weight = DecodeWeight(form, w.out_channels, w.k());
    const int64_t taps = w.kernel_h * w.kernel_w;
    segments_ = SplitChannels(weight, w.out_channels, w.in_channels_per_group(), taps);
    sum_.wide = weight.max_row_sum * codebook.max_mantissa() > std::numeric_limits<int32_t>::max();

    DotOperands operands;
    operands.planes = static_cast<int64_t>(planes_.size());
    operands.segments = segments_;
    for (const std::vector<int8_t>& plane : weight.planes) operands.weight_planes.push_back(plane.data());
    operands.attributes = [](const Slice&) { return UserScratchpad(); };
    products_.emplace(dot_, operands, context.num_threads, engine);
    for (size_t s = 0; s < segments_.size(); ++s) {
      for (size_t d = 0; d < weight.planes.size(); ++d) {
        for (const SourcePlane& plane : planes_) sum_.factors.push_back(plane.factor * (d == 0 ? 1 : kDigitBase));
      }
    }
  }

  absl::Status Run(const RunArgs& args) override {
    if (!products_.has_value()) return absl::OkStatus();
    const uint8_t* codes = static_cast<const uint8_t*>(args.inputs[0]);
    float* out = static_cast<float*>(args.outputs[0]);
    Tail tail;
    if (dot_.has_bias) tail.bias = static_cast<const float*>(args.inputs[2]);
    if (!code_bias_.empty()) tail.bias = code_bias_.data();
    if (dot_.has_residual) tail.residual = static_cast<const float*>(args.inputs[3]);
    tail.activation = dot_.activation;
    const auto gather = [&](const Block& block, size_t s, uint8_t* to) {
      const int64_t plane_bytes = block.images * block.position_count * dot_.window.group * segments_[s].size();
      for (const SourcePlane& plane : planes_) {
        GatherPixels(codes, block, dot_.window.group, segments_[s], {decode_, plane.digit.data(), entries_}, to);
        to += plane_bytes;
      }
    };
    const auto finish = [&](const Block& block, const uint8_t* results) {
      sum_.Finish(reinterpret_cast<const int32_t*>(results), block, tail, out);
    };
    return products_->Run(args.scratch, args.pool, gather, finish);
  }

  Encoding input_encoding(size_t i) const override { return i == 0 ? Encoding::kCodes : Encoding::kPlain; }
  size_t scratch_bytes() const override { return products_.has_value() ? products_->scratch_bytes() : 0; }
  size_t resident_weight_bytes() const override { return products_.has_value() ? products_->weight_bytes() : 0; }
  std::string kernel() const override { return products_.has_value() ? products_->implementation() : "empty"; }
  std::string isa() const override { return EffectiveIsaName(); }

 private:
  DotNode dot_;
  DecodeFn decode_;
  size_t entries_ = 0;            // codes of the input
  std::vector<float> code_bias_;  // of the codes, in place of input 2
  std::vector<SourcePlane> planes_;
  std::vector<Segment> segments_;
  std::optional<SlicedDot> products_;  // none when there are no outputs
  ProductSum sum_;
};

}  // namespace

absl::Status CheckEncodable(const Tensor* tensor) {
  if (tensor == nullptr) return Unsupported("input is absent");
  const std::string subject = Subject("input", *tensor);
  if (tensor->is_constant()) return Unsupported(absl::StrCat(subject, " is a constant"));
  if (!tensor->codebook.has_value()) return Unsupported(absl::StrCat(subject, " has no codebook"));
  if (tensor->codebook->grid == Grid::kReal) return Unsupported(absl::StrCat(subject, ": real grid"));
  return absl::OkStatus();
}

absl::Status SupportsCodebookDot(const NodeContext& context) {
  absl::StatusOr<DotNode> dot = ResolveDotNode(context);
  if (!dot.ok()) return dot.status();
  TALLY_RETURN_IF_ERROR(CheckEncodable(context.input(0)));
  const Tensor& weight = *context.input(1);
  if (!weight.codes.has_value()) {
    return Unsupported(absl::StrCat(Subject("weight", weight), " has no codes"));
  }
  if (weight.codes->codebook.grid == Grid::kReal) {
    return Unsupported(absl::StrCat(Subject("weight", weight), ": real grid"));
  }
  const int64_t taps = dot->window.kernel_h * dot->window.kernel_w;
  const int64_t max_taps = kMaxExactProduct / (kMaxDigit * kMaxDigit);
  if (taps > max_taps) return Unsupported(absl::StrCat("kernel of ", taps, " elements > ", max_taps));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileCodebookDot(const NodeContext& context,
                                                                 const dnnl::engine& engine) {
  TALLY_ASSIGN_OR_RETURN(const DotNode dot, ResolveDotNode(context));
  return std::unique_ptr<CompiledNode>(std::make_unique<CodebookDot>(context, dot, engine));
}

}  // namespace tally::onednn
