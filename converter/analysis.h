// What a search works on: the tensors that may be quantized, their codebooks at every number of bits, and what each
// costs the network's output.
#ifndef TALLY_CONVERTER_ANALYSIS_H_
#define TALLY_CONVERTER_ANALYSIS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/convert.h"
#include "converter/search/bit_allocation.h"
#include "converter/search/candidates.h"
#include "converter/search/fitted_graph.h"
#include "converter/search/memo.h"
#include "converter/search/runner.h"
#include "converter/search/tensor_search.h"
#include "runtime/core/thread_pool.h"
#include "runtime/exec/infer.h"

namespace tally {

SearchOptions MakeSearchOptions(const ConvertOptions& options);

class Analysis {
 public:
  // Refers to its arguments. `options.rounding` is set; `insists`: it was asked for by name.
  Analysis(const Graph& graph, const Dataset& calibration, const ConvertOptions& options, bool insists,
           const Memo& memo, Runner* runner, ThreadPool* pool);

  // Finds what can be quantized, calibrates, and fits everything at every width. `left_float`: nodes that are to stay
  // as they are, with the reason; another call starts anew. Errors: those of sessions and fits.
  absl::Status Prepare(const std::map<int, std::string>& left_float);

  // Makes the items' errors those of the network's output, as measured in the middle of the range of bits: whatever the
  // goal, so that another one needs no other measurement. Does nothing the second time, or without a backend to
  // measure on.
  absl::Status Measure();
  bool has_output_errors() const { return has_output_errors_; }

  Choices MakeChoices(const Allocation& weights, const Allocation& activations) const;
  absl::StatusOr<double> OutputError(const Allocation& weights, const Allocation& activations) {
    return candidates_->OutputError(MakeChoices(weights, activations));
  }

  const Targets& targets() const { return fitted_->targets; }
  // One per target. The network's own inputs hold no elements: they are outside the mean.
  const std::vector<BitItem>& weights() const { return weights_; }
  const std::vector<BitItem>& activations() const { return activations_; }
  const TensorSearch& search() const { return *fitted_->search; }
  const std::vector<ActivationSamples>& samples() const { return fitted_->samples(); }
  const std::vector<int64_t>& extents() const { return extents_; }  // by symbol
  const std::vector<TensorType>& types() const { return types_; }   // by tensor, at batch 1
  // All weights of the graph, and of them those that stay float.
  double weight_elements() const { return weight_elements_; }
  double float_elements() const { return weight_elements_ - SumOfElements(weights_); }
  Candidates& candidates() { return *candidates_; }

 private:
  absl::Status DecideRefinements(const Allocation& weights, const Allocation& activations);
  absl::StatusOr<double> ActivationError(const Allocation& weights, const Allocation& activations, bool allow_q14);
  std::function<void(double)> PhaseProgress(const std::string& phase) const;

  const Graph& graph_;
  const Dataset& calibration_;
  const ConvertOptions& options_;
  const Memo& memo_;
  Runner* const runner_;
  ThreadPool* const pool_;
  const bool insists_;
  std::unique_ptr<FittedGraph> fitted_;
  std::vector<BitItem> weights_, activations_;
  std::vector<int64_t> extents_, elements_;  // elements: of activation targets
  double weight_elements_ = 0;
  std::vector<TensorType> types_;
  std::unique_ptr<Candidates> candidates_;
  bool measured_ = false;
  bool has_output_errors_ = false;
  // Decided by DecideRefinements; without a backend to measure with, the finer grid is trusted.
  bool allow_q14_ = false;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_ANALYSIS_H_
