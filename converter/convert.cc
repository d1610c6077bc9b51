#include "converter/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <set>

#include "absl/strings/str_cat.h"
#include "converter/option_names.h"
#include "converter/search/quantized_graph.h"
#include "converter/search/runner.h"
#include "converter/search/sequential.h"
#include "converter/search/tensor_search.h"
#include "format/error.h"
#include "format/model_file.h"
#include "runtime/core/thread_pool.h"
#include "runtime/exec/infer.h"

namespace tally {
namespace {

constexpr double kDefaultWeightTarget = 4, kActivationMargin = 2;
constexpr double kMaxDropActivationTarget = 6;

// A change of the graph is kept when it takes this share off the error of the output.
constexpr double kWorthwhile = 0.02;

absl::Status Usage(const std::string& detail) { return MakeError(ErrorId::kUsage, detail); }

absl::Status CheckOptions(const ConvertOptions& o) {
  for (const auto& [name, bits] :
       {std::pair("weight bits", o.weight_bits), std::pair("activation bits", o.activation_bits)}) {
    if (bits && (*bits < 2 || *bits > 8)) return Usage(absl::StrCat(name, " ", *bits, ", expected 2..8"));
  }
  for (const auto& [name, bits] :
       {std::pair("target bits", o.target_bits), std::pair("activation target bits", o.activation_target_bits)}) {
    if (bits && !(*bits >= 2 && *bits <= 32)) return Usage(absl::StrCat(name, " ", *bits, ", expected 2..32"));
  }
  if (o.max_drop && !(*o.max_drop >= 0 && *o.max_drop <= 100)) {
    return Usage(absl::StrCat("max drop ", *o.max_drop, ", expected 0..100 points"));
  }
  const int goals = (o.weight_bits ? 1 : 0) + (o.max_drop ? 1 : 0) + (o.target_bits ? 1 : 0) + (o.target_size ? 1 : 0);
  if (goals > 1) return Usage("fixed weight bits, max drop, target bits and target size exclude each other");
  if (o.activation_bits && o.activation_target_bits) {
    return Usage("activation bits and activation target bits exclude each other");
  }
  if (o.rounding == Rounding::kCompensated && o.strategy == Strategy::kDnateq) {
    return Usage("compensated rounding is not part of the paper's method: expected strategy joint or rounding nearest");
  }
  if (o.golden_cases < 0) return Usage(absl::StrCat(o.golden_cases, " golden cases, expected 0 or more"));
  return absl::OkStatus();
}

SearchOptions MakeSearchOptions(const ConvertOptions& o) {
  SearchOptions s;
  s.dnateq = o.strategy == Strategy::kDnateq;
  switch (o.grid) {
    case GridChoice::kAuto: break;
    case GridChoice::kQ7: s.grid = Grid::kQ7; break;
    case GridChoice::kQ14: s.grid = Grid::kQ14; break;
    case GridChoice::kReal: s.grid = Grid::kReal; break;
  }
  s.rule = o.encode_rule;
  s.channel_scales = o.granularity == Granularity::kChannel && !s.dnateq;
  s.shared_base = SharesBase(o);
  s.weight_bits = o.weight_bits;
  s.activation_bits = o.activation_bits;
  return s;
}

double SumOfElements(const std::vector<BitItem>& items) {
  double sum = 0;
  for (const BitItem& item : items) sum += item.elements;
  return sum;
}

class Converter {
 public:
  Converter(const Graph& graph, const Dataset& calibration, const Dataset* eval, const ConvertOptions& options,
            const Registry& registry)
      : graph_(graph),
        calibration_(calibration),
        options_(options),
        labelled_((eval != nullptr ? *eval : calibration).target() == TargetKind::kClass),
        runner_(graph, calibration, eval != nullptr ? *eval : calibration, registry, options.float_backend,
                options.num_threads, options.progress) {}

