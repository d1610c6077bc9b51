// Convolution on look-up kernels: weights are decoded once per run into panels, activations become an image of pixels
// (conv_image.h) that tiles read where they lie. Two ways: positions in lanes, which come out in NCHW but waste the
// lanes beyond the ends of image rows; or outputs in lanes, which waste none of them but must be transposed.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/exponent/conv_image.h"
#include "backends/exponent/lookup_depthwise.h"
#include "backends/exponent/lookup_product.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {
namespace {

// Positions in lanes whose activations are in the cache for all outputs.
constexpr size_t kMaxChunkLanes = 256;
static_assert(kMaxChunkLanes <= kLookupPackLanes);
// Positions, outputs in lanes, whose sums are made before they are transposed: they fit the first-level cache twice.
constexpr size_t kMaxChunkRows = 128;
// Decoded weights beyond this are made and used in several passes over the image.
constexpr size_t kDecodedBytes = 8 << 20;
constexpr size_t kLine = 64;  // of the caches
// Tiles read this much beyond the image.
constexpr size_t kReadSlack = 128;
// Groups along k that finishing a transposed sum costs more, about (6 on Zen 5).
constexpr double kTransposeGroups = 6;
// Rows of a tile that keep the multipliers busy while each sum waits for its last addition.
constexpr double kBusyRows = 5;

// Taller kernels multiply their padding: there is a list of groups for every pair of first and last row.
constexpr int64_t kMaxClippedRows = 11;

double Ceil(size_t n, size_t multiple) { return static_cast<double>((n + multiple - 1) / multiple * multiple); }

// Positions without a gap between them.
size_t UnbrokenRun(const Window2d& w, const ConvImage& image) {
  return static_cast<size_t>(image.pitch() == static_cast<size_t>(w.out_w) ? w.out_h * w.out_w : w.out_w);
}

// The rows of the kernel that meet the image, not its padding above and below, where output row y is made.
struct KernelRows {
  size_t begin, end;
  size_t count() const { return end - begin; }
  bool operator==(const KernelRows& o) const { return begin == o.begin && end == o.end; }
};
KernelRows RowsWithin(const Window2d& w, size_t y) {
  const int64_t top = static_cast<int64_t>(y) * w.stride_h - w.pad_top;  // of the kernel, as a row of the image
  // How many rows of the kernel lie above row `limit` of the image.
  const auto above = [&](int64_t limit) {
    const int64_t rows = limit <= top ? 0 : (limit - top + w.dilation_h - 1) / w.dilation_h;
    return static_cast<size_t>(std::min(rows, w.kernel_h));
  };
  return {above(0), above(w.in_h)};
}

// Share of the products that meet no padding above or below.
double ShareWithin(const Window2d& w) {
  size_t rows = 0;
  for (int64_t y = 0; y < w.out_h; ++y) rows += RowsWithin(w, static_cast<size_t>(y)).count();
  return static_cast<double>(rows) / static_cast<double>(w.out_h * w.kernel_h);
}

// Whether outputs in lanes take less time than positions in lanes: by how much of each tile is wanted.
bool PrefersOutputsInLanes(const Window2d& w, const ConvImage& image, const LookupKernel& kernel) {
  const size_t outputs = static_cast<size_t>(w.out_channels_per_group());
  const double positions = static_cast<double>(w.out_h * w.out_w);
  const auto rows_cost = [](size_t count, size_t max_rows) {
    const size_t tiles = (count + max_rows - 1) / max_rows;
    return static_cast<double>(tiles) * std::max(kBusyRows, static_cast<double>(count) / static_cast<double>(tiles)) /
           static_cast<double>(count);
  };
  const double in_positions =
      rows_cost(outputs, kernel.panel_rows) * Ceil(image.lanes(), kLookupLanes / 2) / positions / kernel.panel_speed;
  const double in_outputs = rows_cost(UnbrokenRun(w, image), kLookupRows) * Ceil(outputs, kLookupLanes / 2) /
                                static_cast<double>(outputs) * ShareWithin(w) +
                            kTransposeGroups / static_cast<double>(image.group_offsets().size());
  return in_outputs < in_positions;
}

// When weights become digits.
enum class Decodes {
  kAtOnce,    // all of them, before anything is multiplied
  kInPasses,  // so many blocks of outputs as memory is wanted for, then the next ones
  kLate,      // a block right before its only use
  kInTiles,   // in the kernel
};

// Rows of pixels, outputs in lanes.
struct PixelTile {
  size_t pixels = 0;  // bytes from the start of a convolution group's image
  size_t rows = 0;
  const Product* product = nullptr;
  Edges edges;
};

// Positions in lanes.
struct LaneTile {
  struct Run {
    size_t first, count;  // lanes of the tile
    size_t position;      // of the first one
  };
  size_t first = 0, lanes = 0;
  size_t run_count = 0;
  Run runs[2];
};

class LookupConv : public LookupNode {
 public:
  LookupConv(Problem problem, ConvImage image, const NodeContext& context, size_t parts)
      : LookupNode(std::move(problem), context, parts),
        image_(std::move(image)),
        outputs_in_lanes_(PrefersOutputsInLanes(problem_.window, image_, kernel_table())),
        order_(Order()),
        product_(kernel_table(), problem_, image_.group_offsets().size(), !outputs_in_lanes_,
                 WeightRows(problem_).MaxDigitSum()) {
    const Window2d& w = problem_.window;
    conv_groups_ = static_cast<size_t>(w.group);
    group_outputs_ = static_cast<size_t>(w.out_channels_per_group());
    positions_ = static_cast<size_t>(w.out_h * w.out_w);
    packs_ = !outputs_in_lanes_ && !image_.IsInput() && kernel_table().pack != nullptr;
    lanes_ = packs_ ? positions_ : image_.lanes();
    run_ = packs_ ? positions_ : UnbrokenRun(w, image_);
    std::vector<size_t>& offsets = outputs_in_lanes_ ? product_.row_offsets : product_.lane_offsets;
    offsets.clear();
    for (const size_t g : order_) offsets.push_back(image_.group_offsets()[g]);
    if (outputs_in_lanes_) {
      if (kernel_table().decodes_tiles && problem_.w.stored_bits() == 4 && !product_.wide()) {
        product_.lane_table = &w_digits_.table[0];
        for (size_t g = 0; g < product_.groups; ++g) product_.lane_offsets[g] = StreamBytes(g, 4) / kLookupUnitGroups;
      }
      Clip();
      block_outputs_ = kLookupLanes;
      blocks_ = (group_outputs_ + block_outputs_ - 1) / block_outputs_;
      panel_bytes_ = product_.lane_panel_bytes();
    } else {
      blocks_ = (group_outputs_ + kernel_table().panel_rows - 1) / kernel_table().panel_rows;
      block_outputs_ = (group_outputs_ + blocks_ - 1) / blocks_;
      // Balancing may leave the last blocks without outputs.
      blocks_ = (group_outputs_ + block_outputs_ - 1) / block_outputs_;
      panel_bytes_ = product_.row_panel_bytes(block_outputs_);
    }

    // A chunk is a range of lanes, or of positions.
    const size_t chunk_items = outputs_in_lanes_ ? positions_ : lanes_;
    // Whole rows of positions where they fit, so that tiles are as tall as can be.
    const size_t unit = !outputs_in_lanes_ ? kLookupLanes : std::min(run_, run_ > kMaxChunkRows ? kLookupRows : run_);
    const size_t share = (chunk_items + parts_ - 1) / parts_;
    chunk_ = std::min(outputs_in_lanes_ ? kMaxChunkRows : kMaxChunkLanes, share + unit - 1) / unit * unit;
    chunks_ = (chunk_items + chunk_ - 1) / chunk_;
    fills_late_ = !outputs_in_lanes_ && (image_.IsInput() || packs_);
    if (fills_late_) {
      pixel_offsets_.swap(product_.lane_offsets);
      for (size_t g = 0; g < product_.groups; ++g) product_.lane_offsets.push_back(g * chunk_plane_bytes());
    }
    const size_t whole_units = std::max<size_t>((panel_bytes_ + kLookupUnit - 1) / kLookupUnit, 1) * kLookupUnit;
    pass_blocks_ = blocks_;
    if (product_.lane_table != nullptr) {
      decodes_ = Decodes::kInTiles;
    } else if (chunks_ == 1 && w.batch == 1) {
      decodes_ = Decodes::kLate;
    } else {
      pass_blocks_ = std::clamp<size_t>(kDecodedBytes / whole_units / conv_groups_, 1, blocks_);
      decodes_ = pass_blocks_ < blocks_ ? Decodes::kInPasses : Decodes::kAtOnce;
    }
    if (decodes_ != Decodes::kAtOnce) panel_bytes_ = whole_units;
    PackWeights();
    problem_.weights = nullptr;
    PlanTiles();
    PlanScratch();
  }

