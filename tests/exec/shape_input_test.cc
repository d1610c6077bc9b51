// Models whose shapes follow from values of inputs: planned when the values are known, and again only when they change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "format/error.h"
#include "format/model_file.h"
#include "runtime/backend/registry.h"
#include "runtime/ops/op.h"
#include "tally/c_api.h"
#include "tally/tally.h"
#include "tests/exec/graph_builder.h"
#include "tests/format/sample_graph.h"
#include "tests/testing/count_allocations.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::allocations;
using testing::GraphBuilder;
using ::testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

std::string CodeOf(const absl::Status& status) { return GetErrorInfo(status).code; }

// Takes Relu and counts how often it is compiled, which is how often a session is planned.
class CountingBackend : public Backend {
 public:
  explicit CountingBackend(int* compiled) : compiled_(compiled) {}
  std::string name() const override { return "counting"; }
  absl::Status Supports(const NodeContext& context) const override {
    return context.node.op == "Relu" ? absl::OkStatus() : MakeError(ErrorId::kUnsupportedNode, "only Relu");
  }
  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    class Compiled : public CompiledNode {
     public:
      explicit Compiled(int64_t count) : count_(count) {}
      absl::Status Run(const RunArgs& args) override {
        const float* x = static_cast<const float*>(args.inputs[0]);
        float* y = static_cast<float*>(args.outputs[0]);
        for (int64_t i = 0; i < count_; ++i) y[i] = x[i] > 0 ? x[i] : 0;
        return absl::OkStatus();
      }
      std::string kernel() const override { return "relu"; }
      std::string isa() const override { return "scalar"; }

     private:
      int64_t count_;
    };
    ++*compiled_;
    return std::make_unique<Compiled>(context.inputs[0].elements());
  }

 private:
  int* compiled_;
};

// y = relu(reshape(x, s)); x is [N, 4].
Graph ReshapeGraph(Shape s = {2}) {
  GraphBuilder b;
  b.Input("x", {-1, 4}).Input("s", std::move(s), DType::kInt64);
  b.Add("Reshape", {"x", "s"}, {"r"});
  b.Add("Relu", {"r"}, {"y"});
  b.Output("y");
  return b.graph;
}

