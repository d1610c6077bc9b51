// Convolution on look-up kernels: weights are decoded once per run into row panels, activations become an image of
// pixels (conv_image.h), and tiles of outputs x positions come out in NCHW.
#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "backends/exponent/conv_image.h"
#include "backends/exponent/lookup_depthwise.h"
#include "backends/exponent/lookup_product.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {
namespace {

// Positions whose sums are made before they are finished: those of all rows of a tile fit the first-level cache.
constexpr size_t kMaxChunkLanes = 256;
// Decoded weights beyond this are made and used in several passes over the image.
constexpr size_t kDecodedBytes = 8 << 20;
// Tiles read this much beyond the image.
constexpr size_t kReadSlack = 128;

class LookupConv : public LookupNode {
 public:
  LookupConv(Problem problem, ConvImage image, const NodeContext& context, double threads)
      : LookupNode(std::move(problem), context, threads),
        image_(std::move(image)),
        product_(kernel_table(), problem_, image_.group_offsets().size(), true, WeightRows(problem_).MaxDigitSum()) {
    const Window2d& w = problem_.window;
    product_.lane_offsets = image_.group_offsets();
    product_.lane_step = kLookupLanes * kLookupGroup;
    conv_groups_ = static_cast<size_t>(w.group);
    group_outputs_ = static_cast<size_t>(w.out_channels_per_group());
    positions_ = static_cast<size_t>(w.out_h * w.out_w);
    row_blocks_ = (group_outputs_ + kLookupRows - 1) / kLookupRows;
    block_rows_ = (group_outputs_ + row_blocks_ - 1) / row_blocks_;
    // Balancing may leave the last blocks without rows.
    row_blocks_ = (group_outputs_ + block_rows_ - 1) / block_rows_;
    block_units_ = std::max<size_t>((product_.row_panel_bytes(block_rows_) + kLookupUnit - 1) / kLookupUnit, 1);
    PackWeights();
    problem_.weights = nullptr;

    const size_t share = (image_.lanes() + parts_ - 1) / parts_;
    chunk_lanes_ = std::min(kMaxChunkLanes, (share + kLookupLanes - 1) / kLookupLanes * kLookupLanes);
    chunks_ = (image_.lanes() + chunk_lanes_ - 1) / chunk_lanes_;
    decode_late_ = chunks_ == 1 && w.batch == 1;
    pass_blocks_ =
        decode_late_ ? row_blocks_
                     : std::clamp<size_t>(kDecodedBytes / (block_units_ * kLookupUnit) / conv_groups_, 1, row_blocks_);
    PlanScratch();
  }

  absl::Status Run(const RunArgs& args) override {
    const size_t input_size = static_cast<size_t>(problem_.window.in_channels) *
                              static_cast<size_t>(problem_.window.in_h) * static_cast<size_t>(problem_.window.in_w);
    for (size_t first = 0; first < row_blocks_; first += pass_blocks_) {
      const size_t count = std::min(pass_blocks_, row_blocks_ - first);
      if (!decode_late_) DecodeWeights(args, first, count);
      for (size_t n = 0; n < static_cast<size_t>(problem_.window.batch); ++n) {
        const uint8_t* codes = Codes(args, 0) + n * input_size;
        if (first == 0 || problem_.window.batch > 1) FillImages(args, codes);
        MultiplyImage(args, n, first, count);
      }
    }
    return absl::OkStatus();
  }

  size_t resident_weight_bytes() const override { return stream_.size() + corrections_.size() * sizeof(int32_t); }
  std::string kernel() const override { return absl::StrCat("lookup_conv_b", problem_.w.stored_bits()); }

 private:
  size_t weight_digits() const { return static_cast<size_t>(product_.weight_digits); }
  size_t act_digits() const { return static_cast<size_t>(product_.act_digits); }
  size_t RowsOfBlock(size_t block) const { return std::min(block_rows_, group_outputs_ - block * block_rows_); }

