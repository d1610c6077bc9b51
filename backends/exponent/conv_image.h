// The activations of a convolution as an image of 4-byte pixels, from which lane panels are gathered.
//
// A pixel holds four digits that are neighbours along k: four channels of one position, or, where there are few
// channels, one channel at four successive taps of the kernel's width. Padding is stored, so that a tap of a row of
// outputs is a run of pixels; under a stride, columns of equal phase (column modulo stride) lie together, for the same
// reason.
//
// Layout: [plane][row][column phase][column / stride][4]; a plane is a pixel's four channels (or its one channel).
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

  // Groups of 4 along k, of one convolution group.
  size_t groups() const { return group_offsets_.size(); }
  // Index within a weight's [C/group, kh, kw] of element i of group g, or -1 where the pixel is padded.
  int64_t WeightIndex(size_t g, size_t i) const;

  size_t planes() const { return planes_ * static_cast<size_t>(window_.group); }
  size_t bytes() const { return planes() * plane_bytes_; }
  // Bytes of working memory that FillPlane needs.
  size_t line_bytes() const { return columns_ * 4 + code_columns_; }

  // Fills one plane of the image from the codes of one batch entry ([C, H, W]).
  void FillPlane(const LookupKernel& kernel, const LookupTable& table, const uint8_t* input, size_t plane,
                 uint8_t* image, uint8_t* line) const;

  // Gathers the lane panel of `count` <= 32 output positions from `position` on, for convolution group `group`.
  void GatherPanel(const LookupKernel& kernel, const uint8_t* image, size_t group, size_t position, size_t count,
                   uint8_t* panel) const;

 private:
  explicit ConvImage(const Window2d& window);
  absl::Status Plan();
  // Whether some tap reads this row, this phase of the columns.
  bool RowIsRead(size_t row) const;
  bool PhaseIsRead(size_t phase) const;
  // Row `row` of a plane whose channels' codes begin at codes[0 .. 3].
  void FillRow(const LookupKernel& kernel, const LookupTable& table, const uint8_t* const* codes, size_t row,
               uint8_t* pixels, uint8_t* code_line) const;

  Window2d window_;
  bool taps_ = false;       // a pixel is four taps, else four channels
  size_t planes_ = 0;       // of one convolution group
  size_t tap_columns_ = 0;  // groups along the kernel's width
  size_t tap_step_ = 0;     // columns from one to the next
  size_t rows_ = 0;         // of the padded image, as far as outputs reach
  size_t columns_ = 0;
  size_t code_columns_ = 0;  // of a row of codes that pixels of four taps are made of
  size_t phases_ = 1;
  size_t phase_columns_ = 0;
  size_t plane_bytes_ = 0;
  std::vector<size_t> group_offsets_;  // bytes
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_CONV_IMAGE_H_
