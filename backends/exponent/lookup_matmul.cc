// MatMul of two activations on look-up kernels: both operands become panels at run time, chunk by chunk. The second one
// takes the part of the weights (int8 digits).
#include <algorithm>
#include <cstring>

#include "backends/exponent/lookup_product.h"

namespace tally {
namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr size_t kMaxChunkLanes = 256;
// No int32 bound from values that are not known yet: 127 * 127 * k.
constexpr uint64_t kMaxDigit = 127;

class LookupMatMul : public LookupNode {
 public:
  LookupMatMul(Problem problem, const NodeContext& context, size_t parts)
      : LookupNode(std::move(problem), context, parts),
        product_(kernel_table(), problem_, (problem_.k + 3) / 4, false, kMaxDigit * problem_.k),
        lane_scales_(kLookupLanes, problem_.epilogue.scales[0]) {
    const size_t weight_digits = static_cast<size_t>(product_.weight_digits);
    const size_t per_lane = std::max<size_t>(product_.groups * 4 * weight_digits, 1);
    chunk_lanes_ = std::clamp(kChunkBytes / per_lane / kLookupLanes * kLookupLanes, kLookupLanes, kMaxChunkLanes);
    chunk_lanes_ = std::min(chunk_lanes_, (problem_.outputs + kLookupLanes - 1) / kLookupLanes * kLookupLanes);
    chunks_ = (problem_.outputs + chunk_lanes_ - 1) / chunk_lanes_;
    row_blocks_ = (problem_.rows + kernel_table().panel_rows - 1) / kernel_table().panel_rows;
    block_rows_ = (problem_.rows + row_blocks_ - 1) / row_blocks_;
    const size_t matrices = problem_.batch.count();
    row_parts_ = std::min(row_blocks_, (parts_ + matrices * chunks_ - 1) / (matrices * chunks_));
    zeros_ = plan_.Add(1, chunk_lanes_, &zeros_stride_);
    ones_ = plan_.Add(product_.offset() ? 1 : 0, product_.row_panel_bytes(1) + kLookupPanelSlack, &ones_stride_);
    line_ = plan_.Add(parts_, (product_.groups + 3) / 4 * 16, &line_stride_);
    rows_ = plan_.Add(parts_ * static_cast<size_t>(product_.act_digits),
                      product_.row_panel_bytes(block_rows_) + kLookupPanelSlack, &rows_stride_);
    lanes_ = plan_.Add(parts_ * weight_digits, chunk_lanes_ * product_.groups * kLookupGroup, &lanes_stride_);
    corrections_ = plan_.Add(product_.offset() ? parts_ : 0,
                             weight_digits * product_.segments * chunk_lanes_ * sizeof(int32_t), &corrections_stride_);
  }

  absl::Status Run(const RunArgs& args) override {
    std::memset(args.scratch + zeros_, 0, zeros_stride_);
    if (product_.offset()) std::memset(args.scratch + ones_, kernel_table().signed_offset, ones_stride_);
    // An item is a share of the rows of one chunk of columns of one matrix.
    const size_t items = problem_.batch.count() * chunks_ * row_parts_;
    ForEachPart(args.pool, parts_, items, [&](size_t part, size_t begin, size_t end) {
      const LookupScope scope(&kernel_table());
      size_t filled = items;  // none
      for (size_t item = begin; item < end; ++item) {
        const size_t row_part = item % row_parts_, chunk = item / row_parts_ % chunks_;
        const size_t matrix = item / row_parts_ / chunks_;
        if (item / row_parts_ != filled) FillLanes(args, part, matrix, chunk);
        filled = item / row_parts_;
        for (size_t b = row_blocks_ * row_part / row_parts_; b < row_blocks_ * (row_part + 1) / row_parts_; ++b) {
          MultiplyBlock(args, part, matrix, chunk, b);
        }
      }
    });
    return absl::OkStatus();
  }

  std::string kernel() const override { return "lookup_matmul"; }

 private:
  size_t ChunkLanes(size_t chunk) const { return std::min(chunk_lanes_, problem_.outputs - chunk * chunk_lanes_); }
  uint8_t* LanePanels(const RunArgs& args, size_t part, size_t digit) const {
    return args.scratch + lanes_ + (part * static_cast<size_t>(product_.weight_digits) + digit) * lanes_stride_;
  }
  uint8_t* RowPanel(const RunArgs& args, size_t part, size_t digit) const {
    return args.scratch + rows_ + (part * static_cast<size_t>(product_.act_digits) + digit) * rows_stride_;
  }
  int32_t* Corrections(const RunArgs& args, size_t part) const {
    return reinterpret_cast<int32_t*>(args.scratch + corrections_ + part * corrections_stride_);
  }

