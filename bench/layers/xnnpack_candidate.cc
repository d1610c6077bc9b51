// XNNPACK's operators as they are, channels last: float32, or 8-bit (signed, one scale).
#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "backends/xnnpack/library.h"
#include "bench/layers/candidate.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally::bench {
namespace {

using xnnpack::Operator;
using xnnpack::StatusOf;

// Elements: float or int8_t.
template <typename T>
class XnnpackCandidate : public Candidate {
 public:
  XnnpackCandidate(const Layer& layer, const CandidateSpec& spec)
      : layer_(layer),
        spec_(spec),
        source_(layer.bytes().size() * sizeof(T)),
        output_(static_cast<size_t>(layer.problem().outputs()) * sizeof(T)) {
    // 8-bit sources are signed there: the same values, with the zero point moved.
    for (size_t i = 0; i < layer.bytes().size(); ++i) source_.as<T>()[i] = static_cast<T>(layer.bytes()[i] - kZero);
    for (int8_t w : layer.weights()) kernel_.push_back(static_cast<T>(w));
    if (kQuantized) scale_ = SixDeviations() / 127;
  }

  absl::Status Create() {
    TALLY_RETURN_IF_ERROR(StatusOf(xnn_initialize(nullptr), "cannot start"));
    const Window2d& w = layer_.problem().window;
    // Depthwise: [C][R][S] -> [R][S][C], else [O][C][R][S] -> [O][R][S][C].
    is_depthwise() ? Transpose(1, w.out_channels, w.kernel_h * w.kernel_w)
                   : Transpose(w.out_channels, w.in_channels_per_group(), w.kernel_h * w.kernel_w);
    const size_t copies = CopyCount(spec_.weight_bytes, resident_weight_bytes());
    while (operators_.size() < copies) {
      xnn_operator_t op = nullptr;
      TALLY_RETURN_IF_ERROR(StatusOf(CreateOperator(&op), "cannot create the layer"));
      operators_.emplace_back(op);
      TALLY_RETURN_IF_ERROR(StatusOf(SetUp(op), "cannot set up the layer"));
    }
    return absl::OkStatus();
  }

  absl::Status Run(size_t copy) override {
    return StatusOf(xnn_run_operator(operators_[copy].get(), spec_.pool->native()), "cannot run the layer");
  }

  absl::Status Check() const override {
    const Window2d& w = layer_.problem().window;
    const size_t pixels = static_cast<size_t>(w.out_h * w.out_w), channels = static_cast<size_t>(w.out_channels);
    const auto output = [&](size_t i) {
      const size_t p = i % pixels, o = i / pixels % channels, n = i / pixels / channels;
      return static_cast<double>(output_.as<T>()[(n * pixels + p) * channels + o]) * static_cast<double>(scale_);
    };
    // float32 sums are rounded at every step, 8-bit results to whole steps.
    return layer_.Check(output, true, 1e-4, kQuantized ? static_cast<double>(scale_) : 0);
  }

  std::string backend() const override { return spec_.backend; }
  std::string kernel() const override { return kQuantized ? "qs8" : "f32"; }
  std::string isa() const override { return "xnnpack"; }
  size_t copies() const override { return operators_.size(); }
  size_t resident_weight_bytes() const override { return layer_.weights().size() * sizeof(T); }
  size_t bytes_moved() const override { return resident_weight_bytes() + source_.size() + output_.size(); }

 private:
  static constexpr bool kQuantized = std::is_same_v<T, int8_t>;
  static constexpr int kZero = kQuantized ? 128 : 0;

  bool is_depthwise() const {
    const Window2d& w = layer_.problem().window;
    return w.is_depthwise() && w.out_channels_per_group() == 1;
  }

  // The largest that a sum of these operands is likely to be: its mean and six standard deviations.
  float SixDeviations() const {
    double sum = 0, squares = 0;
    for (uint8_t b : layer_.bytes()) sum += b, squares += static_cast<double>(b) * b;
    double weights = 0, weight_squares = 0;
    for (int8_t w : layer_.weights()) weights += w, weight_squares += static_cast<double>(w) * w;
    const double k = static_cast<double>(layer_.problem().window.k());
    const double bytes = static_cast<double>(layer_.bytes().size()), count = static_cast<double>(kernel_.size());
    const double mean = k * (sum / bytes) * (weights / count);
    return static_cast<float>(std::fabs(mean) + 6 * std::sqrt(k * (squares / bytes) * (weight_squares / count)));
  }

