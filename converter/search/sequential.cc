#include "converter/search/sequential.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "format/error.h"

namespace tally {
namespace {

// Values of activations that are kept between layers.
constexpr int64_t kKeptBytes = int64_t{512} << 20;
// Elements of a layer's covariances: several matrices of so many float64 are in memory at once.
constexpr int64_t kMaxCovariance = int64_t{4608} * 4608;

absl::StatusOr<LayerGeometry> GeometryOf(const Graph& graph, const Node& node, const std::vector<TensorType>& types) {
  const Tensor& weight = graph.tensors[static_cast<size_t>(node.inputs[1])];
  LayerGeometry geometry;
  geometry.k = static_cast<int64_t>(weight.elements()) / weight.shape[0];
  if (node.op != "Conv") return geometry;
  TALLY_ASSIGN_OR_RETURN(geometry.window,
                         ConvWindow(node, types[static_cast<size_t>(node.inputs[0])].shape, weight.shape));
  geometry.groups = geometry.window->group;
  return geometry;
}

// Whether a bias of the node's own can make up for mean errors; then *bias is the present one.
bool HasCorrectableBias(const Graph& graph, const WeightTarget& target, std::vector<double>* bias) {
  if (target.nodes.size() != 1) return false;
  const Node& node = graph.nodes[static_cast<size_t>(target.nodes[0])];
  bias->assign(static_cast<size_t>(target.channels), 0);
  if (node.inputs.size() < 3 || node.inputs[2] < 0) return true;
  const Tensor& old = graph.tensors[static_cast<size_t>(node.inputs[2])];
  if (!old.has_data || old.elements() != bias->size()) return false;
  std::copy_n(old.data.as<float>(), bias->size(), bias->begin());
  return true;
}

// Everything in a codebook that changes a code or a value.
std::string KeyOfCodebook(const Codebook& book) {
  return absl::StrCat(book.exponent_bits, book.is_signed, GridName(book.grid), EncodeRuleName(book.encode_rule), " ",
                      absl::StrJoin(book.mantissas, ","), absl::StrFormat(" %a %a", book.scale, book.inverse_scale),
                      absl::StrFormat(" %a %a %a", book.base, book.alpha, book.beta));
}

class Quantizer {
 public:
  Quantizer(const Graph& graph, const Targets& targets, const std::vector<Codebook>& activations,
            const std::function<WeightFitOptions(size_t)>& fit, const Dataset& calibration, int64_t batch,
            const std::vector<TensorType>& types, const SequentialOptions& options, ThreadPool* pool)
      : graph_(graph),
        targets_(targets),
        activations_(activations),
        fit_(fit),
        calibration_(calibration),
        types_(types),
        options_(options),
        pool_(pool),
        quantized_(graph),
        run_(calibration, batch, types, Order(), options.make_float, options.make_quantized, kKeptBytes),
        weights_(targets.weights.size()) {
    for (size_t a = 0; a < activations.size(); ++a) {
      quantized_.tensors[static_cast<size_t>(targets.activations[a].tensor)].codebook = activations[a];
    }
  }

  absl::StatusOr<std::vector<QuantizedWeight>> Run() {
    // Tables depend on nothing, and all else on them.
    for (size_t w = 0; w < weights_.size(); ++w) {
      if (!targets_.weights[w].nodes.empty()) continue;
      if (!Recall(w)) TALLY_RETURN_IF_ERROR(RoundToNearest(w, "a table"));
      Depend(KeyOfWeight(w));
    }
    // Activations without weights of their own (products of two) come next: they are few.
    for (size_t a = 0; a < activations_.size(); ++a) {
      if (targets_.activations[a].weights.empty()) Depend(KeyOfCodebook(activations_[a]));
    }
    size_t done = 0;
    for (size_t a : order_) {
      Depend(KeyOfCodebook(activations_[a]));
      TALLY_RETURN_IF_ERROR(Layers(a));
      for (int w : targets_.activations[a].weights) Depend(KeyOfWeight(static_cast<size_t>(w)));
      if (options_.progress) options_.progress(static_cast<double>(++done) / static_cast<double>(order_.size()));
    }
    return std::move(weights_);
  }