  absl::StatusOr<ConvertResult> Run() {
    TALLY_RETURN_IF_ERROR(CheckOptions(options_));
    TALLY_RETURN_IF_ERROR(Analyse());
    const absl::StatusOr<EvalResult> float_result = runner_.EvaluateFloat();
    if (float_result.ok()) float_result_ = *float_result;
    // Without a figure the search goes on; with labels that are wrong it must not.
    if (labelled_ && ExitStatus(float_result.status()) == 3) return float_result.status();
    if (options_.max_drop) {
      TALLY_RETURN_IF_ERROR(float_result.status());
      TALLY_ASSIGN_OR_RETURN(const Choices choices, SearchMaxDrop());
      return Finish(choices, /*measure=*/true);
    }
    if (options_.target_size) return ConvertToSize();
    TALLY_ASSIGN_OR_RETURN(const Choices choices, ChooseWithin(WeightMean() * SumOfElements(weights_)));
    return Finish(choices, /*measure=*/true);
  }

 private:
  // Finds what can be quantized, calibrates, and fits everything at every width.
  absl::Status Analyse() {
    TALLY_ASSIGN_OR_RETURN(targets_, FindTargets(graph_));
    TALLY_ASSIGN_OR_RETURN(pool_, ThreadPool::Create(options_.num_threads));
    collector_ = std::make_unique<ActivationCollector>(graph_, targets_, calibration_.size(), options_.seed);
    TALLY_RETURN_IF_ERROR(runner_.Calibrate(collector_.get()));
    const std::vector<bool> non_negative = NonNegativeTensors(graph_, runner_.InputsNonNegative());
    TALLY_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, runner_.SampleShapes());
    extents_ = SymbolValues(graph_, shapes);
    TALLY_ASSIGN_OR_RETURN(types_, InferTensorTypes(graph_, extents_));
    TALLY_RETURN_IF_ERROR(ChooseBatch(shapes));
    std::vector<bool> target_non_negative;
    std::vector<int64_t> elements;
    for (const ActivationTarget& a : targets_.activations) {
      target_non_negative.push_back(non_negative[static_cast<size_t>(a.tensor)]);
      // The network's own inputs are outside the mean: they take no share of a budget.
      elements.push_back(a.network_input ? 0 : types_[static_cast<size_t>(a.tensor)].elements());
    }
    search_ = std::make_unique<TensorSearch>(graph_, targets_, collector_->samples(), target_non_negative,
                                             MakeSearchOptions(options_));
    TALLY_RETURN_IF_ERROR(search_->FitAll(pool_.get(), [this](double done) {
      if (options_.progress) options_.progress("fit codebooks", done);
    }));
    weights_ = search_->WeightItems();
    activations_ = search_->ActivationItems(elements);
    return absl::OkStatus();
  }

  // Samples per run where layers run by themselves, and the types of tensors then.
  absl::Status ChooseBatch(const std::vector<Shape>& shapes) {
    int64_t elements = 1;
    for (const Shape& shape : shapes) elements += TensorType{DType::kFloat32, shape}.elements();
    std::vector<int64_t> extents = extents_;
    const int64_t wanted = std::clamp<int64_t>((int64_t{1} << 20) / elements, 1, 32);
    batch_ = 1;
    for (int input : graph_.inputs) {
      const Shape& shape = graph_.tensors[static_cast<size_t>(input)].shape;
      if (shape.empty()) continue;
      batch_ = shape[0] < 0 ? wanted : shape[0];
      if (shape[0] < 0) extents[static_cast<size_t>(-(shape[0] + 1))] = wanted;
    }
    TALLY_ASSIGN_OR_RETURN(batch_types_, InferTensorTypes(graph_, extents));
    for (const ActivationTarget& a : targets_.activations) {
      const Shape& shape = batch_types_[static_cast<size_t>(a.tensor)].shape;
      if (batch_ == 1 || (!shape.empty() && shape[0] % batch_ == 0)) continue;
      // Samples do not lie outermost: one at a time, then.
      batch_ = 1;
      batch_types_ = types_;
      break;
    }
    return absl::OkStatus();
  }

