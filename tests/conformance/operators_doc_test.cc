// docs/operators.md is written from the operator table, the importer's table and what the backends say. After a change:
//
//   TALLY_WRITE_DOCS=1 build/release/bin/operators_doc_test
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "backends/all/all.h"
#include "converter/onnx/operators.h"
#include "runtime/ops/op.h"
#include "tests/format/sample_graph.h"
#include "tests/testing/paths.h"

namespace tally::testing {
namespace {

constexpr char kIntroduction[] = R"(# Operators

What a Tally graph may contain, which ONNX operators become it, and who runs it. Written from the code; see
`tests/conformance/operators_doc_test.cc`.

Names and meanings are ONNX's; where opsets differ, the newest form is the only one (the importer rewrites older ones).
Every operator runs on the shared float operators (`runtime/ops`), which give the same bits on every CPU and at every thread count, and on
`reference`. *Backends* lists those that have kernels of their own, given the weight forms that they need.

## Operators of a graph

An input in brackets is optional. `*`: shapes follow from its value, which must be *known when a session is planned*: a constant, or
computed from shapes (Shape and arithmetic on it) and from *shape inputs*, inputs of the model that are scalars or vectors. A run
with another value of a shape input [plans anew](decisions/0017-shape-inputs.md). Data-dependent indices are checked in every run;
one out of range is an error.

| operator | element types of the first input | inputs, meaning | attributes | backends |
|---|---|---|---|---|
)";

constexpr char kFused[] = R"(
`activation` of Conv and Gemm names one of the activation functions (Relu, Clip, LeakyRelu, Sigmoid, Tanh, HardSigmoid, HardSwish, Elu,
Selu, Celu, ThresholdedRelu, Shrink, Softplus, Softsign, Gelu, GeluTanh); `activation_params` are that operator's attributes in order.
After the dot product come scale, bias, residual, activation.

## ONNX operators that are imported
)";

constexpr char kOnnx[] = R"(
Models have opset 6 to 21; an older one is taken where each of its operators is listed from 1 on. Constant
becomes a constant; If with a constant condition becomes the branch that it takes. float16, bfloat16 and float64 tensors,
inputs of the model included, become float32; a Cast to a 16-bit float rounds to what it holds. Tensors have rank 6 at most.

- *Made of others*: 3-D convolutions and pools, ConvTranspose (zeros spread between its inputs, then a convolution), LSTM, GRU and RNN (a Gemm
  for all inputs, then the recurrence), Einsum, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp, Mean, Mish,
  MeanVarianceNormalization, LpNormalization, DynamicQuantizeLinear, ConstantOfShape, EyeLike, Size, CastLike.
- *Refused*, each by name, with every other offender of the model in one report: operators that are not listed (control flow with
  other conditions, sequences, optionals, strings, random numbers, training, and those whose output's extents depend on data: NonZero,
  Compress, Unique, NonMaxSuppression); element types that the table above does not list; attributes that change the meaning and are not listed there.

| operator | opsets | inputs | refused |
|---|---|---|---|
)";

// A node of this operator with weights in every form, as the kernels of backends like it.
struct Sample {
  Graph graph;
  std::vector<TensorType> inputs, outputs;
};

