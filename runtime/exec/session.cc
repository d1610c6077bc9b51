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

// Null when `name` is not among them.
const TensorView* FindView(const std::vector<NamedView>& views, const std::string& name) {
  const auto it = std::find_if(views.begin(), views.end(), [&](const NamedView& v) { return v.name == name; });
  return it == views.end() ? nullptr : &it->view;
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

// What `body` returns, unless another thread is using the session.
template <typename Body>
absl::Status Exclusively(std::atomic<bool>* busy, const Body& body) {
  if (busy->exchange(true, std::memory_order_acquire)) {
    return MakeError(ErrorId::kSessionBusy, "another thread is using this session");
  }
  absl::Status status = Guarded(body);
  busy->store(false, std::memory_order_release);
  return status;
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

  // A plan to Adopt; `shape_values` as for InferGraph.
  absl::StatusOr<std::unique_ptr<Plan>> MakePlan(const std::vector<int64_t>& symbol_values,
                                                 const std::vector<Blob>& shape_values) {
    TALLY_ASSIGN_OR_RETURN(CpuFeatures cpu, AllowedCpu());
    TunerOptions tuning;
    tuning.measure = options.tuning == Tuning::kMeasure;
    tuning.seconds = options.tuning_seconds;
    tuning.cache_dir = options.cache_dir;
    if (options.log) tuning.warn = [this](const std::string& text) { options.log(LogLevel::kWarning, text); };
    Tuner tuner(std::move(tuning), pool.get());
    TALLY_ASSIGN_OR_RETURN(std::unique_ptr<Plan> next,
                           BuildPlan(model.graph(), model.limits(), symbol_values, shape_values, options, backends, cpu,
                                     pool->num_threads(), &tuner));
    tuner.Save();
    return next;
  }

  void Adopt(std::unique_ptr<Plan> next) {
    std::vector<NodeProfile> next_profile;
    if (options.enable_profiling) {
      for (const Step& step : next->steps) next_profile.push_back(ProfileEntry(*next, step));
    }
    plan = std::move(next);
    profile = std::move(next_profile);
  }

  NodeProfile ProfileEntry(const Plan& p, const Step& step) const {
    if (step.node < 0) {
      return {absl::StrCat("encode:", model.graph().tensors[static_cast<size_t>(step.tensor)].name), "Encode", "ops",
              0};
    }
    const NodePlacement& placement = p.placement[static_cast<size_t>(step.node)];
    return {placement.node, placement.op, placement.backend, 0};
  }

  absl::StatusOr<std::vector<int64_t>> SymbolValues(
      const std::vector<std::pair<std::string, Shape>>& input_shapes) const;
  // A plan like `current`, whose extents hold, for the values of the shape inputs; null when `current` is that.
  absl::StatusOr<std::unique_ptr<Plan>> PlanForValues(const Plan& current, const std::vector<NamedView>& inputs);
  absl::Status BindInputs(const std::vector<NamedView>& inputs);
  absl::Status BindOutputs(const std::vector<NamedMutableView>& outputs);
  void CopyOutputs(const std::vector<NamedMutableView>& outputs);
  absl::Status RunStep(Step& step);
  void Observe(const Step& step);
  absl::Status Run(const std::vector<NamedView>& inputs, const std::vector<NamedMutableView>& outputs,
                   const RunOptions& run_options);
};

absl::StatusOr<std::vector<int64_t>> Session::Impl::SymbolValues(
    const std::vector<std::pair<std::string, Shape>>& input_shapes) const {
  const Graph& graph = model.graph();
  std::vector<int64_t> symbol_values = plan->symbol_values;
  std::vector<bool> set(symbol_values.size(), false);
  for (const auto& [name, shape] : input_shapes) {
    const int i = FindInfo(plan->inputs, name);
    if (i < 0) {
      return MakeError(ErrorId::kUnknownTensorName,
                       absl::StrCat("no input ", Quoted(name), "; the model has ", NamesOf(plan->inputs)));
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
  return symbol_values;
}

absl::StatusOr<std::unique_ptr<Plan>> Session::Impl::PlanForValues(const Plan& current,
                                                                   const std::vector<NamedView>& inputs) {
  bool same = current.complete;
  for (size_t i : current.shape_inputs) {
    const TensorInfo& info = current.inputs[i];
    const TensorView* given = FindView(inputs, info.name);
    if (given == nullptr) return MakeError(ErrorId::kMissingInput, absl::StrCat("input ", Quoted(info.name)));
    TALLY_RETURN_IF_ERROR(CheckView(info, given->data, given->dtype, given->shape));
    const size_t t = static_cast<size_t>(model.graph().inputs[i]);
    const size_t bytes = current.types[t].bytes();
    same = same && (bytes == 0 || std::memcmp(given->data, current.known[t].data(), bytes) == 0);
  }
  if (same) return nullptr;
  std::vector<Blob> values(current.inputs.size());
  for (size_t i : current.shape_inputs) {
    const TensorView& given = *FindView(inputs, current.inputs[i].name);
    values[i] = Blob::Copy(given.data, TensorType{given.dtype, given.shape}.bytes());
  }
  return MakePlan(current.symbol_values, values);
}

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
    if (info.is_shape_input) continue;  // has been compared with the plan's copy
    const TensorView* given = FindView(inputs, info.name);
    if (given == nullptr) return MakeError(ErrorId::kMissingInput, absl::StrCat("input ", Quoted(info.name)));
    TALLY_RETURN_IF_ERROR(CheckView(info, given->data, given->dtype, given->shape));
    // Steps only read inputs.
    plan->Bind(plan->plain[static_cast<size_t>(tensors[i])], const_cast<void*>(given->data));
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
  const bool has_deadline = run_options.deadline != Clock::time_point::max();
  const auto check_stop = [&](const auto& next) -> absl::Status {
    if (run_options.cancellation != nullptr && run_options.cancellation->cancelled()) {
      return MakeError(ErrorId::kCancelled, absl::StrCat("cancelled before ", next()));
    }
    if (has_deadline && Clock::now() >= run_options.deadline) {
      return MakeError(ErrorId::kDeadline, absl::StrCat("deadline passed before ", next()));
    }
    return absl::OkStatus();
  };
  if (!plan->shape_inputs.empty()) {
    // Planning may take longer than the run, and would drop a good plan for nothing.
    TALLY_RETURN_IF_ERROR(check_stop([] { return "planning"; }));
    TALLY_ASSIGN_OR_RETURN(std::unique_ptr<Plan> next, PlanForValues(*plan, inputs));
    if (next != nullptr) Adopt(std::move(next));
  }
  TALLY_RETURN_IF_ERROR(BindInputs(inputs));
  TALLY_RETURN_IF_ERROR(BindOutputs(outputs));
  ScopedFpEnvironment environment;
  for (size_t s = 0; s < plan->steps.size(); ++s) {
    TALLY_RETURN_IF_ERROR(check_stop([&] { return absl::StrCat("step ", s, " of ", plan->steps.size()); }));
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
    absl::StatusOr<std::unique_ptr<Plan>> plan = impl->MakePlan(symbol_values, {});
    const std::vector<int64_t> ones(graph.symbols.size(), 1);
    if (!plan.ok() && options.dimensions.empty() && symbol_values != ones) {
      // What a file records is a wish: where it does not fit, a session begins as one of a file that records nothing.
      absl::StatusOr<std::unique_ptr<Plan>> small = impl->MakePlan(ones, {});
      if (small.ok()) plan = std::move(small);
    }
    if (!plan.ok()) return plan.status();
    impl->Adopt(*std::move(plan));
    return Session(std::move(impl));
  });
}

absl::Status Session::Run(const std::vector<NamedView>& inputs, const std::vector<NamedMutableView>& outputs,
                          const RunOptions& options) {
  return Exclusively(&impl_->busy, [&]() { return impl_->Run(inputs, outputs, options); });
}

absl::Status Session::Resize(const std::vector<std::pair<std::string, Shape>>& input_shapes) {
  return Exclusively(&impl_->busy, [&]() -> absl::Status {
    TALLY_ASSIGN_OR_RETURN(const std::vector<int64_t> symbol_values, impl_->SymbolValues(input_shapes));
    if (symbol_values == impl_->plan->symbol_values) return absl::OkStatus();
    TALLY_ASSIGN_OR_RETURN(std::unique_ptr<Plan> next, impl_->MakePlan(symbol_values, {}));
    impl_->Adopt(std::move(next));
    return absl::OkStatus();
  });
}

absl::Status Session::Prepare(const std::vector<NamedView>& inputs) {
  return Exclusively(&impl_->busy, [&]() -> absl::Status {
    std::vector<std::pair<std::string, Shape>> shapes;
    for (const NamedView& input : inputs) shapes.emplace_back(input.name, input.view.shape);
    TALLY_ASSIGN_OR_RETURN(const std::vector<int64_t> symbol_values, impl_->SymbolValues(shapes));
    std::unique_ptr<Plan> next;
    if (symbol_values != impl_->plan->symbol_values) {
      TALLY_ASSIGN_OR_RETURN(next, impl_->MakePlan(symbol_values, {}));
    }
    const Plan& resized = next != nullptr ? *next : *impl_->plan;
    TALLY_ASSIGN_OR_RETURN(std::unique_ptr<Plan> valued, impl_->PlanForValues(resized, inputs));
    if (valued != nullptr) next = std::move(valued);
    if (next != nullptr) impl_->Adopt(std::move(next));
    return absl::OkStatus();
  });
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
  if (!plan.complete) {
    return MakeError(ErrorId::kUnknownTensorName,
                     absl::StrCat(Quoted(name), " has no value before values of shape inputs were given"));
  }
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