  // Stream: [convolution group][row block][row panel, padded to whole units].
  void PackWeights() {
    const int bits = problem_.w.stored_bits();
    const size_t groups = product_.groups;
    stream_ = AlignedBuffer(StreamBytes(conv_groups_ * row_blocks_ * block_units_, bits));
    if (product_.offset()) corrections_.assign(weight_digits() * product_.segments * problem_.outputs, 0);
    std::vector<int64_t> source(groups * kLookupGroup);
    for (size_t i = 0; i < source.size(); ++i) source[i] = image_.WeightIndex(i / kLookupGroup, i % kLookupGroup);
    WeightRows rows(problem_);
    std::vector<uint8_t> row((groups + 3) / 4 * 16, 0);
    std::vector<uint8_t> block(block_units_ * kLookupUnit);
    for (size_t b = 0; b < conv_groups_ * row_blocks_; ++b) {
      std::fill(block.begin(), block.end(), uint8_t{0});
      const size_t count = RowsOfBlock(b % row_blocks_);
      for (size_t r = 0; r < count; ++r) {
        const size_t o = b / row_blocks_ * group_outputs_ + b % row_blocks_ * block_rows_ + r;
        const uint8_t* codes = rows.Read(o);
        for (size_t i = 0; i < source.size(); ++i) {
          row[i] = source[i] < 0 ? uint8_t{0} : codes[static_cast<size_t>(source[i])];
        }
        FillPanelRow(row.data(), groups, r, count, block.data());
        if (product_.offset()) {
          AddCorrections(product_, w_digits_, row.data(), 0, groups, product_.segments * problem_.outputs,
                         problem_.outputs, &corrections_[o]);
        }
      }
      PackStream(block.data(), block_units_, bits, stream_.data() + StreamBytes(b * block_units_, bits));
    }
  }

  void PlanScratch() {
    images_ = plan_.Add(act_digits(), image_.bytes() + kReadSlack, &images_stride_);
    line_ = plan_.Add(parts_, image_.line_bytes(), &line_stride_);
    const size_t decoded_blocks = decode_late_ ? parts_ : conv_groups_ * pass_blocks_;
    decoded_ = plan_.Add(weight_digits(), decoded_blocks * block_units_ * kLookupUnit, &decoded_stride_);
    narrow_ = plan_.Add(parts_, kLookupRows * chunk_lanes_ * sizeof(int32_t), &narrow_stride_);
    wide_ = plan_.Add(product_.wide() ? parts_ : 0, kLookupRows * chunk_lanes_ * sizeof(int64_t), &wide_stride_);
  }

  uint8_t* Image(const RunArgs& args, size_t digit) const { return args.scratch + images_ + digit * images_stride_; }
  // Row block `block` of all, as decoded block `to`.
  void DecodeBlock(const RunArgs& args, size_t block, size_t to) const {
    for (size_t d = 0; d < weight_digits(); ++d) {
      uint8_t* digits = args.scratch + decoded_ + d * decoded_stride_ + to * block_units_ * kLookupUnit;
      kernel_table().decode(stream_.data() + StreamBytes(block * block_units_, problem_.w.stored_bits()), block_units_,
                            w_digits_.table[d], reinterpret_cast<int8_t*>(digits));
    }
  }

  // Row blocks first .. first + count - 1 of each convolution group, as [group][block].
  void DecodeWeights(const RunArgs& args, size_t first, size_t count) const {
    ForEachPart(args.pool, parts_, conv_groups_ * count, [&](size_t, size_t begin, size_t end) {
      for (size_t b = begin; b < end; ++b) DecodeBlock(args, b / count * row_blocks_ + first + b % count, b);
    });
  }

  void FillImages(const RunArgs& args, const uint8_t* codes) const {
    ForEachPart(args.pool, parts_, image_.planes(), [&](size_t part, size_t begin, size_t end) {
      uint8_t* line = args.scratch + line_ + part * line_stride_;
      for (size_t plane = begin; plane < end; ++plane) {
        for (size_t d = 0; d < act_digits(); ++d) {
          image_.FillPlane(kernel_table(), a_digits_.table[d], codes, plane, Image(args, d), line);
        }
      }
    });
  }

  void MultiplyImage(const RunArgs& args, size_t n, size_t first, size_t count) const {
    // Where there are fewer chunks than threads, the outputs are divided too.
    const size_t pairs = conv_groups_ * chunks_;
    const size_t row_parts = std::min(count, (parts_ + pairs - 1) / pairs);
    ForEachPart(args.pool, parts_, pairs * row_parts, [&](size_t part, size_t begin, size_t end) {
      for (size_t item = begin; item < end; ++item) {
        const size_t pair = item / row_parts, row_part = item % row_parts;
        const size_t group = pair / chunks_, chunk = pair % chunks_;
        for (size_t b = count * row_part / row_parts; b < count * (row_part + 1) / row_parts; ++b) {
          size_t decoded = group * count + b;
          if (decode_late_) DecodeBlock(args, group * row_blocks_ + first + b, decoded = part);
          MultiplyBlock(args, part, n, group, chunk, first + b, decoded);
        }
      }
    });
  }