// A model that has been a file.
Model Saved(const Graph& graph, const LoadModelOptions& options = {}) {
  const absl::StatusOr<std::vector<uint8_t>> bytes = SerializeModel(graph);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  absl::StatusOr<Model> model = Model::Parse(bytes->data(), bytes->size(), options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

Session SessionOf(const Model& model, SessionOptions options = {}, int64_t batch = 0, int* compiled = nullptr) {
  static int ignored = 0;
  Registry registry;
  registry.Add(std::make_shared<CountingBackend>(compiled == nullptr ? &ignored : compiled));
  options.backends = {"counting"};
  if (batch > 0) options.dimensions = {{"N", batch}};
  absl::StatusOr<Session> session = Session::Create(model, options, registry);
  EXPECT_TRUE(session.ok()) << session.status();
  return *std::move(session);
}

const std::vector<float> kX = {-1, 2, -3, 4, -5, 6, -7, 8, -9, 10, -11, 12};
const std::vector<float> kY = {0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12};

NamedView X(int64_t batch = 3) { return {"x", {kX.data(), DType::kFloat32, {batch, 4}}}; }
NamedView Ints(const std::string& name, const std::vector<int64_t>& values) {
  return {name, {values.data(), DType::kInt64, {static_cast<int64_t>(values.size())}}};
}

std::vector<float> Floats(const absl::StatusOr<TensorView>& view) {
  EXPECT_TRUE(view.ok()) << view.status();
  if (!view.ok()) return {};
  const int64_t count = TensorType{view->dtype, view->shape}.elements();
  return {view->as<float>(), view->as<float>() + count};
}

TEST(ShapeInput, IsToldAndLeavesShapesOpenUntilItsValueIsKnown) {
  const Model model = Saved(ReshapeGraph());
  EXPECT_FALSE(model.inputs()[0].is_shape_input);
  EXPECT_TRUE(model.inputs()[1].is_shape_input);
  EXPECT_FALSE(model.outputs()[0].shape_known);
  int compiled = 0;
  Session session = SessionOf(model, {}, 3, &compiled);
  EXPECT_EQ(compiled, 0);
  EXPECT_EQ(session.inputs()[0].shape, (Shape{3, 4}));
  EXPECT_TRUE(session.inputs()[1].is_shape_input);
  EXPECT_FALSE(session.outputs()[0].shape_known);
  EXPECT_TRUE(session.placement().empty());
  EXPECT_EQ(session.stats().arena_bytes, 0u);
  EXPECT_EQ(CodeOf(session.tensor("y").status()), "TLY-E0204");

  const std::vector<int64_t> s = {2, 6};
  ASSERT_TRUE(session.Run({X(), Ints("s", s)}, {}).ok());
  EXPECT_TRUE(session.outputs()[0].shape_known);
  EXPECT_EQ(session.outputs()[0].shape, (Shape{2, 6}));
  EXPECT_EQ(session.placement().size(), 2u);
  EXPECT_EQ(session.tensor("y")->shape, (Shape{2, 6}));
  EXPECT_EQ(Floats(session.tensor("y")), kY);
}

TEST(ShapeInput, OnlyAnotherValueIsPlannedFor) {
  int compiled = 0;
  Session session = SessionOf(Saved(ReshapeGraph()), {}, 3, &compiled);
  std::vector<int64_t> s = {2, 6};
  std::vector<float> y(12);
  const auto run = [&](const Shape& shape) {
    return session.Run({X(), Ints("s", s)}, {{"y", {y.data(), DType::kFloat32, shape}}});
  };
  ASSERT_TRUE(run({2, 6}).ok());
  EXPECT_EQ(compiled, 1);
  const std::vector<NamedView> inputs = {X(), Ints("s", s)};
  const std::vector<NamedMutableView> outputs = {{"y", {y.data(), DType::kFloat32, {2, 6}}}};
  const int before = allocations;
  const bool ok = session.Run(inputs, outputs).ok();
  const int after = allocations;
  EXPECT_TRUE(ok);
  EXPECT_EQ(after - before, 0);
  EXPECT_EQ(compiled, 1);
  EXPECT_EQ(y, kY);

  s = {-1, 3};  // in the same buffer
  const absl::Status mismatch = run({2, 6});
  EXPECT_EQ(CodeOf(mismatch), "TLY-E0207");
  EXPECT_THAT(std::string(mismatch.message()), HasSubstr("\"y\" is 4x3, got 2x6"));
  EXPECT_EQ(compiled, 2);
  EXPECT_EQ(session.outputs()[0].shape, (Shape{4, 3}));
  y.assign(12, -1);
  ASSERT_TRUE(run({4, 3}).ok());
  EXPECT_EQ(compiled, 2) << "the failed run had planned already";
  EXPECT_EQ(y, kY);
}

TEST(ShapeInput, ValuesThatMakeNoShapeAreErrorsOfTheNodeAndChangeNothing) {
  int compiled = 0;
  Session session = SessionOf(Saved(ReshapeGraph()), {}, 3, &compiled);
  const std::vector<int64_t> good = {2, 6};
  ASSERT_TRUE(session.Run({X(), Ints("s", good)}, {}).ok());
  for (const std::vector<int64_t>& bad : std::vector<std::vector<int64_t>>{
           {2, 5}, {-1, -1}, {-2, 6}, {5, -1}, {kMax, kMax}, {kMin, 1}, {0, 5}, {int64_t{1} << 32, 1}}) {
    const absl::Status status = session.Run({X(), Ints("s", bad)}, {});
    EXPECT_EQ(CodeOf(status), "TLY-E0316") << status;
    EXPECT_EQ(GetErrorInfo(status).subject, "node \"Reshape_r\" (Reshape)");
    EXPECT_THAT(std::string(status.message()), HasSubstr("input 1 (shape)"));
    EXPECT_EQ(CodeOf(session.Prepare({X(), Ints("s", bad)})), "TLY-E0316");
  }
  EXPECT_EQ(session.outputs()[0].shape, (Shape{2, 6}));
  EXPECT_TRUE(session.Run({X(), Ints("s", good)}, {}).ok());
  EXPECT_EQ(compiled, 1);
}

TEST(ShapeInput, ItsViewIsCheckedLikeAnyOther) {
  Session session = SessionOf(Saved(ReshapeGraph()), {}, 3);
  const std::vector<int64_t> s = {2, 6};
  const std::vector<int32_t> narrow = {2, 6};
  EXPECT_EQ(CodeOf(session.Run({X()}, {})), "TLY-E0205");
  EXPECT_EQ(CodeOf(session.Prepare({X()})), "TLY-E0205");
  EXPECT_EQ(CodeOf(session.Run({X(), {"s", {narrow.data(), DType::kInt32, {2}}}}, {})), "TLY-E0206");
  EXPECT_EQ(CodeOf(session.Run({X(), {"s", {s.data(), DType::kInt64, {1, 2}}}}, {})), "TLY-E0207");
  EXPECT_EQ(CodeOf(session.Run({X(), {"s", {nullptr, DType::kInt64, {2}}}}, {})), "TLY-E0207");
  EXPECT_EQ(CodeOf(session.Run({X(), Ints("s", s), Ints("t", s)}, {})), "TLY-E0204");
  EXPECT_EQ(CodeOf(session.Run({Ints("s", s)}, {})), "TLY-E0205");
  EXPECT_TRUE(session.Run({X(), Ints("s", s)}, {}).ok());
}

TEST(ShapeInput, PrepareBindsExtentsAndValuesAtOnce) {
  int compiled = 0;
  Session session = SessionOf(Saved(ReshapeGraph({-2})), {}, 0, &compiled);
  const std::vector<int64_t> pair = {3, 4}, triple = {2, 2, 2}, bad = {9};
  ASSERT_TRUE(session.Prepare({X(3), Ints("s", pair)}).ok());
  EXPECT_EQ(session.outputs()[0].shape, (Shape{3, 4}));
  const std::vector<NamedView> inputs = {X(3), Ints("s", pair)};
  const int before = allocations;
  const bool ok = session.Run(inputs, {}).ok();
  const int after = allocations;
  EXPECT_TRUE(ok);
  EXPECT_EQ(after - before, 0);
  EXPECT_EQ(compiled, 1);
  ASSERT_TRUE(session.Prepare({{"x", {nullptr, DType::kFloat32, {2, 4}}}, Ints("s", triple)}).ok())
      << "only shape inputs are read";
  EXPECT_EQ(session.outputs()[0].shape, (Shape{2, 2, 2}));
  EXPECT_EQ(CodeOf(session.Prepare({X(3), Ints("s", bad)})), "TLY-E0316");
  EXPECT_EQ(session.inputs()[0].shape, (Shape{2, 4})) << "a failed Prepare keeps the old shapes";
  EXPECT_EQ(session.outputs()[0].shape, (Shape{2, 2, 2}));
  EXPECT_EQ(CodeOf(session.Run({X(3), Ints("s", pair)}, {})), "TLY-E0207") << "Run changes no extents";
  // With other extents a value may mean nothing, so that it is not planned for.
  ASSERT_TRUE(session.Resize({{"x", {3, 4}}}).ok());
  EXPECT_FALSE(session.outputs()[0].shape_known);
  EXPECT_EQ(compiled, 2);
  // Without shape inputs it is Resize.
  GraphBuilder plain;
  plain.Input("x", {-1, 4});
  plain.Add("Relu", {"x"}, {"y"});
  plain.Output("y");
  Session other = SessionOf(Saved(plain.graph));
  ASSERT_TRUE(other.Prepare({X(3)}).ok());
  EXPECT_EQ(other.outputs()[0].shape, (Shape{3, 4}));
}

TEST(ShapeInput, LimitsHoldForWhatItsValueAsksFor) {
  GraphBuilder b;
  b.Input("n", {}, DType::kInt64);
  b.Constant<int64_t>("zero", DType::kInt64, {}, {0});
  b.Constant<int64_t>("one", DType::kInt64, {}, {1});
  b.Add("Range", {"zero", "n", "one"}, {"y"});
  b.Output("y");
  LoadModelOptions options;
  options.limits.tensor_bytes = 1 << 20;
  options.limits.arena_bytes = 1 << 16;
  Session session = SessionOf(Saved(b.graph, options));
  const auto run = [&](int64_t n) { return session.Run({{"n", {&n, DType::kInt64, {}}}}, {}); };
  EXPECT_EQ(CodeOf(run(kMax)), "TLY-E0309");
  EXPECT_EQ(CodeOf(run(int64_t{1} << 30)), "TLY-E0503");
  EXPECT_EQ(CodeOf(run(100000)), "TLY-E0504");
  ASSERT_TRUE(run(1000).ok());
  EXPECT_EQ(session.tensor("y")->shape, (Shape{1000}));
  EXPECT_EQ(session.tensor("y")->as<int64_t>()[999], 999);
  ASSERT_TRUE(run(kMin).ok());
  EXPECT_EQ(session.outputs()[0].shape, (Shape{0}));
}

TEST(ShapeInput, WhatIsComputedFromItMayShapeToo) {
  // A mask as of sequence lengths: range(max(lengths)) < lengths, [B, T].
  GraphBuilder b;
  b.Input("lengths", {-1}, DType::kInt64);
  b.Constant<int64_t>("zero", DType::kInt64, {}, {0});
  b.Constant<int64_t>("one", DType::kInt64, {}, {1});
  b.Constant<int64_t>("axis", DType::kInt64, {1}, {1});
  b.Add("ReduceMax", {"lengths"}, {"longest"}).SetInts("keepdims", {0});
  b.Add("Range", {"zero", "longest", "one"}, {"steps"});
  b.Add("Unsqueeze", {"lengths", "axis"}, {"column"});
  b.Add("Less", {"steps", "column"}, {"mask"});
  b.Output("mask");
  Session session = SessionOf(Saved(b.graph), {}, 3);
  const std::vector<int64_t> lengths = {1, 3, 0};
  ASSERT_TRUE(session.Run({Ints("lengths", lengths)}, {}).ok());
  const absl::StatusOr<TensorView> mask = session.tensor("mask");
  ASSERT_TRUE(mask.ok()) << mask.status();
  ASSERT_EQ(mask->shape, (Shape{3, 3}));
  const bool expected[] = {true, false, false, true, true, true, false, false, false};
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(mask->as<bool>()[i], expected[i]) << i;
}

TEST(ShapeInput, MayBeAnOutputItself) {
  GraphBuilder b;
  b.Input("x", {-1, 4}).Input("s", {2}, DType::kInt64);
  b.Add("Reshape", {"x", "s"}, {"y"});
  b.Add("Identity", {"s"}, {"same"});
  b.Output("y").Output("same");
  Session session = SessionOf(Saved(b.graph), {}, 3);
  const std::vector<int64_t> s = {6, 2};
  std::vector<int64_t> same(2);
  std::vector<float> y(12);
  ASSERT_TRUE(session
                  .Run({X(), Ints("s", s)},
                       {{"y", {y.data(), DType::kFloat32, {6, 2}}}, {"same", {same.data(), DType::kInt64, {2}}}})
                  .ok());
  EXPECT_EQ(same, s);
  EXPECT_EQ(y, kX);
}

TEST(ShapeInput, ShapesThatDependOnDataAreRefusedWhenTheModelIsLoaded) {
  const auto error = [](const Graph& graph) { return Model::FromGraph(graph).status(); };
  GraphBuilder direct;  // a matrix is no shape input
  direct.Input("x", {2, 2}).Input("m", {1, 2}, DType::kInt64);
  direct.Constant<int64_t>("two", DType::kInt64, {1}, {2});
  direct.Add("Reshape", {"m", "two"}, {"s"});
  direct.Add("Reshape", {"x", "s"}, {"y"});
  direct.Output("y");
  EXPECT_EQ(CodeOf(error(direct.graph)), "TLY-E0316");
  EXPECT_THAT(std::string(error(direct.graph).message()), HasSubstr("depends on the data"));
  GraphBuilder behind;  // of a tensor whose own shape is not known yet
  behind.Input("x", {2, 2}).Input("m", {1, 2}, DType::kInt64).Input("s", {1}, DType::kInt64);
  behind.Add("Reshape", {"m", "s"}, {"t"});
  behind.Add("Reshape", {"x", "t"}, {"y"});
  behind.Output("y");
  EXPECT_EQ(CodeOf(error(behind.graph)), "TLY-E0316");
  EXPECT_THAT(std::string(error(behind.graph).message()), HasSubstr("input 1 depends on the data"));
  // The shape of such a tensor is fine.
  GraphBuilder shape;
  shape.Input("x", {2, 2}).Input("m", {2, 2}).Input("s", {2}, DType::kInt64);
  shape.Add("Reshape", {"m", "s"}, {"t"});
  shape.Add("Shape", {"t"}, {"u"});
  shape.Add("Reshape", {"x", "u"}, {"y"});
  shape.Output("y");
  Session session = SessionOf(Saved(shape.graph));
  const std::vector<int64_t> s = {4, 1};
  ASSERT_TRUE(
      session
          .Run({{"x", {kX.data(), DType::kFloat32, {2, 2}}}, {"m", {kX.data(), DType::kFloat32, {2, 2}}}, Ints("s", s)},
               {})
          .ok());
  EXPECT_EQ(session.outputs()[0].shape, (Shape{4, 1}));
}

TEST(ShapeInput, NodesBehindItAreCheckedAsFarAsTheyCanBe) {
  Graph graph = ReshapeGraph();
  graph.nodes[1].SetFloats("alpha", {1});
  EXPECT_EQ(CodeOf(Model::FromGraph(graph).status()), "TLY-E0315");
  graph = ReshapeGraph();
  graph.nodes[1].inputs.clear();
  EXPECT_EQ(CodeOf(Model::FromGraph(graph).status()), "TLY-E0316");
  graph = ReshapeGraph();
  graph.nodes[1].op = "Zap";
  EXPECT_EQ(CodeOf(Model::FromGraph(graph).status()), "TLY-E0603");
}

// Products of codes behind a Reshape by value give the bits of the same network with a Flatten.
TEST(ShapeInput, EveryExactBackendFollowsTheValueAndKeepsItsBits) {
  Graph flatten = testing::SmallConvNet();
  Graph reshape = flatten;
  const auto node =
      std::find_if(reshape.nodes.begin(), reshape.nodes.end(), [](const Node& n) { return n.op == "Flatten"; });
  ASSERT_NE(node, reshape.nodes.end());
  Tensor s;
  s.name = "s";
  s.dtype = DType::kInt64;
  s.shape = {2};
  *node = {"reshape", "Reshape", {node->inputs[0], reshape.AddTensor(s)}, node->outputs, {}};
  reshape.inputs.push_back(node->inputs[1]);
  for (Graph* graph : {&flatten, &reshape}) graph->golden.clear();
  const Model expected_model = Saved(flatten), model = Saved(reshape);
  std::vector<float> x(3 * 3 * 8 * 8);
  std::minstd_rand random(3);
  for (float& v : x) v = static_cast<float>(random() % 200) / 100 - 1;
  for (const std::string& backend : AvailableBackends()) {
    SessionOptions options;
    options.backends = {backend};
    options.num_threads = 2;
    options.tuning = Tuning::kRules;  // bits are looked at, not speed
    absl::StatusOr<Session> expected = Session::Create(expected_model, options);
    if (CodeOf(expected.status()) == "TLY-E0606") continue;  // it wants a form that these weights lack
    ASSERT_TRUE(expected.ok()) << expected.status();
    absl::StatusOr<Session> session = Session::Create(model, options);
    ASSERT_TRUE(session.ok()) << session.status();
    for (int64_t batch : {1, 3, 2}) {
      SCOPED_TRACE(backend + ", batch " + std::to_string(batch));
      const NamedView input{"input", {x.data(), DType::kFloat32, {batch, 3, 8, 8}}};
      const std::vector<int64_t> value = {batch, 4};
      ASSERT_TRUE(expected->Prepare({input}).ok());
      ASSERT_TRUE(expected->Run({input}, {}).ok());
      ASSERT_TRUE(session->Prepare({input, Ints("s", value)}).ok());
      ASSERT_TRUE(session->Run({input, Ints("s", value)}, {}).ok());
      EXPECT_EQ(Floats(session->tensor("logits")), Floats(expected->tensor("logits")));
    }
  }
}

// Every operator whose shape follows from values, with values that nobody sends: an error with a documented code, or a
// run within the limits.
TEST(ShapeInput, HostileValuesAreRefusedOrRun) {
  constexpr int64_t kHostile[] = {0,   1,          2,          3,           -1,   -2,       4,   64,
                                  -64, 2147483647, 2147483648, -2147483648, kMax, kMax - 1, kMin};
  LoadModelOptions options;
  options.limits.tensor_bytes = 1 << 16;
  options.limits.arena_bytes = 1 << 18;
  std::minstd_rand random(11);
  for (const OpDef* def : AllOps()) {
    if (def->shaped_by == 0) continue;
    SCOPED_TRACE(def->name);
    const std::string op = def->name;
    int ran = 0, refused = 0;
    for (int rank = 1; rank <= 2; ++rank) {
      GraphBuilder b;
      std::vector<std::string> names;
      std::vector<TensorType> types;
      for (int i = 0; i < (op == "Slice" ? 5 : op == "Resize" ? 3 : std::max(def->min_inputs, 2)); ++i) {
        TensorType type{DType::kFloat32, i == 0 ? Shape(static_cast<size_t>(rank), op == "Squeeze" ? 1 : 3) : Shape{2}};
        if (op == "Range") type = {DType::kInt64, {}};
        if (op == "OneHot" && i == 0) type = {DType::kInt64, {3}};
        if (IsShapedBy(*def, static_cast<size_t>(i)) && op != "Range") {
          const bool single = op == "TopK" || op == "OneHot" || (rank == 1 && op != "Pad" && op != "Split");
          type = {DType::kInt64, {single ? 1 : op == "Pad" ? 2 * rank : 2}};
        }
        names.push_back("i" + std::to_string(i));
        if (op == "Resize" && i == 1) {  // scales beside sizes are not looked at
          names.back() = "";
          types.push_back({});
          continue;
        }
        b.Input(names.back(), type.shape, type.dtype);
        types.push_back(type);
      }
      std::vector<std::string> outputs = {"y"};
      if (op == "TopK" || op == "Split") outputs.push_back("z");
      b.Add(op, names, outputs);
      b.Output("y");
      const Model model = Saved(b.graph, options);
      Session session = SessionOf(model);
      for (int trial = 0; trial < 400; ++trial) {
        std::vector<std::vector<int64_t>> values;
        std::vector<NamedView> inputs;
        for (size_t i = 0; i < names.size(); ++i) {
          values.emplace_back(static_cast<size_t>(std::max<int64_t>(1, types[i].elements())));
          for (int64_t& v : values[i]) {
            v = types[i].dtype == DType::kFloat32 ? 0 : kHostile[random() % (trial % 2 == 0 ? 5 : std::size(kHostile))];
          }
          if (!names[i].empty()) inputs.push_back({names[i], {values[i].data(), types[i].dtype, types[i].shape}});
        }
        const absl::Status status = session.Run(inputs, {});
        (status.ok() ? ran : refused) += 1;
        const std::string code = CodeOf(status);
        EXPECT_TRUE(status.ok() || code == "TLY-E0309" || code == "TLY-E0316" || code == "TLY-E0503" ||
                    code == "TLY-E0504")
            << status;
      }
    }
    // Both ends, or the test shows nothing.
    EXPECT_GT(ran, 10);
    EXPECT_GT(refused, 10);
  }
}

TEST(ShapeInput, HostileFloatsAreRefusedOrRun) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kHostile[] = {
      std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 0, -1, 2, 1e-38f, 3e38f};
  LoadModelOptions options;
  options.limits.tensor_bytes = 1 << 16;
  GraphBuilder range;
  range.Input("start", {}).Input("limit", {}).Input("delta", {});
  range.Add("Range", {"start", "limit", "delta"}, {"y"});
  range.Output("y");
  Session ranges = SessionOf(Saved(range.graph, options));
  GraphBuilder resize;
  resize.Input("x", {4}).Input("scales", {1});
  resize.Add("Resize", {"x", "scales"}, {"y"});
  resize.Output("y");
  Session resizes = SessionOf(Saved(resize.graph, options));
  int ran = 0, refused = 0;
  const auto run = [&](Session& session, const std::vector<NamedView>& inputs) {
    const absl::Status status = session.Run(inputs, {});
    (status.ok() ? ran : refused) += 1;
    const std::string code = CodeOf(status);
    EXPECT_TRUE(status.ok() || code == "TLY-E0309" || code == "TLY-E0316" || code == "TLY-E0503") << status;
  };
  for (const float& a : kHostile) {
    run(resizes, {{"x", {kX.data(), DType::kFloat32, {4}}}, {"scales", {&a, DType::kFloat32, {1}}}});
    for (const float& b : kHostile) {
      for (const float& c : kHostile) {
        run(ranges, {{"start", {&a, DType::kFloat32, {}}},
                     {"limit", {&b, DType::kFloat32, {}}},
                     {"delta", {&c, DType::kFloat32, {}}}});
      }
    }
  }
  EXPECT_GT(ran, 100);
  EXPECT_GT(refused, 100);
}

TEST(CApi, PreparesForValues) {
  const std::string path = testing::TempDir() + "/reshape.tally";
  ASSERT_TRUE(WriteModelFile(ReshapeGraph(), path).ok());
  tally_model* model = nullptr;
  tally_session* session = nullptr;
  tally_session_options options = {sizeof(options), "", 1, 0};
  ASSERT_EQ(tally_model_load(path.c_str(), &model), TALLY_OK) << tally_last_error();
  ASSERT_EQ(tally_session_create(model, &options, &session), TALLY_OK) << tally_last_error();
  EXPECT_EQ(tally_session_output(session, 0).rank, 0u);
  const int64_t x_shape[] = {3, 4}, s_shape[] = {2};
  int64_t s[] = {2, 6};
  std::vector<float> x = kX, y(12);
  const tally_tensor inputs[] = {{"x", x.data(), TALLY_FLOAT32, x_shape, 2}, {"s", s, TALLY_INT64, s_shape, 1}};
  ASSERT_EQ(tally_session_prepare(session, inputs, 2), TALLY_OK) << tally_last_error();
  tally_tensor output = tally_session_output(session, 0);
  ASSERT_EQ(output.rank, 2u);
  EXPECT_EQ(output.shape[0], 2);
  EXPECT_EQ(output.shape[1], 6);
  output.data = y.data();
  ASSERT_EQ(tally_session_run(session, inputs, 2, &output, 1), TALLY_OK) << tally_last_error();
  EXPECT_EQ(y, kY);
  s[0] = 5;
  EXPECT_EQ(tally_session_prepare(session, inputs, 2), 3);
  EXPECT_THAT(tally_last_error(), HasSubstr("TLY-E0316"));
  EXPECT_EQ(tally_session_prepare(nullptr, inputs, 2), 2);
  tally_session_destroy(session);
  tally_model_destroy(model);
}

}  // namespace
}  // namespace tally
