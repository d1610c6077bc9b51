#include "backends/reference/reference.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/reference/oracle.h"
#include "format/error.h"
#include "runtime/ops/op.h"

namespace tally {
namespace reference {

EvalFn FindOracle(const std::string& op) {
  static constexpr struct {
    const char* op;
    EvalFn eval;
  } kOwn[] = {
      {"Conv", Conv},
      {"Gemm", Gemm},
      {"MatMul", MatMul},
      {"MaxPool", Pool},
      {"AveragePool", Pool},
      {"GlobalMaxPool", GlobalPool},
      {"GlobalAveragePool", GlobalPool},
      {"Relu", Activate},
      {"Clip", Activate},
      {"LeakyRelu", Activate},
      {"Sigmoid", Activate},
      {"Tanh", Activate},
      {"HardSigmoid", Activate},
      {"HardSwish", Activate},
      {"Add", Arithmetic},
      {"Sub", Arithmetic},
      {"Mul", Arithmetic},
      {"Div", Arithmetic},
      {"Softmax", Softmax},
      {"BatchNormalization", BatchNormalization},
      {"ReduceMean", ReduceMean},
  };
  for (const auto& own : kOwn) {
    if (op == own.op) return own.eval;
  }
  const OpDef* def = FindOp(op);
  return def == nullptr ? nullptr : def->eval;
}

}  // namespace reference

namespace {

class ReferenceNode : public CompiledNode {
 public:
  ReferenceNode(const NodeContext& context, EvalFn eval)
      : eval_(eval), node_(context.node), context_{node_, {}, {}, nullptr} {
    for (const TensorType& type : context.inputs) context_.inputs.push_back({nullptr, type.dtype, type.shape});
    for (const TensorType& type : context.outputs) context_.outputs.push_back({nullptr, type.dtype, type.shape});
  }

  absl::Status Run(const RunArgs& args) override {
    for (size_t i = 0; i < context_.inputs.size(); ++i) context_.inputs[i].data = args.inputs[i];
    for (size_t i = 0; i < context_.outputs.size(); ++i) context_.outputs[i].data = args.outputs[i];
    context_.pool = args.pool;
    return eval_(context_);
  }

  std::string kernel() const override { return "reference"; }
  std::string isa() const override { return "scalar"; }

 private:
  EvalFn eval_;
  Node node_;
  EvalContext context_;
};

class ReferenceBackend : public Backend {
 public:
  std::string name() const override { return "reference"; }

  absl::Status Supports(const NodeContext& context) const override {
    if (FindOp(context.node.op) == nullptr) {
      return MakeError(ErrorId::kUnsupportedNode, absl::StrCat("no operator ", Quoted(context.node.op)));
    }
    for (size_t i = 0; i < context.node.inputs.size(); ++i) {
      const Tensor* tensor = context.input(i);
      if (tensor != nullptr && tensor->is_constant() && !tensor->has_data) {
        return MakeError(ErrorId::kMissingForm, absl::StrCat("weight ", Quoted(tensor->name),
                                                             " has no float32 form; convert with --keep float"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    return std::unique_ptr<CompiledNode>(
        std::make_unique<ReferenceNode>(context, reference::FindOracle(context.node.op)));
  }
};

}  // namespace

std::shared_ptr<const Backend> MakeReferenceBackend() { return std::make_shared<ReferenceBackend>(); }

}  // namespace tally
