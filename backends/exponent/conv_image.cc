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
  int64_t bytes = 0;
  int64_t plane_bytes = 0;
  const int64_t padded_columns = (columns + w.stride_w - 1) / w.stride_w * w.stride_w;
  if (!CheckedMul(rows, padded_columns, &plane_bytes) || !CheckedMul<int64_t>(plane_bytes, 4, &plane_bytes) ||
      !CheckedMul(plane_bytes, static_cast<int64_t>(planes()), &bytes) || bytes > kMaxImageBytes) {
    return MakeError(ErrorId::kLimitArena, absl::StrCat("a padded image of ", rows, " x ", columns, " positions and ",
                                                        w.in_channels, " channels is too large"));
  }
  rows_ = static_cast<size_t>(rows);
  columns_ = static_cast<size_t>(columns);
  phases_ = static_cast<size_t>(w.stride_w);
  phase_columns_ = static_cast<size_t>(padded_columns) / phases_;
  plane_bytes_ = static_cast<size_t>(plane_bytes);
  code_columns_ = taps_ ? columns_ + 3 * static_cast<size_t>(w.dilation_w) : 0;

  for (size_t plane = 0; plane < planes_; ++plane) {
    for (size_t r = 0; r < static_cast<size_t>(w.kernel_h); ++r) {
      for (size_t t = 0; t < tap_columns_; ++t) {
        const size_t row = plane * rows_ + r * static_cast<size_t>(w.dilation_h);
        const size_t column = t * tap_step_;
        group_offsets_.push_back(((row * phases_ + column % phases_) * phase_columns_ + column / phases_) * 4);
      }
    }
  }
  return absl::OkStatus();
}

bool ConvImage::RowIsRead(size_t row) const {
  for (int64_t r = 0; r < window_.kernel_h; ++r) {
    const int64_t top = static_cast<int64_t>(row) - r * window_.dilation_h;
    if (top >= 0 && top % window_.stride_h == 0 && top / window_.stride_h < window_.out_h) return true;
  }
  return false;
}

bool ConvImage::PhaseIsRead(size_t phase) const {
  for (size_t t = 0; t < tap_columns_; ++t) {
    if (t * tap_step_ % phases_ == phase) return true;
  }
  return false;
}

int64_t ConvImage::WeightIndex(size_t g, size_t i) const {
  const int64_t t = static_cast<int64_t>(g % tap_columns_);
  const int64_t r = static_cast<int64_t>(g / tap_columns_) % window_.kernel_h;
  const int64_t plane = static_cast<int64_t>(g / tap_columns_) / window_.kernel_h;
  const int64_t c = taps_ ? plane : 4 * plane + static_cast<int64_t>(i);
  const int64_t s = taps_ ? 4 * t + static_cast<int64_t>(i) : t;
  if (c >= window_.in_channels_per_group() || s >= window_.kernel_w) return -1;
  return (c * window_.kernel_h + r) * window_.kernel_w + s;
}

void ConvImage::FillRow(const LookupKernel& kernel, const LookupTable& table, const uint8_t* const* codes, size_t row,
                        uint8_t* pixels, uint8_t* code_line) const {
  const int64_t y = static_cast<int64_t>(row) - window_.pad_top;
  const int pad = table.digit[0];
  if (y < 0 || y >= window_.in_h) {
    std::memset(pixels, pad, columns_ * 4);
    return;
  }
  const size_t offset = static_cast<size_t>(y) * static_cast<size_t>(window_.in_w);
  const uint8_t* rows[kLookupGroup];
  if (taps_) {
    const size_t begin = std::min(static_cast<size_t>(window_.pad_left), code_columns_);
    const size_t count = std::min(static_cast<size_t>(window_.in_w), code_columns_ - begin);
    std::memset(code_line, 0, begin);
    std::memcpy(code_line + begin, codes[0] + offset, count);
    std::memset(code_line + begin + count, 0, code_columns_ - begin - count);
    for (size_t i = 0; i < kLookupGroup; ++i) rows[i] = code_line + i * static_cast<size_t>(window_.dilation_w);
    kernel.interleave(rows, {columns_}, table, pixels);
    return;
  }
  for (size_t i = 0; i < kLookupGroup; ++i) rows[i] = codes[i] + offset;
  const size_t begin = std::min(static_cast<size_t>(window_.pad_left), columns_);
  const size_t count = std::min(static_cast<size_t>(window_.in_w), columns_ - begin);
  std::memset(pixels, pad, begin * 4);
  kernel.interleave(rows, {count}, table, pixels + begin * 4);
  std::memset(pixels + (begin + count) * 4, pad, (columns_ - begin - count) * 4);
}