  // Mean stored bits asked for. A fixed number leaves one option per tensor, which the budget must admit.
  double WeightMean() const { return options_.weight_bits ? 8 : options_.target_bits.value_or(kDefaultWeightTarget); }
  double ActivationMean() const {
    if (options_.activation_bits) return 8;
    if (options_.activation_target_bits) return *options_.activation_target_bits;
    if (options_.max_drop || options_.target_size) return kMaxDropActivationTarget;
    const double weights =
        options_.weight_bits ? *options_.weight_bits : options_.target_bits.value_or(kDefaultWeightTarget);
    return std::min(8.0, weights + kActivationMargin);
  }

  Choices MakeChoices(const Allocation& weights, const Allocation& activations) const {
    Choices choices;
    for (size_t i = 0; i < weights.size(); ++i)
      choices.weights.push_back({weights_[i].options[weights[i]].exponent_bits, {}, {}});
    for (size_t i = 0; i < activations.size(); ++i) {
      choices.activations.push_back({activations_[i].options[activations[i]].exponent_bits, {}, {}});
    }
    search_->ChooseGrids(allow_q14_, &choices);
    return choices;
  }

  // Whether weights are rounded layer by layer.
  bool compensates() const { return options_.rounding == Rounding::kCompensated; }

  // The weights of the last choices are kept: they are asked for again when the file is written.
  absl::StatusOr<const std::vector<QuantizedWeight>*> RoundWeights(const Choices& choices, const ChosenFits& fits) {
    std::string key = correct_bias_ ? "b" : "";
    for (const std::vector<Choice>* list : {&choices.weights, &choices.activations}) {
      for (const Choice& c : *list) absl::StrAppend(&key, c.exponent_bits, GridName(c.grid), " ");
    }
    if (key == rounded_key_) return &rounded_;
    rounded_key_.clear();
    if (!compensates()) {
      rounded_ = RoundToNearest(graph_, targets_, *search_, collector_->samples(), fits.weights, correct_bias_);
    } else {
      std::vector<Codebook> activations;
      for (const CodebookFit& fit : fits.activations) activations.push_back(fit.codebook);
      const auto fit = [&](size_t w) {
        WeightFitOptions options = search_->WeightOptions(choices.weights[w].exponent_bits);
        if (SharesBase(options_)) options.base = fits.weights[w].codebook.base;
        return options;
      };
      SequentialOptions sequential;
      sequential.seed = options_.seed;
      sequential.make_float = [this](const Graph& graph) { return runner_.FloatSession(graph); };
      sequential.make_quantized = [this](const Graph& graph) { return runner_.QuantizedSession(graph); };
      sequential.progress = [this](double done) {
        if (options_.progress) options_.progress("round weights", done);
      };
      TALLY_ASSIGN_OR_RETURN(rounded_, QuantizeSequentially(graph_, targets_, activations, fit, calibration_, batch_,
                                                            batch_types_, sequential, pool_.get()));
    }
    rounded_key_ = std::move(key);
    return &rounded_;
  }

  absl::StatusOr<Graph> Build(const Choices& choices, bool with_forms = false) {
    TALLY_ASSIGN_OR_RETURN(const ChosenFits fits, search_->Select(choices));
    TALLY_ASSIGN_OR_RETURN(const std::vector<QuantizedWeight>* weights, RoundWeights(choices, fits));
    FormOptions forms;
    forms.keep_int8 = with_forms && options_.keep_int8;
    forms.keep_float = with_forms && options_.keep_float;
    return BuildQuantizedGraph(graph_, targets_, *weights, fits.activations, collector_->samples(), forms);
  }

  absl::StatusOr<double> OutputError(const Allocation& weights, const Allocation& activations) {
    TALLY_ASSIGN_OR_RETURN(const Graph graph, Build(MakeChoices(weights, activations)));
    return runner_.OutputError(graph);
  }