  absl::Status Run(const RunArgs& args) override {
    const size_t input_size = static_cast<size_t>(problem_.window.in_channels) *
                              static_cast<size_t>(problem_.window.in_h) * static_cast<size_t>(problem_.window.in_w);
    for (size_t first = 0; first < blocks_; first += pass_blocks_) {
      const size_t count = std::min(pass_blocks_, blocks_ - first);
      if (decodes_ == Decodes::kAtOnce || decodes_ == Decodes::kInPasses) DecodeWeights(args, first, count);
      for (size_t n = 0; n < static_cast<size_t>(problem_.window.batch); ++n) {
        const uint8_t* codes = Codes(args, 0) + n * input_size;
        if (makes_image() && (first == 0 || problem_.window.batch > 1)) FillImages(args, codes);
        MultiplyImage(args, codes, n, first, count);
      }
    }
    return absl::OkStatus();
  }

  size_t resident_weight_bytes() const override { return stream_.size() + corrections_.size() * sizeof(int32_t); }
  std::string kernel() const override { return absl::StrCat("lookup_conv_b", problem_.w.stored_bits()); }

 private:
  size_t weight_digits() const { return static_cast<size_t>(product_.weight_digits); }
  size_t act_digits() const { return static_cast<size_t>(product_.act_digits); }
  size_t OutputsOfBlock(size_t block) const {
    return std::min(block_outputs_, group_outputs_ - block * block_outputs_);
  }

