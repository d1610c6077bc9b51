// How the outputs of a Conv or Gemm are divided among threads.
//
// oneDNN's own threads would be a second pool beside the session's: its workers spin for milliseconds after a region
// and take the CPUs from the session's. So every product runs on one thread, and the session's pool runs several
// products that do not share outputs.
#ifndef TALLY_BACKENDS_ONEDNN_SLICES_H_
#define TALLY_BACKENDS_ONEDNN_SLICES_H_

#include <cstdint>
#include <vector>

#include "backends/onednn/dot_node.h"

namespace tally::onednn {

// Images image_begin .. image_end - 1 (rows of a Gemm), output rows row_begin .., output channels channel_begin ..
// What they read: input rows in_row_begin .. in_row_end - 1 and the padding above and below.
struct Slice {
  int64_t image_begin = 0, image_end = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t channel_begin = 0, channel_end = 0;
  int64_t in_row_begin = 0, in_row_end = 0;
  int64_t pad_top = 0, pad_bottom = 0;
  int64_t step = 1;  // images per product, so that a step's data stay in the cache

  int64_t images() const { return image_end - image_begin; }
  int64_t channels() const { return channel_end - channel_begin; }
};

// How many of `num_threads` are worth having for so many multiplications, at least 1.
int64_t UsefulThreads(double products, int num_threads);

// At most `num_threads` slices that cover all outputs. `planes`: source planes, which multiply the work.
// REQUIRES: there are outputs.
std::vector<Slice> MakeSlices(const DotNode& node, int64_t planes, int num_threads);

// The node as the slice sees it, for `batch` images. REQUIRES: `slice` comes from MakeSlices(node).
DotNode SliceNode(const DotNode& node, const Slice& slice, int64_t batch);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_SLICES_H_
