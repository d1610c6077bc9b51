// Runs the products of a Conv or Gemm: per slice of the outputs and step of images, sources are gathered, every product
// (a segment of the input channels times a plane of the weights) runs, and the results are finished.
#ifndef TALLY_BACKENDS_ONEDNN_SLICED_DOT_H_
#define TALLY_BACKENDS_ONEDNN_SLICED_DOT_H_

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/onednn/digits.h"
#include "backends/onednn/dot_node.h"
#include "backends/onednn/layout.h"
#include "backends/onednn/library.h"
#include "backends/onednn/slices.h"
#include "format/error.h"
#include "runtime/core/thread_pool.h"

namespace tally::onednn {

// What is multiplied. Pointers need to live during construction only, but for `bias`.
struct DotOperands {
  int64_t planes = 1;                        // of the source
  std::vector<Segment> segments;             // of the input channels
  std::vector<const int8_t*> weight_planes;  // in the weight's element order
  dnnl::memory::data_type output_type = dnnl::memory::data_type::s32;
  const float* bias = nullptr;  // per output channel, added by oneDNN; null: none
  std::function<dnnl::primitive_attr(const Slice&)> attributes;
};

// What one step of a slice reads and writes.
struct Step {
  Block input;  // all channels
  Block output;
};

class SlicedDot {
 public:
  SlicedDot() = default;
  // REQUIRES: the node has outputs. Throws dnnl::error.
  SlicedDot(const DotNode& node, const DotOperands& operands, int num_threads, const dnnl::engine& engine);

  // gather(input block, segment index, to): writes [plane][image][pixel][channel] bytes.
  // finish(output block, results): results are [product][plane][image][pixel][channel], product = segment * planes +
  // plane of the weights. Neither may throw. Both are called on several threads.
  template <typename Gather, typename Finish>
  absl::Status Run(uint8_t* scratch, ThreadPool* pool, const Gather& gather, const Finish& finish) {
    pool->ParallelFor(slices_.size(), 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        parts_[i].status = Guarded([&] { return RunSlice(i, scratch, gather, finish); });
      }
    });
    for (const Part& part : parts_) {
      if (!part.status.ok()) return part.status;
    }
    return absl::OkStatus();
  }

  size_t scratch_bytes() const { return scratch_bytes_; }
  size_t weight_bytes() const;
  std::string implementation() const { return parts_.front().full.front().executable.implementation(); }

 private:
  struct Product {
    Executable executable;
    size_t segment;
  };
  // What a slice needs to run. Offsets are in scratch; results of a product follow those of the one before.
  struct Part {
    std::vector<Product> full, tail;  // for steps of slice.step images, and for what remains
    dnnl::stream stream;
    std::vector<size_t> source_offsets;  // by segment
    size_t results_offset = 0;
    size_t scratchpad_offset = 0;
    absl::Status status;
  };
  // Weights in the layout that some primitives ask for.
  struct PackedWeights {
    size_t segment, plane;
    int64_t channel_begin, channel_end;
    dnnl::memory::desc layout;
    AlignedBuffer data;
  };

  std::vector<Product> MakeProducts(const Slice& slice, int64_t images, const DotOperands& operands,
                                    const dnnl::engine& engine, const dnnl::stream& stream);
  const uint8_t* Pack(const DotOperands& operands, const Slice& slice, size_t segment, size_t plane,
                      const dnnl::memory::desc& plain, const dnnl::memory::desc& wanted, const dnnl::engine& engine,
                      dnnl::stream stream);
  Step MakeStep(const Slice& slice, int64_t image, int64_t images) const;
  // Bytes of the results of one product for one image.
  size_t ResultBytes(const Slice& slice) const;

  template <typename Gather, typename Finish>
  absl::Status RunSlice(size_t index, uint8_t* scratch, const Gather& gather, const Finish& finish) {
    const Slice& slice = slices_[index];
    Part& part = parts_[index];
    ScopedThreads one_thread(1);
    for (int64_t image = slice.image_begin; image < slice.image_end; image += slice.step) {
      const int64_t images = std::min(slice.step, slice.image_end - image);
      const Step step = MakeStep(slice, image, images);
      for (size_t s = 0; s < part.source_offsets.size(); ++s) gather(step.input, s, scratch + part.source_offsets[s]);
      uint8_t* result = scratch + part.results_offset;
      for (Product& product : images == slice.step ? part.full : part.tail) {
        TALLY_RETURN_IF_ERROR(product.executable.Bind(0, scratch + part.source_offsets[product.segment]));
        TALLY_RETURN_IF_ERROR(product.executable.Bind(1, result));
        TALLY_RETURN_IF_ERROR(product.executable.Execute(part.stream, scratch + part.scratchpad_offset));
        result += ResultBytes(slice) * static_cast<size_t>(images);
      }
      finish(step.output, scratch + part.results_offset);
    }
    return absl::OkStatus();
  }

  DotNode node_;
  int64_t planes_ = 1;
  std::vector<Slice> slices_;
  std::vector<Part> parts_;  // by slice
  std::vector<PackedWeights> weights_;
  size_t scratch_bytes_ = 0;
};

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_SLICED_DOT_H_