  // 0 (2): the group meets nothing but padding at the left (right) edge of the image; 1: neither.
  int Side(size_t g) const { return image_.IsLeftPadding(g) ? 0 : image_.IsRightPadding(g) ? 2 : 1; }

  // The groups of the image in the order in which they are multiplied: by side where rows of pixels may leave out
  // what lies beyond the edges.
  std::vector<size_t> Order() const {
    std::vector<size_t> order;
    for (const int side : {0, 1, 2}) {
      for (size_t g = 0; g < image_.group_offsets().size(); ++g) {
        if ((outputs_in_lanes_ ? Side(g) : 1) == side) order.push_back(g);
      }
    }
    return order;
  }

  // A tile in one image row need not multiply the padding around the image. (With an offset it would have to be
  // corrected by what it leaves out.)
  void Clip() {
    const Window2d& w = problem_.window;
    if (run_ != static_cast<size_t>(w.out_w) || product_.segments > 1 || product_.offset()) return;
    if (w.kernel_h > kMaxClippedRows) return;
    std::vector<KernelRows> kinds;
    for (int64_t y = 0; y < w.out_h; ++y) {
      const KernelRows rows = RowsWithin(w, static_cast<size_t>(y));
      const size_t kind = static_cast<size_t>(std::find(kinds.begin(), kinds.end(), rows) - kinds.begin());
      clip_of_row_.push_back(kind);
      if (kind < kinds.size()) continue;
      kinds.push_back(rows);
      clips_.push_back(Clipped(rows));
    }
  }

  // The product without other rows of the kernel.
  Product Clipped(const KernelRows& rows) const {
    Product clipped = product_;
    clipped.lane_offsets.clear();
    clipped.row_offsets.clear();
    for (size_t i = 0; i < product_.groups; ++i) {
      const size_t g = order_[i], r = image_.KernelRow(g);
      if (r < rows.begin || r >= rows.end) continue;
      clipped.lane_offsets.push_back(product_.lane_offsets[i]);
      clipped.row_offsets.push_back(product_.row_offsets[i]);
      clipped.left_zeros += Side(g) == 0 ? 1 : 0;
      clipped.right_zeros += Side(g) == 2 ? 1 : 0;
    }
    clipped.groups = clipped.row_offsets.size();
    return clipped;
  }

