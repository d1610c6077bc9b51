#include "converter/search/quantized_graph.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "converter/search/baselines.h"
#include "format/bit_packing.h"
#include "format/error.h"

namespace tally {
namespace {

// Mean over the calibration data of each channel of a node's input; empty when it is not known.
std::vector<double> ChannelMeans(const ActivationSamples& samples) {
  std::vector<double> means;
  if (samples.per_channel == 0) return means;
  for (double sum : samples.channel_sums) {
    means.push_back(sum / static_cast<double>(samples.per_channel));
    if (!std::isfinite(means.back())) return {};
  }
  return means;
}

// Mean error of every output of a node when its weight `from` is replaced by `to`.
std::vector<double> MeanErrors(const Node& node, const Tensor& weight, const float* from, const std::vector<double>& to,
                               const std::vector<double>& means) {
  const int64_t outputs = weight.shape[0], inputs = weight.shape[1];
  int64_t taps = 1;
  for (size_t d = 2; d < weight.shape.size(); ++d) taps *= weight.shape[d];
  const int64_t group = node.op == "Conv" ? std::max<int64_t>(1, node.GetInt("group", 1)) : 1;
  std::vector<double> errors(static_cast<size_t>(outputs));
  if (static_cast<int64_t>(means.size()) != inputs * group || outputs % group != 0) return errors;
  size_t k = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    const double* mean = means.data() + o / (outputs / group) * inputs;
    for (int64_t c = 0; c < inputs; ++c) {
      for (int64_t t = 0; t < taps; ++t, ++k) errors[static_cast<size_t>(o)] += (to[k] - from[k]) * mean[c];
    }
  }
  return errors;
}

class Builder {
 public:
  Builder(const Graph& source, const Targets& targets, const TensorSearch& search,
          const std::vector<ActivationSamples>& samples, const ChosenFits& fits, const FormOptions& options)
      : source_(source), targets_(targets), search_(search), samples_(samples), fits_(fits), options_(options) {}

  absl::StatusOr<Graph> Run() {
    graph_ = source_;
    for (size_t w = 0; w < targets_.weights.size(); ++w) Weight(w);
    for (size_t a = 0; a < targets_.activations.size(); ++a) {
      Tensor& tensor = TensorAt(targets_.activations[a].tensor);
      tensor.codebook = fits_.activations[a].codebook;
      if (options_.keep_int8 && !samples_[a].empty()) tensor.range = Range{samples_[a].min, samples_[a].max};
    }
    if (!options_.keep_float) DropFloatForms(&graph_);
    if (!options_.keep_int8 && !options_.keep_float) SettleCodeBiases(&graph_);
    return std::move(graph_);
  }

 private:
  Tensor& TensorAt(int index) { return graph_.tensors[static_cast<size_t>(index)]; }

  void Weight(size_t w) {
    const WeightTarget& target = targets_.weights[w];
    const WeightFit& fit = fits_.weights[w];
    const std::vector<uint8_t> codes = search_.fitter(w).Encode(fit.codebook, fit.channel_scales);
    Tensor& tensor = TensorAt(target.tensor);
    CodeForm form;
    form.codebook = fit.codebook;
    form.channel_scales = fit.channel_scales;
    const int bits = fit.codebook.stored_bits();
    uint8_t* packed = nullptr;
    form.packed = Blob::Allocate(PackedBytes(codes.size(), bits), &packed);
    PackBits(codes.data(), codes.size(), bits, packed);
    if (options_.correct_bias) form.bias = CorrectedBias(w, codes);
    tensor.codes = std::move(form);
    if (options_.keep_int8) {
      tensor.int8 = MakeInt8Form(tensor.data.as<float>(), target.channels, target.per_channel);
    }
  }

  // The bias that makes up for the mean error of the codes; empty when there is nothing to correct or no one bias to do
  // it with.
  std::vector<float> CorrectedBias(size_t w, const std::vector<uint8_t>& codes) const {
    const WeightTarget& target = targets_.weights[w];
    const WeightFit& fit = fits_.weights[w];
    if (target.nodes.size() != 1) return {};
    const Node& node = source_.nodes[static_cast<size_t>(target.nodes[0])];
    const auto activation = std::find_if(targets_.activations.begin(), targets_.activations.end(),
                                         [&](const ActivationTarget& a) { return a.tensor == node.inputs[0]; });
    const std::vector<double> means =
        ChannelMeans(samples_[static_cast<size_t>(activation - targets_.activations.begin())]);
    const std::vector<double> values = fit.codebook.Values();
    std::vector<double> rounded(codes.size());
    for (size_t k = 0; k < codes.size(); ++k) {
      const size_t channel = k / static_cast<size_t>(target.per_channel);
      rounded[k] =
          values[codes[k]] * (fit.channel_scales.empty() ? 1.0 : static_cast<double>(fit.channel_scales[channel]));
    }
    const Tensor& weight = source_.tensors[static_cast<size_t>(target.tensor)];
    const std::vector<double> errors = MeanErrors(node, weight, weight.data.as<float>(), rounded, means);
    if (std::all_of(errors.begin(), errors.end(), [](double e) { return e == 0; })) return {};
    std::vector<float> bias(errors.size());
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2] >= 0;
    const Tensor* old = has_bias ? &source_.tensors[static_cast<size_t>(node.inputs[2])] : nullptr;
    // A bias that is computed at run time stays as it is.
    if (old != nullptr && (!old->has_data || old->elements() != bias.size())) return {};
    for (size_t o = 0; o < bias.size(); ++o) {
      bias[o] = static_cast<float>((old == nullptr ? 0.0 : static_cast<double>(old->data.as<float>()[o])) - errors[o]);
    }
    return bias;
  }

  const Graph& source_;
  const Targets& targets_;
  const TensorSearch& search_;
  const std::vector<ActivationSamples>& samples_;
  const ChosenFits& fits_;
  const FormOptions options_;
  Graph graph_;
};

}  // namespace

absl::StatusOr<Graph> BuildQuantizedGraph(const Graph& source, const Targets& targets, const TensorSearch& search,
                                          const std::vector<ActivationSamples>& samples, const ChosenFits& fits,
                                          const FormOptions& options) {
  return Builder(source, targets, search, samples, fits, options).Run();
}

}  // namespace tally
