#include "backends/onednn/slices.h"

#include <algorithm>

#include "runtime/core/rounding.h"

namespace tally::onednn {
namespace {

// Handing a slice to another thread costs a few microseconds; oneDNN multiplies this often meanwhile.
constexpr double kMinProductsPerThread = 1 << 18;
// Channels of one slice: a multiple of the vector width of oneDNN's kernels.
constexpr int64_t kChannelAlignment = 64;
// Output pixels (or rows of a Gemm) of one step.
constexpr int64_t kStepPixels = 256;

// Splits the rows of `slice` into `bands`; false when a band would see nothing but padding.
bool SplitRows(const Window2d& w, const Slice& slice, int64_t bands, std::vector<Slice>* out) {
  for (int64_t i = 0; i < bands; ++i) {
    Slice band = slice;
    band.row_begin = i * w.out_h / bands;
    band.row_end = (i + 1) * w.out_h / bands;
    const int64_t first = band.row_begin * w.stride_h - w.pad_top;
    const int64_t last = (band.row_end - 1) * w.stride_h - w.pad_top + (w.kernel_h - 1) * w.dilation_h;
    if (last < 0 || first >= w.in_h) return false;
    band.in_row_begin = std::max<int64_t>(first, 0);
    band.in_row_end = std::min(last + 1, w.in_h);
    band.pad_top = band.in_row_begin - first;
    band.pad_bottom = last + 1 - band.in_row_end;
    out->push_back(band);
  }
  return true;
}

}  // namespace

int64_t UsefulThreads(double products, int num_threads) {
  return static_cast<int64_t>(std::clamp(products / kMinProductsPerThread, 1.0, static_cast<double>(num_threads)));
}

std::vector<Slice> MakeSlices(const DotNode& node, int64_t planes, int num_threads) {
  const Window2d& w = node.window;
  const double products = static_cast<double>(node.outputs()) * static_cast<double>(w.k() * planes);
  const int64_t wanted = UsefulThreads(products, num_threads);

  // Images first, as they share nothing but the weights; then rows; then channels.
  const int64_t image_slices = std::min(w.batch, wanted);
  int64_t rest = CeilDiv(wanted, image_slices);
  if (image_slices * rest > num_threads) rest = std::max<int64_t>(1, num_threads / image_slices);
  const int64_t bands = node.is_conv ? std::min(rest, w.out_h) : 1;
  const int64_t channel_slices =
      w.group > 1 ? 1 : std::clamp<int64_t>(w.out_channels / kChannelAlignment, 1, rest / bands);

  std::vector<Slice> slices;
  for (int64_t i = 0; i < image_slices; ++i) {
    Slice slice;
    slice.image_begin = i * w.batch / image_slices;
    slice.image_end = (i + 1) * w.batch / image_slices;
    slice.row_end = w.out_h;
    slice.channel_end = w.out_channels;
    slice.in_row_end = w.in_h;
    slice.pad_top = w.pad_top;
    slice.pad_bottom = w.pad_bottom;
    std::vector<Slice> parts;
    if (bands == 1 || !SplitRows(w, slice, bands, &parts)) parts = {slice};
    const int64_t units = CeilDiv(w.out_channels, kChannelAlignment);
    for (Slice part : parts) {
      const int64_t pixels = (part.row_end - part.row_begin) * w.out_w;
      part.step = std::clamp<int64_t>(kStepPixels / std::max<int64_t>(pixels, 1), 1, part.images());
      for (int64_t c = 0; c < channel_slices; ++c) {
        part.channel_begin = c * units / channel_slices * kChannelAlignment;
        part.channel_end = std::min((c + 1) * units / channel_slices * kChannelAlignment, w.out_channels);
        slices.push_back(part);
      }
    }
  }
  return slices;
}

DotNode SliceNode(const DotNode& node, const Slice& slice, int64_t batch) {
  DotNode part = node;
  part.window.batch = batch;
  part.window.in_h = slice.in_row_end - slice.in_row_begin;
  part.window.out_h = slice.row_end - slice.row_begin;
  part.window.out_channels = slice.channels();
  part.window.pad_top = slice.pad_top;
  part.window.pad_bottom = slice.pad_bottom;
  return part;
}

}  // namespace tally::onednn