  // Stream: [convolution group][block of outputs][panel]; panels are of whole units unless all are decoded at once.
  void PackWeights() {
    const int bits = problem_.w.stored_bits();
    const size_t groups = product_.groups;
    units_ = (conv_groups_ * blocks_ * panel_bytes_ + kLookupUnit - 1) / kLookupUnit;
    stream_ = AlignedBuffer(StreamBytes(units_, bits));
    // A last panel of lanes reads beyond the outputs.
    if (product_.offset()) {
      corrections_.assign(weight_digits() * product_.segments * problem_.outputs + kLookupLanes, 0);
    }
    std::vector<int64_t> source(groups * kLookupGroup);
    for (size_t i = 0; i < source.size(); ++i) {
      source[i] = image_.WeightIndex(order_[i / kLookupGroup], i % kLookupGroup);
    }
    WeightRows rows(problem_);
    std::vector<uint8_t> row((groups + 3) / 4 * 16, 0);
    std::vector<uint8_t> panels(units_ * kLookupUnit, 0);
    for (size_t b = 0; b < conv_groups_ * blocks_; ++b) {
      uint8_t* panel = panels.data() + b * panel_bytes_;
      const size_t count = OutputsOfBlock(b % blocks_);
      for (size_t r = 0; r < count; ++r) {
        const size_t o = b / blocks_ * group_outputs_ + b % blocks_ * block_outputs_ + r;
        const uint8_t* codes = rows.Read(o);
        for (size_t i = 0; i < source.size(); ++i) {
          row[i] = source[i] < 0 ? uint8_t{0} : codes[static_cast<size_t>(source[i])];
        }
        if (outputs_in_lanes_) {
          for (size_t g = 0; g < groups; ++g) {
            std::memcpy(panel + g * kLookupGroupBytes + r * kLookupGroup, &row[g * kLookupGroup], kLookupGroup);
          }
        } else {
          FillPanelRow(row.data(), groups, r, count, kernel_table().row_groups, panel);
        }
        if (product_.offset()) {
          AddCorrections(product_, w_digits_, row.data(), 0, groups, product_.segments * problem_.outputs,
                         problem_.outputs, &corrections_[o]);
        }
      }
    }
    PackStream(panels.data(), units_, bits, stream_.data());
  }

  void PlanScratch() {
    images_ = plan_.Add(makes_image() ? act_digits() : 0, image_.bytes() + kReadSlack, &images_stride_);
    filled_ = plan_.Add(fills_late_ ? parts_ * act_digits() : 0, product_.groups * chunk_plane_bytes() + kReadSlack,
                        &filled_stride_);
    line_ = plan_.Add(parts_, image_.line_bytes(), &line_stride_);
    const size_t decoded_blocks = decodes_ == Decodes::kLate ? parts_ : conv_groups_ * pass_blocks_;
    const size_t decoded = decodes_ == Decodes::kAtOnce ? units_ * kLookupUnit : decoded_blocks * panel_bytes_;
    decoded_ =
        plan_.Add(decodes_ == Decodes::kInTiles ? 0 : weight_digits(), decoded + kLookupPanelSlack, &decoded_stride_);
    if (!outputs_in_lanes_) return;
    const size_t sums = kLookupLanes * transposed_stride();
    narrow_ = plan_.Add(parts_, sums * sizeof(int32_t), &narrow_stride_);
    wide_ = plan_.Add(product_.wide() ? parts_ : 0, sums * sizeof(int64_t), &wide_stride_);
    const size_t transposed = sums * (product_.wide() ? sizeof(int64_t) : sizeof(int32_t));
    transposed_ = plan_.Add(FinishesOutputs() ? 0 : parts_, transposed, &transposed_part_stride_);
  }

