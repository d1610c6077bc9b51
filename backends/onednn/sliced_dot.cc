#include "backends/onednn/sliced_dot.h"

#include <algorithm>
#include <utility>

#include "backends/onednn/scratch.h"

namespace tally::onednn {

SlicedDot::SlicedDot(const DotNode& node, const DotOperands& operands, int num_threads, const dnnl::engine& engine)
    : node_(node), planes_(operands.planes), slices_(MakeSlices(node, operands.planes, num_threads)) {
  ScopedThreads one_thread(1);
  ScratchLayout scratch;
  const Window2d& w = node_.window;
  for (const Slice& slice : slices_) {
    Part part;
    part.stream = dnnl::stream(engine);
    part.full = MakeProducts(slice, slice.step, operands, engine, part.stream);
    if (slice.images() % slice.step != 0) {
      part.tail = MakeProducts(slice, slice.images() % slice.step, operands, engine, part.stream);
    }
    const int64_t pixels = slice.step * planes_ * (slice.in_row_end - slice.in_row_begin) * w.in_w;
    for (const Segment& segment : operands.segments) {
      part.source_offsets.push_back(scratch.Add(static_cast<size_t>(pixels * w.group * segment.size())));
    }
    part.results_offset = scratch.Add(part.full.size() * ResultBytes(slice) * static_cast<size_t>(slice.step));
    size_t scratchpad = 0;
    for (const auto* products : {&part.full, &part.tail}) {
      for (const Product& p : *products) scratchpad = std::max(scratchpad, p.executable.scratchpad_bytes());
    }
    part.scratchpad_offset = scratch.Add(scratchpad);
    parts_.push_back(std::move(part));
  }
  scratch_bytes_ = scratch.size();
}

size_t SlicedDot::weight_bytes() const {
  size_t bytes = 0;
  for (const PackedWeights& weights : weights_) bytes += weights.data.size();
  return bytes;
}

Step SlicedDot::MakeStep(const Slice& slice, int64_t image, int64_t images) const {
  const Window2d& w = node_.window;
  Step step;
  step.input.channels = step.input.channel_count = w.in_channels;
  step.input.positions = w.in_h * w.in_w;
  step.input.position_begin = slice.in_row_begin * w.in_w;
  step.input.position_count = (slice.in_row_end - slice.in_row_begin) * w.in_w;
  step.output.channels = w.out_channels;
  step.output.channel_begin = slice.channel_begin;
  step.output.channel_count = slice.channels();
  step.output.positions = w.out_h * w.out_w;
  step.output.position_begin = slice.row_begin * w.out_w;
  step.output.position_count = (slice.row_end - slice.row_begin) * w.out_w;
  for (Block* block : {&step.input, &step.output}) {
    block->image_begin = image;
    block->images = images;
  }
  return step;
}

size_t SlicedDot::ResultBytes(const Slice& slice) const {
  const int64_t pixels = planes_ * (slice.row_end - slice.row_begin) * node_.window.out_w;
  return static_cast<size_t>(pixels * slice.channels()) * sizeof(int32_t);
}

std::vector<SlicedDot::Product> SlicedDot::MakeProducts(const Slice& slice, int64_t images, const DotOperands& operands,
                                                        const dnnl::engine& engine, const dnnl::stream& stream) {
  const DotNode part = SliceNode(node_, slice, planes_ * images);
  const dnnl::primitive_attr attributes = operands.attributes(slice);
  std::vector<Product> products;
  for (size_t s = 0; s < operands.segments.size(); ++s) {
    const DotLayouts l = MakeDotLayouts(part, operands.segments[s].size(), operands.output_type);
    const DotPrimitive p = MakeDotPrimitive(part, l, operands.bias != nullptr, attributes, engine);
    for (size_t d = 0; d < operands.weight_planes.size(); ++d) {
      std::vector<Argument> arguments = {
          {DNNL_ARG_SRC, l.source, nullptr},
          {DNNL_ARG_DST, l.destination, nullptr},
          {DNNL_ARG_WEIGHTS, p.weights, Pack(operands, slice, s, d, l.plain_weights, p.weights, engine, stream)}};
      if (operands.bias != nullptr) {
        arguments.push_back({DNNL_ARG_BIAS, l.bias, operands.bias + slice.channel_begin});
      }
      products.push_back({Executable(p.primitive, p.description, arguments, engine), s});
    }
  }
  return products;
}

const uint8_t* SlicedDot::Pack(const DotOperands& operands, const Slice& slice, size_t segment, size_t plane,
                               const dnnl::memory::desc& plain, const dnnl::memory::desc& wanted,
                               const dnnl::engine& engine, dnnl::stream stream) {
  for (const PackedWeights& w : weights_) {
    if (w.segment == segment && w.plane == plane && w.channel_begin == slice.channel_begin &&
        w.channel_end == slice.channel_end && w.layout == wanted) {
      return w.data.data();
    }
  }
  const Segment& channels = operands.segments[segment];
  const int64_t taps = node_.window.kernel_h * node_.window.kernel_w;
  std::vector<int8_t> rows(static_cast<size_t>(slice.channels() * channels.size() * taps));
  int8_t* to = rows.data();
  for (int64_t o = slice.channel_begin; o < slice.channel_end; ++o) {
    const int8_t* row = operands.weight_planes[plane] + o * node_.window.k();
    to = std::copy(row + channels.begin * taps, row + channels.end * taps, to);
  }
  weights_.push_back({segment, plane, slice.channel_begin, slice.channel_end, wanted,
                      ReorderWeights(plain, rows.data(), wanted, engine, std::move(stream))});
  return weights_.back().data.data();
}

}  // namespace tally::onednn
