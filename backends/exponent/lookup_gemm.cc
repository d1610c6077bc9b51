// Gemm on look-up kernels. Few rows (batch 1): the weights are decoded in registers as they stream by. More rows: a
// chunk of outputs is decoded once into lane panels, which all rows of the batch then share.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/exponent/lookup_product.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {
namespace {

// Decoded bytes of a chunk of outputs, for the L2 cache.
constexpr size_t kChunkBytes = 256 << 10;
// Outputs that an epilogue call finishes at a time, at most.
constexpr size_t kMaxChunkLanes = 256;

class LookupGemm : public LookupNode {
 public:
  LookupGemm(Problem problem, const NodeContext& context, size_t parts)
      : LookupNode(std::move(problem), context, parts),
        product_(kernel_table(), problem_, (problem_.k + 3) / 4, false, WeightRows(problem_).MaxDigitSum()),
        blocks_((problem_.outputs + kLookupLanes - 1) / kLookupLanes),
        digit_rows_(problem_.rows * static_cast<size_t>(product_.act_digits)) {
    PackWeights();
    problem_.weights = nullptr;
    use_gemv_ = digit_rows_ <= kLookupMaxGemvRows;
    chunk_lanes_ = kMaxChunkLanes;
    if (!use_gemv_) {
      const size_t per_lane = std::max<size_t>(product_.groups * 4 * static_cast<size_t>(product_.weight_digits), 1);
      chunk_lanes_ = std::clamp(kChunkBytes / per_lane / kLookupLanes * kLookupLanes, kLookupLanes, kMaxChunkLanes);
    }
    // Enough chunks for every thread.
    const size_t share = (blocks_ + parts_ - 1) / parts_ * kLookupLanes;
    chunk_lanes_ = std::min(chunk_lanes_, std::max(share, kLookupLanes));
    PlanScratch();
  }

  absl::Status Run(const RunArgs& args) override {
    if (use_gemv_) {
      RunGemv(args);
    } else {
      RunTiles(args);
    }
    return absl::OkStatus();
  }

  size_t resident_weight_bytes() const override { return stream_.size() + corrections_.size() * sizeof(int32_t); }
  std::string kernel() const override {
    return absl::StrCat(use_gemv_ ? "lookup_gemv_b" : "lookup_gemm_b", problem_.w.stored_bits());
  }

 private:
  size_t padded_outputs() const { return blocks_ * kLookupLanes; }
  size_t block_stream_bytes() const { return StreamBytes(product_.groups, problem_.w.stored_bits()); }

  // Stream: [block of 32 outputs][group][output][4].
  void PackWeights() {
    stream_ = AlignedBuffer(blocks_ * block_stream_bytes());
    if (product_.offset()) {
      corrections_.assign(static_cast<size_t>(product_.weight_digits) * product_.segments * padded_outputs(), 0);
    }
    WeightRows rows(problem_);
    const size_t groups = product_.groups;
    std::vector<uint8_t> block(groups * kLookupGroupBytes);
    std::vector<uint8_t> row(groups * kLookupGroup, 0);
    for (size_t b = 0; b < blocks_; ++b) {
      std::fill(block.begin(), block.end(), uint8_t{0});
      for (size_t lane = 0; lane < kLookupLanes && b * kLookupLanes + lane < problem_.outputs; ++lane) {
        const size_t o = b * kLookupLanes + lane;
        std::copy_n(rows.Read(o), problem_.k, row.begin());
        for (size_t g = 0; g < groups; ++g) {
          std::memcpy(&block[g * kLookupGroupBytes + lane * kLookupGroup], &row[g * kLookupGroup], kLookupGroup);
        }
        if (product_.offset()) {
          AddCorrections(product_, w_digits_, row.data(), 0, groups, product_.segments * padded_outputs(),
                         padded_outputs(), &corrections_[o]);
        }
      }
      PackStream(block.data(), groups, problem_.w.stored_bits(), stream_.data() + b * block_stream_bytes());
    }
  }

  void PlanScratch() {
    const size_t act_digits = static_cast<size_t>(product_.act_digits);
    const size_t row_bytes = (product_.groups + 3) / 4 * 16;
    size_t unused = 0;
    if (use_gemv_) {
      acts_ = plan_.Add(digit_rows_, row_bytes, &acts_stride_);
    } else {
      row_blocks_ = (problem_.rows + kLookupRows - 1) / kLookupRows;
      block_rows_ = (problem_.rows + row_blocks_ - 1) / row_blocks_;
      acts_ = plan_.Add(row_blocks_ * act_digits, product_.row_panel_bytes(block_rows_), &acts_stride_);
      line_ = plan_.Add(parts_, row_bytes, &line_stride_);
      lanes_ = plan_.Add(parts_ * static_cast<size_t>(product_.weight_digits),
                         chunk_lanes_ * product_.groups * kLookupGroup, &lanes_stride_);
    }
    narrow_ = plan_.Add(parts_, kLookupRows * chunk_lanes_ * sizeof(int32_t), &narrow_stride_);
    wide_ = plan_.Add(product_.wide() ? parts_ : 0, kLookupRows * chunk_lanes_ * sizeof(int64_t), &wide_stride_);
    plan_.Add(1, 64, &unused);
  }

