#include "backends/exponent/conv_image.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"

namespace tally {
namespace {

// The session's arena limit decides; this one only keeps sizes from wrapping.
constexpr int64_t kMaxImageBytes = int64_t{1} << 36;
constexpr size_t kLine = 64;

// Indices of a phase, i * step + phase, that lie in begin .. end - 1 and are below `count`.
struct Within {
  Within(size_t step, size_t phase, size_t begin, size_t end, size_t count)
      : first(std::min(Above(step, phase, begin), count)), size(std::min(Above(step, phase, end), count) - first) {}
  static size_t Above(size_t step, size_t phase, size_t limit) {
    return limit <= phase ? 0 : (limit - phase + step - 1) / step;
  }
  size_t first, size;
};

// to[i] = from[i * step], pixels of 4 bytes.
void CopyPixels(const uint8_t* from, size_t step, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) std::memcpy(to + 4 * i, from + 4 * step * i, 4);
}

}  // namespace

ConvImage::ConvImage(const Window2d& window) : window_(window) {}

absl::StatusOr<ConvImage> ConvImage::Create(const Window2d& window) {
  ConvImage image(window);
  TALLY_RETURN_IF_ERROR(image.Plan());
  return image;
}

absl::Status ConvImage::Plan() {
  const Window2d& w = window_;
  const int64_t channels = w.in_channels_per_group();
  const int64_t channel_quads = (channels + 3) / 4, tap_quads = (w.kernel_w + 3) / 4;
  taps_ = channels * tap_quads < channel_quads * w.kernel_w;
  planes_ = static_cast<size_t>(taps_ ? channels : channel_quads);
  tap_columns_ = static_cast<size_t>(taps_ ? tap_quads : w.kernel_w);
  tap_step_ = static_cast<size_t>(taps_ ? 4 * w.dilation_w : w.dilation_w);

  // Extents are below 2^31, so each product below stays within 2^62 and each sum within 2^63.
  const int64_t rows = (w.out_h - 1) * w.stride_h + (w.kernel_h - 1) * w.dilation_h + 1;
  const int64_t reach = static_cast<int64_t>(tap_columns_ - 1) * static_cast<int64_t>(tap_step_);
  const int64_t columns = (w.out_w - 1) * w.stride_w + reach + 1;
  const int64_t padded_rows = (rows + w.stride_h - 1) / w.stride_h * w.stride_h;
  const int64_t padded_columns = (columns + w.stride_w - 1) / w.stride_w * w.stride_w;
  int64_t bytes = 0;
  int64_t plane_bytes = 0;
  if (!CheckedMul(padded_rows, padded_columns, &plane_bytes) || !CheckedMul<int64_t>(plane_bytes, 4, &plane_bytes) ||
      !CheckedAdd<int64_t>(plane_bytes, 2 * kLine, &plane_bytes) ||
      !CheckedMul(plane_bytes, static_cast<int64_t>(planes()), &bytes) || bytes > kMaxImageBytes) {
    return MakeError(ErrorId::kLimitArena, absl::StrCat("a padded image of ", rows, " x ", columns, " positions and ",
                                                        w.in_channels, " channels is too large"));
  }
  rows_ = static_cast<size_t>(rows);
  columns_ = static_cast<size_t>(columns);
  row_phases_ = static_cast<size_t>(w.stride_h);
  column_phases_ = static_cast<size_t>(w.stride_w);
  code_columns_ = taps_ ? columns_ + 3 * static_cast<size_t>(w.dilation_w) : 0;
  phase_rows_ = static_cast<size_t>(padded_rows) / row_phases_;
  phase_columns_ = static_cast<size_t>(padded_columns) / column_phases_;
  // An odd number of cache lines, so that the planes that a tile reads do not all fall into one set of the cache.
  plane_bytes_ = ((row_phases_ * column_phases_ * phase_rows_ * phase_columns_ * 4 + kLine - 1) / kLine | 1) * kLine;

  codes_ = taps_ ? CodeArea{rows_, code_columns_, 0, 0}
                 : CodeArea{static_cast<size_t>(w.in_h), static_cast<size_t>(w.in_w), static_cast<size_t>(w.pad_top),
                            static_cast<size_t>(w.pad_left)};
  for (size_t phase = 0; phase < row_phases_ * column_phases_ && column_phases_ <= 2; ++phase) {
    const size_t row_phase = phase / column_phases_, column_phase = phase % column_phases_;
    if (PhaseIsRead(row_phase, column_phase)) phases_.push_back(PlanPhase(row_phase, column_phase));
  }

  for (size_t plane = 0; plane < planes_; ++plane) {
    for (size_t r = 0; r < static_cast<size_t>(w.kernel_h); ++r) {
      for (size_t t = 0; t < tap_columns_; ++t) {
        group_offsets_.push_back(plane * plane_bytes_ +
                                 PixelOffset(r * static_cast<size_t>(w.dilation_h), t * tap_step_));
      }
    }
  }
  return absl::OkStatus();
}

