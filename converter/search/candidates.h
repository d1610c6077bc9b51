// Turns choices of bits and grids into quantized weights and graphs. The last few are kept: a search comes back to
// them.
#ifndef TALLY_CONVERTER_SEARCH_CANDIDATES_H_
#define TALLY_CONVERTER_SEARCH_CANDIDATES_H_

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/memo.h"
#include "converter/search/quantized_graph.h"
#include "converter/search/runner.h"
#include "converter/search/tensor_search.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// Of one set of choices.
struct QuantizedNetwork {
  std::vector<QuantizedWeight> weights;
  std::vector<CodebookFit> activations;
};

struct CandidateOptions {
  bool compensates = false;  // weights are rounded layer by layer, else each to its nearest code
  bool shares_base = false;
  uint64_t seed = 1;
  const Memo* memo = nullptr;
  std::function<void(double done)> progress;
};

class Candidates {
 public:
  // Refers to its arguments.
  Candidates(const Graph& graph, const Targets& targets, const TensorSearch& search,
             const std::vector<ActivationSamples>& samples, const Dataset& calibration, Runner* runner,
             ThreadPool* pool, const CandidateOptions& options);

  // Decides how many samples a run takes where layers run by themselves; false: they cannot, because the model's batch
  // is fixed and its samples do not lie outermost everywhere. `extents`: one per symbol, at batch 1.
  absl::StatusOr<bool> Prepare(const std::vector<int64_t>& extents);

  bool compensates() const { return compensates_; }
  void set_compensates(bool compensates) { compensates_ = compensates; }

  // Nearest rounding: whether biases take up the mean errors of weights.
  bool correct_bias() const { return correct_bias_; }
  void set_correct_bias(bool correct) { correct_bias_ = correct; }

  // What stands for a set of choices.
  std::string KeyOf(const Choices& choices) const;

  // Valid until four others were made. `with_errors`: QuantizedWeight::errors too, at every width, where weights are
  // compensated.
  absl::StatusOr<const QuantizedNetwork*> Quantize(const Choices& choices, bool with_errors = false);
  absl::StatusOr<Graph> Build(const Choices& choices, const FormOptions& forms = {});
  // Runner::OutputError of the graph.
  absl::StatusOr<double> OutputError(const Choices& choices);

 private:
  struct Made {
    std::string key;
    bool has_errors = false;  // QuantizedWeight::errors
    QuantizedNetwork network;
    std::optional<double> output_error = {};
  };
  absl::StatusOr<Made*> Make(const Choices& choices, bool with_errors);
  absl::StatusOr<std::vector<QuantizedWeight>> Compensate(const Choices& choices, const ChosenFits& fits,
                                                          bool with_errors) const;

  const Graph& graph_;
  const Targets& targets_;
  const TensorSearch& search_;
  const std::vector<ActivationSamples>& samples_;
  const Dataset& calibration_;
  Runner* const runner_;
  ThreadPool* const pool_;
  const CandidateOptions options_;
  bool compensates_;
  bool correct_bias_ = false;
  int64_t batch_ = 1;
  std::vector<TensorType> types_;  // by tensor, at batch_
  std::deque<Made> made_;          // the newest first
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_CANDIDATES_H_
