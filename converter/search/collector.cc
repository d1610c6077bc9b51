#include "converter/search/collector.h"

#include <algorithm>
#include <cmath>

#include "converter/search/random.h"

namespace tally {
namespace {

constexpr uint64_t kMaxDrawn = uint64_t{4} << 20;

void AddRange(const float* x, size_t count, ActivationSamples* samples) {
  float low = samples->min, high = samples->max;
  uint64_t finite = 0;
  for (size_t i = 0; i < count; ++i) {
    const bool ok = std::fabs(x[i]) <= std::numeric_limits<float>::max();
    finite += ok ? 1 : 0;
    low = ok && x[i] < low ? x[i] : low;
    high = ok && x[i] > high ? x[i] : high;
  }
  samples->min = low;
  samples->max = high;
  samples->finite += finite;
  samples->non_finite += count - finite;
}

// Sums per channel; a channel that was ever not finite ends up not finite.
void AddChannels(const float* x, const Shape& shape, int axis, ActivationSamples* samples) {
  const size_t rank = shape.size();
  if (axis == 0 || rank < 2) return;
  const size_t channel_axis = axis < 0 ? rank - 1 : static_cast<size_t>(axis);
  size_t outer = 1, inner = 1;
  for (size_t d = 0; d < channel_axis; ++d) outer *= static_cast<size_t>(shape[d]);
  for (size_t d = channel_axis + 1; d < rank; ++d) inner *= static_cast<size_t>(shape[d]);
  const size_t channels = static_cast<size_t>(shape[channel_axis]);
  samples->channel_sums.resize(channels);
  samples->channel_squares.resize(channels);
  for (size_t i = 0; i < outer; ++i) {
    for (size_t c = 0; c < channels; ++c, x += inner) {
      double sum = 0, squares = 0;
      for (size_t k = 0; k < inner; ++k) {
        const double v = x[k];
        sum += v;
        squares += v * v;
      }
      samples->channel_sums[c] += sum;
      samples->channel_squares[c] += squares;
    }
  }
  samples->per_channel += outer * inner;
}

}  // namespace

ActivationCollector::ActivationCollector(const Graph& graph, const Targets& targets, int64_t samples, uint64_t seed)
    : targets_(targets),
      expected_samples_(static_cast<uint64_t>(std::max<int64_t>(1, samples))),
      state_(seed),
      samples_(targets.activations.size()) {
  for (size_t i = 0; i < targets.activations.size(); ++i) {
    by_name_[graph.tensors[static_cast<size_t>(targets.activations[i].tensor)].name] = i;
  }
}

void ActivationCollector::Add(const std::string& tensor, const TensorView& value, int64_t batch, int64_t count) {
  const auto it = by_name_.find(tensor);
  if (it == by_name_.end() || value.dtype != DType::kFloat32) return;
  ActivationSamples& samples = samples_[it->second];
  Shape shape = value.shape;
  // Copies of the last sample that fill a batch are not counted, where the batch is the outermost extent.
  if (!shape.empty() && shape[0] == batch) shape[0] = count;
  const float* x = value.as<float>();
  const size_t elements = static_cast<size_t>(TensorType{value.dtype, shape}.elements());
  AddRange(x, elements, &samples);
  AddChannels(x, shape, targets_.activations[it->second].channel_axis, &samples);
  // Odd, so that it does not walk along one column of an image.
  const uint64_t stride =
      (elements / static_cast<uint64_t>(std::max<int64_t>(1, count)) * expected_samples_ / kMaxDrawn) | 1;
  const size_t offset = NextRandom(&state_) % stride;
  if (offset < elements) samples.histogram.Add(x + offset, elements - offset, static_cast<size_t>(stride));
}

}  // namespace tally
