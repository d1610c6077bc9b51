// Lays out the regions of a node's scratch memory.
#ifndef TALLY_BACKENDS_ONEDNN_SCRATCH_H_
#define TALLY_BACKENDS_ONEDNN_SCRATCH_H_

#include <cstddef>

#include "runtime/core/aligned_buffer.h"

namespace tally::onednn {

// REQUIRES: the sum of all regions fits size_t (the largest is bounded by dot_node.cc's limit on elements).
class ScratchLayout {
 public:
  // The offset of a new region, aligned, with slack for vector reads behind it.
  size_t Add(size_t bytes) {
    const size_t offset = size_;
    size_ += (bytes + kSlack + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  size_t size() const { return size_; }

 private:
  size_t size_ = 0;
};

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_SCRATCH_H_