  // The tiles of each chunk, in the order of their positions.
  void PlanTiles() {
    for (size_t chunk = 0; chunk < chunks_; ++chunk) {
      chunk_tiles_.push_back(outputs_in_lanes_ ? tiles_.size() : lane_tiles_.size());
      const size_t first = chunk * chunk_;
      outputs_in_lanes_ ? PlanPixelTiles(first, std::min(first + chunk_, positions_))
                        : PlanLaneTiles(first, std::min(first + chunk_, lanes_));
    }
    chunk_tiles_.push_back(outputs_in_lanes_ ? tiles_.size() : lane_tiles_.size());
  }

  // Of neighbours in one image row, or anywhere where rows have no gaps between them; about as tall as each other.
  void PlanPixelTiles(size_t first, size_t end) {
    while (first < end) {
      const size_t y = first / run_, x = first % run_;
      const size_t run = std::min(run_ - x, end - first), tiles = (run + kLookupRows - 1) / kLookupRows;
      for (size_t t = 0; t < tiles; ++t) {
        const size_t begin = run * t / tiles, rows = run * (t + 1) / tiles - begin;
        PixelTile tile;
        tile.pixels = (y * image_.pitch() + x + begin) * kLookupGroup;
        tile.rows = rows;
        tile.product = clip_of_row_.empty() ? &product_ : &clips_[clip_of_row_[y]];
        tile.edges = {x + begin == 0, x + begin + rows == run_};
        tiles_.push_back(tile);
      }
      first += run;
    }
  }

  // Lanes beyond the ends of image rows are left out; what is between them makes up to two runs.
  void PlanLaneTiles(size_t first, size_t end) {
    const size_t pitch = run_ == positions_ ? positions_ : image_.pitch();
    while (first < end) {
      LaneTile tile;
      tile.first = first;
      const size_t last = std::min(first + kLookupLanes, end);
      size_t lane = first;
      while (lane < last && tile.run_count < 2) {
        const size_t y = lane / pitch, x = lane % pitch;
        if (x < run_) tile.runs[tile.run_count++] = {lane - first, std::min(run_ - x, last - lane), y * run_ + x};
        lane += pitch - x;
      }
      first = std::min(lane, last);
      tile.lanes = first - tile.first;
      lane_tiles_.push_back(tile);
    }
  }

  // Whether sums, outputs in lanes, become results before they are transposed. A residual lies in the results' order.
  bool FinishesOutputs() const { return FinishesInKernel(product_) && !problem_.epilogue.has_residual; }

  // Elements of a row of transposed sums, in whole vectors.
  size_t transposed_stride() const { return (chunk_ + 15) / 16 * 16; }

  // Before chunks are filled from it, or tiles read it.
  bool makes_image() const { return !fills_late_ || packs_; }
  uint8_t* Image(const RunArgs& args, size_t digit) const { return args.scratch + images_ + digit * images_stride_; }
  // A part's chunk of activations.
  uint8_t* Filled(const RunArgs& args, size_t part, size_t digit) const {
    return args.scratch + filled_ + (part * act_digits() + digit) * filled_stride_;
  }
  // Of a block, where blocks are whole units.
  size_t panel_stream_bytes() const { return StreamBytes(panel_bytes_ / kLookupUnit, problem_.w.stored_bits()); }
  uint8_t* DecodedBlock(const RunArgs& args, size_t digit, size_t block) const {
    return args.scratch + decoded_ + digit * decoded_stride_ + block * panel_bytes_;
  }
  void DecodeUnits(const RunArgs& args, size_t first, size_t count, size_t to) const {
    const uint8_t* stream = stream_.data() + StreamBytes(first, problem_.w.stored_bits());
    for (size_t d = 0; d < weight_digits(); ++d) {
      uint8_t* digits = args.scratch + decoded_ + d * decoded_stride_ + to;
      kernel_table().decode(stream, count, w_digits_.table[d], reinterpret_cast<int8_t*>(digits));
    }
  }
  // Block `block` of all, as decoded block `to`.
  void DecodeBlock(const RunArgs& args, size_t block, size_t to) const {
    const size_t units = panel_bytes_ / kLookupUnit;
    DecodeUnits(args, block * units, units, to * panel_bytes_);
  }

