#include "converter/search/equalize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "converter/passes/graph_util.h"
#include "converter/search/fitted_graph.h"
#include "converter/search/quantized_graph.h"
#include "converter/search/simulation.h"
#include "format/error.h"

namespace tally {
namespace {

// Share of the error that a pair must take off.
constexpr double kWorthwhile = 0.02;
// How far channels go towards equal root mean squares: all the way, or as far as the weights behind come to meet them.
constexpr double kStrengths[] = {0.5, 1};
constexpr int kMaxExponent = 8;  // of a factor, a power of two
constexpr int kWeightBits = 4, kActivationBits = 5;
constexpr int64_t kHoldBack = 5, kMinSamples = 20;  // one sample of so many; with fewer none is held back
// Of a weight or bias, so that a scaled one stays finite.
constexpr float kMaxMagnitude = 1e36f;

bool PassesScales(const Node& node) {
  const std::string activation = node.GetString("activation");
  return InputOrAbsent(node, 3) < 0 && (activation.empty() || activation == "Relu" || activation == "LeakyRelu");
}

// A graph with all that is needed to measure what quantizing one pair costs.
class Variant {
 public:
  Variant(Graph graph, const SearchOptions& options) : graph_(std::move(graph)), options_(options) {}

  absl::Status Prepare(const Dataset& data, uint64_t seed, const RunnerMaker& make_runner, ThreadPool* pool) {
    SearchOptions options = options_;
    options.weight_bits = kWeightBits;
    options.activation_bits = kActivationBits;
    options.grid = options.grid.value_or(Grid::kQ7);
    Runner runner = make_runner(graph_, data);
    TALLY_ASSIGN_OR_RETURN(fitted_, FitGraph(graph_, {}, options, seed, &runner, pool, nullptr));
    const TensorSearch& search = *fitted_->search;
    Choices choices;
    for (const BitItem& item : search.WeightItems()) choices.weights.push_back({item.options[0].exponent_bits, {}, {}});
    const std::vector<int64_t> elements(fitted_->targets.activations.size(), 1);
    for (const BitItem& item : search.ActivationItems(elements, /*allow_q14=*/false)) {
      choices.activations.push_back({item.options[0].exponent_bits, {}, {}});
    }
    search.ChooseGrids(/*allow_q14=*/false, &choices);
    TALLY_ASSIGN_OR_RETURN(ChosenFits fits, search.Select(choices));
    weights_ = RoundToNearest(graph_, fitted_->targets, search, samples(), fits.weights, /*correct_bias=*/false);
    activations_ = std::move(fits.activations);
    return absl::OkStatus();
  }

  absl::StatusOr<double> Error(const EqualizablePair& pair, Runner* runner) const {
    std::vector<const QuantizedWeight*> weights(weights_.size());
    std::vector<const Codebook*> activations(activations_.size());
    for (size_t w : pair.weights) weights[w] = &weights_[w];
    // A scale per channel takes the factors up.
    if (!options_.channel_scales) weights[pair.producer_weight] = &weights_[pair.producer_weight];
    activations[pair.activation] = &activations_[pair.activation].codebook;
    return runner->SimulatedError(SimulateQuantization(graph_, fitted_->targets, weights, activations));
  }

  const std::vector<ActivationSamples>& samples() const { return fitted_->samples(); }