size_t ConvImage::PixelOffset(size_t row, size_t column) const {
  const size_t phase = row % row_phases_ * column_phases_ + column % column_phases_;
  return ((phase * phase_rows_ + row / row_phases_) * phase_columns_ + column / column_phases_) * 4;
}

size_t ConvImage::lanes() const {
  const size_t out_h = static_cast<size_t>(window_.out_h), out_w = static_cast<size_t>(window_.out_w);
  return (out_h - 1) * pitch() + out_w;
}

bool ConvImage::PhaseIsRead(size_t row_phase, size_t column_phase) const {
  const size_t height = static_cast<size_t>(window_.kernel_h), dilation = static_cast<size_t>(window_.dilation_h);
  bool row_is_read = false, column_is_read = false;
  for (size_t r = 0; r < height; ++r) row_is_read |= r * dilation % row_phases_ == row_phase;
  for (size_t t = 0; t < tap_columns_; ++t) column_is_read |= t * tap_step_ % column_phases_ == column_phase;
  return row_is_read && column_is_read;
}

bool ConvImage::IsLeftPadding(size_t g) const {
  const Window2d& w = window_;
  const int64_t first = static_cast<int64_t>(g % tap_columns_ * tap_step_) - w.pad_left;
  return first + (taps_ ? 3 * w.dilation_w : 0) < 0;
}

bool ConvImage::IsRightPadding(size_t g) const {
  const Window2d& w = window_;
  return static_cast<int64_t>(g % tap_columns_ * tap_step_) - w.pad_left + (w.out_w - 1) * w.stride_w >= w.in_w;
}

int64_t ConvImage::WeightIndex(size_t g, size_t i) const {
  const int64_t t = static_cast<int64_t>(g % tap_columns_);
  const int64_t r = static_cast<int64_t>(KernelRow(g));
  const int64_t plane = static_cast<int64_t>(g / tap_columns_) / window_.kernel_h;
  const int64_t c = taps_ ? plane : 4 * plane + static_cast<int64_t>(i);
  const int64_t s = taps_ ? 4 * t + static_cast<int64_t>(i) : t;
  if (c >= window_.in_channels_per_group() || s >= window_.kernel_w) return -1;
  return (c * window_.kernel_h + r) * window_.kernel_w + s;
}

ConvImage::Phase ConvImage::PlanPhase(size_t row_phase, size_t column_phase) const {
  const CodeArea& c = codes_;
  const size_t row_count = Within::Above(row_phases_, row_phase, rows_);
  const size_t column_count = Within::Above(column_phases_, column_phase, columns_);
  const Within rows(row_phases_, row_phase, c.top, c.top + c.rows, row_count);
  const Within columns(column_phases_, column_phase, c.left, c.left + c.columns, column_count);
  Phase phase;
  LookupArea& area = phase.area;
  area.rows = rows.size;
  area.width = columns.size;
  area.source_stride = c.columns * row_phases_;
  area.target_stride = phase_columns_ * 4;
  area.source_step = column_phases_;
  phase.pad_begin = phase.to = PixelOffset(row_phase, column_phase);
  if (rows.size < row_count || columns.size < column_count) {
    phase.pad_bytes = row_count * area.target_stride;
    if (rows.size == 0 || columns.size == 0) {
      area.rows = 0;
      return phase;
    }
  } else if (area.source_step == 1 && area.width == area.source_stride && area.width == phase_columns_) {
    // Nothing but the input itself: one long row.
    area.width *= area.rows;
    area.rows = 1;
  }
  phase.from = (rows.first * row_phases_ + row_phase - c.top) * c.columns +
               (columns.first * column_phases_ + column_phase - c.left);
  phase.to += rows.first * area.target_stride + 4 * columns.first;
  return phase;
}