Sample SampleOf(const OpDef& def) {
  Sample sample;
  Random random(1);
  const std::string op = def.name;
  if (op == "Gather") {
    const Shape table = {6, 8}, ids = {3};
    sample.graph.AddTensor(CodedWeight("table", table, SampleCodebook(3, true), random));
    Tensor indices = Activation("ids");
    indices.dtype = DType::kInt64;
    indices.shape = ids;
    sample.graph.inputs = {sample.graph.AddTensor(indices)};
    const int y = sample.graph.AddTensor(Activation("y"));
    sample.graph.nodes.push_back({"node", op, {0, 1}, {y}, {}});
    sample.inputs = {{DType::kFloat32, table}, {DType::kInt64, ids}};
    sample.outputs = {{DType::kFloat32, {3, 8}}};
    return sample;
  }
  const Shape x = op == "Gemm" ? Shape{2, 8} : op == "MatMul" ? Shape{2, 4, 8} : Shape{1, 4, 8, 8};
  Tensor input = Activation("x");
  input.codebook = SampleCodebook(4, true);
  input.range = Range{-1, 1};
  input.shape = x;
  Node node{"node", op, {sample.graph.AddTensor(input)}, {}, {}};
  sample.graph.inputs = {0};
  sample.inputs = {{DType::kFloat32, x}};
  if (op == "Conv" || op == "Gemm") {
    const Shape shape = op == "Gemm" ? Shape{8, 8} : Shape{4, 4, 3, 3};
    const Tensor weight = CodedWeight("w", shape, SampleCodebook(3, true), random);
    node.inputs.push_back(sample.graph.AddTensor(weight));
    sample.inputs.push_back({DType::kFloat32, shape});
    sample.outputs = {{DType::kFloat32, op == "Gemm" ? Shape{2, 8} : Shape{1, 4, 6, 6}}};
  } else {
    for (int i = 1; i < def.min_inputs; ++i) {
      input.name = "x" + std::to_string(i);
      input.shape = op == "MatMul" ? Shape{2, 8, 4} : x;
      node.inputs.push_back(sample.graph.AddTensor(input));
      sample.graph.inputs.push_back(node.inputs.back());
      sample.inputs.push_back({DType::kFloat32, input.shape});
    }
    sample.outputs.assign(static_cast<size_t>(def.min_outputs), {DType::kFloat32, op == "MatMul" ? Shape{2, 4, 4} : x});
  }
  for (size_t i = 0; i < sample.outputs.size(); ++i) {
    node.outputs.push_back(sample.graph.AddTensor(Activation("y" + std::to_string(i))));
  }
  sample.graph.nodes.push_back(node);
  return sample;
}

std::string BackendsOf(const OpDef& def) {
  const Registry registry = DefaultRegistry();
  const Sample sample = SampleOf(def);
  std::string names;
  for (const std::string& name : registry.names()) {
    if (name == "reference") continue;
    NodeContext context{sample.graph, sample.graph.nodes[0], sample.inputs, sample.outputs, CpuFeatures(), 1};
    if (registry.Find(name)->Supports(context).ok()) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

std::string Attributes(const OpDef& def) {
  std::istringstream spec(def.attributes);
  std::string text;
  for (std::string entry; spec >> entry;) text += (text.empty() ? "`" : " `") + entry + "`";
  return text;
}

std::string Escaped(std::string text) {
  for (size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.insert(at, "\\");
  return text;
}

std::string Document() {
  std::string text = kIntroduction;
  for (const OpDef* def : AllOps()) {
    text += std::string("| ") + def->name + " | " + TypeNames(def->types) + " | " + Escaped(def->note) + " | " +
            Attributes(*def) + " | " + BackendsOf(*def) + " |\n";
  }
  text += kFused;
  text += kOnnx;
  for (const OperatorImport* row : AllOperatorImports()) {
    std::string inputs = std::to_string(row->min_inputs);
    if (row->max_inputs < 0) inputs += " or more";
    if (row->max_inputs > row->min_inputs) inputs += " to " + std::to_string(row->max_inputs);
    text += std::string("| ") + row->name + " | " + std::to_string(row->since) + " to " + std::to_string(kMaxOpset) +
            " | " + inputs + " | " + row->refuses + " |\n";
  }
  return text;
}

TEST(OperatorsDocument, IsUpToDate) {
  for (const char* name : {"onednn", "xnnpack"}) {
    if (DefaultRegistry().Find(name) == nullptr)
      GTEST_SKIP() << "the document lists every backend; no " << name << " here";
  }
  const std::string path = SourcePath("docs/operators.md");
  const std::string text = Document();
  if (std::getenv("TALLY_WRITE_DOCS") != nullptr) std::ofstream(path) << text;
  std::ifstream in(path);
  std::stringstream committed;
  committed << in.rdbuf();
  EXPECT_EQ(committed.str(), text) << "run TALLY_WRITE_DOCS=1 operators_doc_test";
}

TEST(OperatorsDocument, ListsWhatBackendsRun) {
  EXPECT_NE(BackendsOf(*FindOp("Conv")).find("exponent"), std::string::npos);
  EXPECT_NE(BackendsOf(*FindOp("MatMul")).find("exponent"), std::string::npos);
  EXPECT_EQ(BackendsOf(*FindOp("Sin")), "");
}

TEST(OperatorTables, AreSortedByName) {
  const auto sorted = [](const auto& rows) {
    return std::is_sorted(rows.begin(), rows.end(),
                          [](const auto* a, const auto* b) { return std::string(a->name) < b->name; });
  };
  EXPECT_TRUE(sorted(AllOps()));
  EXPECT_TRUE(sorted(AllOperatorImports()));
}

}  // namespace
}  // namespace tally::testing