  // Decides on the finer grid and on bias correction by what they do to the output, with these bits.
  absl::Status DecideRefinements(const Allocation& weights, const Allocation& activations) {
    if (!runner_.runs_quantized()) return absl::OkStatus();
    TALLY_ASSIGN_OR_RETURN(double error, OutputError(weights, activations));
    if (options_.grid == GridChoice::kAuto) {
      allow_q14_ = true;
      const Choices finer = MakeChoices(weights, activations);
      const bool any = std::any_of(finer.activations.begin(), finer.activations.end(),
                                   [](const Choice& c) { return c.grid == Grid::kQ14; });
      if (any) {
        TALLY_ASSIGN_OR_RETURN(const double finer_error, OutputError(weights, activations));
        allow_q14_ = finer_error < (1 - kWorthwhile) * error;
        if (allow_q14_) error = finer_error;
      }
    }
    // Not part of the paper's method; compensated rounding has corrected already.
    if (options_.strategy == Strategy::kDnateq || compensates()) return absl::OkStatus();
    correct_bias_ = true;
    TALLY_ASSIGN_OR_RETURN(const double corrected, OutputError(weights, activations));
    correct_bias_ = corrected < (1 - kWorthwhile) * error;
    return absl::OkStatus();
  }

  absl::StatusOr<Allocation> Require(const std::optional<Allocation>& allocation, const std::vector<BitItem>& items,
                                     const char* what) const {
    if (allocation) return *allocation;
    const double least = TotalBits(items, Allocation(items.size(), 0)) / SumOfElements(items);
    return Usage(absl::StrCat("the target for ", what, " is below ", least, " mean stored bits, the least possible"));
  }

  // The better of the uniform and the marginal allocation by the error of the output. `error_of` measures one.
  template <typename ErrorOf>
  absl::StatusOr<Allocation> BetterOf(const Allocation& uniform, const std::optional<Allocation>& marginal,
                                      const ErrorOf& error_of) {
    if (!marginal || *marginal == uniform || !runner_.runs_quantized()) return uniform;
    TALLY_ASSIGN_OR_RETURN(const double uniform_error, error_of(uniform));
    TALLY_ASSIGN_OR_RETURN(const double marginal_error, error_of(*marginal));
    return marginal_error < uniform_error ? *marginal : uniform;
  }

  absl::StatusOr<Choices> ChooseWithin(double weight_budget) {
    const double activation_budget = ActivationMean() * SumOfElements(activations_);
    TALLY_ASSIGN_OR_RETURN(Allocation w, Require(AllocateUniform(weights_, weight_budget), weights_, "weights"));
    TALLY_ASSIGN_OR_RETURN(Allocation a,
                           Require(AllocateUniform(activations_, activation_budget), activations_, "activations"));
    TALLY_RETURN_IF_ERROR(DecideRefinements(w, a));
    TALLY_ASSIGN_OR_RETURN(w, BetterOf(w, AllocateMarginal(weights_, weight_budget),
                                       [&](const Allocation& other) { return OutputError(other, a); }));
    TALLY_ASSIGN_OR_RETURN(a, BetterOf(a, AllocateMarginal(activations_, activation_budget),
                                       [&](const Allocation& other) { return OutputError(w, other); }));
    return MakeChoices(w, a);
  }

  // Allocations of bits to weights, from the most to the fewest.
  std::vector<Allocation> WeightFront() const {
    std::vector<Allocation> front = {AllocateByThreshold(weights_, -1)};
    const auto add = [&](const Allocation& allocation) {
      if (allocation != front.back()) front.push_back(allocation);
    };
    if (options_.strategy == Strategy::kDnateq) {
      // The paper's: the fewest bits that meet an RMAE threshold, which rises.
      std::set<double> thresholds;
      for (const BitItem& item : weights_) {
        for (const BitOption& option : item.options) thresholds.insert(option.rmae);
      }
      for (double threshold : thresholds) add(AllocateByThreshold(weights_, threshold));
      return front;
    }
    constexpr double kStep = 0.125;
    for (double bits = 8 - kStep; bits > 2; bits -= kStep) {
      if (const auto allocation = AllocateMarginal(weights_, bits * SumOfElements(weights_))) add(*allocation);
    }
    add(Allocation(weights_.size(), 0));
    return front;
  }

