#include "converter/search/quantized_graph.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "converter/search/baselines.h"

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
std::vector<double> MeanErrors(const Node& node, const Tensor& weight, const float* from, const std::vector<float>& to,
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
      for (int64_t t = 0; t < taps; ++t, ++k)
        errors[static_cast<size_t>(o)] += (static_cast<double>(to[k]) - static_cast<double>(from[k])) * mean[c];
    }
  }
  return errors;
}

// The bias that makes up for the mean error of the codes; empty when there is nothing to correct or no one bias to do
// it with.
std::vector<float> CorrectedBias(const Graph& source, const Targets& targets,
                                 const std::vector<ActivationSamples>& samples, const WeightTarget& target,
                                 const QuantizedWeight& quantized) {
  if (target.nodes.size() != 1) return {};
  const Node& node = source.nodes[static_cast<size_t>(target.nodes[0])];
  const auto activation = std::find_if(targets.activations.begin(), targets.activations.end(),
                                       [&](const ActivationTarget& a) { return a.tensor == node.inputs[0]; });
  const std::vector<double> means =
      ChannelMeans(samples[static_cast<size_t>(activation - targets.activations.begin())]);
  const Tensor& weight = source.tensors[static_cast<size_t>(target.tensor)];
  const std::vector<double> errors = MeanErrors(node, weight, weight.data.as<float>(), Decode(quantized), means);
  if (std::all_of(errors.begin(), errors.end(), [](double e) { return e == 0; })) return {};
  std::vector<float> bias(errors.size());
  const bool has_bias = node.inputs.size() > 2 && node.inputs[2] >= 0;
  const Tensor* old = has_bias ? &source.tensors[static_cast<size_t>(node.inputs[2])] : nullptr;
  // A bias that is computed at run time stays as it is.
  if (old != nullptr && (!old->has_data || old->elements() != bias.size())) return {};
  for (size_t o = 0; o < bias.size(); ++o) {
    bias[o] = static_cast<float>((old == nullptr ? 0.0 : static_cast<double>(old->data.as<float>()[o])) - errors[o]);
  }
  return bias;
}

}  // namespace

std::vector<QuantizedWeight> RoundToNearest(const Graph& source, const Targets& targets, const TensorSearch& search,
                                            const std::vector<ActivationSamples>& samples,
                                            const std::vector<WeightFit>& fits, bool correct_bias) {
  std::vector<QuantizedWeight> weights(fits.size());
  for (size_t w = 0; w < fits.size(); ++w) {
    weights[w].fit = fits[w];
    weights[w].codes = search.fitter(w).Encode(fits[w].codebook, fits[w].channel_scales);
    if (correct_bias) weights[w].bias = CorrectedBias(source, targets, samples, targets.weights[w], weights[w]);
    weights[w].notes = correct_bias ? "nearest, bias corrected" : "nearest";
  }
  return weights;
}

Graph BuildQuantizedGraph(const Graph& source, const Targets& targets, const std::vector<QuantizedWeight>& weights,
                          const std::vector<CodebookFit>& activations, const std::vector<ActivationSamples>& samples,
                          const FormOptions& options) {
  Graph graph = source;
  for (size_t w = 0; w < weights.size(); ++w) {
    const WeightTarget& target = targets.weights[w];
    Tensor& tensor = graph.tensors[static_cast<size_t>(target.tensor)];
    tensor.codes = MakeCodeForm(weights[w]);
    if (options.keep_int8) {
      tensor.int8 = MakeInt8Form(tensor.data.as<float>(), target.channels, target.per_channel);
    }
  }
  for (size_t a = 0; a < activations.size(); ++a) {
    Tensor& tensor = graph.tensors[static_cast<size_t>(targets.activations[a].tensor)];
    tensor.codebook = activations[a].codebook;
    if (options.keep_int8 && !samples[a].empty()) tensor.range = Range{samples[a].min, samples[a].max};
  }
  if (!options.keep_float) DropFloatForms(&graph);
  if (!options.keep_int8 && !options.keep_float) SettleCodeBiases(&graph);
  return graph;
}

}  // namespace tally