  // Outputs among the first `lanes` lanes.
  size_t OutputsBefore(size_t lanes) const {
    const size_t out_w = static_cast<size_t>(problem_.window.out_w);
    return lanes / image_.pitch() * out_w + std::min(lanes % image_.pitch(), out_w);
  }

  // Closes the gaps that the ends of image rows leave in a row of sums of the lanes first .. first + count - 1.
  template <typename Sum>
  void CloseGaps(Sum* sums, size_t first, size_t count) const {
    const size_t out_w = static_cast<size_t>(problem_.window.out_w), pitch = image_.pitch();
    Sum* to = sums;
    for (size_t lane = first, end = first + count; lane < end;) {
      const size_t x = lane % pitch, run = x < out_w ? std::min(out_w - x, end - lane) : 0;
      std::memmove(to, sums + (lane - first), run * sizeof(Sum));
      to += run;
      lane += pitch - x;
    }
  }

  // `decoded_block`: index among the decoded blocks.
  void MultiplyBlock(const RunArgs& args, size_t part, size_t n, size_t group, size_t chunk, size_t block,
                     size_t decoded_block) const {
    const size_t output = group * group_outputs_ + block * block_rows_;
    const size_t lane = chunk * chunk_lanes_;
    const size_t lanes = std::min(chunk_lanes_, image_.lanes() - lane);
    const size_t position = OutputsBefore(lane), count = OutputsBefore(lane + lanes) - position;
    Correction correction;
    if (product_.offset()) {
      correction.values = corrections_.data() + output;
      correction.digit_step = product_.segments * problem_.outputs;
      correction.segment_step = problem_.outputs;
      correction.row_step = 1;
    }
    Sums sums;
    sums.narrow = reinterpret_cast<int32_t*>(args.scratch + narrow_ + part * narrow_stride_);
    sums.wide = reinterpret_cast<int64_t*>(args.scratch + wide_ + part * wide_stride_);
    sums.stride = chunk_lanes_;
    const size_t from = group * image_.group_bytes() + lane * kLookupGroup;
    const uint8_t* images[2] = {Image(args, 0) + from, Image(args, act_digits() - 1) + from};
    const uint8_t* panel = args.scratch + decoded_ + decoded_block * block_units_ * kLookupUnit;
    const uint8_t* rows[2] = {panel, panel + decoded_stride_};
    Multiply(product_, images, lanes, rows, RowsOfBlock(block), correction, sums);
    for (size_t r = 0; r < RowsOfBlock(block); ++r) {
      if (count < lanes) {
        product_.wide() ? CloseGaps(sums.wide + r * sums.stride, lane, lanes)
                        : CloseGaps(sums.narrow + r * sums.stride, lane, lanes);
      }
      const size_t element = (n * problem_.outputs + output + r) * positions_ + position;
      FinishSums(product_, row_kernels_, sums, r, count, problem_.epilogue.Row(args, output + r, 0, element),
                 Output(args) + element);
    }
  }

  ConvImage image_;
  Product product_;
  size_t conv_groups_ = 1;
  size_t group_outputs_ = 0;
  size_t positions_ = 0;
  size_t row_blocks_ = 0, block_rows_ = 0;  // of outputs of one convolution group
  size_t block_units_ = 0;
  size_t chunk_lanes_ = 0, chunks_ = 0;
  size_t pass_blocks_ = 0;
  bool decode_late_ = false;  // a block is used once, right after it was decoded
  AlignedBuffer stream_;
  std::vector<int32_t> corrections_;  // [weight digit][segment][output]
  // Scratch.
  size_t images_ = 0, images_stride_ = 0;
  size_t line_ = 0, line_stride_ = 0;
  size_t decoded_ = 0, decoded_stride_ = 0;
  size_t narrow_ = 0, narrow_stride_ = 0;
  size_t wide_ = 0, wide_stride_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupConv(Problem problem, const NodeContext& context,
                                                                const ExponentOptions& options) {
  const double threads = problem.products() / options.products_per_thread;
  if (FitsDepthwise(problem)) return CompileLookupDepthwise(std::move(problem), context, threads);
  TALLY_ASSIGN_OR_RETURN(ConvImage image, ConvImage::Create(problem.window));
  return std::unique_ptr<CompiledNode>(new LookupConv(std::move(problem), std::move(image), context, threads));
}

}  // namespace tally
