#include "backends/exponent/lookup_depthwise.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/exponent/lookup_product.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {
namespace {

// More outputs per input channel than this are better off as tiles.
constexpr size_t kMaxMultiplier = 4;
// 127 * 127 * taps must fit int32.
constexpr size_t kMaxTaps = 133144;
// Outputs that an epilogue call finishes at a time, about.
constexpr size_t kChunkOutputs = 1024;
// Rows of digits and sums are written in small overlapping pieces. Reading them back at once stalls until the stores
// have left the store buffer, so several planes are prepared before the first is read, and several sums before the
// first is finished.
constexpr size_t kBatchBytes = 16 << 10;
constexpr size_t kMaxBatch = 16;
constexpr size_t kSlots = 4;
// The session's arena limit decides; this one only keeps sizes from wrapping.
constexpr int64_t kMaxPlaneBytes = int64_t{1} << 36;
constexpr size_t kReadSlack = 128;
// How much longer a product takes here than in a tile, about: there are few for each byte that comes and goes.
constexpr double kDepthwiseFactor = 16;

class LookupDepthwiseNode : public LookupNode {
 public:
  LookupDepthwiseNode(Problem problem, const NodeContext& context, size_t parts, size_t rows, size_t columns)
      : LookupNode(std::move(problem), context, parts),
        product_(kernel_table(), problem_, 0, true, 0),
        rows_(rows),
        columns_(columns) {
    const Window2d& w = problem_.window;
    out_h_ = static_cast<size_t>(w.out_h);
    out_w_ = static_cast<size_t>(w.out_w);
    kernel_w_ = static_cast<size_t>(w.kernel_w + 3) / 4 * 4;
    taps_ = static_cast<size_t>(w.kernel_h) * kernel_w_;
    multiplier_ = static_cast<size_t>(w.out_channels_per_group());
    chunk_rows_ = std::clamp<size_t>(kChunkOutputs / out_w_, 1, out_h_);
    PackWeights();
    problem_.weights = nullptr;

    const size_t digits = static_cast<size_t>(product_.weight_digits);
    const size_t chunk = chunk_rows_ * out_w_ + 16;
    decoded_ = plan_.Add(digits, units_ * kLookupUnit, &decoded_stride_);
    batch_ = std::clamp<size_t>(kBatchBytes / (rows_ * columns_), 1, kMaxBatch);
    planes_ = plan_.Add(parts_ * batch_ * static_cast<size_t>(product_.act_digits), rows_ * columns_ + kReadSlack,
                        &planes_stride_);
    narrow_ = plan_.Add(parts_ * kSlots, chunk * sizeof(int32_t), &narrow_stride_);
    wide_ = plan_.Add(product_.wide() ? parts_ * kSlots : 0, chunk * sizeof(int64_t), &wide_stride_);
  }

  absl::Status Run(const RunArgs& args) override {
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      kernel_table().decode(stream_.data(), units_, w_digits_.table[d],
                            reinterpret_cast<int8_t*>(args.scratch + decoded_ + d * decoded_stride_));
    }
    const size_t planes = static_cast<size_t>(problem_.window.batch * problem_.window.in_channels);
    ForEachPart(args.pool, parts_, planes,
                [&](size_t part, size_t begin, size_t end) { RunPlanes(args, part, begin, end); });
    return absl::OkStatus();
  }

  size_t resident_weight_bytes() const override { return stream_.size() + corrections_.size() * sizeof(int32_t); }
  std::string kernel() const override { return absl::StrCat("lookup_depthwise_b", problem_.w.stored_bits()); }