void ConvImage::FillPhase(const LookupKernel& kernel, const LookupTable& table, const Codes& codes, const Phase& phase,
                          uint8_t* to) const {
  if (phase.pad_bytes > 0) std::memset(to + phase.pad_begin, table.digit[0], phase.pad_bytes);
  if (phase.area.rows == 0) return;
  const uint8_t* first[kLookupGroup];
  for (size_t j = 0; j < kLookupGroup; ++j) first[j] = codes.of[j] + phase.from;
  kernel.interleave(first, phase.area, table, to + phase.to);
}

void ConvImage::FillAndPart(const LookupKernel& kernel, const LookupTable& table, const Codes& codes, uint8_t* to,
                            uint8_t* pixels) const {
  const size_t top = std::min(codes_.top, rows_), left = std::min(codes_.left, columns_);
  LookupArea area;
  area.rows = std::min(codes_.rows, rows_ - top);
  area.width = std::min(codes_.columns, columns_ - left);
  area.source_stride = codes_.columns;
  area.target_stride = columns_ * 4;
  if (area.rows < rows_ || area.width < columns_) std::memset(pixels, table.digit[0], rows_ * columns_ * 4);
  kernel.interleave(codes.of, area, table, pixels + (top * columns_ + left) * 4);
  for (size_t phase = 0; phase < row_phases_ * column_phases_; ++phase) {
    const size_t row_phase = phase / column_phases_, column_phase = phase % column_phases_;
    if (!PhaseIsRead(row_phase, column_phase)) continue;
    const size_t count = Within::Above(column_phases_, column_phase, columns_);
    for (size_t row = row_phase; row < rows_; row += row_phases_) {
      CopyPixels(pixels + (row * columns_ + column_phase) * 4, column_phases_, count,
                 to + PixelOffset(row, column_phase));
    }
  }
}

void ConvImage::PadCodes(const uint8_t* codes, uint8_t* padded) const {
  const size_t left = std::min(static_cast<size_t>(window_.pad_left), code_columns_);
  const size_t width = std::min(static_cast<size_t>(window_.in_w), code_columns_ - left);
  // All rows before the first is read: bytes that were just written cannot be read back in other vectors until they
  // have left the store buffer.
  std::memset(padded, 0, padded_bytes());
  for (size_t row = static_cast<size_t>(window_.pad_top); row < rows_; ++row) {
    const size_t y = row - static_cast<size_t>(window_.pad_top);
    if (y >= static_cast<size_t>(window_.in_h)) break;
    std::memcpy(padded + row * code_columns_ + left, codes + y * static_cast<size_t>(window_.in_w), width);
  }
}

ConvImage::Codes ConvImage::PlaneCodes(const uint8_t* input, size_t plane) const {
  const size_t channels = static_cast<size_t>(window_.in_channels_per_group());
  const size_t channel = plane % planes_ * (taps_ ? 1 : 4);
  const size_t size = static_cast<size_t>(window_.in_h) * static_cast<size_t>(window_.in_w);
  Codes codes;
  for (size_t i = 0; i < kLookupGroup; ++i) {
    // Missing channels repeat the first one; their weights are zero.
    const size_t c = !taps_ && channel + i < channels ? channel + i : channel;
    codes.of[i] = input + (plane / planes_ * channels + c) * size;
  }
  return codes;
}

bool ConvImage::IsInput() const {
  const Window2d& w = window_;
  return !taps_ && w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && w.out_h == w.in_h &&
         w.out_w == w.in_w;
}

void ConvImage::FillRun(const LookupKernel& kernel, const LookupTable& table, const uint8_t* input, size_t plane,
                        size_t first, size_t count, uint8_t* to) const {
  kernel.interleave(PlaneCodes(input + first, plane).of, {count}, table, to);
}

void ConvImage::FillPlane(const LookupKernel& kernel, const LookupTable& table, const uint8_t* input, size_t plane,
                          uint8_t* image, uint8_t* lines) const {
  Codes codes = PlaneCodes(input, plane);
  if (taps_) {
    PadCodes(codes.of[0], lines);
    for (size_t i = 0; i < kLookupGroup; ++i) codes.of[i] = lines + i * static_cast<size_t>(window_.dilation_w);
  }
  uint8_t* to = image + plane * plane_bytes_;
  if (column_phases_ > 2) {
    FillAndPart(kernel, table, codes, to, lines + padded_bytes());
    return;
  }
  for (const Phase& phase : phases_) FillPhase(kernel, table, codes, phase, to);
}

}  // namespace tally
