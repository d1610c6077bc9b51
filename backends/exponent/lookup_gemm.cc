// Gemm on look-up kernels. Few rows: the weights are decoded in registers as they stream by. More rows: a block of
// outputs is decoded once into a lane panel, which all rows of the batch then share.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/exponent/lookup_product.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {
namespace {

// Up to so many rows, reading the weights takes longer than multiplying, on one thread.
constexpr size_t kStreamRows = 4;
// Of a stream that one call reads, where the next block of rows reads it again: a share of a level 2 cache.
constexpr size_t kCallBytes = 256 << 10;

class LookupGemm : public LookupNode {
 public:
  LookupGemm(Problem problem, const NodeContext& context, size_t parts, size_t ahead)
      : LookupNode(std::move(problem), context, parts),
        product_(kernel_table(), problem_, (problem_.k + 3) / 4, false, WeightRows(problem_).MaxDigitSum()),
        act_digits_(static_cast<size_t>(product_.act_digits)),
        blocks_((problem_.outputs + kLookupLanes - 1) / kLookupLanes),
        ahead_(ahead) {
    PackWeights();
    problem_.weights = nullptr;
    decodes_ = problem_.rows * act_digits_ > kernel_table().stream_rows(problem_.w.stored_bits());
    const size_t most = (decodes_ ? kernel_table().panel_rows : kLookupStreamRows) / act_digits_;
    row_blocks_ = (problem_.rows + most - 1) / most;
    block_rows_ = (problem_.rows + row_blocks_ - 1) / row_blocks_;
    // Where k is 0 there is no stream to read.
    call_blocks_ = row_blocks_ == 1 ? blocks_ : kCallBytes / std::clamp<size_t>(block_stream_bytes(), 1, kCallBytes);
    // Where there are fewer blocks than threads, rows are divided too.
    row_parts_ = std::min(row_blocks_, (parts_ + blocks_ - 1) / blocks_);
    PlanScratch();
  }

  absl::Status Run(const RunArgs& args) override {
    ForEachPart(args.pool, parts_, row_blocks_, [&](size_t part, size_t begin, size_t end) {
      for (size_t block = begin; block < end; ++block) FillRows(args, part, block);
    });
    ForEachPart(args.pool, parts_, blocks_ * row_parts_, [&](size_t part, size_t begin, size_t end) {
      if (!decodes_ && row_parts_ == 1 && FinishesInKernel(product_)) {
        const size_t full = std::min(end, problem_.outputs / kLookupLanes);
        for (size_t block = begin, count; block < end; block += count) {
          count = block < full ? std::min(full - block, call_blocks_) : 1;
          for (size_t r = 0; r < row_blocks_; ++r) MultiplyBlocks(args, part, block, count, r);
        }
        return;
      }
      const LookupScope scope(decodes_ ? &kernel_table() : nullptr);
      size_t decoded = blocks_;  // none
      for (size_t item = begin; item < end; ++item) {
        const size_t block = item / row_parts_, row_part = item % row_parts_;
        if (decodes_ && block != decoded) Decode(args, part, block);
        decoded = block;
        for (size_t r = row_blocks_ * row_part / row_parts_; r < row_blocks_ * (row_part + 1) / row_parts_; ++r) {
          MultiplyBlocks(args, part, block, 1, r);
        }
      }
    });
    return absl::OkStatus();
  }

  size_t resident_weight_bytes() const override { return stream_.size() + corrections_.size() * sizeof(int32_t); }
  std::string kernel() const override {
    return absl::StrCat(problem_.rows > kStreamRows ? "lookup_gemm_b" : "lookup_gemv_b", problem_.w.stored_bits());
  }

 private:
  size_t padded_outputs() const { return blocks_ * kLookupLanes; }
  size_t block_stream_bytes() const { return StreamBytes(product_.units(), problem_.w.stored_bits()); }

