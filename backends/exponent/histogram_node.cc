#include "backends/exponent/histogram_node.h"

#include <algorithm>
#include <cstring>

#include "backends/exponent/kernels/histogram/histogram.h"
#include "backends/exponent/parts.h"
#include "format/bit_packing.h"

namespace tally {
namespace {

// Gathers the operand codes of one dot product after the other; written to be read.
class HistogramNode : public CompiledNode {
 public:
  HistogramNode(Problem problem, size_t parts) : problem_(std::move(problem)), histogram_(problem_.a, problem_.w) {
    if (problem_.weights != nullptr) {
      weights_.resize(problem_.outputs * problem_.k);
      UnpackBits(problem_.weights->packed.data(), problem_.w.stored_bits(), 0, weights_.size(), weights_.data());
    }
    problem_.weights = nullptr;
    ScratchPlan plan;
    parts_ = parts;
    gathered_ = plan.Add(parts, problem_.k, &gathered_stride_);
    counters_ = plan.Add(parts, histogram_.counters() * sizeof(int32_t), &counters_stride_);
    scratch_bytes_ = plan.total();
  }

  absl::Status Run(const RunArgs& args) override {
    if (problem_.is_empty) return absl::OkStatus();
    switch (problem_.kind) {
      case Problem::Kind::kConv: RunConv(args); break;
      case Problem::Kind::kGemm: RunGemm(args); break;
      case Problem::Kind::kMatMul: RunMatMul(args); break;
    }
    return absl::OkStatus();
  }

  Encoding input_encoding(size_t i) const override {
    const bool codes = i == 0 || (i == 1 && problem_.kind == Problem::Kind::kMatMul);
    return codes ? Encoding::kCodes : Encoding::kPlain;
  }
  size_t scratch_bytes() const override { return scratch_bytes_; }
  size_t resident_weight_bytes() const override { return weights_.size(); }
  std::string kernel() const override { return "histogram"; }
  std::string isa() const override { return IsaName(Isa::kScalar); }

 private:
  void Output(const RunArgs& args, size_t part, const uint8_t* a, const uint8_t* w, size_t channel,
              size_t element) const {
    int32_t* counters = reinterpret_cast<int32_t*>(args.scratch + counters_ + part * counters_stride_);
    const EpilogueRow row = problem_.epilogue.Row(args, channel, 0, element);
    float* out = static_cast<float*>(args.outputs[0]) + element;
    if (histogram_.is_real()) {
      const double acc = histogram_.DotReal(a, w, problem_.k, counters);
      FinishRow(&acc, 1, row, out);
    } else {
      const int64_t acc = histogram_.DotInteger(a, w, problem_.k, counters);
      FinishRow(&acc, 1, row, out);
    }
  }

  uint8_t* Gathered(const RunArgs& args, size_t part) const {
    return args.scratch + gathered_ + part * gathered_stride_;
  }

  void RunConv(const RunArgs& args) const {
    const Window2d& win = problem_.window;
    const uint8_t* input = static_cast<const uint8_t*>(args.inputs[0]);
    const size_t positions = static_cast<size_t>(win.out_h * win.out_w);
    const size_t groups = static_cast<size_t>(win.group);
    const size_t per_group = problem_.outputs / groups;
    const size_t items = static_cast<size_t>(win.batch) * groups * positions;
    ForEachPart(args.pool, parts_, items, [&](size_t part, size_t begin, size_t end) {
      uint8_t* a = Gathered(args, part);
      for (size_t item = begin; item < end; ++item) {
        const size_t p = item % positions, g = item / positions % groups, n = item / positions / groups;
        Gather(input, n, g, p, a);
        for (size_t o = g * per_group; o < (g + 1) * per_group; ++o) {
          Output(args, part, a, weights_.data() + o * problem_.k, o, (n * problem_.outputs + o) * positions + p);
        }
      }
    });
  }

  // The window of output position p, channel by channel; padding is code 0.
  void Gather(const uint8_t* input, size_t n, size_t g, size_t p, uint8_t* a) const {
    const Window2d& win = problem_.window;
    const int64_t y0 = static_cast<int64_t>(p) / win.out_w * win.stride_h - win.pad_top;
    const int64_t x0 = static_cast<int64_t>(p) % win.out_w * win.stride_w - win.pad_left;
    const int64_t channels = win.in_channels_per_group();
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t plane = static_cast<int64_t>(n) * win.in_channels + static_cast<int64_t>(g) * channels + c;
      for (int64_t r = 0; r < win.kernel_h; ++r) {
        for (int64_t s = 0; s < win.kernel_w; ++s) {
          const int64_t y = y0 + r * win.dilation_h, x = x0 + s * win.dilation_w;
          const bool inside = y >= 0 && y < win.in_h && x >= 0 && x < win.in_w;
          *a++ = inside ? input[(plane * win.in_h + y) * win.in_w + x] : uint8_t{0};
        }
      }
    }
  }

  void RunGemm(const RunArgs& args) const {
    const uint8_t* input = static_cast<const uint8_t*>(args.inputs[0]);
    const size_t outputs = problem_.outputs;
    ForEachPart(args.pool, parts_, problem_.rows * outputs, [&](size_t part, size_t begin, size_t end) {
      for (size_t item = begin; item < end; ++item) {
        const size_t m = item / outputs, o = item % outputs;
        Output(args, part, input + m * problem_.k, weights_.data() + o * problem_.k, o, item);
      }
    });
  }

  void RunMatMul(const RunArgs& args) const {
    const uint8_t* a = static_cast<const uint8_t*>(args.inputs[0]);
    const uint8_t* b = static_cast<const uint8_t*>(args.inputs[1]);
    const size_t outputs = problem_.outputs, rows = problem_.rows, k = problem_.k;
    // An item is one column of one matrix.
    ForEachPart(args.pool, parts_, problem_.batch.count() * outputs, [&](size_t part, size_t begin, size_t end) {
      uint8_t* column = Gathered(args, part);
      for (size_t item = begin; item < end; ++item) {
        const size_t matrix = item / outputs, o = item % outputs;
        const uint8_t* from = b + problem_.batch.BOffset(matrix) * k * outputs + o;
        for (size_t t = 0; t < k; ++t) column[t] = from[t * outputs];
        const uint8_t* left = a + problem_.batch.AOffset(matrix) * rows * k;
        for (size_t m = 0; m < rows; ++m) {
          Output(args, part, left + m * k, column, 0, (matrix * rows + m) * outputs + o);
        }
      }
    });
  }

  Problem problem_;
  PairHistogram histogram_;
  std::vector<uint8_t> weights_;  // one code a byte, element order
  size_t parts_ = 1;
  size_t gathered_ = 0, gathered_stride_ = 0;
  size_t counters_ = 0, counters_stride_ = 0;
  size_t scratch_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileHistogram(Problem problem, const NodeContext& context) {
  const size_t parts = static_cast<size_t>(std::max(1, context.num_threads));
  return std::unique_ptr<CompiledNode>(new HistogramNode(std::move(problem), parts));
}

}  // namespace tally
