#include "runtime/exec/plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/exec/infer.h"
#include "runtime/exec/memory_plan.h"
#include "runtime/ops/op.h"
#include "runtime/ops/row_table.h"

namespace tally {
namespace {

size_t Index(int i) { return static_cast<size_t>(i); }

// A node on the shared float operators.
class OpsNode : public CompiledNode {
 public:
  OpsNode(const OpDef& def, const NodeContext& context) : def_(def), eval_{context.node, {}, {}, nullptr} {
    eval_.rows = ChooseKernel(RowKernelTable(), context.cpu).kernel;
    for (const TensorType& t : context.inputs) eval_.inputs.push_back({nullptr, t.dtype, t.shape});
    for (const TensorType& t : context.outputs) eval_.outputs.push_back({nullptr, t.dtype, t.shape});
  }

  absl::Status Run(const RunArgs& args) override {
    for (size_t i = 0; i < eval_.inputs.size(); ++i) eval_.inputs[i].data = args.inputs[i];
    for (size_t i = 0; i < eval_.outputs.size(); ++i) eval_.outputs[i].data = args.outputs[i];
    eval_.pool = args.pool;
    return def_.eval(eval_);
  }

  std::string kernel() const override { return "ops"; }
  std::string isa() const override { return "baseline"; }

 private:
  const OpDef& def_;
  EvalContext eval_;
};

// Name of the first constant that has no plain form, or empty.
std::string ConstantWithoutPlainForm(const Graph& graph, const Node& node) {
  for (int t : node.inputs) {
    if (t >= 0 && graph.tensors[Index(t)].is_constant() && !graph.tensors[Index(t)].has_data) {
      return graph.tensors[Index(t)].name;
    }
  }
  return "";
}

}  // namespace

class Planner {
 public:
  Planner(const Graph& graph, const Limits& limits, const SessionOptions& options,
          const std::vector<std::shared_ptr<const Backend>>& backends, const CpuFeatures& cpu, int num_threads,
          Tuner* tuner)
      : graph_(graph),
        limits_(limits),
        options_(options),
        backends_(backends),
        cpu_(cpu),
        num_threads_(num_threads),
        tuner_(tuner),
        plan_(std::make_unique<Plan>()) {}

