#include "converter/convert.h"

#include <algorithm>
#include <map>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/analysis.h"
#include "converter/goal.h"
#include "converter/options.h"
#include "converter/search/equalize.h"
#include "format/error.h"
#include "format/model_file.h"

namespace tally {
namespace {

// Of what a resumed search takes up: to be raised when the same options lead to other codebooks or codes.
constexpr int kSearchRevision = 2;

absl::Status Usage(const std::string& detail) { return MakeError(ErrorId::kUsage, detail); }

// Rounds layer by layer where a layer's quantized inputs can be computed, unless the method or the user says otherwise.
ConvertOptions WithRounding(ConvertOptions o, const Registry& registry) {
  if (o.rounding) return o;
  const bool compensates = o.strategy == Strategy::kJoint && Runner::RunsQuantized(registry);
  o.rounding = compensates ? Rounding::kCompensated : Rounding::kNearest;
  return o;
}

class Converter {
 public:
  // `equalized`: tensors whose channels were, for the report.
  Converter(const Graph& graph, std::vector<int> equalized, const Dataset& calibration, const Dataset* eval,
            const ConvertOptions& options, const Registry& registry, std::shared_ptr<ThreadPool> pool)
      : graph_(graph),
        equalized_(std::move(equalized)),
        calibration_(calibration),
        eval_(eval),
        options_(WithRounding(options, registry)),
        labelled_((eval != nullptr ? *eval : calibration).target() != TargetKind::kNone),
        runner_(graph, calibration, eval != nullptr ? *eval : calibration, registry, options.float_backend, pool,
                options.progress),
        pool_(std::move(pool)),
        analysis_(graph, calibration, options_, options.rounding.has_value(), memo_, &runner_, pool_.get()),
        goal_(options_, float_result_, &analysis_, &runner_) {}

  absl::StatusOr<ConvertResult> Run() {
    TALLY_ASSIGN_OR_RETURN(calibration_hash_, calibration_.Hash());
    TALLY_ASSIGN_OR_RETURN(memo_, OpenMemo());
    TALLY_RETURN_IF_ERROR(analysis_.Prepare({}));
    const absl::StatusOr<EvalResult> float_result = runner_.EvaluateFloat();
    if (float_result.ok()) {
      TALLY_RETURN_IF_ERROR(CheckDefined(*float_result));
      float_result_ = *float_result;
    }
    // Without a figure the search goes on; with labels that are wrong it must not.
    if (labelled_ && ExitStatus(float_result.status()) == 3) return float_result.status();
    if (options_.max_drop) {
      TALLY_RETURN_IF_ERROR(float_result.status());
      TALLY_ASSIGN_OR_RETURN(const Choices choices, goal_.WithinMaxDrop());
      return Finish(choices, /*measure=*/true);
    }
    if (options_.target_size) return ConvertToSize();
    TALLY_ASSIGN_OR_RETURN(const Choices choices, goal_.WithinTargets());
    return Finish(choices, /*measure=*/true);
  }

 private:
  // Steps are kept under all that they depend on but the goal.
  absl::StatusOr<Memo> OpenMemo() const {
    if (options_.resume.empty()) return Memo();
    ConvertOptions without_goal = options_;
    without_goal.weight_bits = without_goal.activation_bits = std::nullopt;
    without_goal.max_drop = without_goal.target_bits = without_goal.activation_target_bits = std::nullopt;
    without_goal.target_size = std::nullopt;
    TALLY_ASSIGN_OR_RETURN(const std::vector<uint8_t> file, SerializeModel(graph_));
    std::string context =
        absl::StrCat(options_.tool_version, " revision ", kSearchRevision, " ", runner_.float_backend(),
                     " calibration=", calibration_hash_, " model=", Memo::Hash(std::string(file.begin(), file.end())));
    for (const auto& [name, value] : OptionNames(without_goal)) absl::StrAppend(&context, " ", name, "=", value);
    return Memo::Open(options_.resume, context);
  }

  // The best file of at most target_size bytes.
  absl::StatusOr<ConvertResult> ConvertToSize() {
    const double target = static_cast<double>(*options_.target_size);
    const std::vector<BitItem>& weights = analysis_.weights();
    const double least_bits = TotalBits(weights, Allocation(weights.size(), 0));
    TALLY_ASSIGN_OR_RETURN(const Choices least, goal_.Fewest());
    TALLY_ASSIGN_OR_RETURN(ConvertResult smallest, Finish(least, /*measure=*/false));
    TALLY_ASSIGN_OR_RETURN(double bytes, SizeOf(smallest.graph));
    if (bytes > target && !smallest.graph.golden.empty()) {
      // Weights matter more than samples to check them with.
      golden_cases_ = 0;
      smallest.graph.golden.clear();
      TALLY_ASSIGN_OR_RETURN(bytes, SizeOf(smallest.graph));
    }
    if (bytes > target)
      return Usage(absl::StrCat("target size ", *options_.target_size, " is below ", static_cast<uint64_t>(bytes),
                                ", the least possible"));
    // The rest of the file hardly depends on the bits; what little it does is corrected for by trying again.
    double budget = least_bits + 8 * (target - bytes);
    while (true) {
      TALLY_ASSIGN_OR_RETURN(const Choices choices, goal_.Within(std::max(budget, least_bits)));
      TALLY_ASSIGN_OR_RETURN(const ConvertResult trial, Finish(choices, /*measure=*/false));
      TALLY_ASSIGN_OR_RETURN(const double size, SizeOf(trial.graph));
      if (size <= target) return Finish(choices, /*measure=*/true);
      // What was refined since takes more than the smallest file did.
      if (budget <= least_bits) break;
      budget -= 8 * (size - target);
    }
    TALLY_ASSIGN_OR_RETURN(ConvertResult result, Finish(least, /*measure=*/true));
    TALLY_ASSIGN_OR_RETURN(bytes, SizeOf(result.graph));
    if (bytes <= target) return result;
    return Usage(absl::StrCat("target size ", *options_.target_size, " is below ", static_cast<uint64_t>(bytes),
                              ", the least possible"));
  }