 private:
  // Stream: [output][kernel row][kernel width padded to 4], the whole padded to units.
  void PackWeights() {
    const Window2d& w = problem_.window;
    units_ = (problem_.outputs * taps_ + kLookupUnit - 1) / kLookupUnit;
    stream_ = AlignedBuffer(StreamBytes(units_, problem_.w.stored_bits()));
    std::vector<uint8_t> codes(units_ * kLookupUnit, 0);
    if (product_.offset()) corrections_.assign(static_cast<size_t>(product_.weight_digits) * problem_.outputs, 0);
    WeightRows rows(problem_);
    for (size_t o = 0; o < problem_.outputs; ++o) {
      const uint8_t* row = rows.Read(o);
      for (size_t r = 0; r < static_cast<size_t>(w.kernel_h); ++r, row += w.kernel_w) {
        std::copy_n(row, w.kernel_w, &codes[o * taps_ + r * kernel_w_]);
      }
      if (product_.offset()) {
        AddCorrections(product_, w_digits_, &codes[o * taps_], 0, taps_ / kLookupGroup, problem_.outputs, 0,
                       &corrections_[o]);
      }
    }
    PackStream(codes.data(), units_, problem_.w.stored_bits(), stream_.data());
  }

  // Output rows of one channel.
  struct Rows {
    size_t o = 0;        // output channel
    size_t y = 0;        // first row
    size_t height = 0;   // rows
    size_t element = 0;  // of the output
  };

  uint8_t* Plane(const RunArgs& args, size_t part, size_t batch_index, size_t digit) const {
    const size_t plane = (part * batch_ + batch_index) * static_cast<size_t>(product_.act_digits) + digit;
    return args.scratch + planes_ + plane * planes_stride_;
  }
  Sums SlotSums(const RunArgs& args, size_t part, size_t slot) const {
    Sums sums;
    sums.narrow = reinterpret_cast<int32_t*>(args.scratch + narrow_ + (part * kSlots + slot) * narrow_stride_);
    sums.wide = reinterpret_cast<int64_t*>(args.scratch + wide_ + (part * kSlots + slot) * wide_stride_);
    return sums;
  }

  // Digits of one channel with padding around.
  void FillPlane(const uint8_t* codes, const LookupTable& table, uint8_t* to) const {
    const Window2d& w = problem_.window;
    std::memset(to, table.digit[0], rows_ * columns_);
    LookupArea area;
    const size_t top = std::min(static_cast<size_t>(w.pad_top), rows_);
    const size_t left = std::min(static_cast<size_t>(w.pad_left), columns_);
    area.rows = std::min(static_cast<size_t>(w.in_h), rows_ - top);
    area.width = std::min(static_cast<size_t>(w.in_w), columns_ - left);
    area.source_stride = static_cast<size_t>(w.in_w);
    area.target_stride = columns_;
    kernel_table().translate(codes, area, table, to + top * columns_ + left);
  }

  // Input planes begin .. end - 1 of the batch's channels.
  void RunPlanes(const RunArgs& args, size_t part, size_t begin, size_t end) const {
    const size_t channels = static_cast<size_t>(problem_.window.in_channels);
    const size_t plane_size = static_cast<size_t>(problem_.window.in_h) * static_cast<size_t>(problem_.window.in_w);
    Rows slots[kSlots];
    size_t held = 0;
    const auto finish = [&] {
      for (size_t slot = 0; slot < held; ++slot) Finish(args, slots[slot], SlotSums(args, part, slot));
      held = 0;
    };
    for (size_t first = begin; first < end; first += batch_) {
      const size_t count = std::min(batch_, end - first);
      for (size_t b = 0; b < count; ++b) {
        for (size_t d = 0; d < static_cast<size_t>(product_.act_digits); ++d) {
          FillPlane(Codes(args, 0) + (first + b) * plane_size, a_digits_.table[d], Plane(args, part, b, d));
        }
      }
      for (size_t b = 0; b < count; ++b) {
        const size_t n = (first + b) / channels, channel = (first + b) % channels;
        for (size_t m = 0; m < multiplier_; ++m) {
          for (size_t y = 0; y < out_h_; y += chunk_rows_) {
            Rows& rows = slots[held];
            rows.o = channel * multiplier_ + m;
            rows.y = y;
            rows.height = std::min(chunk_rows_, out_h_ - y);
            rows.element = ((n * problem_.outputs + rows.o) * out_h_ + y) * out_w_;
            AddUp(args, rows, Plane(args, part, b, 0), SlotSums(args, part, held));
            if (++held == kSlots) finish();
          }
        }
      }
    }
    finish();
  }