  Sums PartSums(const RunArgs& args, size_t part) const {
    Sums sums;
    sums.narrow = reinterpret_cast<int32_t*>(args.scratch + narrow_ + part * narrow_stride_);
    sums.wide = reinterpret_cast<int64_t*>(args.scratch + wide_ + part * wide_stride_);
    sums.stride = chunk_lanes_;
    return sums;
  }

  void RunGemv(const RunArgs& args) const {
    const LookupKernel& kernel = kernel_table();
    const uint8_t* acts[kLookupMaxGemvRows] = {};
    for (size_t r = 0; r < digit_rows_; ++r) {
      const size_t digits = static_cast<size_t>(product_.act_digits);
      uint8_t* row = args.scratch + acts_ + r * acts_stride_;
      // Weights are zero beyond k, so these digits only have to exist.
      std::memset(row + problem_.k, 0, product_.groups * kLookupGroup - problem_.k);
      kernel.translate(Codes(args, 0) + r / digits * problem_.k, {problem_.k}, a_digits_.table[r % digits], row);
      acts[r] = row;
    }
    const size_t chunk_blocks = chunk_lanes_ / kLookupLanes;
    const size_t chunks = (blocks_ + chunk_blocks - 1) / chunk_blocks;
    ForEachPart(args.pool, parts_, chunks, [&](size_t part, size_t begin, size_t end) {
      const Sums sums = PartSums(args, part);
      for (size_t chunk = begin; chunk < end; ++chunk) {
        const size_t first = chunk * chunk_blocks, last = std::min(first + chunk_blocks, blocks_);
        for (size_t b = first; b < last; ++b) GemvBlock(acts, b, (b - first) * kLookupLanes, sums);
        const size_t o = first * kLookupLanes;
        const size_t count = std::min(problem_.outputs - o, chunk_lanes_);
        for (size_t m = 0; m < problem_.rows; ++m) {
          const size_t element = m * problem_.outputs + o;
          // Digits of a row were added up in the sums of its first digit.
          FinishSums(product_, row_kernels_, sums, m * static_cast<size_t>(product_.act_digits), count,
                     problem_.epilogue.Row(args, o, 1, element), Output(args) + element);
        }
      }
    });
  }

  // Sums of the 32 outputs of block b, all rows, at lane `lane` of `sums`.
  void GemvBlock(const uint8_t* const* acts, size_t b, size_t lane, const Sums& sums) const {
    int32_t term[kLookupMaxGemvRows * kLookupLanes];
    LookupGemv gemv;
    gemv.row_count = digit_rows_;
    gemv.act_signed = product_.act_signed;
    gemv.acc = product_.wide() ? term : sums.narrow + lane;
    gemv.acc_stride = product_.wide() ? kLookupLanes : sums.stride;
    const size_t act_digits = static_cast<size_t>(product_.act_digits);
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      gemv.table = &w_digits_.table[d];
      for (size_t s = 0; s < product_.segments; ++s) {
        const size_t begin = product_.segment_begin(s);
        const uint8_t* shifted[kLookupMaxGemvRows] = {};
        for (size_t r = 0; r < digit_rows_; ++r) shifted[r] = acts[r] + begin * kLookupGroup;
        gemv.acts = shifted;
        gemv.stream = stream_.data() + b * block_stream_bytes() + StreamBytes(begin, problem_.w.stored_bits());
        gemv.groups = product_.segment_size(s);
        kernel_table().gemv(gemv);
        for (size_t r = 0; r < digit_rows_; ++r) {
          int32_t* acc = gemv.acc + r * gemv.acc_stride;
          if (product_.offset()) {
            const int32_t* values =
                corrections_.data() + (d * product_.segments + s) * padded_outputs() + b * kLookupLanes;
            for (size_t i = 0; i < kLookupLanes; ++i) acc[i] = WrappingAdd(acc[i], values[i]);
          }
          if (product_.wide()) {
            const size_t act_digit = r % act_digits;
            AddTerm(acc, kLookupLanes, static_cast<int>(7 * (d + act_digit)), d == 0 && s == 0 && act_digit == 0,
                    sums.wide + (r - act_digit) * sums.stride + lane);
          }
        }
      }
    }
  }

  size_t RowsOfBlock(size_t block) const { return std::min(block_rows_, problem_.rows - block * block_rows_); }

