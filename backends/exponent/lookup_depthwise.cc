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
constexpr size_t kChunkOutputs = 2048;
// The session's arena limit decides; this one only keeps sizes from wrapping.
constexpr int64_t kMaxPlaneBytes = int64_t{1} << 36;
constexpr size_t kReadSlack = 128;

class LookupDepthwiseNode : public LookupNode {
 public:
  LookupDepthwiseNode(Problem problem, const LookupEntry& entry, int num_threads, size_t rows, size_t columns)
      : LookupNode(std::move(problem), entry, num_threads),
        product_(*entry.kernel, problem_, 0, true, 0),
        rows_(rows),
        columns_(columns) {
    const Window2d& w = problem_.window;
    out_h_ = static_cast<size_t>(w.out_h);
    out_w_ = static_cast<size_t>(w.out_w);
    kernel_w_ = static_cast<size_t>(w.kernel_w + 3) / 4 * 4;
    taps_ = static_cast<size_t>(w.kernel_h) * kernel_w_;
    multiplier_ = static_cast<size_t>(w.out_channels_per_group());
    row_used_.assign(rows_, 0);
    for (int64_t y = 0; y < w.out_h; ++y) {
      for (int64_t r = 0; r < w.kernel_h; ++r) row_used_[static_cast<size_t>(y * w.stride_h + r * w.dilation_h)] = 1;
    }
    chunk_rows_ = std::clamp<size_t>(kChunkOutputs / out_w_, 1, out_h_);
    PackWeights();
    problem_.weights = nullptr;

    const size_t digits = static_cast<size_t>(product_.weight_digits);
    const size_t chunk = chunk_rows_ * out_w_ + 16;
    decoded_ = plan_.Add(digits, units_ * kLookupUnit, &decoded_stride_);
    planes_ = plan_.Add(parts_ * static_cast<size_t>(product_.act_digits), rows_ * columns_ + kReadSlack,
                        &planes_stride_);
    narrow_ = plan_.Add(parts_, chunk * sizeof(int32_t), &narrow_stride_);
    wide_ = plan_.Add(product_.wide() ? parts_ : 0, chunk * sizeof(int64_t), &wide_stride_);
  }

  absl::Status Run(const RunArgs& args) override {
    for (size_t d = 0; d < static_cast<size_t>(product_.weight_digits); ++d) {
      kernel_table().decode(stream_.data(), units_, w_digits_.table[d],
                            reinterpret_cast<int8_t*>(args.scratch + decoded_ + d * decoded_stride_));
    }
    const size_t planes = static_cast<size_t>(problem_.window.batch * problem_.window.in_channels);
    ForEachPart(args.pool, parts_, planes, [&](size_t part, size_t begin, size_t end) {
      for (size_t plane = begin; plane < end; ++plane) RunPlane(args, part, plane);
    });
    return absl::OkStatus();
  }

  size_t resident_weight_bytes() const override {
    return stream_.size() + corrections_.size() * sizeof(int32_t);
  }
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

  uint8_t* Plane(const RunArgs& args, size_t part, size_t digit) const {
    return args.scratch + planes_ + (part * static_cast<size_t>(product_.act_digits) + digit) * planes_stride_;
  }

  // Digits of one channel with padding around.
  void FillPlane(const uint8_t* codes, const LookupTable& table, uint8_t* to) const {
    const Window2d& w = problem_.window;
    const size_t in_w = static_cast<size_t>(w.in_w);
    const size_t begin = std::min(static_cast<size_t>(w.pad_left), columns_);
    const size_t count = std::min(in_w, columns_ - begin);
    for (size_t row = 0; row < rows_; ++row, to += columns_) {
      if (!row_used_[row]) continue;
      const int64_t y = static_cast<int64_t>(row) - w.pad_top;
      if (y < 0 || y >= w.in_h) {
        std::memset(to, table.digit[0], columns_);
        continue;
      }
      std::memset(to, table.digit[0], begin);
      kernel_table().translate(codes + static_cast<size_t>(y) * in_w, count, table, to + begin);
      std::memset(to + begin + count, table.digit[0], columns_ - begin - count);
    }
  }