 private:
  const Graph graph_;
  const SearchOptions options_;
  std::unique_ptr<FittedGraph> fitted_;
  std::vector<QuantizedWeight> weights_;
  std::vector<CodebookFit> activations_;
};

// Powers of two near (rms of the channel / their geometric mean)^strength; channels that are always zero keep 1.
std::vector<float> Factors(const ActivationSamples& samples, double strength) {
  std::vector<double> logs;
  double sum = 0, live = 0;
  for (double squares : samples.channel_squares) {
    const bool usable = squares > 0 && std::isfinite(squares);
    logs.push_back(usable ? 0.5 * std::log2(squares / static_cast<double>(samples.per_channel)) : std::nan(""));
    if (usable) sum += logs.back(), ++live;
  }
  std::vector<float> factors;
  for (double log : logs) {
    const double exponent = std::isnan(log) ? 0 : std::round(strength * (log - sum / live));
    factors.push_back(std::ldexp(1.0f, std::clamp(static_cast<int>(exponent), -kMaxExponent, kMaxExponent)));
  }
  return factors;
}

// Multiplies value i of a float constant by factor(i).
template <typename Factor>
void Scale(Tensor* tensor, const Factor& factor) {
  float* to = nullptr;
  Tensor scaled = MakeFloatConstant(tensor->name, tensor->shape, &to);
  const float* from = tensor->data.as<float>();
  for (size_t i = 0; i < tensor->elements(); ++i) to[i] = from[i] * factor(i);
  *tensor = std::move(scaled);
}

bool IsModest(const Graph& graph, int tensor) {
  if (tensor < 0) return true;
  const Tensor& t = graph.tensors[static_cast<size_t>(tensor)];
  const float* x = t.data.as<float>();
  return std::all_of(x, x + t.elements(), [](float v) { return std::fabs(v) < kMaxMagnitude; });
}

// Whether the pair's channels were counted (of a vector they are not) and no factor makes a weight overflow.
bool CanScale(const EqualizablePair& pair, const Graph& graph, const Targets& targets,
              const std::vector<ActivationSamples>& samples) {
  const Node& producer = graph.nodes[static_cast<size_t>(pair.producer)];
  const size_t channels = static_cast<size_t>(targets.weights[pair.producer_weight].channels);
  if (samples[pair.activation].channel_squares.size() != channels) return false;
  return IsModest(graph, producer.inputs[1]) && IsModest(graph, InputOrAbsent(producer, 2)) &&
         std::all_of(pair.weights.begin(), pair.weights.end(),
                     [&](size_t w) { return IsModest(graph, targets.weights[w].tensor); });
}

}  // namespace

std::vector<EqualizablePair> FindEqualizable(const Graph& graph, const Targets& targets) {
  const GraphIndex index(graph);
  std::vector<size_t> weight_of(graph.nodes.size(), targets.weights.size());  // by the only node that reads it
  for (size_t w = 0; w < targets.weights.size(); ++w) {
    const WeightTarget& target = targets.weights[w];
    if (target.nodes.size() == 1 && target.lookups.empty() && !target.read_elsewhere)
      weight_of[static_cast<size_t>(target.nodes[0])] = w;
  }
  const auto own_weight = [&](int node) { return weight_of[static_cast<size_t>(node)]; };
  std::vector<EqualizablePair> pairs;
  for (size_t a = 0; a < targets.activations.size(); ++a) {
    const int tensor = targets.activations[a].tensor;
    EqualizablePair pair;
    pair.activation = a;
    pair.producer = index.producer[static_cast<size_t>(tensor)];
    if (pair.producer < 0 || index.is_output[static_cast<size_t>(tensor)]) continue;
    const Node& producer = graph.nodes[static_cast<size_t>(pair.producer)];
    if (!IsConvOrGemm(producer) || !PassesScales(producer) || own_weight(pair.producer) == targets.weights.size())
      continue;
    pair.producer_weight = own_weight(pair.producer);
    const int bias = InputOrAbsent(producer, 2);
    if (bias >= 0 && (ConstantFloats(graph, bias) == nullptr || index.SoleConsumer(bias) < 0)) continue;
    bool fits = true;
    for (int n : index.consumers[static_cast<size_t>(tensor)]) {
      const Node& node = graph.nodes[static_cast<size_t>(n)];
      // Read elsewhere, as a residual for example, it must stay what it is.
      fits = fits && node.op == producer.op && node.inputs[0] == tensor &&
             std::count(node.inputs.begin(), node.inputs.end(), tensor) == 1 && own_weight(n) != targets.weights.size();
      if (fits) pair.weights.push_back(own_weight(n));
    }
    if (fits && !pair.weights.empty()) pairs.push_back(std::move(pair));
  }
  return pairs;
}

void ScaleChannels(const EqualizablePair& pair, const Targets& targets, const std::vector<float>& factors,
                   Graph* graph) {
  const Node& producer = graph->nodes[static_cast<size_t>(pair.producer)];
  for (size_t input : {1, 2}) {
    const int t = InputOrAbsent(producer, input);
    if (t < 0) continue;
    Tensor& tensor = graph->tensors[static_cast<size_t>(t)];
    const size_t per_channel = tensor.elements() / factors.size();
    Scale(&tensor, [&](size_t i) { return 1 / factors[i / per_channel]; });
  }
  for (size_t w : pair.weights) {
    const Node& node = graph->nodes[static_cast<size_t>(targets.weights[w].nodes[0])];
    Tensor& tensor = graph->tensors[static_cast<size_t>(targets.weights[w].tensor)];
    const size_t inputs = static_cast<size_t>(tensor.shape[1]);
    const size_t per_output = static_cast<size_t>(targets.weights[w].per_channel), taps = per_output / inputs;
    const size_t groups = node.op == "Conv" ? static_cast<size_t>(node.GetInt("group", 1)) : 1;
    const size_t per_group = static_cast<size_t>(tensor.shape[0]) / groups;
    Scale(&tensor, [&](size_t i) { return factors[i / per_output / per_group * inputs + i % per_output / taps]; });
  }
}

absl::StatusOr<Equalized> EqualizeChannels(const Graph& graph, const Dataset& calibration, const SearchOptions& options,
                                           uint64_t seed, const RunnerMaker& make_runner, ThreadPool* pool,
                                           const std::function<void(double done)>& progress) {
  Equalized result = {graph, {}};
  TALLY_ASSIGN_OR_RETURN(const Targets targets, FindTargets(graph));
  std::vector<EqualizablePair> pairs = FindEqualizable(graph, targets);
  if (pairs.empty()) return result;
  Dataset fitted = calibration, held = calibration;
  if (calibration.size() >= kMinSamples) held = fitted.HoldBack(kHoldBack);
  Runner runner = make_runner(graph, held);
  Variant plain(graph, options);
  TALLY_RETURN_IF_ERROR(plain.Prepare(fitted, seed, make_runner, pool));
  pairs.erase(
      std::remove_if(pairs.begin(), pairs.end(),
                     [&](const EqualizablePair& pair) { return !CanScale(pair, graph, targets, plain.samples()); }),
      pairs.end());
  const double steps = static_cast<double>(pairs.size() * (1 + std::size(kStrengths)));
  double step = 0;
  const auto measure = [&](const Variant& variant, const EqualizablePair& pair) -> absl::StatusOr<double> {
    if (progress) progress(++step / steps);
    return variant.Error(pair, &runner);
  };
  std::vector<double> least;  // by pair: the error to beat
  for (const EqualizablePair& pair : pairs) {
    TALLY_ASSIGN_OR_RETURN(const double error, measure(plain, pair));
    least.push_back((1 - kWorthwhile) * error);
  }
  std::vector<std::vector<float>> chosen(pairs.size());
  for (double strength : kStrengths) {
    std::vector<std::vector<float>> factors;
    Graph scaled = graph;
    for (const EqualizablePair& pair : pairs) {
      factors.push_back(Factors(plain.samples()[pair.activation], strength));
      ScaleChannels(pair, targets, factors.back(), &scaled);
    }
    Variant variant(std::move(scaled), options);
    TALLY_RETURN_IF_ERROR(variant.Prepare(fitted, seed, make_runner, pool));
    for (size_t p = 0; p < pairs.size(); ++p) {
      TALLY_ASSIGN_OR_RETURN(const double error, measure(variant, pairs[p]));
      if (error < least[p]) least[p] = error, chosen[p] = factors[p];
    }
  }
  for (size_t p = 0; p < pairs.size(); ++p) {
    if (chosen[p].empty()) continue;
    ScaleChannels(pairs[p], targets, chosen[p], &result.graph);
    result.activations.push_back(targets.activations[pairs[p].activation].tensor);
  }
  return result;
}

}  // namespace tally
