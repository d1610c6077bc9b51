#include "converter/passes/type_inference.h"

#include <limits>
#include <utility>

#include "format/checked.h"
#include "runtime/ops/op.h"

namespace tally {
namespace {

// Values that describe shapes are tiny; anything larger is not worth following.
constexpr EvaluationBudget kShapeArithmetic = {4096, 65536};

// Multiply-adds per output element.
uint64_t Depth(const Node& node, const std::vector<TensorType>& inputs) {
  if (node.op == "MatMul" || node.op == "Gemm") {
    return inputs[0].shape.empty() ? 1 : static_cast<uint64_t>(inputs[0].shape.back());
  }
  if (node.op == "Conv") {
    const TensorType& weight = inputs[1];
    return static_cast<uint64_t>(weight.shape[0] == 0 ? 0 : weight.elements() / weight.shape[0]);
  }
  uint64_t window = 1;
  for (int64_t extent : node.GetInts("kernel_shape")) window *= static_cast<uint64_t>(extent);
  return window;
}

// False when the node needs more than is left; otherwise takes it from the budget.
bool Spend(const Node& node, const std::vector<TensorType>& inputs, const std::vector<TensorType>& outputs,
           EvaluationBudget* budget) {
  EvaluationBudget needed;
  for (const TensorType& type : inputs) needed.steps += static_cast<uint64_t>(type.elements());
  for (const TensorType& type : outputs) {
    uint64_t steps = 0;
    if (!CheckedMul(static_cast<uint64_t>(type.elements()), Depth(node, inputs), &steps) ||
        !CheckedAdd(needed.steps, steps, &needed.steps) ||
        !CheckedAdd<uint64_t>(needed.bytes, type.bytes(), &needed.bytes)) {
      return false;
    }
  }
  if (needed.bytes > budget->bytes || needed.steps > budget->steps) return false;
  budget->bytes -= needed.bytes;
  budget->steps -= needed.steps;
  return true;
}

// Symbols that occur somewhere else than as extent 0 of an input.
std::vector<bool> InnerSymbols(const Graph& graph) {
  std::vector<bool> inner(graph.symbols.size(), false);
  for (int input : graph.inputs) {
    const Shape& shape = graph.tensors[static_cast<size_t>(input)].shape;
    for (size_t i = 1; i < shape.size(); ++i) {
      const size_t symbol = static_cast<size_t>(-(shape[i] + 1));
      if (shape[i] < 0 && symbol < inner.size()) inner[symbol] = true;
    }
  }
  return inner;
}

// Extents that differ between symbols and between bindings. 64 and 96: multiples of 32, because networks that halve
// their input five times often need that.
int64_t TrialExtent(bool inner, size_t symbol, int binding) {
  const int64_t s = static_cast<int64_t>(symbol);
  if (!inner) return s + 1 + binding;
  return (2 + binding) * 32 * (1 + s);
}

TensorView ViewOf(const Tensor& tensor) { return {tensor.data.data(), tensor.dtype, tensor.shape}; }

}  // namespace

absl::StatusOr<std::vector<Tensor>> EvaluateNode(const Node& node, const std::vector<const Tensor*>& inputs,
                                                 EvaluationBudget* budget, ThreadPool* pool) {
  const OpDef* def = FindOp(node.op);
  if (def == nullptr || def->eval == nullptr) return std::vector<Tensor>();
  std::vector<TensorType> input_types(inputs.size());
  InferContext infer{node, {}, {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool absent = node.inputs[i] < 0;
    if (!absent) input_types[i] = {inputs[i]->dtype, inputs[i]->shape};
    infer.inputs.push_back(absent ? nullptr : &input_types[i]);
    infer.values.push_back(absent ? nullptr : inputs[i]->data.data());
  }
  std::vector<TensorType> types;
  if (absl::Status status = InferNode(*def, infer, &types); !status.ok()) return status;

  if (!Spend(node, input_types, types, budget)) return std::vector<Tensor>();
  std::vector<Tensor> outputs;
  EvalContext eval{node, {}, {}, pool};
  for (size_t i = 0; i < inputs.size(); ++i) {
    eval.inputs.push_back(node.inputs[i] < 0 ? TensorView() : ViewOf(*inputs[i]));
  }
  for (const TensorType& type : types) {
    Tensor output;
    output.dtype = type.dtype;
    output.shape = type.shape;
    output.has_data = true;
    uint8_t* bytes = nullptr;
    output.data = Blob::Allocate(type.bytes(), &bytes);
    eval.outputs.push_back({bytes, type.dtype, type.shape});
    outputs.push_back(std::move(output));
  }
  const ScopedFpEnvironment fp_environment;
  if (absl::Status status = def->eval(eval); !status.ok()) return status;
  return outputs;
}

TypeInference::TypeInference(const Graph& graph, int binding) : graph_(graph) {
  if (absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(1); pool.ok()) pool_ = std::move(*pool);
  const std::vector<bool> inner = InnerSymbols(graph);
  for (int input : graph.inputs) {
    const Tensor& tensor = graph.tensors[static_cast<size_t>(input)];
    TensorType type{tensor.dtype, tensor.shape};
    for (int64_t& extent : type.shape) {
      if (extent >= 0) continue;
      const size_t symbol = static_cast<size_t>(-(extent + 1));
      extent = TrialExtent(symbol < inner.size() && inner[symbol], symbol, binding);
    }
    At(input).type = std::move(type);
  }
}

TypeInference::Entry& TypeInference::At(int tensor) const {
  const size_t i = static_cast<size_t>(tensor);
  if (i >= entries_.size()) entries_.resize(graph_.tensors.size());
  Entry& entry = entries_[i];
  if (!entry.type && graph_.tensors[i].is_constant()) {
    entry.type = TensorType{graph_.tensors[i].dtype, graph_.tensors[i].shape};
  }
  return entry;
}

const Tensor* TypeInference::value(int tensor) const {
  const size_t i = static_cast<size_t>(tensor);
  if (graph_.tensors[i].has_data) return &graph_.tensors[i];
  return i < entries_.size() && entries_[i].value ? &*entries_[i].value : nullptr;
}

const TensorType* TypeInference::type(int tensor) const {
  const Entry& entry = At(tensor);
  return entry.type ? &*entry.type : nullptr;
}

void TypeInference::Visit(const Node& node) {
  const OpDef* def = FindOp(node.op);
  if (def == nullptr) return;
  InferContext context{node, {}, {}};
  std::vector<const Tensor*> values;
  bool all_values = true;
  for (int input : node.inputs) {
    if (input >= 0 && !At(input).type) return;
    const Tensor* known = input >= 0 ? value(input) : nullptr;
    all_values = all_values && (input < 0 || known != nullptr);
    values.push_back(known);
    context.values.push_back(known != nullptr ? known->data.data() : nullptr);
  }
  // Only now, because At() may have grown the table.
  for (int input : node.inputs) context.inputs.push_back(input >= 0 ? &*At(input).type : nullptr);
  std::vector<TensorType> types;
  if (!InferNode(*def, context, &types).ok() || types.size() != node.outputs.size()) return;

  std::vector<Tensor> computed;
  Tensor shaped;
  if (node.op == "Shape") {
    // Needs the extents alone, not the value.
    shaped.dtype = context.inputs[0]->dtype;
    shaped.shape = context.inputs[0]->shape;
    values = {&shaped};
  }
  if (node.op == "Shape" || all_values) {
    EvaluationBudget budget = kShapeArithmetic;
    if (node.op == "Shape") budget.steps = std::numeric_limits<uint64_t>::max();  // reads no element
    auto result = EvaluateNode(node, values, &budget, pool_.get());
    if (result.ok()) computed = std::move(*result);
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (node.outputs[i] < 0) continue;
    Entry& entry = At(node.outputs[i]);
    entry.type = std::move(types[i]);
    if (i < computed.size()) entry.value = std::move(computed[i]);
  }
}

void TypeInference::VisitAll() {
  for (const Node& node : graph_.nodes) Visit(node);
}

SymbolicTypes::SymbolicTypes(const Graph& graph) : first_(graph, 0), second_(graph, 1) {
  first_.VisitAll();
  second_.VisitAll();
}

bool SymbolicTypes::Same(int a, int b) const {
  for (const TypeInference* types : {&first_, &second_}) {
    const TensorType* x = types->type(a);
    const TensorType* y = types->type(b);
    if (x == nullptr || y == nullptr || !(*x == *y)) return false;
  }
  return true;
}

int64_t SymbolicTypes::LastExtent(int tensor) const {
  const TensorType* a = first_.type(tensor);
  const TensorType* b = second_.type(tensor);
  if (a == nullptr || b == nullptr || a->shape.empty() || b->shape.empty()) return -1;
  return a->shape.back() == b->shape.back() ? a->shape.back() : -1;
}

int SymbolicTypes::Rank(int tensor) const {
  const TensorType* type = first_.type(tensor);
  return type == nullptr ? -1 : static_cast<int>(type->shape.size());
}

}  // namespace tally