  // The fewest bits for weights that keep the loss within the goal, by bisection.
  absl::StatusOr<Choices> SearchMaxDrop() {
    const double activation_budget = ActivationMean() * SumOfElements(activations_);
    TALLY_ASSIGN_OR_RETURN(Allocation a,
                           Require(AllocateUniform(activations_, activation_budget), activations_, "activations"));
    const std::vector<Allocation> front = WeightFront();
    TALLY_RETURN_IF_ERROR(DecideRefinements(front[front.size() / 2], a));
    TALLY_ASSIGN_OR_RETURN(a, BetterOf(a, AllocateMarginal(activations_, activation_budget),
                                       [&](const Allocation& other) { return OutputError(front[0], other); }));
    TALLY_ASSIGN_OR_RETURN(Point best, Try(front[0], a));
    goal_reached_ = best.drop <= *options_.max_drop;
    // The point with the fewest bits that pass is picked for its luck on these samples, too: other data show more loss.
    // So one standard error is kept to spare, where the samples are enough for that to be possible.
    const double spare = best.drop + best.standard_error <= *options_.max_drop ? 1 : 0;
    // `kept` is within the goal, `lost` beyond it. Without any point within, the most bits are the best offer.
    size_t kept = 0, lost = goal_reached_ ? front.size() : 0;
    while (kept + 1 < lost) {
      const size_t i = kept + (lost - kept) / 2;
      TALLY_ASSIGN_OR_RETURN(Point point, Try(front[i], a));
      if (point.drop + spare * point.standard_error <= *options_.max_drop) {
        kept = i;
        best = std::move(point);
      } else {
        lost = i;
      }
    }
    return std::move(best.choices);
  }

  struct Point {
    Choices choices;
    double drop = 0;  // points below the float model, paired by sample
    double standard_error = 0;
  };
  absl::StatusOr<Point> Try(const Allocation& weights, const Allocation& activations) {
    Point point;
    point.choices = MakeChoices(weights, activations);
    TALLY_ASSIGN_OR_RETURN(const Graph graph, Build(point.choices));
    TALLY_ASSIGN_OR_RETURN(const EvalResult result, runner_.EvaluateQuantized(graph));
    const PairedDrop paired = ComparePaired(float_result_, result);
    point.drop = paired.drop;
    point.standard_error = paired.standard_error;
    double threshold = 0;
    for (size_t i = 0; i < weights.size(); ++i) threshold = std::max(threshold, weights_[i].options[weights[i]].rmae);
    steps_.push_back({threshold, TotalBits(weights_, weights) / std::max(1.0, SumOfElements(weights_)),
                      TotalBits(activations_, activations) / std::max(1.0, SumOfElements(activations_)), result.value});
    return point;
  }