  void RunTiles(const RunArgs& args) const {
    const LookupKernel& kernel = kernel_table();
    const size_t act_digits = static_cast<size_t>(product_.act_digits);
    ForEachPart(args.pool, parts_, row_blocks_, [&](size_t part, size_t begin, size_t end) {
      uint8_t* line = args.scratch + line_ + part * line_stride_;
      std::memset(line, 0, line_stride_);
      for (size_t block = begin; block < end; ++block) {
        for (size_t r = 0; r < RowsOfBlock(block); ++r) {
          const uint8_t* codes = Codes(args, 0) + (block * block_rows_ + r) * problem_.k;
          for (size_t d = 0; d < act_digits; ++d) {
            kernel.translate(codes, {problem_.k}, a_digits_.table[d], line);
            FillPanelRow(line, product_.groups, r, RowsOfBlock(block),
                         args.scratch + acts_ + (block * act_digits + d) * acts_stride_);
          }
        }
      }
    });

    const size_t chunk_blocks = chunk_lanes_ / kLookupLanes;
    const size_t chunks = (blocks_ + chunk_blocks - 1) / chunk_blocks;
    // Where there are fewer chunks than threads, rows are divided too.
    const size_t row_parts = std::min(row_blocks_, (parts_ + chunks - 1) / chunks);
    ForEachPart(args.pool, parts_, chunks * row_parts, [&](size_t part, size_t begin, size_t end) {
      size_t decoded = chunks;  // none
      for (size_t item = begin; item < end; ++item) {
        const size_t chunk = item / row_parts, row_part = item % row_parts;
        if (chunk != decoded) DecodeChunk(args, part, chunk * chunk_blocks);
        decoded = chunk;
        MultiplyChunk(args, part, chunk * chunk_lanes_, row_blocks_ * row_part / row_parts,
                      row_blocks_ * (row_part + 1) / row_parts);
      }
    });
  }

  uint8_t* LanePanels(const RunArgs& args, size_t part, size_t digit) const {
    return args.scratch + lanes_ + (part * static_cast<size_t>(product_.weight_digits) + digit) * lanes_stride_;
  }

  void DecodeChunk(const RunArgs& args, size_t part, size_t first_block) const {
    const size_t count = std::min(chunk_lanes_ / kLookupLanes, blocks_ - first_block);
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      kernel_table().decode(stream_.data() + first_block * block_stream_bytes(), count * product_.groups,
                            w_digits_.table[d], reinterpret_cast<int8_t*>(LanePanels(args, part, d)));
    }
  }

  void MultiplyChunk(const RunArgs& args, size_t part, size_t first, size_t begin_block, size_t end_block) const {
    const size_t act_digits = static_cast<size_t>(product_.act_digits);
    const size_t count = std::min(chunk_lanes_, problem_.outputs - first);
    const Sums sums = PartSums(args, part);
    const uint8_t* lanes[2] = {LanePanels(args, part, 0), LanePanels(args, part, 1)};
    Correction correction;
    if (product_.offset()) {
      correction.values = corrections_.data() + first;
      correction.digit_step = product_.segments * padded_outputs();
      correction.segment_step = padded_outputs();
      correction.lane_step = 1;
    }
    for (size_t block = begin_block; block < end_block; ++block) {
      const uint8_t* panel = args.scratch + acts_ + block * act_digits * acts_stride_;
      const uint8_t* rows[2] = {panel, panel + acts_stride_};
      Multiply(product_, lanes, count, rows, RowsOfBlock(block), correction, sums);
      for (size_t r = 0; r < RowsOfBlock(block); ++r) {
        const size_t element = (block * block_rows_ + r) * problem_.outputs + first;
        FinishSums(product_, row_kernels_, sums, r, count, problem_.epilogue.Row(args, first, 1, element),
                   Output(args) + element);
      }
    }
  }

  Product product_;
  size_t blocks_;      // of 32 outputs
  size_t digit_rows_;  // rows of activation digits
  bool use_gemv_ = false;
  size_t chunk_lanes_ = 0;
  AlignedBuffer stream_;
  std::vector<int32_t> corrections_;  // [weight digit][segment][padded output]
  size_t row_blocks_ = 0, block_rows_ = 0;
  // Scratch.
  size_t acts_ = 0, acts_stride_ = 0;  // gemv: a row of digits each; tiles: row panels [block][digit]
  size_t line_ = 0, line_stride_ = 0;
  size_t lanes_ = 0, lanes_stride_ = 0;
  size_t narrow_ = 0, narrow_stride_ = 0;
  size_t wide_ = 0, wide_stride_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupGemm(Problem problem, const NodeContext& context,
                                                                const ExponentOptions& options) {
  const double work = problem.products() * (problem.rows <= kLookupMaxGemvRows ? kStreamFactor : 1);
  const size_t parts = PartsFor(context, work, options.products_per_thread);
  return std::unique_ptr<CompiledNode>(new LookupGemm(std::move(problem), context, parts));
}

}  // namespace tally