  // Blocks first .. first + count - 1 of each convolution group, as [group][block].
  void DecodeWeights(const RunArgs& args, size_t first, size_t count) const {
    const bool at_once = decodes_ == Decodes::kAtOnce;
    ForEachPart(args.pool, parts_, at_once ? units_ : conv_groups_ * count, [&](size_t, size_t begin, size_t end) {
      if (at_once) {
        DecodeUnits(args, begin, end - begin, begin * kLookupUnit);
        return;
      }
      for (size_t b = begin; b < end; ++b) DecodeBlock(args, b / count * blocks_ + first + b % count, b);
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

  // Bytes of a plane of a chunk that is filled by itself: an odd number of cache lines, like those of an image.
  size_t chunk_plane_bytes() const { return (chunk_ * kLookupGroup / kLine | 1) * kLine; }

  void FillChunk(const RunArgs& args, const uint8_t* codes, size_t part, size_t group, size_t chunk) const {
    const size_t first = chunk * chunk_, count = std::min(chunk_, lanes_ - first);
    if (packs_) {
      PackChunk(args, part, group, first, count);
      return;
    }
    for (size_t d = 0; d < act_digits(); ++d) {
      for (size_t g = 0; g < product_.groups; ++g) {
        image_.FillRun(kernel_table(), a_digits_.table[d], codes, group * product_.groups + g, first, count,
                       Filled(args, part, d) + g * chunk_plane_bytes());
      }
    }
  }

  void PackChunk(const RunArgs& args, size_t part, size_t group, size_t first, size_t count) const {
    LookupPack pack;
    pack.offsets = pixel_offsets_.data();
    pack.groups = product_.groups;
    pack.run = static_cast<size_t>(problem_.window.out_w);
    pack.pitch = image_.pitch();
    pack.first = first;
    pack.count = count;
    pack.to_stride = chunk_plane_bytes();
    for (size_t d = 0; d < act_digits(); ++d) {
      pack.image = Image(args, d) + group * image_.group_bytes();
      pack.to = Filled(args, part, d);
      kernel_table().pack(pack);
    }
  }

  void MultiplyImage(const RunArgs& args, const uint8_t* codes, size_t n, size_t first, size_t count) const {
    // Where there are fewer chunks than threads, the outputs are divided too.
    const size_t pairs = conv_groups_ * chunks_;
    const size_t row_parts = std::min(count, (parts_ + pairs - 1) / pairs);
    ForEachPart(args.pool, parts_, pairs * row_parts, [&](size_t part, size_t begin, size_t end) {
      // For rows of pixels too: where all rows of the kernel are padding, their tiles are row panels of no groups.
      const LookupScope scope(&kernel_table());
      for (size_t item = begin; item < end; ++item) {
        const size_t pair = item / row_parts, row_part = item % row_parts;
        const size_t group = pair / chunks_, chunk = pair % chunks_;
        if (fills_late_) FillChunk(args, codes, part, group, chunk);
        for (size_t b = count * row_part / row_parts; b < count * (row_part + 1) / row_parts; ++b) {
          size_t decoded = group * count + b;
          if (decodes_ == Decodes::kLate) DecodeBlock(args, group * blocks_ + first + b, decoded = part);
          outputs_in_lanes_ ? MultiplyOutputs(args, part, n, group, chunk, first + b, decoded)
                            : MultiplyLanes(args, part, n, group, chunk, first + b, decoded);
        }
      }
    });
  }

  Correction OutputCorrection(size_t output) const {
    Correction correction;
    if (!product_.offset()) return correction;
    correction.values = corrections_.data() + output;
    correction.digit_step = product_.segments * problem_.outputs;
    correction.segment_step = problem_.outputs;
    (outputs_in_lanes_ ? correction.lane_step : correction.row_step) = 1;
    return correction;
  }

  // Outputs in lanes: tiles of neighbours in one image row, or anywhere where rows have no gaps between them.
  void MultiplyOutputs(const RunArgs& args, size_t part, size_t n, size_t group, size_t chunk, size_t block,
                       size_t decoded_block) const {
    const size_t output = group * group_outputs_ + block * block_outputs_, outputs = OutputsOfBlock(block);
    const size_t first = chunk * chunk_, count = std::min(chunk_, positions_ - first);
    const Correction correction = OutputCorrection(output);
    const size_t element = (n * problem_.outputs + output) * positions_ + first;
    const EpilogueRow epilogue = problem_.epilogue.Row(args, output, 0, element);
    const bool finishes = FinishesOutputs();
    Sums all;
    all.narrow = reinterpret_cast<int32_t*>(args.scratch + narrow_ + part * narrow_stride_);
    all.wide = reinterpret_cast<int64_t*>(args.scratch + wide_ + part * wide_stride_);
    all.stride = kLookupLanes;
    const size_t panel = group * blocks_ + block, panel_bytes = panel_stream_bytes();
    const uint8_t* stream = stream_.data() + panel * panel_bytes;
    const uint8_t* lanes[2] = {stream, stream};
    if (decodes_ != Decodes::kInTiles) {
      for (size_t d : {size_t{0}, weight_digits() - 1}) lanes[d] = DecodedBlock(args, d, decoded_block);
    }
    // Meanwhile memory is asked for the codes that are decoded next.
    const bool asks_ahead = chunks_ == 1 && (decodes_ == Decodes::kLate || decodes_ == Decodes::kInTiles) &&
                            panel + 1 < conv_groups_ * blocks_;
    const uint8_t *asked = stream + panel_bytes, *ask_end = asked + (asks_ahead ? panel_bytes : 0);
    const size_t asked_with_tile = panel_bytes / chunk_tiles_[1] + kLine;
    TileFinish finish(epilogue, false, kLookupLanes);
    finish.AddRun(0, outputs, reinterpret_cast<float*>(all.narrow), nullptr);
    Sums sums = all;
    for (size_t t = chunk_tiles_[chunk]; t < chunk_tiles_[chunk + 1]; ++t) {
      const PixelTile& tile = tiles_[t];
      const size_t from = group * image_.group_bytes() + tile.pixels;
      const uint8_t* pixels[2] = {Image(args, 0) + from, Image(args, act_digits() - 1) + from};
      for (const uint8_t* end = std::min(asked + asked_with_tile, ask_end); asked < end; asked += kLine) {
        __builtin_prefetch(asked, 0, 2);
      }
      const Product& product = *tile.product;
      if (finishes) {
        MultiplyAndFinish(product, row_kernels_, lanes, outputs, pixels, tile.rows, correction, &finish, 1, tile.edges);
        finish.MoveDown(tile.rows);
      } else {
        Multiply(product, lanes, outputs, pixels, tile.rows, correction, sums, tile.edges);
        sums.narrow += tile.rows * kLookupLanes;
        sums.wide += product_.wide() ? tile.rows * kLookupLanes : 0;
      }
    }
    if (finishes) {
      kernel_table().transpose(all.narrow, count, outputs, Output(args) + element, positions_);
      return;
    }
    uint8_t* transposed = args.scratch + transposed_ + part * transposed_part_stride_;
    Sums columns;
    columns.stride = transposed_stride();
    if (product_.wide()) {
      columns.wide = reinterpret_cast<int64_t*>(transposed);
      for (size_t o = 0; o < outputs; ++o) {
        for (size_t p = 0; p < count; ++p) columns.wide[o * columns.stride + p] = all.wide[p * kLookupLanes + o];
      }
    } else {
      columns.narrow = reinterpret_cast<int32_t*>(transposed);
      kernel_table().transpose(all.narrow, count, outputs, columns.narrow, columns.stride);
    }
    EpilogueBlock rows{epilogue, outputs};
    rows.out_stride = positions_;
    rows.channel_stride = 1;
    FinishSums(product_, row_kernels_, columns, count, rows, Output(args) + element);
  }

  // Positions in lanes. `decoded_block`: index among the decoded blocks.
  void MultiplyLanes(const RunArgs& args, size_t part, size_t n, size_t group, size_t chunk, size_t block,
                     size_t decoded_block) const {
    const size_t output = group * group_outputs_ + block * block_outputs_, outputs = OutputsOfBlock(block);
    const size_t end = std::min((chunk + 1) * chunk_, lanes_);
    const Correction correction = OutputCorrection(output);
    const uint8_t* rows[2] = {DecodedBlock(args, 0, decoded_block),
                              DecodedBlock(args, weight_digits() - 1, decoded_block)};
    const size_t channel = (n * problem_.outputs + output) * positions_;
    const EpilogueRow row = problem_.epilogue.Row(args, output, 0, channel);
    const bool may_repeat = run_ == positions_ && MayRepeat(product_, correction, row);
    const TileFinish no_runs(row, true, positions_);
    for (size_t t = chunk_tiles_[chunk], tiles = 1; t < chunk_tiles_[chunk + 1]; t += tiles) {
      const LaneTile& tile = lane_tiles_[t];
      TileFinish finish = no_runs;
      for (size_t r = 0; r < tile.run_count; ++r) {
        const LaneTile::Run& run = tile.runs[r];
        finish.AddRun(run.first, run.count, Output(args) + channel + run.position,
                      row.residual == nullptr ? nullptr : row.residual + run.position);
      }
      tiles = may_repeat && tile.lanes == kLookupLanes ? (end - tile.first) / kLookupLanes : 1;
      const uint8_t* images[2];
      for (size_t d : {size_t{0}, act_digits() - 1}) {
        images[d] = fills_late_ ? Filled(args, part, d) + (tile.first - chunk * chunk_) * kLookupGroup
                                : Image(args, d) + group * image_.group_bytes() + tile.first * kLookupGroup;
      }
      MultiplyAndFinish(product_, row_kernels_, images, tile.lanes, rows, outputs, correction, &finish, tiles);
    }
  }

  ConvImage image_;
  bool outputs_in_lanes_;
  std::vector<size_t> order_;
  Product product_;
  size_t conv_groups_ = 1;
  size_t group_outputs_ = 0;
  size_t positions_ = 0;
  size_t run_ = 0;
  size_t lanes_ = 0;
  size_t blocks_ = 0, block_outputs_ = 0;  // of the outputs of one convolution group
  size_t panel_bytes_ = 0;                 // decoded
  size_t units_ = 0;                       // of the stream
  size_t chunk_ = 0, chunks_ = 0;
  size_t pass_blocks_ = 0;
  Decodes decodes_ = Decodes::kAtOnce;
  bool packs_ = false;                 // an image into lanes without gaps
  bool fills_late_ = false;            // a chunk becomes pixels right before it is multiplied
  std::vector<PixelTile> tiles_;       // outputs in lanes
  std::vector<LaneTile> lane_tiles_;   // positions in lanes
  std::vector<size_t> chunk_tiles_;    // per chunk its first one, and their end
  std::vector<Product> clips_;         // product_ without rows of the kernel that are padding, of several kinds
  std::vector<size_t> clip_of_row_;    // of output rows; empty: product_ everywhere
  std::vector<size_t> pixel_offsets_;  // of what is packed, per group
  AlignedBuffer stream_;
  std::vector<int32_t> corrections_;  // [weight digit][segment][output]
  // Scratch.
  size_t images_ = 0, images_stride_ = 0;
  size_t filled_ = 0, filled_stride_ = 0;
  size_t line_ = 0, line_stride_ = 0;
  size_t decoded_ = 0, decoded_stride_ = 0;
  size_t narrow_ = 0, narrow_stride_ = 0;  // before they are transposed: a row per position
  size_t wide_ = 0, wide_stride_ = 0;
  size_t transposed_ = 0, transposed_part_stride_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupConv(Problem problem, const NodeContext& context,
                                                                const ExponentOptions& options) {
  if (FitsDepthwise(problem)) return CompileLookupDepthwise(std::move(problem), context, options);
  TALLY_ASSIGN_OR_RETURN(ConvImage image, ConvImage::Create(problem.window));
  const size_t parts = PartsFor(context, problem.products(), options.products_per_thread);
  return std::unique_ptr<CompiledNode>(new LookupConv(std::move(problem), std::move(image), context, parts));
}

}  // namespace tally