  // [a][b][c] -> [a][c][b].
  void Transpose(int64_t a, int64_t b, int64_t c) {
    const std::vector<T> plain = kernel_;
    size_t to = 0;
    for (int64_t i = 0; i < a; ++i) {
      for (int64_t k = 0; k < c; ++k) {
        for (int64_t j = 0; j < b; ++j) kernel_[to++] = plain[static_cast<size_t>((i * b + j) * c + k)];
      }
    }
  }

  xnn_status CreateOperator(xnn_operator_t* op) const {
    const Window2d& w = layer_.problem().window;
    const size_t in = static_cast<size_t>(w.in_channels), out = static_cast<size_t>(w.out_channels);
    const auto u32 = [](int64_t v) { return static_cast<uint32_t>(v); };
    const size_t group_in = static_cast<size_t>(w.in_channels_per_group());
    const size_t group_out = static_cast<size_t>(w.out_channels_per_group());
    const uint32_t flags = is_depthwise() ? XNN_FLAG_DEPTHWISE_CONVOLUTION : 0;
    if constexpr (kQuantized) {
      const int8_t zero = static_cast<int8_t>(-kZero);
      if (!layer_.problem().is_conv) {
        return xnn_create_fully_connected_nc_qs8(in, out, in, out, zero, 1, 1, kernel_.data(), nullptr, 0, scale_, -128,
                                                 127, 0, op);
      }
      return xnn_create_convolution2d_nhwc_qs8(u32(w.pad_top), u32(w.pad_right), u32(w.pad_bottom), u32(w.pad_left),
                                               u32(w.kernel_h), u32(w.kernel_w), u32(w.stride_h), u32(w.stride_w), 1, 1,
                                               u32(w.group), group_in, group_out, in, out, zero, 1, 1, kernel_.data(),
                                               nullptr, 0, scale_, -128, 127, flags, op);
    } else {
      const float infinity = std::numeric_limits<float>::infinity();
      if (!layer_.problem().is_conv) {
        return xnn_create_fully_connected_nc_f32(in, out, in, out, kernel_.data(), nullptr, -infinity, infinity, 0, op);
      }
      return xnn_create_convolution2d_nhwc_f32(u32(w.pad_top), u32(w.pad_right), u32(w.pad_bottom), u32(w.pad_left),
                                               u32(w.kernel_h), u32(w.kernel_w), u32(w.stride_h), u32(w.stride_w), 1, 1,
                                               u32(w.group), group_in, group_out, in, out, kernel_.data(), nullptr,
                                               -infinity, infinity, flags, op);
    }
  }

  xnn_status SetUp(xnn_operator_t op) {
    const Window2d& w = layer_.problem().window;
    const size_t batch = static_cast<size_t>(w.batch);
    const size_t h = static_cast<size_t>(w.in_h), width = static_cast<size_t>(w.in_w);
    const T* x = source_.as<T>();
    T* y = output_.as<T>();
    if constexpr (kQuantized) {
      if (!layer_.problem().is_conv) return xnn_setup_fully_connected_nc_qs8(op, batch, x, y, spec_.pool->native());
      return xnn_setup_convolution2d_nhwc_qs8(op, batch, h, width, x, y, spec_.pool->native());
    } else {
      if (!layer_.problem().is_conv) return xnn_setup_fully_connected_nc_f32(op, batch, x, y, spec_.pool->native());
      return xnn_setup_convolution2d_nhwc_f32(op, batch, h, width, x, y, spec_.pool->native());
    }
  }

  const Layer& layer_;
  CandidateSpec spec_;
  AlignedBuffer source_, output_;
  std::vector<T> kernel_;
  float scale_ = 1;
  std::vector<Operator> operators_;
};

template <typename T>
absl::StatusOr<std::unique_ptr<Candidate>> Make(const Layer& layer, const CandidateSpec& spec) {
  auto candidate = std::make_unique<XnnpackCandidate<T>>(layer, spec);
  TALLY_RETURN_IF_ERROR(candidate->Create());
  return std::unique_ptr<Candidate>(std::move(candidate));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Candidate>> MakeXnnpackCandidate(const Layer& layer, const CandidateSpec& spec,
                                                                bool quantized) {
  return quantized ? Make<int8_t>(layer, spec) : Make<float>(layer, spec);
}

}  // namespace tally::bench
