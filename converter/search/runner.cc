#include "converter/search/runner.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "converter/calibration/batches.h"
#include "converter/search/simulation.h"
#include "format/error.h"

namespace tally {
namespace {

// Samples and floats that a comparison of outputs may take.
constexpr int64_t kGuardSamples = 128, kSimulationSamples = 64;
constexpr int64_t kGuardFloats = int64_t{4} << 20;

// The graph with the inputs of final Softmaxes for their outputs, each once.
Graph WithLogits(const Graph& graph) {
  Graph logits = graph;
  logits.outputs.clear();
  for (int output : graph.outputs) {
    for (const Node& node : graph.nodes) {
      if (node.op == "Softmax" && node.outputs[0] == output) output = node.inputs[0];
    }
    const std::vector<int>& outputs = logits.outputs;
    if (std::find(outputs.begin(), outputs.end(), output) == outputs.end()) logits.outputs.push_back(output);
  }
  return logits;
}

// What every float output of a session gives, one list each, sample-major.
absl::StatusOr<std::vector<std::vector<float>>> RunAll(Session& session, const Dataset& data,
                                                       const std::function<void(int64_t, int64_t)>& progress) {
  std::vector<std::vector<float>> all(session.outputs().size());
  TALLY_RETURN_IF_ERROR(RunInBatches(session, data, 0, nullptr, [&](const BatchResult& run) {
    for (size_t i = 0; i < run.outputs.size(); ++i) {
      const TensorView& output = run.outputs[i];
      if (output.dtype != DType::kFloat32) continue;
      // Copies of the last sample that fill a batch are left out where samples lie outermost.
      const int64_t elements = TensorType{output.dtype, output.shape}.elements();
      const int64_t batch = output.shape.empty() ? 1 : std::max<int64_t>(1, output.shape[0]);
      const int64_t real = batch > run.count && run.batch_size == batch ? elements / batch * run.count : elements;
      all[i].insert(all[i].end(), output.as<float>(), output.as<float>() + real);
    }
    if (progress) progress(run.first + run.count, data.size());
    return absl::OkStatus();
  }));
  return all;
}

const BatchInput* Find(const Batch& batch, const std::string& name) {
  const auto it =
      std::find_if(batch.inputs.begin(), batch.inputs.end(), [&](const BatchInput& b) { return b.name == name; });
  return it == batch.inputs.end() ? nullptr : &*it;
}

// By the exactness contract they all give the same bits; the first that takes a node runs it.
std::vector<std::string> ExactBackends(const Registry& registry) {
  std::vector<std::string> names;
  for (const char* name : {"exponent", "onednn-codebook", "histogram"}) {
    if (registry.Find(name) != nullptr) names.push_back(name);
  }
  return names;
}

}  // namespace

bool Runner::RunsQuantized(const Registry& registry) { return !ExactBackends(registry).empty(); }

Runner::Runner(const Graph& graph, const Dataset& calibration, const Dataset& selection, const Registry& registry,
               std::string float_backend, std::shared_ptr<ThreadPool> pool, RunnerProgress progress)
    : graph_(graph),
      calibration_(calibration),
      selection_(selection),
      registry_(registry),
      float_backend_(std::move(float_backend)),
      pool_(std::move(pool)),
      progress_(std::move(progress)),
      exact_backends_(ExactBackends(registry)),
      guard_{calibration, {}},
      simulation_guard_{calibration, {}} {
  registry_.Add(MakeRoundTripBackend());
}

Progress Runner::PhaseProgress(const std::string& phase) const {
  if (!progress_) return nullptr;
  return [this, phase](int64_t done, int64_t total) {
    progress_(phase, static_cast<double>(done) / static_cast<double>(std::max<int64_t>(1, total)));
  };
}

absl::StatusOr<Session> Runner::MakeSession(const Graph& graph, const std::vector<std::string>& backends) const {
  TALLY_ASSIGN_OR_RETURN(Model model, Model::FromGraph(graph));
  SessionOptions options;
  // Those of its dimensions that this graph, which may be a part, has as well.
  for (const auto& [symbol, extent] : calibration_.Dimensions(graph_.symbols)) {
    if (std::count(graph.symbols.begin(), graph.symbols.end(), symbol) > 0) {
      options.dimensions.emplace_back(symbol, extent);
    }
  }
  options.backends = backends;
  options.thread_pool = pool_;
  options.tuning = Tuning::kRules;  // most sessions here run less often than measuring would
  return Session::Create(model, options, registry_);
}

std::vector<std::string> Runner::FloatBackends() const {
  // A build without XNNPACK calibrates on the shared operators, unless another backend was asked for.
  if (float_backend_ == "xnnpack" && registry_.Find(float_backend_) == nullptr) return {};
  return {float_backend_};
}

absl::StatusOr<Session> Runner::FloatSession(const Graph& graph) const { return MakeSession(graph, FloatBackends()); }

absl::StatusOr<Session> Runner::QuantizedSession(const Graph& graph) const {
  if (!runs_quantized()) {
    return MakeError(ErrorId::kUnknownBackend,
                     "this build has no backend that runs codebooks (exponent, onednn-codebook)");
  }
  return MakeSession(graph, exact_backends_);
}

absl::Status Runner::ScanInputs(const Batch& batch, int64_t first, int64_t count) {
  for (const BatchInput& input : batch.inputs) {
    if (input.type.dtype != DType::kFloat32 || count == 0) continue;
    const float* x = input.view().as<float>();
    const int64_t elements = input.type.elements();
    bool negative = false;
    for (int64_t i = 0; i < elements; ++i) {
      negative |= x[i] < 0;
      if (std::isfinite(x[i])) continue;
      return MakeError(ErrorId::kBadDataFile,
                       absl::StrCat("sample ", first + i / (elements / count), " of input ", Quoted(input.name),
                                    " holds ", x[i], ", expected finite values"));
    }
    if (negative) negative_inputs_.insert(input.name);
  }
  return absl::OkStatus();
}

std::vector<bool> Runner::InputsNonNegative() const {
  std::vector<bool> result;
  for (int t : graph_.inputs)
    result.push_back(negative_inputs_.count(graph_.tensors[static_cast<size_t>(t)].name) == 0);
  return result;
}

absl::Status Runner::Calibrate(ActivationCollector* collector) {
  TALLY_ASSIGN_OR_RETURN(Session session, FloatSession(graph_));
  int64_t count = 0, batch = 0;
  session.set_observer([&](const std::string&, const std::string& tensor, const TensorView& value) {
    collector->Add(tensor, value, batch, count);
  });
  const Progress progress = PhaseProgress("calibrate");
  const auto before = [&](const Batch& samples, int64_t first, int64_t samples_count) -> absl::Status {
    TALLY_RETURN_IF_ERROR(ScanInputs(samples, first, samples_count));
    count = samples_count;
    for (const BatchInput& input : samples.inputs) {
      // Not padded yet.
      collector->Add(input.name, input.view(), count, count);
    }
    const std::vector<TensorInfo>& inputs = session.inputs();
    batch = inputs.empty() || inputs[0].shape.empty() ? count : inputs[0].shape[0];
    return absl::OkStatus();
  };
  return RunInBatches(session, calibration_, 0, before, [&](const BatchResult& run) {
    if (progress) progress(run.first + run.count, calibration_.size());
    return absl::OkStatus();
  });
}

absl::StatusOr<EvalResult> Runner::EvaluateFloat() {
  TALLY_ASSIGN_OR_RETURN(Session session, FloatSession(graph_));
  EvalOptions options;
  options.keep_likeliest = true;
  options.progress = PhaseProgress("evaluate float");
  TALLY_ASSIGN_OR_RETURN(EvalResult result, Evaluate(session, selection_, options));
  teacher_ = result.answers;
  return result;
}

absl::StatusOr<EvalResult> Runner::EvaluateQuantized(const Graph& graph) {
  TALLY_ASSIGN_OR_RETURN(Session session, QuantizedSession(graph));
  EvalOptions options;
  if (selection_.target() == TargetKind::kNone) options.teacher = &teacher_;
  options.progress = PhaseProgress("evaluate");
  return Evaluate(session, selection_, options);
}

absl::Status Runner::Prepare(int64_t samples, Guard* guard) {
  if (!guard->outputs.empty()) return absl::OkStatus();
  TALLY_ASSIGN_OR_RETURN(Session session, FloatSession(WithLogits(graph_)));
  Dataset one = calibration_;
  TALLY_RETURN_IF_ERROR(one.Slice(0, one.unit()));
  TALLY_ASSIGN_OR_RETURN(const std::vector<std::vector<float>> first, RunAll(session, one, nullptr));
  int64_t per_sample = 1;
  for (const std::vector<float>& output : first) per_sample += static_cast<int64_t>(output.size()) / one.size();
  samples = std::clamp<int64_t>(kGuardFloats / per_sample, 1, samples);
  // Every stride-th unit, so as many samples as every stride-th sample would be.
  TALLY_RETURN_IF_ERROR(guard->data.Stride(0, (guard->data.size() + samples - 1) / samples));
  TALLY_ASSIGN_OR_RETURN(guard->outputs, RunAll(session, guard->data, nullptr));
  return absl::OkStatus();
}

absl::StatusOr<double> Runner::ErrorOn(const Guard& guard, Session& session, const char* phase) const {
  TALLY_ASSIGN_OR_RETURN(const std::vector<std::vector<float>> outputs,
                         RunAll(session, guard.data, phase == nullptr ? Progress() : PhaseProgress(phase)));
  double sum = 0;
  for (size_t o = 0; o < std::min(guard.outputs.size(), outputs.size()); ++o) {
    double signal = 0, noise = 0;
    for (size_t i = 0; i < std::min(guard.outputs[o].size(), outputs[o].size()); ++i) {
      const double x = guard.outputs[o][i], e = x - static_cast<double>(outputs[o][i]);
      if (!std::isfinite(x)) continue;  // a masked output, for example
      signal += x * x;
      // Where the quantized network breaks down it has lost all.
      noise += std::isfinite(e) ? e * e : x * x;
    }
    sum += signal > 0 ? noise / signal : noise;
  }
  return sum;
}

absl::StatusOr<double> Runner::OutputError(const Graph& graph) {
  TALLY_RETURN_IF_ERROR(Prepare(kGuardSamples, &guard_));
  TALLY_ASSIGN_OR_RETURN(Session session, QuantizedSession(WithLogits(graph)));
  return ErrorOn(guard_, session, "compare");
}

absl::StatusOr<double> Runner::SimulatedError(const Graph& graph) {
  TALLY_RETURN_IF_ERROR(Prepare(kSimulationSamples, &simulation_guard_));
  std::vector<std::string> backends = FloatBackends();
  backends.insert(backends.begin(), kRoundTripBackend);
  TALLY_ASSIGN_OR_RETURN(Session session, MakeSession(WithLogits(graph), backends));
  return ErrorOn(simulation_guard_, session, nullptr);
}

absl::StatusOr<std::vector<GoldenCase>> Runner::MakeGolden(const Graph& graph, int cases) {
  std::vector<GoldenCase> golden;
  if (cases <= 0) return golden;
  TALLY_ASSIGN_OR_RETURN(Session session, QuantizedSession(graph));
  TALLY_ASSIGN_OR_RETURN(const Batch sample, calibration_.Read(0, 1));
  TALLY_ASSIGN_OR_RETURN(const int64_t batch, FitSession(session, sample, 1));
  for (int64_t i = 0; i < std::min<int64_t>(cases, calibration_.size()); ++i) {
    TALLY_ASSIGN_OR_RETURN(Batch samples, calibration_.Read(i, 1));
    if (batch > 1) PadBatch(&samples, 1, batch);
    GoldenCase golden_case;
    for (int t : graph.inputs) {
      const BatchInput* input = Find(samples, graph.tensors[static_cast<size_t>(t)].name);
      if (input == nullptr) {
        return MakeError(ErrorId::kBadDataDescription,
                         absl::StrCat("no data for input ", Quoted(graph.tensors[static_cast<size_t>(t)].name)));
      }
      golden_case.inputs.push_back(
          {input->type.dtype, input->type.shape, Blob::Copy(input->data.data(), input->data.size())});
    }
    std::vector<NamedMutableView> views;
    for (const TensorInfo& output : session.outputs()) {
      uint8_t* data = nullptr;
      GoldenCase::Value value = {output.dtype, output.shape, {}};
      value.data = Blob::Allocate(TensorType{output.dtype, output.shape}.bytes(), &data);
      golden_case.outputs.push_back(std::move(value));
      views.push_back({output.name, {data, output.dtype, output.shape}});
    }
    TALLY_RETURN_IF_ERROR(session.Run(samples.views(), views));
    golden.push_back(std::move(golden_case));
  }
  return golden;
}

absl::StatusOr<std::vector<Shape>> Runner::SampleShapes() const {
  TALLY_ASSIGN_OR_RETURN(const Batch sample, calibration_.Read(0, 1));
  std::vector<Shape> shapes;
  for (int t : graph_.inputs) {
    const BatchInput* input = Find(sample, graph_.tensors[static_cast<size_t>(t)].name);
    shapes.push_back(input == nullptr ? Shape() : input->type.shape);
  }
  return shapes;
}

}  // namespace tally