  // Stream: [block of 32 outputs][group, to whole units][output][4].
  void PackWeights() {
    stream_ = AlignedBuffer(blocks_ * block_stream_bytes());
    if (product_.offset()) {
      corrections_.assign(static_cast<size_t>(product_.weight_digits) * product_.segments * padded_outputs(), 0);
    }
    WeightRows rows(problem_);
    const size_t groups = product_.groups;
    std::vector<uint8_t> block(product_.units() * kLookupUnit);
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
      PackStream(block.data(), product_.units(), problem_.w.stored_bits(), stream_.data() + b * block_stream_bytes());
    }
  }

  void PlanScratch() {
    const size_t row_bytes = product_.row_panel_bytes(1);
    rows_ =
        plan_.Add(row_blocks_, product_.row_panel_bytes(block_rows_ * act_digits_) + kLookupPanelSlack, &rows_stride_);
    line_ = plan_.Add(parts_, row_bytes, &line_stride_);
    lanes_ = plan_.Add(decodes_ ? parts_ * static_cast<size_t>(product_.weight_digits) : 0,
                       product_.units() * kLookupUnit, &lanes_stride_);
  }

  size_t RowsOfBlock(size_t block) const { return std::min(block_rows_, problem_.rows - block * block_rows_); }
  uint8_t* RowPanel(const RunArgs& args, size_t block) const { return args.scratch + rows_ + block * rows_stride_; }
  uint8_t* LanePanels(const RunArgs& args, size_t part, size_t digit) const {
    return args.scratch + lanes_ + (part * static_cast<size_t>(product_.weight_digits) + digit) * lanes_stride_;
  }

  // The panel of a block of rows: each row's digits one after the other.
  void FillRows(const RunArgs& args, size_t part, size_t block) const {
    const LookupKernel& kernel = kernel_table();
    uint8_t* panel = RowPanel(args, block);
    const size_t digit_rows = RowsOfBlock(block) * act_digits_;
    const size_t row_groups = decodes_ ? kernel.row_groups : kLookupStreamGroups;
    // A single row is its own panel. Weights are zero beyond k, so the digits there only have to exist.
    uint8_t* line = digit_rows == 1 ? panel : args.scratch + line_ + part * line_stride_;
    std::memset(line + problem_.k, 0, product_.row_panel_bytes(1) - problem_.k);
    for (size_t r = 0; r < digit_rows; ++r) {
      const uint8_t* codes = Codes(args, 0) + (block * block_rows_ + r / act_digits_) * problem_.k;
      kernel.translate(codes, {problem_.k}, a_digits_.table[r % act_digits_], line);
      if (digit_rows > 1) FillPanelRow(line, product_.groups, r, digit_rows, row_groups, panel);
    }
  }