void ConvImage::FillPlane(const LookupKernel& kernel, const LookupTable& table, const uint8_t* input, size_t plane,
                          uint8_t* image, uint8_t* line) const {
  const size_t channels = static_cast<size_t>(window_.in_channels_per_group());
  const size_t channel = plane % planes_ * (taps_ ? 1 : 4);
  const size_t in_h = static_cast<size_t>(window_.in_h), in_w = static_cast<size_t>(window_.in_w);
  const uint8_t* codes[kLookupGroup];
  // Missing channels repeat the first one; their weights are zero.
  for (size_t i = 0; i < kLookupGroup; ++i) {
    const size_t c = !taps_ && channel + i < channels ? channel + i : channel;
    codes[i] = input + (plane / planes_ * channels + c) * in_h * in_w;
  }
  uint8_t* to = image + plane * plane_bytes_;
  if (phases_ == 1 && !taps_) {
    std::memset(to, table.digit[0], plane_bytes_);
    LookupArea area;
    const size_t top = std::min(static_cast<size_t>(window_.pad_top), rows_);
    const size_t left = std::min(static_cast<size_t>(window_.pad_left), columns_);
    area.rows = std::min(in_h, rows_ - top);
    area.width = std::min(in_w, columns_ - left);
    area.source_stride = in_w;
    area.target_stride = phase_columns_ * 4;
    kernel.interleave(codes, area, table, to + (top * phase_columns_ + left) * 4);
    return;
  }
  for (size_t row = 0; row < rows_; ++row, to += phases_ * phase_columns_ * 4) {
    if (!RowIsRead(row)) continue;
    uint8_t* pixels = phases_ == 1 ? to : line;
    FillRow(kernel, table, codes, row, pixels, line + columns_ * 4);
    if (phases_ == 1) continue;
    for (size_t phase = 0; phase < phases_; ++phase) {
      if (!PhaseIsRead(phase)) continue;
      uint8_t* of_phase = to + phase * phase_columns_ * 4;
      for (size_t x = phase, i = 0; x < columns_; x += phases_, ++i) std::memcpy(of_phase + i * 4, pixels + x * 4, 4);
    }
  }
}

void ConvImage::GatherPanel(const LookupKernel& kernel, const uint8_t* image, size_t group, size_t position,
                            size_t count, uint8_t* panel) const {
  LookupRun runs[kLookupLanes];
  LookupGather gather;
  gather.image = image + group * planes_ * plane_bytes_;
  gather.group_offsets = group_offsets_.data();
  gather.groups = groups();
  gather.runs = runs;
  gather.panel = panel;
  const size_t out_w = static_cast<size_t>(window_.out_w);
  size_t y = position / out_w, x = position % out_w;
  for (size_t lane = 0; lane < count; ++y, x = 0) {
    LookupRun& run = runs[gather.run_count++];
    run.source = (y * static_cast<size_t>(window_.stride_h) * phases_ * phase_columns_ + x) * 4;
    run.lane = lane;
    run.length = std::min(out_w - x, count - lane);
    lane += run.length;
  }
  kernel.gather(gather);
}

}  // namespace tally