  static absl::StatusOr<double> SizeOf(const Graph& graph) {
    TALLY_ASSIGN_OR_RETURN(const std::vector<uint8_t> file, SerializeModel(graph));
    return static_cast<double>(file.size());
  }

  // Forms, records, metadata, golden cases and the report.
  absl::StatusOr<ConvertResult> Finish(const Choices& choices, bool measure) {
    ConvertResult result;
    result.report.goal_reached = goal_.reached();
    FormOptions forms;
    forms.keep_int8 = options_.keep_int8;
    forms.keep_float = options_.keep_float;
    TALLY_ASSIGN_OR_RETURN(result.graph, analysis_.candidates().Build(choices, forms));
    TALLY_RETURN_IF_ERROR(RecordFits(choices, &result));
    const std::vector<TensorType>& types = analysis_.types();
    for (const Targets::Skipped& skipped : analysis_.targets().skipped) {
      TensorReport report;
      report.node = graph_.nodes[static_cast<size_t>(skipped.node)].name;
      if (skipped.tensor >= 0) {
        const Tensor& tensor = graph_.tensors[static_cast<size_t>(skipped.tensor)];
        report.tensor = tensor.name;
        report.is_weight = tensor.is_constant();
        report.elements = report.is_weight ? static_cast<int64_t>(tensor.elements())
                                           : types[static_cast<size_t>(skipped.tensor)].elements();
      }
      report.reason = absl::StrCat("stays float32: ", skipped.reason);
      result.report.tensors.push_back(std::move(report));
    }
    TALLY_RETURN_IF_ERROR(AddMetadata(&result.graph));
    if (runner_.runs_quantized()) {
      TALLY_ASSIGN_OR_RETURN(result.graph.golden, runner_.MakeGolden(result.graph, golden_cases_));
    }
    ConvertReport& report = result.report;
    const bool scores = measure && runner_.runs_quantized() && float_result_.samples > 0;
    if (scores) TALLY_RETURN_IF_ERROR(goal_.MeasureFront(options_.front_points));
    report.steps = goal_.steps();
    if (measure) report.front = goal_.Front();
    report.metric = float_result_.metric;
    if (scores) {
      TALLY_ASSIGN_OR_RETURN(const EvalResult quantized, runner_.EvaluateQuantized(result.graph));
      report.float_value = float_result_.value;
      report.quantized_value = quantized.value;
      report.selection_samples = quantized.samples;
      report.drop = ComparePaired(float_result_, quantized);
      report.expected_drop = ExpectedDrop(float_result_, quantized);
    }
    TALLY_ASSIGN_OR_RETURN(const BitStatistics bits, ComputeBitStatistics(result.graph));
    report.weight_bits_mean = bits.weight_stored_bits;
    report.weight_exponent_bits_mean = bits.weight_exponent_bits;
    report.activation_bits_mean = bits.activation_stored_bits;
    return result;
  }