  // The best file of at most target_size bytes.
  absl::StatusOr<ConvertResult> ConvertToSize() {
    const double target = static_cast<double>(*options_.target_size);
    const Allocation fewest(weights_.size(), 0);
    const double least_bits = TotalBits(weights_, fewest);
    TALLY_ASSIGN_OR_RETURN(Allocation a,
                           Require(AllocateUniform(activations_, ActivationMean() * SumOfElements(activations_)),
                                   activations_, "activations"));
    TALLY_ASSIGN_OR_RETURN(ConvertResult smallest, Finish(MakeChoices(fewest, a), /*measure=*/false));
    TALLY_ASSIGN_OR_RETURN(double bytes, SizeOf(smallest.graph));
    if (bytes > target && !smallest.graph.golden.empty()) {
      // Weights matter more than samples to check them with.
      golden_cases_ = 0;
      smallest.graph.golden.clear();
      TALLY_ASSIGN_OR_RETURN(bytes, SizeOf(smallest.graph));
    }
    if (bytes > target)
      return Usage(absl::StrCat("target size ", *options_.target_size, " is below ", bytes, ", the least possible"));
    // The rest of the file hardly depends on the bits; what little it does is corrected for by trying again.
    double budget = least_bits + 8 * (target - bytes);
    while (true) {
      TALLY_ASSIGN_OR_RETURN(const Choices choices, ChooseWithin(std::max(budget, least_bits)));
      TALLY_ASSIGN_OR_RETURN(const ConvertResult trial, Finish(choices, /*measure=*/false));
      TALLY_ASSIGN_OR_RETURN(const double size, SizeOf(trial.graph));
      if (size <= target || budget <= least_bits) return Finish(choices, /*measure=*/true);
      budget -= 8 * (size - target);
    }
  }

  static absl::StatusOr<double> SizeOf(const Graph& graph) {
    TALLY_ASSIGN_OR_RETURN(const std::vector<uint8_t> file, SerializeModel(graph));
    return static_cast<double>(file.size());
  }

  // Forms, records, metadata, golden cases and the report.
  absl::StatusOr<ConvertResult> Finish(const Choices& choices, bool measure) {
    ConvertResult result;
    result.goal_reached = goal_reached_;
    TALLY_ASSIGN_OR_RETURN(result.graph, Build(choices, /*with_forms=*/true));
    TALLY_RETURN_IF_ERROR(RecordFits(choices, &result));
    for (const Targets::Skipped& skipped : targets_.skipped) {
      TensorReport report;
      report.node = graph_.nodes[static_cast<size_t>(skipped.node)].name;
      if (skipped.tensor >= 0) report.tensor = graph_.tensors[static_cast<size_t>(skipped.tensor)].name;
      report.reason = absl::StrCat("stays float32: ", skipped.reason);
      result.report.tensors.push_back(std::move(report));
    }
    TALLY_RETURN_IF_ERROR(AddMetadata(&result.graph));
    if (runner_.runs_quantized()) {
      TALLY_ASSIGN_OR_RETURN(result.graph.golden, runner_.MakeGolden(result.graph, golden_cases_));
    }
    ConvertReport& report = result.report;
    report.steps = steps_;
    report.metric = float_result_.metric;
    if (measure && runner_.runs_quantized() && float_result_.samples > 0) {
      TALLY_ASSIGN_OR_RETURN(const EvalResult quantized, runner_.EvaluateQuantized(result.graph));
      report.float_value = float_result_.value;
      report.quantized_value = quantized.value;
      report.selection_samples = quantized.samples;
    }
    TALLY_ASSIGN_OR_RETURN(const BitStatistics bits, ComputeBitStatistics(result.graph));
    report.weight_bits_mean = bits.weight_stored_bits;
    report.weight_exponent_bits_mean = bits.weight_exponent_bits;
    report.activation_bits_mean = bits.activation_stored_bits;
    return result;
  }