  void Finish(const RunArgs& args, const Rows& rows, const Sums& sums) const {
    FinishSums(product_, row_kernels_, sums, rows.height * out_w_,
               {problem_.epilogue.Row(args, rows.o, 0, rows.element)}, Output(args) + rows.element);
  }

  // `planes`: the padded digits of the input channel, a plane per digit.
  void AddUp(const RunArgs& args, const Rows& rows, const uint8_t* planes, const Sums& sums) const {
    const Window2d& w = problem_.window;
    LookupDepthwise call;
    call.row_step = static_cast<size_t>(w.dilation_h) * columns_;
    call.kernel_h = static_cast<size_t>(w.kernel_h);
    call.kernel_w = static_cast<size_t>(w.kernel_w);
    call.stride = static_cast<size_t>(w.stride_w);
    call.dilation = static_cast<size_t>(w.dilation_w);
    call.act_signed = product_.act_signed;
    call.image_stride = static_cast<size_t>(w.stride_h) * columns_;
    call.width = out_w_;
    call.height = rows.height;
    call.acc = sums.narrow;
    const size_t count = rows.height * out_w_;
    bool first = true;
    for (int ad = 0; ad < product_.act_digits; ++ad) {
      call.image = planes + static_cast<size_t>(ad) * planes_stride_ + rows.y * call.image_stride;
      for (int wd = 0; wd < product_.weight_digits; ++wd, first = false) {
        const size_t d = static_cast<size_t>(wd);
        call.weights = reinterpret_cast<const int8_t*>(args.scratch + decoded_ + d * decoded_stride_) + rows.o * taps_;
        kernel_table().depthwise(call);
        if (product_.offset()) {
          const int32_t value = corrections_[d * problem_.outputs + rows.o];
          for (size_t i = 0; i < count; ++i) sums.narrow[i] = WrappingAdd(sums.narrow[i], value);
        }
        if (product_.wide()) AddTerm(sums.narrow, count, 7 * (ad + wd), first, sums.wide);
      }
    }
  }

  Product product_;
  size_t rows_, columns_;  // of a padded plane, as far as outputs reach
  size_t out_h_ = 0, out_w_ = 0;
  size_t kernel_w_ = 0;  // padded to 4
  size_t taps_ = 0;      // of one output, padded
  size_t multiplier_ = 1;
  size_t chunk_rows_ = 1;
  size_t batch_ = 1;  // planes
  size_t units_ = 0;
  AlignedBuffer stream_;
  std::vector<int32_t> corrections_;  // [weight digit][output]
  // Scratch.
  size_t decoded_ = 0, decoded_stride_ = 0;
  size_t planes_ = 0, planes_stride_ = 0;
  size_t narrow_ = 0, narrow_stride_ = 0;
  size_t wide_ = 0, wide_stride_ = 0;
};

}  // namespace

bool FitsDepthwise(const Problem& problem) {
  const Window2d& w = problem.window;
  // A kernel row is padded to 4 taps, all of them within the bound.
  return w.is_depthwise() && static_cast<size_t>(w.out_channels_per_group()) <= kMaxMultiplier && problem.k <= kMaxTaps;
}

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupDepthwise(Problem problem, const NodeContext& context,
                                                                     const ExponentOptions& options) {
  const Window2d& w = problem.window;
  // Extents are below 2^31, so the products stay within 2^62 and the sums within 2^63.
  const int64_t rows = (w.out_h - 1) * w.stride_h + (w.kernel_h - 1) * w.dilation_h + 1;
  const int64_t columns = (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w + 1;
  if (rows > kMaxPlaneBytes / columns) {
    return MakeError(ErrorId::kLimitArena, absl::StrCat("a padded plane of ", rows, " x ", columns, " is too large"));
  }
  const size_t parts = PartsFor(context, problem.products() * kDepthwiseFactor, options.products_per_thread);
  return std::unique_ptr<CompiledNode>(new LookupDepthwiseNode(
      std::move(problem), context, parts, static_cast<size_t>(rows), static_cast<size_t>(columns)));
}

}  // namespace tally
