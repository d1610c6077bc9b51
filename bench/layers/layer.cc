#include "bench/layers/layer.h"

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "format/bit_packing.h"
#include "format/error.h"

namespace tally::bench {
namespace {

using Rng = std::mt19937;
constexpr size_t kChecked = 200;

// Levels like those of trained tensors: six powers of two from the largest magnitude to the smallest.
absl::StatusOr<Codebook> Levels(int stored_bits, bool is_signed, Grid grid, const char* what) {
  const int n = stored_bits - (is_signed ? 1 : 0);
  if (n < kMinExponentBits || n > kMaxExponentBits) {
    return MakeError(ErrorId::kUsage,
                     absl::StrCat(stored_bits, " stored bits of ", is_signed ? "signed " : "", what, " are ", n,
                                  " exponent bits, expected ", kMinExponentBits, " to ", kMaxExponentBits));
  }
  const double base = std::exp2(6.0 / ((1 << n) - 2));
  return MakeCodebook(n, is_signed, grid, EncodeRule::kNearest, base, 1.0, 0.0);
}

// Any valid code but zero; zero with the given probability.
std::vector<uint8_t> RandomCodes(Rng* rng, const Codebook& book, size_t count, double zero_fraction) {
  std::uniform_real_distribution<double> uniform(0, 1);
  std::uniform_int_distribution<int> code(1, book.magnitudes());
  std::vector<uint8_t> codes(count);
  for (uint8_t& c : codes) {
    if (uniform(*rng) < zero_fraction) continue;
    c = static_cast<uint8_t>(code(*rng));
    if (book.is_signed && ((*rng)() & 1) != 0) c |= book.sign_bit();
  }
  return codes;
}

}  // namespace

absl::StatusOr<Layer> Layer::Create(const Problem& problem, const LayerSettings& settings) {
  Layer layer;
  layer.problem_ = WithBatch(problem, settings.batch);
  layer.settings_ = settings;
  const Window2d& w = layer.problem_.window;
  TALLY_ASSIGN_OR_RETURN(const Codebook weights, Levels(settings.bits, true, Grid::kQ7, "weights"));
  TALLY_ASSIGN_OR_RETURN(const Codebook acts, Levels(settings.activation_bits, settings.signed_activations,
                                                     settings.activation_grid, "activations"));
  Rng rng(1);
  const size_t weight_count = static_cast<size_t>(problem.weights());
  const std::vector<uint8_t> weight_codes = RandomCodes(&rng, weights, weight_count, 0.05);
  layer.codes_ = RandomCodes(&rng, acts, static_cast<size_t>(layer.problem_.inputs()), settings.zero_fraction);
  layer.scale_ = static_cast<float>(static_cast<double>(weights.scale) * static_cast<double>(acts.scale));

  layer.mantissas_ = acts.SignedMantissas();
  const std::vector<int32_t> weight_mantissas = weights.SignedMantissas();
  layer.weights_.reserve(weight_count);
  for (uint8_t c : weight_codes) layer.weights_.push_back(static_cast<int8_t>(weight_mantissas[c]));
  const int shift = settings.activation_grid == Grid::kQ14 ? 7 : 0;
  const size_t channels = static_cast<size_t>(w.in_channels), pixels = static_cast<size_t>(w.in_h * w.in_w);
  layer.bytes_.resize(layer.codes_.size());
  for (size_t n = 0; n < static_cast<size_t>(w.batch); ++n) {
    for (size_t c = 0; c < channels; ++c) {
      for (size_t p = 0; p < pixels; ++p) {
        const int32_t m = layer.mantissas_[layer.codes_[(n * channels + c) * pixels + p]];
        const int32_t high = m < 0 ? -(-m >> shift) : m >> shift;
        layer.bytes_[(n * pixels + p) * channels + c] =
            static_cast<uint8_t>(high + (settings.signed_activations ? 128 : 0));
      }
    }
  }

  Tensor input;
  input.name = "x";
  input.codebook = acts;
  Tensor weight;
  weight.name = "w";
  weight.shape = problem.is_conv ? Shape{w.out_channels, w.in_channels_per_group(), w.kernel_h, w.kernel_w}
                                 : Shape{w.out_channels, w.in_channels};
  CodeForm form;
  form.codebook = weights;
  uint8_t* packed = nullptr;
  form.packed = Blob::Allocate(static_cast<size_t>(PackedBytes(weight_count, settings.bits)), &packed);
  PackBits(weight_codes.data(), weight_count, settings.bits, packed);
  weight.codes = form;
  Tensor output;
  output.name = "y";
  Node node;
  node.name = "layer";
  node.op = problem.is_conv ? "Conv" : "Gemm";
  if (problem.is_conv) {
    node.SetInts("strides", {w.stride_h, w.stride_w});
    node.SetInts("pads", {w.pad_top, w.pad_left, w.pad_bottom, w.pad_right});
    node.SetInts("group", {w.group});
  }
  node.inputs = {layer.graph_.AddTensor(input), layer.graph_.AddTensor(weight)};
  node.outputs = {layer.graph_.AddTensor(output)};
  layer.graph_.nodes.push_back(node);
  return layer;
}

NodeContext Layer::Context(const CpuFeatures& cpu, int num_threads) const {
  const Window2d& w = problem_.window;
  const auto shape = [&](int64_t channels, int64_t height, int64_t width) {
    return problem_.is_conv ? Shape{w.batch, channels, height, width} : Shape{w.batch, channels};
  };
  return NodeContext{
      graph_,
      graph_.nodes[0],
      {{DType::kFloat32, shape(w.in_channels, w.in_h, w.in_w)}, {DType::kFloat32, graph_.tensors[1].shape}},
      {{DType::kFloat32, shape(w.out_channels, w.out_h, w.out_w)}},
      cpu,
      num_threads};
}

int64_t Layer::Sum(size_t output, bool of_bytes) const {
  const Window2d& w = problem_.window;
  const int64_t index = static_cast<int64_t>(output);
  const int64_t x = index % w.out_w, y = index / w.out_w % w.out_h;
  const int64_t o = index / (w.out_w * w.out_h) % w.out_channels, n = index / (w.out_w * w.out_h * w.out_channels);
  const int64_t channels = w.in_channels_per_group();
  const int64_t first = o / w.out_channels_per_group() * channels;
  int64_t sum = 0;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < w.kernel_h; ++r) {
      for (int64_t s = 0; s < w.kernel_w; ++s) {
        const int64_t in_y = y * w.stride_h + r - w.pad_top, in_x = x * w.stride_w + s - w.pad_left;
        if (in_y < 0 || in_y >= w.in_h || in_x < 0 || in_x >= w.in_w) continue;
        const int64_t pixel = in_y * w.in_w + in_x, channel = first + c;
        const int64_t weight = weights_[static_cast<size_t>(((o * channels + c) * w.kernel_h + r) * w.kernel_w + s)];
        const size_t plain = static_cast<size_t>((n * w.in_channels + channel) * w.in_h * w.in_w + pixel);
        const size_t last = static_cast<size_t>((n * w.in_h * w.in_w + pixel) * w.in_channels + channel);
        sum += weight * (of_bytes ? int64_t{bytes_[last]} : int64_t{mantissas_[codes_[plain]]});
      }
    }
  }
  return sum;
}

absl::Status Layer::Check(const std::function<double(size_t)>& output, bool of_bytes, double relative,
                          double absolute) const {
  Rng rng(2);
  const size_t count = static_cast<size_t>(problem_.outputs());
  for (size_t i = 0; i < kChecked; ++i) {
    const size_t o = std::uniform_int_distribution<size_t>(0, count - 1)(rng);
    const double expected = static_cast<double>(Sum(o, of_bytes));
    const double actual = output(o);
    if (!(std::fabs(actual - expected) <= relative * std::fabs(expected) + absolute)) {
      return MakeError(ErrorId::kInternal, absl::StrCat("output ", o, " is ", actual, ", expected ", expected));
    }
  }
  return absl::OkStatus();
}

}  // namespace tally::bench
