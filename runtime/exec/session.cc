#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "format/error.h"
#include "format/graph.h"
#include "format/limits.h"
#include "runtime/backend/registry.h"
#include "runtime/backend/tuner.h"
#include "runtime/core/guarded.h"
#include "runtime/exec/infer.h"
#include "runtime/exec/plan.h"
#include "tally/tally.h"

namespace tally {
namespace {

using Clock = std::chrono::steady_clock;

std::string NamesOf(const std::vector<TensorInfo>& infos) {
  return absl::StrJoin(infos, ", ",
                       [](std::string* out, const TensorInfo& i) { absl::StrAppend(out, Quoted(i.name)); });
}

int FindInfo(const std::vector<TensorInfo>& infos, const std::string& name) {
  for (size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

absl::Status CheckView(const TensorInfo& expected, const void* data, DType dtype, const Shape& shape) {
  if (dtype != expected.dtype) {
    return MakeError(ErrorId::kInputDType, absl::StrCat(Quoted(expected.name), " is ", DTypeName(expected.dtype),
                                                        ", got ", DTypeName(dtype)));
  }
  if (shape != expected.shape) {
    return MakeError(ErrorId::kInputShape, absl::StrCat(Quoted(expected.name), " is ", ShapeString(expected.shape),
                                                        ", got ", ShapeString(shape)));
  }
  if (data == nullptr && TensorType{dtype, shape}.elements() > 0) {
    return MakeError(ErrorId::kInputShape, absl::StrCat(Quoted(expected.name), " has no data"));
  }
  return absl::OkStatus();
}

// Errors of backends carry our codes or become kBackendFailed.
absl::Status NodeError(const absl::Status& status, const Node& node) {
  const std::string subject = absl::StrCat("node ", Quoted(node.name), " (", node.op, ")");
  if (!GetErrorInfo(status).code.empty()) return AddWhere(status, {"", "", -1, subject});
  return MakeError(ErrorId::kBackendFailed, std::string(status.message()), {"", "", -1, subject});
}

}  // namespace

struct Session::Impl {
  explicit Impl(Model m) : model(std::move(m)) {}

  Model model;
  SessionOptions options;
  std::vector<std::shared_ptr<const Backend>> backends;
  std::shared_ptr<ThreadPool> pool;
  std::unique_ptr<Plan> plan;
  std::vector<NodeProfile> profile;
  EncodeCounters counters;
  Observer observer;
  std::atomic<bool> busy{false};
  const pid_t pid = getpid();

  absl::Status Replan(const std::vector<int64_t>& symbol_values) {
    TALLY_ASSIGN_OR_RETURN(CpuFeatures cpu, AllowedCpu());
    TunerOptions tuning;
    tuning.measure = options.tuning == Tuning::kMeasure;
    tuning.seconds = options.tuning_seconds;
    tuning.cache_dir = options.cache_dir;
    if (options.log) tuning.warn = [this](const std::string& text) { options.log(LogLevel::kWarning, text); };
    Tuner tuner(std::move(tuning), pool.get());
    TALLY_ASSIGN_OR_RETURN(std::unique_ptr<Plan> next, BuildPlan(model.graph(), model.limits(), symbol_values, options,
                                                                 backends, cpu, pool->num_threads(), &tuner));
    tuner.Save();
    std::vector<NodeProfile> next_profile;
    if (options.enable_profiling) {
      for (const Step& step : next->steps) next_profile.push_back(ProfileEntry(*next, step));
    }
    plan = std::move(next);
    profile = std::move(next_profile);
    return absl::OkStatus();
  }

  NodeProfile ProfileEntry(const Plan& p, const Step& step) const {
    if (step.node < 0) {
      return {absl::StrCat("encode:", model.graph().tensors[static_cast<size_t>(step.tensor)].name), "Encode", "ops",
              0};
    }
    const NodePlacement& placement = p.placement[static_cast<size_t>(step.node)];
    return {placement.node, placement.op, placement.backend, 0};
  }

  absl::Status BindInputs(const std::vector<NamedView>& inputs);
  absl::Status BindOutputs(const std::vector<NamedMutableView>& outputs);
  void CopyOutputs(const std::vector<NamedMutableView>& outputs);
  absl::Status RunStep(Step& step);
  void Observe(const Step& step);
  absl::Status Run(const std::vector<NamedView>& inputs, const std::vector<NamedMutableView>& outputs,
                   const RunOptions& run_options);
};

absl::Status Session::Impl::BindInputs(const std::vector<NamedView>& inputs) {
  for (const NamedView& given : inputs) {
    if (FindInfo(plan->inputs, given.name) < 0) {
      return MakeError(ErrorId::kUnknownTensorName,
                       absl::StrCat("no input ", Quoted(given.name), "; the model has ", NamesOf(plan->inputs)));
    }
  }
  const std::vector<int>& tensors = model.graph().inputs;
  for (size_t i = 0; i < plan->inputs.size(); ++i) {
    const TensorInfo& info = plan->inputs[i];
    const auto given =
        std::find_if(inputs.begin(), inputs.end(), [&](const NamedView& v) { return v.name == info.name; });
    if (given == inputs.end()) return MakeError(ErrorId::kMissingInput, absl::StrCat("input ", Quoted(info.name)));
    TALLY_RETURN_IF_ERROR(CheckView(info, given->view.data, given->view.dtype, given->view.shape));
    // Steps only read inputs.
    plan->Bind(plan->plain[static_cast<size_t>(tensors[i])], const_cast<void*>(given->view.data));
  }
  return absl::OkStatus();
}

absl::Status Session::Impl::BindOutputs(const std::vector<NamedMutableView>& outputs) {
  const std::vector<int>& tensors = model.graph().outputs;
  for (int t : tensors) {
    const int v = plan->plain[static_cast<size_t>(t)];
    if (plan->values[static_cast<size_t>(v)].home == Value::Home::kArena)
      plan->Bind(v, plan->home_data[static_cast<size_t>(v)]);
  }
  for (const NamedMutableView& given : outputs) {
    const int i = FindInfo(plan->outputs, given.name);
    if (i < 0) {
      return MakeError(ErrorId::kUnknownTensorName,
                       absl::StrCat("no output ", Quoted(given.name), "; the model has ", NamesOf(plan->outputs)));
    }
    TALLY_RETURN_IF_ERROR(
        CheckView(plan->outputs[static_cast<size_t>(i)], given.view.data, given.view.dtype, given.view.shape));
    const int v = plan->plain[static_cast<size_t>(tensors[static_cast<size_t>(i)])];
    if (plan->values[static_cast<size_t>(v)].home == Value::Home::kArena) plan->Bind(v, given.view.data);
  }
  return absl::OkStatus();
}

// Outputs that share a value with an input, a constant or another output were not written in place.
void Session::Impl::CopyOutputs(const std::vector<NamedMutableView>& outputs) {
  for (const NamedMutableView& given : outputs) {
    const size_t i = static_cast<size_t>(FindInfo(plan->outputs, given.name));
    const size_t t = static_cast<size_t>(model.graph().outputs[i]);
    const void* from = plan->data[static_cast<size_t>(plan->plain[t])];
    const size_t bytes = plan->types[t].bytes();
    if (from != given.view.data && bytes > 0) std::memcpy(given.view.data, from, bytes);
  }
}

absl::Status Session::Impl::RunStep(Step& step) {
  switch (step.kind) {
    case Step::Kind::kView: return absl::OkStatus();
    case Step::Kind::kEncodeCodes: {
      const size_t count = static_cast<size_t>(plan->types[static_cast<size_t>(step.tensor)].elements());
      EncodeCodes(*step.encoder, static_cast<const float*>(step.input_data[0]), count,
                  static_cast<uint8_t*>(step.output_data[0]), pool.get(), &counters, *plan->rows);
      return absl::OkStatus();
    }
    case Step::Kind::kEncodeInt8: {
      const size_t count = static_cast<size_t>(plan->types[static_cast<size_t>(step.tensor)].elements());
      EncodeUniform(step.quantizer, static_cast<const float*>(step.input_data[0]), count,
                    static_cast<uint8_t*>(step.output_data[0]), pool.get(), *plan->rows);
      return absl::OkStatus();
    }
    case Step::Kind::kNode: break;
  }
  const absl::Status status =
      step.compiled->Run({step.input_data.data(), step.output_data.data(), step.scratch, pool.get()});
  return status.ok() ? status : NodeError(status, model.graph().nodes[static_cast<size_t>(step.node)]);
}

void Session::Impl::Observe(const Step& step) {
  if (step.node < 0) return;
  const Node& node = model.graph().nodes[static_cast<size_t>(step.node)];
  for (int t : node.outputs) {
    if (t < 0) continue;
    const TensorType& type = plan->types[static_cast<size_t>(t)];
    const void* address = plan->data[static_cast<size_t>(plan->plain[static_cast<size_t>(t)])];
    observer(node.name, model.graph().tensors[static_cast<size_t>(t)].name, {address, type.dtype, type.shape});
  }
}

absl::Status Session::Impl::Run(const std::vector<NamedView>& inputs, const std::vector<NamedMutableView>& outputs,
                                const RunOptions& run_options) {
  if (getpid() != pid) {
    return MakeError(ErrorId::kAfterFork, "the session was created before fork(); its threads do not exist here");
  }
  TALLY_RETURN_IF_ERROR(BindInputs(inputs));
  TALLY_RETURN_IF_ERROR(BindOutputs(outputs));
  ScopedFpEnvironment environment;
  const bool has_deadline = run_options.deadline != Clock::time_point::max();
  for (size_t s = 0; s < plan->steps.size(); ++s) {
    if (run_options.cancellation != nullptr && run_options.cancellation->cancelled()) {
      return MakeError(ErrorId::kCancelled, absl::StrCat("cancelled before step ", s, " of ", plan->steps.size()));
    }
    if (has_deadline && Clock::now() >= run_options.deadline) {
      return MakeError(ErrorId::kDeadline, absl::StrCat("deadline passed before step ", s, " of ", plan->steps.size()));
    }
    const Clock::time_point start = options.enable_profiling ? Clock::now() : Clock::time_point();
    TALLY_RETURN_IF_ERROR(RunStep(plan->steps[s]));
    if (options.enable_profiling) {
      profile[s].microseconds = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    }
    if (observer) Observe(plan->steps[s]);
  }
  CopyOutputs(outputs);
  return absl::OkStatus();
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

absl::StatusOr<Session> Session::Create(const Model& model, const SessionOptions& options, const Registry& registry) {
  return Guarded([&]() -> absl::StatusOr<Session> {
    auto impl = std::make_unique<Impl>(model);
    impl->options = options;
    for (const std::string& name : options.backends) {
      std::shared_ptr<const Backend> backend = registry.Find(name);
      if (backend == nullptr) {
        return MakeError(ErrorId::kUnknownBackend,
                         absl::StrCat("backend ", Quoted(name), "; built in: ", absl::StrJoin(registry.names(), ", ")));
      }
      impl->backends.push_back(std::move(backend));
    }
    const Graph& graph = model.graph();
    std::vector<int64_t> symbol_values = RecordedExtents(graph);
    for (const auto& [symbol, extent] : options.dimensions) {
      const auto it = std::find(graph.symbols.begin(), graph.symbols.end(), symbol);
      if (it == graph.symbols.end()) {
        return MakeError(ErrorId::kUnknownTensorName,
                         absl::StrCat("no dynamic dimension ", Quoted(symbol), "; the model has ",
                                      graph.symbols.empty() ? "none" : absl::StrJoin(graph.symbols, ", ")));
      }
      if (extent < 0 || extent > kMaxExtent) {
        return MakeError(ErrorId::kInputShape,
                         absl::StrCat("dimension ", Quoted(symbol), " = ", extent, ", expected 0..", kMaxExtent));
      }
      symbol_values[static_cast<size_t>(it - graph.symbols.begin())] = extent;
    }
    impl->pool = options.thread_pool;
    if (impl->pool != nullptr && !impl->pool->usable()) {
      return MakeError(ErrorId::kAfterFork, "the thread pool was made before fork(); its threads do not exist here");
    }
    if (impl->pool == nullptr) {
      TALLY_ASSIGN_OR_RETURN(impl->pool, ThreadPool::Create(options.num_threads));
    }
    TALLY_RETURN_IF_ERROR(impl->Replan(symbol_values));
    return Session(std::move(impl));
  });
}

absl::Status Session::Run(const std::vector<NamedView>& inputs, const std::vector<NamedMutableView>& outputs,
                          const RunOptions& options) {
  if (impl_->busy.exchange(true, std::memory_order_acquire)) {
    return MakeError(ErrorId::kSessionBusy, "another thread is using this session");
  }
  absl::Status status = Guarded([&]() { return impl_->Run(inputs, outputs, options); });
  impl_->busy.store(false, std::memory_order_release);
  return status;
}

absl::Status Session::Resize(const std::vector<std::pair<std::string, Shape>>& input_shapes) {
  if (impl_->busy.exchange(true, std::memory_order_acquire)) {
    return MakeError(ErrorId::kSessionBusy, "another thread is using this session");
  }
  absl::Status status = Guarded([&]() -> absl::Status {
    const Graph& graph = impl_->model.graph();
    std::vector<int64_t> symbol_values = impl_->plan->symbol_values;
    std::vector<bool> set(symbol_values.size(), false);
    for (const auto& [name, shape] : input_shapes) {
      const int i = FindInfo(impl_->plan->inputs, name);
      if (i < 0) {
        return MakeError(ErrorId::kUnknownTensorName,
                         absl::StrCat("no input ", Quoted(name), "; the model has ", NamesOf(impl_->plan->inputs)));
      }
      const Shape& declared = graph.tensors[static_cast<size_t>(graph.inputs[static_cast<size_t>(i)])].shape;
      const std::string mismatch =
          absl::StrCat(Quoted(name), " is ", ShapeString(declared), " (?: dynamic), got ", ShapeString(shape));
      if (shape.size() != declared.size()) return MakeError(ErrorId::kInputShape, mismatch);
      for (size_t d = 0; d < shape.size(); ++d) {
        if (shape[d] < 0 || shape[d] > kMaxExtent) return MakeError(ErrorId::kInputShape, mismatch);
        if (declared[d] >= 0) {
          if (declared[d] != shape[d]) return MakeError(ErrorId::kInputShape, mismatch);
          continue;
        }
        const size_t symbol = static_cast<size_t>(-(declared[d] + 1));
        if (set[symbol] && symbol_values[symbol] != shape[d]) {
          return MakeError(ErrorId::kInputShape, absl::StrCat(mismatch, "; dimension ", Quoted(graph.symbols[symbol]),
                                                              " is already ", symbol_values[symbol]));
        }
        symbol_values[symbol] = shape[d];
        set[symbol] = true;
      }
    }
    return symbol_values == impl_->plan->symbol_values ? absl::OkStatus() : impl_->Replan(symbol_values);
  });
  impl_->busy.store(false, std::memory_order_release);
  return status;
}

const std::vector<TensorInfo>& Session::inputs() const { return impl_->plan->inputs; }
const std::vector<TensorInfo>& Session::outputs() const { return impl_->plan->outputs; }
const std::vector<NodePlacement>& Session::placement() const { return impl_->plan->placement; }
const std::vector<NodeProfile>& Session::profile() const { return impl_->profile; }
int Session::num_threads() const { return impl_->pool->num_threads(); }
void Session::set_observer(Observer observer) { impl_->observer = std::move(observer); }

SessionStats Session::stats() const {
  SessionStats stats;
  stats.arena_bytes = impl_->plan->arena.size();
  stats.resident_weight_bytes = impl_->plan->resident_weight_bytes;
  stats.nan_encoded = impl_->counters.nan;
  stats.negative_encoded = impl_->counters.negative;
  return stats;
}

absl::StatusOr<TensorView> Session::tensor(const std::string& name) const {
  const Plan& plan = *impl_->plan;
  const Graph& graph = impl_->model.graph();
  const int t = graph.FindTensor(name);
  if (t < 0) return MakeError(ErrorId::kUnknownTensorName, absl::StrCat("no tensor ", Quoted(name)));
  const int v = plan.plain[static_cast<size_t>(t)];
  if (v < 0) {
    return MakeError(ErrorId::kUnknownTensorName, absl::StrCat(Quoted(name), " has no plain form in this session"));
  }
  const Value& value = plan.values[static_cast<size_t>(v)];
  const bool is_output = std::any_of(graph.outputs.begin(), graph.outputs.end(),
                                     [&](int o) { return plan.plain[static_cast<size_t>(o)] == v; });
  if (value.home == Value::Home::kArena && !is_output && !impl_->options.keep_intermediates) {
    return MakeError(ErrorId::kUnknownTensorName,
                     absl::StrCat(Quoted(name), " is not kept; create the session with keep_intermediates"));
  }
  const TensorType& type = plan.types[static_cast<size_t>(t)];
  return TensorView{plan.data[static_cast<size_t>(v)], type.dtype, type.shape};
}

}  // namespace tally