  void RunPlane(const RunArgs& args, size_t part, size_t plane) const {
    const Window2d& w = problem_.window;
    const size_t channels = static_cast<size_t>(w.in_channels);
    const uint8_t* codes = Codes(args, 0) + plane * static_cast<size_t>(w.in_h) * static_cast<size_t>(w.in_w);
    for (size_t d = 0; d < static_cast<size_t>(product_.act_digits); ++d) {
      FillPlane(codes, a_digits_.table[d], Plane(args, part, d));
    }
    for (size_t m = 0; m < multiplier_; ++m) {
      const size_t o = plane % channels * multiplier_ + m;
      const size_t first = (plane / channels * problem_.outputs + o) * out_h_ * out_w_;
      for (size_t y = 0; y < out_h_; y += chunk_rows_) {
        RunRows(args, part, o, y, std::min(chunk_rows_, out_h_ - y), first + y * out_w_);
      }
    }
  }

  // Output rows y .. y + count - 1 of output channel o.
  void RunRows(const RunArgs& args, size_t part, size_t o, size_t y, size_t count, size_t element) const {
    const Window2d& w = problem_.window;
    Sums sums;
    sums.narrow = reinterpret_cast<int32_t*>(args.scratch + narrow_ + part * narrow_stride_);
    sums.wide = reinterpret_cast<int64_t*>(args.scratch + wide_ + part * wide_stride_);
    LookupDepthwise call;
    call.row_step = static_cast<size_t>(w.dilation_h) * columns_;
    call.kernel_h = static_cast<size_t>(w.kernel_h);
    call.kernel_w = static_cast<size_t>(w.kernel_w);
    call.stride = static_cast<size_t>(w.stride_w);
    call.dilation = static_cast<size_t>(w.dilation_w);
    call.act_signed = product_.act_signed;
    call.count = out_w_;
    bool first = true;
    for (int ad = 0; ad < product_.act_digits; ++ad) {
      for (int wd = 0; wd < product_.weight_digits; ++wd, first = false) {
        const size_t d = static_cast<size_t>(wd);
        call.weights =
            reinterpret_cast<const int8_t*>(args.scratch + decoded_ + d * decoded_stride_) + o * taps_;
        const uint8_t* plane = Plane(args, part, static_cast<size_t>(ad));
        for (size_t i = 0; i < count; ++i) {
          call.image = plane + (y + i) * static_cast<size_t>(w.stride_h) * columns_;
          // Rows overlap by the multiple of 16 that a call writes, so they go in order.
          call.acc = sums.narrow + i * out_w_;
          kernel_table().depthwise(call);
        }
        if (product_.offset()) {
          const int32_t value = corrections_[d * problem_.outputs + o];
          for (size_t i = 0; i < count * out_w_; ++i) sums.narrow[i] = WrappingAdd(sums.narrow[i], value);
        }
        if (product_.wide()) AddTerm(sums.narrow, count * out_w_, 7 * (ad + wd), first, sums.wide);
      }
    }
    FinishSums(product_, sums, 0, count * out_w_, problem_.epilogue.Row(args, o, 0, element), Output(args) + element);
  }

  Product product_;
  size_t rows_, columns_;  // of a padded plane, as far as outputs reach
  size_t out_h_ = 0, out_w_ = 0;
  size_t kernel_w_ = 0;  // padded to 4
  size_t taps_ = 0;      // of one output, padded
  size_t multiplier_ = 1;
  size_t chunk_rows_ = 1;
  size_t units_ = 0;
  std::vector<uint8_t> row_used_;
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
  return w.is_depthwise() && static_cast<size_t>(w.out_channels_per_group()) <= kMaxMultiplier &&
         problem.k <= kMaxTaps;
}

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupDepthwise(Problem problem, const NodeContext& context) {
  const Window2d& w = problem.window;
  // Extents are below 2^31, so the products stay within 2^62 and the sums within 2^63.
  const int64_t rows = (w.out_h - 1) * w.stride_h + (w.kernel_h - 1) * w.dilation_h + 1;
  const int64_t columns = (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w + 1;
  if (rows > kMaxPlaneBytes / columns) {
    return MakeError(ErrorId::kLimitArena, absl::StrCat("a padded plane of ", rows, " x ", columns, " is too large"));
  }
  const LookupEntry& entry = ChooseLookup(context.cpu);
  return std::unique_ptr<CompiledNode>(new LookupDepthwiseNode(std::move(problem), entry, context.num_threads,
                                                               static_cast<size_t>(rows), static_cast<size_t>(columns)));
}

}  // namespace tally