  absl::Status RecordFits(const Choices& choices, ConvertResult* result) {
    const TensorSearch& search = analysis_.search();
    TALLY_ASSIGN_OR_RETURN(const QuantizedNetwork* network, analysis_.candidates().Quantize(choices));
    const auto record = [&](int index, const Codebook& codebook, const FitRecord& fit, const BitItem& item,
                            const Magnitudes& magnitudes, TensorReport report) {
      Tensor& tensor = result->graph.tensors[static_cast<size_t>(index)];
      tensor.fit = fit;
      report.tensor = tensor.name;
      report.codebook = codebook;
      report.rmae = fit.rmae;
      report.rmae_uniform_max = fit.rmae_uniform_max;
      report.rmae_uniform_clipped = fit.rmae_uniform_clipped;
      report.distribution = Describe(magnitudes);
      for (const BitOption& option : item.options) {
        if (analysis_.has_output_errors()) report.output_errors[option.stored_bits] = option.error;
      }
      result->report.tensors.push_back(std::move(report));
    };
    for (size_t i = 0; i < network->weights.size(); ++i) {
      const WeightTarget& target = analysis_.targets().weights[i];
      const QuantizedWeight& weight = network->weights[i];
      TensorReport report;
      report.node = graph_.nodes[static_cast<size_t>(target.reader())].name;
      report.is_weight = true;
      report.elements = target.channels * target.per_channel;
      report.channel_scales = !weight.fit.channel_scales.empty();
      report.reason = absl::StrCat(report.channel_scales ? "a scale per channel" : "one scale", ", ", weight.notes,
                                   target.read_elsewhere ? ", float32 kept for other nodes" : "");
      record(target.tensor, weight.fit.codebook, search.Record(i, weight.fit), analysis_.weights()[i],
             search.fitter(i).Relative(weight.fit.channel_scales), std::move(report));
    }
    const std::vector<std::string> producers = Producers();
    for (size_t i = 0; i < network->activations.size(); ++i) {
      const ActivationTarget& target = analysis_.targets().activations[i];
      const CodebookFit& fit = network->activations[i];
      TensorReport report;
      report.node = producers[static_cast<size_t>(target.tensor)];
      report.elements = analysis_.types()[static_cast<size_t>(target.tensor)].elements();
      report.reason = fit.codebook.is_signed ? "signed" : "non-negative";
      if (target.network_input) absl::StrAppend(&report.reason, ", network input");
      if (std::count(equalized_.begin(), equalized_.end(), target.tensor) > 0) {
        absl::StrAppend(&report.reason, ", channels equalized");
      }
      if (!choices.activations[i].reason.empty()) absl::StrAppend(&report.reason, ", ", choices.activations[i].reason);
      if (analysis_.samples()[i].empty()) absl::StrAppend(&report.reason, ", never seen on the calibration data");
      record(target.tensor, fit.codebook, search.Record(i, fit), analysis_.activations()[i], search.magnitudes(i),
             std::move(report));
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
    // What the defaults came to.
    if (!options_.weight_bits && !options_.max_drop && !options_.target_size) {
      m["option.target_bits"] = absl::StrCat(goal_.WeightMean());
    }
    if (!options_.activation_bits) m["option.activation_target_bits"] = absl::StrCat(goal_.ActivationMean());
    if (options_.max_drop) m["max_drop_reached"] = goal_.reached() ? "yes" : "no";
    // The model's batch may have left no choice.
    m["option.rounding"] = analysis_.candidates().compensates() ? "compensated" : "nearest";
    m["float_backend"] = runner_.float_backend();
    m["calibration.hash"] = calibration_hash_;
    if (eval_ != nullptr && options_.max_drop) {
      TALLY_ASSIGN_OR_RETURN(m["eval.hash"], eval_->Hash());
    }
    m["calibration.samples"] = absl::StrCat(calibration_.size());
    m["bias_corrected"] = analysis_.candidates().correct_bias() || analysis_.candidates().compensates() ? "yes" : "no";
    // So that element counts can be found again where extents beside the batch are dynamic.
    const std::vector<int64_t>& extents = analysis_.extents();
    for (size_t s = 0; s < extents.size(); ++s) {
      if (extents[s] != 1) m[absl::StrCat("extent.", graph->symbols[s])] = absl::StrCat(extents[s]);
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  const std::vector<int> equalized_;
  const Dataset& calibration_;
  const Dataset* const eval_;  // may be null
  const ConvertOptions options_;
  const bool labelled_;
  Runner runner_;
  const std::shared_ptr<ThreadPool> pool_;
  Memo memo_;
  EvalResult float_result_;
  std::string calibration_hash_;
  Analysis analysis_;
  GoalSearch goal_;
  int golden_cases_ = options_.golden_cases;
};

absl::StatusOr<Equalized> Equalize(const Graph& graph, const Dataset& calibration, const ConvertOptions& options,
                                   const Registry& registry, const std::shared_ptr<ThreadPool>& pool) {
  const auto make_runner = [&](const Graph& g, const Dataset& data) {
    return Runner(g, data, data, registry, options.float_backend, pool, nullptr);
  };
  std::function<void(double)> progress;
  if (options.progress) progress = [&](double done) { options.progress("equalize channels", done); };
  return EqualizeChannels(graph, calibration, MakeSearchOptions(options), options.seed, make_runner, pool.get(),
                          progress);
}

}  // namespace

absl::StatusOr<ConvertResult> Convert(const Graph& graph, const Dataset& calibration, const Dataset* eval,
                                      const ConvertOptions& options, const Registry& registry) {
  TALLY_RETURN_IF_ERROR(CheckOptions(options));
  try {
    TALLY_ASSIGN_OR_RETURN(std::shared_ptr<ThreadPool> pool,
                           ThreadPool::Create(options.num_threads, ThreadPool::Idle::kSleep));
    Equalized equalized = {graph, {}};
    if (options.equalize && Runner::RunsQuantized(registry)) {
      TALLY_ASSIGN_OR_RETURN(equalized, Equalize(graph, calibration, options, registry, pool));
    }
    return Converter(equalized.graph, equalized.activations, calibration, eval, options, registry, std::move(pool))
        .Run();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "out of memory while converting");
  }
}

}  // namespace tally