  absl::Status RecordFits(const Choices& choices, ConvertResult* result) const {
    TALLY_ASSIGN_OR_RETURN(const ChosenFits fits, search_->Select(choices));
    const auto record = [&](int tensor_index, const std::string& node, bool is_weight, int64_t elements,
                            const Codebook& codebook, const FitRecord& fit, const std::string& reason) {
      Tensor& tensor = result->graph.tensors[static_cast<size_t>(tensor_index)];
      tensor.fit = fit;
      result->report.tensors.push_back({tensor.name, node, is_weight, elements, codebook, fit.rmae,
                                        fit.rmae_uniform_max, fit.rmae_uniform_clipped, reason});
    };
    for (size_t i = 0; i < fits.weights.size(); ++i) {
      const WeightTarget& target = targets_.weights[i];
      const WeightFit& fit = rounded_[i].fit;
      record(target.tensor, graph_.nodes[static_cast<size_t>(target.nodes[0])].name, true,
             target.channels * target.per_channel, fit.codebook, search_->Record(i, fit),
             absl::StrCat(fit.channel_scales.empty() ? "one scale" : "a scale per channel", ", ", rounded_[i].notes,
                          target.read_elsewhere ? ", float32 kept for other nodes" : ""));
    }
    const std::vector<std::string> producers = Producers();
    for (size_t i = 0; i < fits.activations.size(); ++i) {
      const ActivationTarget& target = targets_.activations[i];
      const CodebookFit& fit = fits.activations[i];
      std::string reason = fit.codebook.is_signed ? "signed" : "non-negative";
      if (target.network_input) absl::StrAppend(&reason, ", network input");
      if (!choices.activations[i].reason.empty()) absl::StrAppend(&reason, ", ", choices.activations[i].reason);
      if (collector_->samples()[i].empty()) absl::StrAppend(&reason, ", never seen on the calibration data");
      record(target.tensor, producers[static_cast<size_t>(target.tensor)], false,
             types_[static_cast<size_t>(target.tensor)].elements(), fit.codebook, search_->Record(i, fit), reason);
    }
    return absl::OkStatus();
  }

  // Name of the node behind each tensor; empty for inputs and constants.
  std::vector<std::string> Producers() const {
    std::vector<std::string> producers(graph_.tensors.size());
    for (const Node& node : graph_.nodes) {
      for (int output : node.outputs) producers[static_cast<size_t>(output)] = node.name;
    }
    return producers;
  }

  absl::Status AddMetadata(Graph* graph) {
    std::map<std::string, std::string>& m = graph->metadata;
    m["tool"] = options_.tool_version;
    for (const auto& [name, value] : OptionNames(options_)) m[absl::StrCat("option.", name)] = value;
    if (calibration_hash_.empty()) {
      TALLY_ASSIGN_OR_RETURN(calibration_hash_, calibration_.Hash());
    }
    m["calibration.hash"] = calibration_hash_;
    m["calibration.samples"] = absl::StrCat(calibration_.size());
    m["bias_corrected"] = correct_bias_ || compensates() ? "yes" : "no";
    // So that element counts can be found again where extents beside the batch are dynamic.
    for (size_t s = 0; s < extents_.size(); ++s) {
      if (extents_[s] != 1) m[absl::StrCat("extent.", graph->symbols[s])] = absl::StrCat(extents_[s]);
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  const Dataset& calibration_;
  const ConvertOptions& options_;
  const bool labelled_;
  Runner runner_;
  std::unique_ptr<ThreadPool> pool_;
  Targets targets_;
  std::unique_ptr<ActivationCollector> collector_;
  std::unique_ptr<TensorSearch> search_;
  std::vector<BitItem> weights_, activations_;  // by target
  std::vector<int64_t> extents_;                // by symbol
  std::vector<TensorType> types_;               // by tensor, at batch 1
  int64_t batch_ = 1;
  std::vector<TensorType> batch_types_;  // by tensor, at batch_
  std::string rounded_key_;              // what rounded_ was made for
  std::vector<QuantizedWeight> rounded_;
  EvalResult float_result_;
  std::vector<ConvertReport::Step> steps_;
  std::string calibration_hash_;
  int golden_cases_ = options_.golden_cases;
  bool goal_reached_ = true;
  // Decided by DecideRefinements; without a backend to measure with, the finer grid is trusted and the correction is
  // not.
  bool allow_q14_ = !runner_.runs_quantized();
  bool correct_bias_ = false;
};

}  // namespace

absl::StatusOr<ConvertResult> Convert(const Graph& graph, const Dataset& calibration, const Dataset* eval,
                                      const ConvertOptions& options, const Registry& registry) {
  try {
    return Converter(graph, calibration, eval, options, registry).Run();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "out of memory while converting");
  }
}

}  // namespace tally
