// The activations of a convolution as an image of 4-byte pixels, which tiles of outputs read where they lie.
//
// A pixel holds four digits that are neighbours along k: four channels of one position, or, where there are few
// channels, one channel at four successive taps of the kernel's width. Padding is stored. Under a stride, rows and
// columns of equal phase (index modulo stride) lie together. So for every tap the pixels of successive outputs of a row
// are neighbours, and the next row of outputs follows `pitch` pixels later: lane l of a tap is one pixel on from lane
// l - 1, whatever the kernel. Lanes beyond a row's end compute sums that nobody wants.
//
// Layout: [plane][row phase][column phase][row / stride][column / stride][4]; a plane is a pixel's four channels (or
// its one channel).
#ifndef TALLY_BACKENDS_EXPONENT_CONV_IMAGE_H_
#define TALLY_BACKENDS_EXPONENT_CONV_IMAGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/exponent/kernels/lookup/lookup.h"
#include "runtime/ops/window.h"

namespace tally {

class ConvImage {
 public:
  // Error: kLimitArena when padding makes the image absurdly large.
  static absl::StatusOr<ConvImage> Create(const Window2d& window);

  // Of the pixels of each group of 4 along k, in bytes from the start of a convolution group's image.
  const std::vector<size_t>& group_offsets() const { return group_offsets_; }
  // The row of the kernel that group g belongs to.
  size_t KernelRow(size_t g) const { return g / tap_columns_ % static_cast<size_t>(window_.kernel_h); }
  // Whether all taps of group g are padding left (right) of the image at the first (last) output of a row.
  bool IsLeftPadding(size_t g) const;
  bool IsRightPadding(size_t g) const;
  // Index within a weight's [C/group, kh, kw] of element i of group g, or -1 where the pixel is padded.
  int64_t WeightIndex(size_t g, size_t i) const;

  // Output (y, x) is lane y * pitch() + x.
  size_t pitch() const { return phase_columns_; }
  size_t lanes() const;

  size_t planes() const { return planes_ * static_cast<size_t>(window_.group); }
  size_t group_bytes() const { return planes_ * plane_bytes_; }  // of one convolution group
  // Tiles may read 128 bytes more.
  size_t bytes() const { return planes() * plane_bytes_; }
  // Bytes of working memory that FillPlane needs.
  size_t line_bytes() const { return padded_bytes() + (column_phases_ > 2 ? rows_ * columns_ * 4 : 0); }

  // Whether a plane is pixels of the input one after the other, each needed for one output.
  bool IsInput() const;
  // Of such an image, writes `count` pixels of a plane from pixel `first` on.
  void FillRun(const LookupKernel& kernel, const LookupTable& table, const uint8_t* input, size_t plane, size_t first,
               size_t count, uint8_t* to) const;

  // Fills one plane of the image from the codes of one batch entry ([C, H, W]).
  void FillPlane(const LookupKernel& kernel, const LookupTable& table, const uint8_t* input, size_t plane,
                 uint8_t* image, uint8_t* lines) const;

 private:
  explicit ConvImage(const Window2d& window);
  absl::Status Plan();
  // Bytes from the start of a plane to the pixel at (row, column).
  size_t PixelOffset(size_t row, size_t column) const;
  // Whether some tap reads rows and columns of these phases.
  bool PhaseIsRead(size_t row_phase, size_t column_phase) const;
  // Of a plane's codes with their padding, where a pixel is four taps.
  size_t padded_bytes() const { return rows_ * code_columns_; }
  // What a plane's pixels are made of: four channels, or four times one, [rows][columns] each, which begin at row `top`
  // and column `left` of the padded image.
  struct CodeArea {
    size_t rows, columns, top, left;
  };
  struct Codes {
    const uint8_t* of[kLookupGroup];
  };
  Codes PlaneCodes(const uint8_t* input, size_t plane) const;
  // How the pixels of one phase, of at most two columns, come from a plane's codes.
  struct Phase {
    LookupArea area;
    size_t from = 0;       // first code
    size_t to = 0;         // where its pixel lies in the plane, in bytes
    size_t pad_begin = 0;  // of all of the phase's pixels
    size_t pad_bytes = 0;  // 0: there is no padding
  };
  Phase PlanPhase(size_t row_phase, size_t column_phase) const;
  void FillPhase(const LookupKernel& kernel, const LookupTable& table, const Codes& codes, const Phase& phase,
                 uint8_t* to) const;
  // Writes the pixels of any number of phases, by way of `pixels`, [rows][columns][4].
  void FillAndPart(const LookupKernel& kernel, const LookupTable& table, const Codes& codes, uint8_t* to,
                   uint8_t* pixels) const;
  // The codes of a plane's channel with their padding.
  void PadCodes(const uint8_t* codes, uint8_t* padded) const;

  Window2d window_;
  bool taps_ = false;       // a pixel is four taps, else four channels
  size_t planes_ = 0;       // of one convolution group
  size_t tap_columns_ = 0;  // groups along the kernel's width
  size_t tap_step_ = 0;     // columns from one to the next
  size_t rows_ = 0;         // of the padded image, as far as outputs reach
  size_t columns_ = 0;
  size_t code_columns_ = 0;  // of a padded row of codes, where a pixel is four taps
  size_t row_phases_ = 1, column_phases_ = 1;
  size_t phase_rows_ = 0, phase_columns_ = 0;
  size_t plane_bytes_ = 0;
  CodeArea codes_ = {};
  std::vector<Phase> phases_;  // that are read, of at most two columns
  std::vector<size_t> group_offsets_;
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_CONV_IMAGE_H_
