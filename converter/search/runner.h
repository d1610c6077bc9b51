// Runs float and quantized graphs on data for the search: calibration, accuracy, output error, golden cases.
#ifndef TALLY_CONVERTER_SEARCH_RUNNER_H_
#define TALLY_CONVERTER_SEARCH_RUNNER_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/calibration/evaluate.h"
#include "converter/search/collector.h"
#include "converter/search/targets.h"
#include "format/graph.h"
#include "runtime/backend/registry.h"
#include "tally/tally.h"

namespace tally {

using RunnerProgress = std::function<void(const std::string& phase, double done)>;

class Runner {
 public:
  // Refers to graph, calibration and registry, which must outlive it. `selection` decides between candidates; without
  // labels it scores agreement with the float model.
  Runner(const Graph& graph, const Dataset& calibration, const Dataset& selection, const Registry& registry,
         std::string float_backend, std::shared_ptr<ThreadPool> pool, RunnerProgress progress);

  // Whether a registry's backends can run quantized graphs.
  static bool RunsQuantized(const Registry& registry);
  bool runs_quantized() const { return !exact_backends_.empty(); }

  // The name of what runs the float model.
  std::string float_backend() const { return FloatBackends().empty() ? "shared operators" : float_backend_; }

  // Sessions on the float backend and on an exact one.
  absl::StatusOr<Session> FloatSession(const Graph& graph) const;
  absl::StatusOr<Session> QuantizedSession(const Graph& graph) const;

  // One float run over the calibration data. Errors: kBadDataFile naming an input that is not finite; those of
  // sessions.
  absl::Status Calibrate(ActivationCollector* collector);

  // Scores on the selection data.
  absl::StatusOr<EvalResult> EvaluateFloat();
  absl::StatusOr<EvalResult> EvaluateQuantized(const Graph& graph);

  // Squared error of the outputs relative to the float model's, on a few calibration samples, summed over outputs; of a
  // final Softmax its input, which errs in proportion. Of a quantized graph on exact backends; of a simulated one
  // (converter/search/simulation.h) on the float backend and fewer samples.
  absl::StatusOr<double> OutputError(const Graph& graph);
  absl::StatusOr<double> SimulatedError(const Graph& graph);

  // Calibration samples with the outputs of the quantized graph.
  absl::StatusOr<std::vector<GoldenCase>> MakeGolden(const Graph& graph, int cases);

  int64_t samples() const { return calibration_.size(); }  // that Calibrate meets

  // Per input of the graph, whether Calibrate met no negative value.
  std::vector<bool> InputsNonNegative() const;

  // Shapes of the calibration samples, in the order of the graph's inputs.
  absl::StatusOr<std::vector<Shape>> SampleShapes() const;

 private:
  // A few calibration samples and the float model's outputs.
  struct Guard {
    Dataset data;
    std::vector<std::vector<float>> outputs;  // empty until needed
  };
  absl::Status Prepare(int64_t samples, Guard* guard);
  absl::StatusOr<double> ErrorOn(const Guard& guard, Session& session, const char* phase) const;
  absl::StatusOr<Session> MakeSession(const Graph& graph, const std::vector<std::string>& backends) const;
  // The float backend's name in a list, which is empty where the build lacks it.
  std::vector<std::string> FloatBackends() const;
  absl::Status ScanInputs(const Batch& batch, int64_t first, int64_t count);
  Progress PhaseProgress(const std::string& phase) const;

  const Graph& graph_;
  const Dataset& calibration_;
  const Dataset& selection_;
  Registry registry_;  // with the backend of simulated graphs
  const std::string float_backend_;
  const std::shared_ptr<ThreadPool> pool_;  // of all sessions
  const RunnerProgress progress_;
  const std::vector<std::string> exact_backends_;
  std::set<std::string> negative_inputs_;
  Answers teacher_;  // float answers on the selection data
  Guard guard_, simulation_guard_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_RUNNER_H_