  // Lane panels of a chunk of columns of the second operand.
  void FillLanes(const RunArgs& args, size_t part, size_t matrix, size_t chunk) const {
    const size_t n = problem_.outputs;
    const uint8_t* b = Codes(args, 1) + problem_.batch.BOffset(matrix) * problem_.k * n + chunk * chunk_lanes_;
    const uint8_t* zeros = args.scratch + zeros_;
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      uint8_t* panel = LanePanels(args, part, d);
      for (size_t l = 0; l < ChunkLanes(chunk); l += kLookupLanes) {
        const size_t lanes = std::min(kLookupLanes, ChunkLanes(chunk) - l);
        for (size_t g = 0; g < product_.groups; ++g, panel += kLookupGroupBytes) {
          const uint8_t* rows[kLookupGroup];
          for (size_t i = 0; i < kLookupGroup; ++i) {
            const size_t k = g * kLookupGroup + i;
            rows[i] = k < problem_.k ? b + k * n + l : zeros;
          }
          kernel_table().interleave(rows, {lanes}, w_digits_.table[d], panel);
        }
      }
    }
    if (!product_.offset()) return;
    // A row of the offset alone gives the sums to subtract.
    LookupTile tile;
    tile.row_count = 1;
    tile.act_signed = true;
    tile.rows = args.scratch + ones_;
    int32_t* values = Corrections(args, part);
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      for (size_t s = 0; s < product_.segments; ++s, values += chunk_lanes_) {
        for (size_t l = 0; l < ChunkLanes(chunk); l += kLookupLanes) {
          tile.lane_count = kLookupLanes;
          tile.lanes = LanePanels(args, part, d) + l / kLookupLanes * product_.lane_panel_bytes();
          tile.lane_offsets = product_.lane_offsets.data() + product_.segment_begin(s);
          tile.groups = product_.segment_size(s);
          tile.acc = values + l;
          kernel_table().tile(tile);
        }
        for (size_t l = 0; l < chunk_lanes_; ++l) {
          values[l] = static_cast<int32_t>(0u - static_cast<uint32_t>(values[l]));
        }
      }
    }
  }

  void MultiplyBlock(const RunArgs& args, size_t part, size_t matrix, size_t chunk, size_t block) const {
    const size_t count = std::min(block_rows_, problem_.rows - block * block_rows_);
    const uint8_t* a =
        Codes(args, 0) + (problem_.batch.AOffset(matrix) * problem_.rows + block * block_rows_) * problem_.k;
    uint8_t* line = args.scratch + line_ + part * line_stride_;
    std::memset(line + problem_.k, 0, line_stride_ - problem_.k);
    for (size_t r = 0; r < count; ++r) {
      for (size_t d = 0; d < static_cast<size_t>(product_.act_digits); ++d) {
        kernel_table().translate(a + r * problem_.k, {problem_.k}, a_digits_.table[d], line);
        FillPanelRow(line, product_.groups, r, count, kernel_table().row_groups, RowPanel(args, part, d));
      }
    }
    Correction correction;
    if (product_.offset()) {
      correction.values = Corrections(args, part);
      correction.digit_step = product_.segments * chunk_lanes_;
      correction.segment_step = chunk_lanes_;
      correction.lane_step = 1;
    }
    const uint8_t* rows[2] = {RowPanel(args, part, 0), RowPanel(args, part, 1)};
    for (size_t l = 0; l < ChunkLanes(chunk); l += kLookupLanes) {
      const size_t tile_lanes = std::min(kLookupLanes, ChunkLanes(chunk) - l);
      const size_t panel = l / kLookupLanes * product_.lane_panel_bytes();
      const uint8_t* lanes[2] = {LanePanels(args, part, 0) + panel, LanePanels(args, part, 1) + panel};
      const size_t element =
          (matrix * problem_.rows + block * block_rows_) * problem_.outputs + chunk * chunk_lanes_ + l;
      EpilogueRow row = problem_.epilogue.Row(args, 0, 1, element);
      row.scale = lane_scales_.data();
      TileFinish finish(row, false, problem_.outputs);
      finish.AddRun(0, tile_lanes, Output(args) + element, row.residual);
      MultiplyAndFinish(product_, row_kernels_, lanes, tile_lanes, rows, count, correction, &finish);
      if (correction.values != nullptr) correction.values += kLookupLanes;
    }
  }

  Product product_;
  std::vector<float> lane_scales_;  // the scale, once per lane of a tile
  size_t chunk_lanes_ = 0, chunks_ = 0;
  size_t row_blocks_ = 0, block_rows_ = 0, row_parts_ = 1;
  // Scratch.
  size_t zeros_ = 0, zeros_stride_ = 0;  // codes of rows beyond k
  size_t ones_ = 0, ones_stride_ = 0;
  size_t line_ = 0, line_stride_ = 0;
  size_t rows_ = 0, rows_stride_ = 0;
  size_t lanes_ = 0, lanes_stride_ = 0;
  size_t corrections_ = 0, corrections_stride_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupMatMul(Problem problem, const NodeContext& context,
                                                                  const ExponentOptions& options) {
  const size_t parts = PartsFor(context, problem.products(), options.products_per_thread);
  return std::unique_ptr<CompiledNode>(new LookupMatMul(std::move(problem), context, parts));
}

}  // namespace tally