  absl::StatusOr<std::unique_ptr<Plan>> Build(const std::vector<int64_t>& symbol_values,
                                              const std::vector<Blob>& shape_values) {
    plan_->symbol_values = symbol_values;
    plan_->rows = ChooseKernel(RowKernelTable(), cpu_).kernel;
    TALLY_ASSIGN_OR_RETURN(inferred_, InferGraph(graph_, symbol_values, limits_, shape_values));
    plan_->complete = inferred_.complete;
    plan_->types = inferred_.types;
    plan_->known = inferred_.values;
    plan_->plain.assign(graph_.tensors.size(), -1);
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      if (inferred_.shape_inputs[i]) plan_->shape_inputs.push_back(i);
      plan_->inputs.push_back(Info(graph_.inputs[i]));
      plan_->inputs.back().is_shape_input = inferred_.shape_inputs[i];
    }
    for (int t : graph_.outputs) plan_->outputs.push_back(Info(t));
    if (!plan_->complete) return std::move(plan_);
    AddSources();
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      absl::Status status = AddNode(n);
      if (!status.ok()) {
        return AddWhere(
            status, {"", "", -1, absl::StrCat("node ", Quoted(graph_.nodes[n].name), " (", graph_.nodes[n].op, ")")});
      }
    }
    TALLY_RETURN_IF_ERROR(PlaceValues());
    return std::move(plan_);
  }

 private:
  TensorInfo Info(int t) const {
    TensorInfo info{graph_.tensors[Index(t)].name, plan_->types[Index(t)].dtype, plan_->types[Index(t)].shape};
    info.shape_known = !inferred_.untyped[Index(t)];
    return info;
  }

  int AddValue(Value value) {
    plan_->values.push_back(value);
    return static_cast<int>(plan_->values.size()) - 1;
  }

  // Values that exist before the first step: inputs of the model, plain constants, what followed from shapes. A shape
  // input is the plan's copy, with which the application's has been compared.
  void AddSources() {
    for (size_t t = 0; t < graph_.tensors.size(); ++t) {
      const Tensor& tensor = graph_.tensors[t];
      Value value;
      value.tensor = static_cast<int>(t);
      value.home = Value::Home::kConstant;
      if (tensor.has_data) {
        value.constant = tensor.data.data();
      } else if (inferred_.known[t]) {
        value.constant = plan_->known[t].data();
      } else {
        continue;
      }
      value.bytes = plan_->types[t].bytes();
      plan_->plain[t] = AddValue(value);
    }
    for (int t : graph_.inputs) {
      if (inferred_.known[Index(t)]) continue;
      Value value;
      value.tensor = t;
      value.home = Value::Home::kBound;
      value.bytes = plan_->types[Index(t)].bytes();
      plan_->plain[Index(t)] = AddValue(value);
    }
  }

  absl::Status AddNode(size_t n) {
    const Node& node = graph_.nodes[n];
    const OpDef& def = *FindOp(node.op);
    NodePlacement placement{node.name, node.op, "ops", "", "", "", {}};
    if (inferred_.folded[n]) {
      placement.kernel = "folded";
      plan_->placement.push_back(std::move(placement));
      return absl::OkStatus();
    }
    Step step;
    step.node = static_cast<int>(n);
    if (def.is_view && plan_->plain[Index(node.inputs[0])] >= 0) {
      step.kind = Step::Kind::kView;
      const int viewed = plan_->plain[Index(node.inputs[0])];
      plan_->plain[Index(node.outputs[0])] = viewed;
      placement.kernel = "view";
      plan_->placement.push_back(std::move(placement));
      plan_->steps.push_back(std::move(step));
      return absl::OkStatus();
    }
    NodeContext context{graph_, node, {}, {}, cpu_, num_threads_};
    for (int t : node.inputs) context.inputs.push_back(t < 0 ? TensorType{} : plan_->types[Index(t)]);
    for (int t : node.outputs) context.outputs.push_back(t < 0 ? TensorType{} : plan_->types[Index(t)]);
    TALLY_RETURN_IF_ERROR(Place(def, context, &step, &placement));
    plan_->resident_weight_bytes += step.compiled->resident_weight_bytes();
    placement.kernel = step.compiled->kernel();
    placement.isa = step.compiled->isa();
    plan_->placement.push_back(std::move(placement));
    TALLY_RETURN_IF_ERROR(ConnectInputs(node, &step));
    for (int t : node.outputs) step.outputs.push_back(AddOutput(t));
    plan_->steps.push_back(std::move(step));
    return absl::OkStatus();
  }

  // Chooses the first backend that takes the node, or the fastest of those that may stand in for it; else the shared
  // operators.
  absl::Status Place(const OpDef& def, const NodeContext& context, Step* step, NodePlacement* placement) {
    absl::Status missing_form;
    std::vector<NodeVariant> variants;
    std::vector<const Backend*> owners;  // of the variants
    for (const auto& backend : backends_) {
      if (!owners.empty() && !(owners[0]->may_stand_in() && backend->may_stand_in())) continue;
      const absl::Status supported = backend->Supports(context);
      if (supported.ok()) {
        for (NodeVariant& v : backend->Variants(context)) variants.push_back(std::move(v));
        owners.resize(variants.size(), backend.get());
        continue;
      }
      if (GetErrorInfo(supported).code == ErrorCodeString(ErrorId::kMissingForm)) missing_form.Update(supported);
      placement->refused.push_back({backend->name(), std::string(supported.message())});
    }
    if (!variants.empty()) {
      TALLY_ASSIGN_OR_RETURN(Tuner::Choice choice, tuner_->Choose(context, variants));
      step->compiled = std::move(choice.node);
      placement->backend = owners[choice.variant]->name();
      placement->why = std::move(choice.why);
      return absl::OkStatus();
    }
    // A weight that only exists in another backend's form is the file's lack, not a reason to fall back.
    TALLY_RETURN_IF_ERROR(missing_form);
    if (const std::string name = ConstantWithoutPlainForm(context.graph, context.node); !name.empty()) {
      std::string reasons;
      for (const auto& r : placement->refused) absl::StrAppend(&reasons, "; ", r.backend, ": ", r.reason);
      return MakeError(
          ErrorId::kMissingForm,
          absl::StrCat("weight ", Quoted(name), " has no float32 form, which the shared operators need", reasons));
    }
    if (options_.require_backend) {
      std::string reasons;
      for (const auto& r : placement->refused) absl::StrAppend(&reasons, "; ", r.backend, ": ", r.reason);
      return MakeError(ErrorId::kRefused, absl::StrCat("no requested backend takes it", reasons));
    }
    if (options_.log && !placement->refused.empty()) {
      options_.log(LogLevel::kInfo, absl::StrCat("node ", Quoted(context.node.name),
                                                 " runs on the shared operators: ", placement->refused.front().reason));
    }
    step->compiled = std::make_unique<OpsNode>(def, context);
    return absl::OkStatus();
  }

  // Finds or makes the value that each input wants; a conversion runs right before its first consumer.
  absl::Status ConnectInputs(const Node& node, Step* step) {
    std::vector<int> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const int t = node.inputs[i];
      if (t < 0 || plan_->plain[Index(t)] < 0) {
        inputs.push_back(-1);
        continue;
      }
      const Encoding encoding = step->compiled->input_encoding(i);
      if (encoding == Encoding::kPlain) {
        inputs.push_back(plan_->plain[Index(t)]);
        continue;
      }
      const int max_value = encoding == Encoding::kInt8 ? step->compiled->int8_max_value() : 0;
      TALLY_ASSIGN_OR_RETURN(int value, Convert(t, encoding, max_value));
      inputs.push_back(value);
    }
    const int now = static_cast<int>(plan_->steps.size());
    for (int v : inputs) {
      if (v >= 0) plan_->values[Index(v)].last = now;
    }
    step->inputs = std::move(inputs);
    return absl::OkStatus();
  }

  absl::StatusOr<int> Convert(int t, Encoding encoding, int max_value) {
    const auto key = std::make_tuple(t, encoding, max_value);
    if (auto it = converted_.find(key); it != converted_.end()) return it->second;
    const Tensor& tensor = graph_.tensors[Index(t)];
    Step step;
    step.tensor = t;
    if (encoding == Encoding::kCodes) {
      if (!tensor.codebook.has_value()) {
        return MakeError(ErrorId::kInternal,
                         absl::StrCat("codes of ", Quoted(tensor.name), " wanted without a codebook"));
      }
      step.kind = Step::Kind::kEncodeCodes;
      step.encoder.emplace(*tensor.codebook);
    } else {
      if (!tensor.range.has_value()) {
        return MakeError(ErrorId::kInternal, absl::StrCat("int8 of ", Quoted(tensor.name), " wanted without a range"));
      }
      step.kind = Step::Kind::kEncodeInt8;
      step.quantizer = MakeUniformQuantizer(*tensor.range, max_value);
    }
    const int now = static_cast<int>(plan_->steps.size());
    const int source = plan_->plain[Index(t)];
    plan_->values[Index(source)].last = now;
    step.inputs = {source};
    Value value;
    value.tensor = t;
    value.encoding = encoding;
    value.int8_max_value = max_value;
    value.bytes = static_cast<uint64_t>(plan_->types[Index(t)].elements());
    value.first = value.last = now;
    const int id = AddValue(value);
    step.outputs = {id};
    converted_[key] = id;
    plan_->steps.push_back(std::move(step));
    return id;
  }

  int AddOutput(int t) {
    Value value;
    value.tensor = t;
    // An output that nobody reads still needs room for the node to write to.
    value.bytes = t < 0 ? 0 : plan_->types[Index(t)].bytes();
    value.first = value.last = static_cast<int>(plan_->steps.size());
    const int id = AddValue(value);
    if (t >= 0) plan_->plain[Index(t)] = id;
    return id;
  }

  absl::Status PlaceValues() {
    const int end = static_cast<int>(plan_->steps.size());
    for (int t : graph_.outputs) plan_->values[Index(plan_->plain[Index(t)])].last = end;
    std::vector<Lifetime> lifetimes;
    std::vector<size_t> placed_value;
    for (size_t v = 0; v < plan_->values.size(); ++v) {
      const Value& value = plan_->values[v];
      if (value.home != Value::Home::kArena) continue;
      lifetimes.push_back({value.bytes, value.first, options_.keep_intermediates ? end : value.last});
      placed_value.push_back(v);
    }
    const size_t first_scratch = lifetimes.size();
    std::vector<size_t> scratch_step;
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      const Step& step = plan_->steps[s];
      const size_t bytes = step.compiled == nullptr ? 0 : step.compiled->scratch_bytes();
      if (bytes == 0) continue;
      lifetimes.push_back({bytes, static_cast<int>(s), static_cast<int>(s)});
      scratch_step.push_back(s);
    }
    TALLY_ASSIGN_OR_RETURN(MemoryPlan memory, PlanMemory(lifetimes, limits_.arena_bytes));
    plan_->arena = AlignedBuffer(memory.bytes);
    plan_->home_data.assign(plan_->values.size(), nullptr);
    for (size_t i = 0; i < placed_value.size(); ++i) {
      plan_->home_data[placed_value[i]] = plan_->arena.data() + memory.offsets[i];
    }
    for (size_t i = 0; i < scratch_step.size(); ++i) {
      plan_->steps[scratch_step[i]].scratch = plan_->arena.data() + memory.offsets[first_scratch + i];
    }
    for (size_t v = 0; v < plan_->values.size(); ++v) {
      // Steps never write to a constant: it is no step's output.
      if (plan_->values[v].home == Value::Home::kConstant) {
        plan_->home_data[v] = const_cast<void*>(plan_->values[v].constant);
      }
    }
    plan_->data.assign(plan_->home_data.begin(), plan_->home_data.end());
    ResolveAddresses();
    return absl::OkStatus();
  }

  void ResolveAddresses() {
    plan_->uses_.resize(plan_->values.size());
    std::vector<bool> rebindable(plan_->values.size(), false);
    for (int t : graph_.inputs) rebindable[Index(plan_->plain[Index(t)])] = true;
    for (int t : graph_.outputs) rebindable[Index(plan_->plain[Index(t)])] = true;
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      Step& step = plan_->steps[s];
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        const int v = step.inputs[i];
        step.input_data.push_back(v < 0 ? nullptr : plan_->home_data[Index(v)]);
        if (v >= 0 && rebindable[Index(v)]) {
          plan_->uses_[Index(v)].push_back({static_cast<int>(s), false, static_cast<int>(i)});
        }
      }
      for (size_t i = 0; i < step.outputs.size(); ++i) {
        const int v = step.outputs[i];
        step.output_data.push_back(plan_->home_data[Index(v)]);
        if (rebindable[Index(v)]) plan_->uses_[Index(v)].push_back({static_cast<int>(s), true, static_cast<int>(i)});
      }
    }
  }

  const Graph& graph_;
  const Limits& limits_;
  const SessionOptions& options_;
  const std::vector<std::shared_ptr<const Backend>>& backends_;
  const CpuFeatures cpu_;
  const int num_threads_;
  Tuner* const tuner_;
  std::unique_ptr<Plan> plan_;
  InferredGraph inferred_;
  std::map<std::tuple<int, Encoding, int>, int> converted_;
};

void Plan::Bind(int value, void* address) {
  data[static_cast<size_t>(value)] = address;
  for (const Use& use : uses_[static_cast<size_t>(value)]) {
    Step& step = steps[static_cast<size_t>(use.step)];
    if (use.output) {
      step.output_data[static_cast<size_t>(use.argument)] = address;
    } else {
      step.input_data[static_cast<size_t>(use.argument)] = address;
    }
  }
}

absl::StatusOr<std::unique_ptr<Plan>> BuildPlan(const Graph& graph, const Limits& limits,
                                                const std::vector<int64_t>& symbol_values,
                                                const std::vector<Blob>& shape_values, const SessionOptions& options,
                                                const std::vector<std::shared_ptr<const Backend>>& backends,
                                                const CpuFeatures& cpu, int num_threads, Tuner* tuner) {
  return Planner(graph, limits, options, backends, cpu, num_threads, tuner).Build(symbol_values, shape_values);
}

}  // namespace tally