  void Decode(const RunArgs& args, size_t part, size_t block) const {
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      kernel_table().decode(stream_.data() + block * block_stream_bytes(), product_.units(), w_digits_.table[d],
                            reinterpret_cast<int8_t*>(LanePanels(args, part, d)));
    }
  }

  // Blocks of 32 outputs of a block of rows; several only where the kernel finishes, and all of them full.
  void MultiplyBlocks(const RunArgs& args, size_t part, size_t block, size_t blocks, size_t row_block) const {
    const size_t o = block * kLookupLanes, element = row_block * block_rows_ * problem_.outputs + o;
    const EpilogueRow row = problem_.epilogue.Row(args, o, 1, element);
    TileFinish finish(row, false, problem_.outputs);
    finish.AddRun(0, std::min(problem_.outputs - o, kLookupLanes), Output(args) + element, row.residual);
    const size_t rows = RowsOfBlock(row_block);
    if (FinishesInKernel(product_)) {
      const int32_t* correction = product_.offset() ? corrections_.data() + o : nullptr;
      Call(args, part, block, blocks, row_block, 0, 0, &finish.InKernel(correction), nullptr);
      finish.Activate(rows, blocks);
      return;
    }
    TileSums memory;
    const Sums sums = memory.sums();
    AddUp(args, part, block, row_block, sums);
    finish.FromSums(product_, row_kernels_, sums, rows);
  }

  // One weight digit and segment; sums go to `finish`, or where that is null, to `acc`, 32 a row of digits.
  void Call(const RunArgs& args, size_t part, size_t block, size_t blocks, size_t row_block, size_t digit,
            size_t segment, const LookupFinish* finish, int32_t* acc) const {
    const size_t digit_rows = RowsOfBlock(row_block) * act_digits_;
    const size_t begin = product_.segment_begin(segment), groups = product_.segment_size(segment);
    const uint8_t* rows = RowPanel(args, row_block) + begin * kLookupGroup * digit_rows;
    if (decodes_) {
      LookupTile tile;
      tile.lanes = LanePanels(args, part, digit);
      tile.lane_offsets = product_.lane_offsets.data() + begin;
      tile.rows = rows;
      tile.groups = groups;
      tile.row_count = digit_rows;
      tile.lane_count = kLookupLanes;
      tile.act_signed = product_.act_signed;
      tile.finish = finish;
      tile.acc = acc;
      tile.acc_stride = kLookupLanes;
      kernel_table().tile(tile);
    } else {
      LookupStream stream;
      stream.stream = stream_.data() + block * block_stream_bytes() +
                      StreamBytes(begin / kLookupUnitGroups, problem_.w.stored_bits());
      stream.table = &w_digits_.table[digit];
      stream.rows = rows;
      stream.units = (groups + kLookupUnitGroups - 1) / kLookupUnitGroups;
      stream.row_count = digit_rows;
      stream.act_signed = product_.act_signed;
      stream.blocks = blocks;
      stream.ahead = ahead_;
      stream.finish = finish;
      stream.acc = acc;
      stream.acc_stride = kLookupLanes;
      kernel_table().stream(stream);
    }
  }

  void AddUp(const RunArgs& args, size_t part, size_t block, size_t row_block, const Sums& sums) const {
    const size_t digit_rows = RowsOfBlock(row_block) * act_digits_;
    alignas(64) int32_t term[TileSums::kSize];
    int32_t* const acc = product_.wide() ? term : sums.narrow;
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      for (size_t s = 0; s < product_.segments; ++s) {
        Call(args, part, block, 1, row_block, d, s, nullptr, acc);
        if (product_.offset()) {
          const int32_t* values =
              corrections_.data() + (d * product_.segments + s) * padded_outputs() + block * kLookupLanes;
          for (size_t r = 0; r < digit_rows; ++r) AddCorrection(values, kLookupLanes, acc + r * kLookupLanes);
        }
        if (!product_.wide()) continue;
        for (size_t r = 0; r < digit_rows; ++r) {
          const size_t act_digit = r % act_digits_;
          AddTerm(term + r * kLookupLanes, kLookupLanes, static_cast<int>(7 * (d + act_digit)),
                  d == 0 && s == 0 && act_digit == 0, sums.wide + r / act_digits_ * sums.stride);
        }
      }
    }
  }

  Product product_;
  size_t act_digits_;
  size_t blocks_;         // of 32 outputs
  size_t ahead_;          // LookupStream
  bool decodes_ = false;  // a block of outputs, for all rows
  size_t row_blocks_ = 0, block_rows_ = 0;
  size_t row_parts_ = 0;
  size_t call_blocks_ = 0;  // of outputs, in one call of the stream kernel
  AlignedBuffer stream_;
  std::vector<int32_t> corrections_;  // [weight digit][segment][padded output]
  // Scratch.
  size_t rows_ = 0, rows_stride_ = 0;  // a panel per block
  size_t line_ = 0, line_stride_ = 0;
  size_t lanes_ = 0, lanes_stride_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupGemm(Problem problem, const NodeContext& context,
                                                                const ExponentOptions& options) {
  const double work = problem.products() * (problem.rows <= kStreamRows ? kStreamFactor : 1);
  const size_t parts = PartsFor(context, work, options.products_per_thread);
  return std::unique_ptr<CompiledNode>(new LookupGemm(std::move(problem), context, parts, options.stream_ahead));
}

}  // namespace tally