 private:
  // Tensors of the activations whose weights are to be rounded, in the order in which the network computes them.
  std::vector<int> Order() {
    std::vector<int> position(graph_.tensors.size(), -1);
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (int t : graph_.nodes[n].outputs) {
        if (t >= 0) position[static_cast<size_t>(t)] = static_cast<int>(n);
      }
    }
    for (size_t a = 0; a < targets_.activations.size(); ++a) {
      if (!targets_.activations[a].weights.empty()) order_.push_back(a);
    }
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      return position[static_cast<size_t>(targets_.activations[a].tensor)] <
             position[static_cast<size_t>(targets_.activations[b].tensor)];
    });
    std::vector<int> tensors;
    for (size_t a : order_) tensors.push_back(targets_.activations[a].tensor);
    return tensors;
  }

  // All weights that activation `a` is the first to meet.
  absl::Status Layers(size_t a) {
    const int tensor = targets_.activations[a].tensor;
    std::vector<std::pair<size_t, std::unique_ptr<LayerStatistics>>> layers;
    for (int w : targets_.activations[a].weights) {
      const Node& node = graph_.nodes[static_cast<size_t>(targets_.weights[static_cast<size_t>(w)].nodes[0])];
      if (node.inputs[0] != tensor || Recall(static_cast<size_t>(w))) continue;
      TALLY_ASSIGN_OR_RETURN(const LayerGeometry geometry, GeometryOf(graph_, node, types_));
      if (geometry.k > kMaxCovariance / geometry.k / geometry.groups) {
        TALLY_RETURN_IF_ERROR(RoundToNearest(
            static_cast<size_t>(w), absl::StrCat(geometry.k, " columns are too many for compensated rounding")));
        continue;
      }
      layers.emplace_back(static_cast<size_t>(w),
                          std::make_unique<LayerStatistics>(geometry, run_.per_sample(tensor), calibration_.size(),
                                                            options_.seed + static_cast<uint64_t>(w)));
    }
    if (layers.empty()) return absl::OkStatus();
    const Encoder encoder(activations_[a]);
    const std::vector<double> values = activations_[a].Values();
    std::vector<float> decoded;
    const int64_t per_sample = run_.per_sample(tensor);
    TALLY_RETURN_IF_ERROR(run_.Visit(graph_, quantized_, tensor,
                                     [&](int64_t first, int64_t count, const float* reference, const float* quantized) {
                                       // Layers read codes.
                                       decoded.resize(static_cast<size_t>(count * per_sample));
                                       pool_->ParallelFor(decoded.size(), 1 << 14, [&](size_t begin, size_t end) {
                                         for (size_t i = begin; i < end; ++i) {
                                           decoded[i] = static_cast<float>(values[encoder.Encode(quantized[i])]);
                                         }
                                       });
                                       for (auto& [w, statistics] : layers)
                                         statistics->Add(first, count, reference, decoded.data(), pool_);
                                       return absl::OkStatus();
                                     }));
    for (auto& [w, statistics] : layers) {
      TALLY_RETURN_IF_ERROR(Layer(w, *statistics));
      statistics.reset();
    }
    return absl::OkStatus();
  }

  // What a weight's result depends on: its name, its number (which seeds a draw, and changes with what is left float),
  // its options, and `before_`, the same of all layers before it.
  std::string KeyOfWeight(size_t w) const {
    const WeightFitOptions fit = fit_(w);
    const std::string& name = graph_.tensors[static_cast<size_t>(targets_.weights[w].tensor)].name;
    std::string key = absl::StrCat("weight ", w, " ", name.size(), " ", name, " n ", fit.exponent_bits, " base ",
                                   fit.base.value_or(0), " errors ");
    if (!options_.error_bits.empty()) {
      for (int bits : options_.error_bits[w]) absl::StrAppend(&key, bits, " ");
    }
    return absl::StrCat(key, "after ", before_);
  }

  // From here on results depend on this too.
  void Depend(const std::string& on) { before_ = Memo::Hash(absl::StrCat(before_, on)); }

  // Whether the weight was quantized before.
  bool Recall(size_t w) {
    const std::optional<nlohmann::json> json = options_.memo->Find(KeyOfWeight(w));
    if (!json) return false;
    const WeightTarget& target = targets_.weights[w];
    std::optional<QuantizedWeight> weight = WeightFromJson(
        *json, static_cast<size_t>(target.channels * target.per_channel), static_cast<size_t>(target.channels));
    if (!weight) return false;
    weights_[w] = *std::move(weight);
    quantized_.tensors[static_cast<size_t>(target.tensor)].codes = MakeCodeForm(weights_[w]);
    return true;
  }

  // What has no covariances.
  absl::Status RoundToNearest(size_t w, const std::string& why) {
    const WeightTarget& target = targets_.weights[w];
    Tensor& tensor = quantized_.tensors[static_cast<size_t>(target.tensor)];
    const WeightFitter fitter(tensor.data.as<float>(), target.channels, target.per_channel);
    WeightFitOptions fit = fit_(w);
    QuantizedWeight& weight = weights_[w];
    TALLY_ASSIGN_OR_RETURN(weight.fit, fitter.Fit(fit));
    weight.codes = fitter.Encode(weight.fit.codebook, weight.fit.channel_scales);
    weight.notes = absl::StrCat("nearest: ", why);
    if (!options_.error_bits.empty()) {
      for (int bits : options_.error_bits[w]) {
        fit.exponent_bits = bits;
        TALLY_ASSIGN_OR_RETURN(const WeightFit other, fitter.Fit(fit));
        weight.errors[bits] = other.error.relative_mse;
      }
    }
    tensor.codes = MakeCodeForm(weight);
    return options_.memo->Keep(KeyOfWeight(w), ToJson(weight));
  }

  absl::Status Layer(size_t w, const LayerStatistics& statistics) {
    const WeightTarget& target = targets_.weights[w];
    Tensor& tensor = quantized_.tensors[static_cast<size_t>(target.tensor)];
    std::vector<double> bias;
    const bool centered = HasCorrectableBias(graph_, target, &bias);
    LayerSearch search(tensor.data.as<float>(), target.channels, target.per_channel, statistics, centered, pool_);
    const WeightFitOptions fit = fit_(w);
    TALLY_ASSIGN_OR_RETURN(weights_[w], search.Quantize(fit));
    if (!options_.error_bits.empty()) {
      for (int bits : options_.error_bits[w]) {
        TALLY_ASSIGN_OR_RETURN(const double error, search.ErrorAt(fit, bits));
        if (std::isfinite(error)) weights_[w].errors[bits] = error;
      }
    }
    if (centered) {
      const std::vector<double> errors = search.MeanErrors(weights_[w]);
      for (size_t o = 0; o < bias.size(); ++o) {
        // Activations that are not finite on the calibration data say nothing.
        weights_[w].bias.push_back(static_cast<float>(bias[o] + (std::isfinite(errors[o]) ? errors[o] : 0)));
      }
    }
    tensor.codes = MakeCodeForm(weights_[w]);
    return options_.memo->Keep(KeyOfWeight(w), ToJson(weights_[w]));
  }

  const Graph& graph_;
  const Targets& targets_;
  const std::vector<Codebook>& activations_;
  const std::function<WeightFitOptions(size_t)>& fit_;
  const Dataset& calibration_;
  const std::vector<TensorType>& types_;
  const SequentialOptions& options_;
  ThreadPool* const pool_;
  std::string before_;
  std::vector<size_t> order_;  // activation targets
  Graph quantized_;            // as far as it is quantized
  StagedRun run_;
  std::vector<QuantizedWeight> weights_;
};

}  // namespace

absl::StatusOr<std::vector<QuantizedWeight>> QuantizeSequentially(
    const Graph& graph, const Targets& targets, const std::vector<Codebook>& activations,
    const std::function<WeightFitOptions(size_t weight)>& fit, const Dataset& calibration, int64_t batch,
    const std::vector<TensorType>& types, const SequentialOptions& options, ThreadPool* pool) {
  return Quantizer(graph, targets, activations, fit, calibration, batch, types, options, pool).Run();
}

}  // namespace tally
