#include "converter/search/candidates.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/search/sequential.h"
#include "format/error.h"
#include "runtime/exec/infer.h"

namespace tally {
namespace {

constexpr size_t kKept = 4;
// Where layers run by themselves: inputs of one run, and samples at most.
constexpr int64_t kRunElements = int64_t{1} << 20, kMaxBatch = 32;

}  // namespace

Candidates::Candidates(const Graph& graph, const Targets& targets, const TensorSearch& search,
                       const std::vector<ActivationSamples>& samples, const Dataset& calibration, Runner* runner,
                       ThreadPool* pool, const CandidateOptions& options)
    : graph_(graph),
      targets_(targets),
      search_(search),
      samples_(samples),
      calibration_(calibration),
      runner_(runner),
      pool_(pool),
      options_(options),
      compensates_(options.compensates) {}

absl::StatusOr<bool> Candidates::Prepare(const std::vector<int64_t>& extents) {
  TALLY_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, runner_->SampleShapes());
  int64_t elements = 1, fixed = 0;
  for (const Shape& shape : shapes) elements += TensorType{DType::kFloat32, shape}.elements();
  for (int input : graph_.inputs) {
    const Shape& shape = graph_.tensors[static_cast<size_t>(input)].shape;
    if (!shape.empty() && shape[0] > 0) fixed = shape[0];
  }
  batch_ = fixed > 0 ? fixed : std::clamp<int64_t>(kRunElements / elements, 1, kMaxBatch);
  const auto types_at = [&](int64_t batch) {
    std::vector<int64_t> batched = extents;
    for (int input : graph_.inputs) {
      const Shape& shape = graph_.tensors[static_cast<size_t>(input)].shape;
      if (!shape.empty() && shape[0] < 0) batched[static_cast<size_t>(-(shape[0] + 1))] = batch;
    }
    return InferTensorTypes(graph_, batched);
  };
  TALLY_ASSIGN_OR_RETURN(types_, types_at(batch_));
  if (batch_ == 1) return true;
  if (fixed > 0) {
    return std::all_of(targets_.activations.begin(), targets_.activations.end(), [&](const ActivationTarget& a) {
      const Shape& shape = types_[static_cast<size_t>(a.tensor)].shape;
      return !shape.empty() && shape[0] % batch_ == 0;
    });
  }
  TALLY_ASSIGN_OR_RETURN(const std::vector<TensorType> single, types_at(1));
  for (const ActivationTarget& a : targets_.activations) {
    Shape expected = single[static_cast<size_t>(a.tensor)].shape;
    if (!expected.empty()) expected[0] *= batch_;
    if (!expected.empty() && types_[static_cast<size_t>(a.tensor)].shape == expected) continue;
    // Samples do not lie outermost: one at a time, then.
    batch_ = 1;
    types_ = single;
    break;
  }
  return true;
}

absl::StatusOr<std::vector<QuantizedWeight>> Candidates::Compensate(const Choices& choices, const ChosenFits& fits,
                                                                    bool with_errors) const {
  std::vector<Codebook> activations;
  for (const CodebookFit& fit : fits.activations) activations.push_back(fit.codebook);
  const auto fit = [&](size_t w) {
    WeightFitOptions options = search_.WeightOptions(choices.weights[w].exponent_bits);
    if (options_.shares_base) options.base = fits.weights[w].codebook.base;
    return options;
  };
  SequentialOptions sequential;
  sequential.seed = options_.seed;
  sequential.memo = options_.memo;
  if (with_errors) {
    for (const BitItem& item : search_.WeightItems()) {
      sequential.error_bits.emplace_back();
      for (const BitOption& option : item.options) sequential.error_bits.back().push_back(option.exponent_bits);
    }
  }
  sequential.make_float = [this](const Graph& graph) { return runner_->FloatSession(graph); };
  sequential.make_quantized = [this](const Graph& graph) { return runner_->QuantizedSession(graph); };
  sequential.progress = options_.progress;
  return QuantizeSequentially(graph_, targets_, activations, fit, calibration_, batch_, types_, sequential, pool_);
}

std::string Candidates::KeyOf(const Choices& choices) const {
  std::string key = correct_bias_ ? "bias " : "";
  for (const std::vector<Choice>* list : {&choices.weights, &choices.activations}) {
    for (const Choice& c : *list) absl::StrAppend(&key, c.exponent_bits, GridName(c.grid), " ");
  }
  return key;
}

absl::StatusOr<Candidates::Made*> Candidates::Make(const Choices& choices, bool with_errors) {
  Made made;
  made.key = KeyOf(choices);
  made.has_errors = with_errors && compensates_;
  for (Made& other : made_) {
    if (other.key == made.key && other.has_errors >= made.has_errors) return &other;
  }
  TALLY_ASSIGN_OR_RETURN(ChosenFits fits, search_.Select(choices));
  if (compensates_) {
    TALLY_ASSIGN_OR_RETURN(made.network.weights, Compensate(choices, fits, with_errors));
  } else {
    made.network.weights = RoundToNearest(graph_, targets_, search_, samples_, fits.weights, correct_bias_);
  }
  made.network.activations = std::move(fits.activations);
  made_.push_front(std::move(made));
  if (made_.size() > kKept) made_.pop_back();
  return &made_.front();
}

absl::StatusOr<const QuantizedNetwork*> Candidates::Quantize(const Choices& choices, bool with_errors) {
  TALLY_ASSIGN_OR_RETURN(const Made* made, Make(choices, with_errors));
  return &made->network;
}

absl::StatusOr<Graph> Candidates::Build(const Choices& choices, const FormOptions& forms) {
  TALLY_ASSIGN_OR_RETURN(const QuantizedNetwork* network, Quantize(choices));
  return BuildQuantizedGraph(graph_, targets_, network->weights, network->activations, samples_, forms);
}

absl::StatusOr<double> Candidates::OutputError(const Choices& choices) {
  TALLY_ASSIGN_OR_RETURN(Made * made, Make(choices, /*with_errors=*/false));
  if (!made->output_error) {
    TALLY_ASSIGN_OR_RETURN(const Graph graph, Build(choices));
    TALLY_ASSIGN_OR_RETURN(made->output_error, runner_->OutputError(graph));
  }
  return *made->output_error;
}

}  // namespace tally
