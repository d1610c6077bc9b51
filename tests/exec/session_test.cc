#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "format/error.h"
#include "runtime/backend/registry.h"
#include "runtime/core/thread_pool.h"
#include "tally/tally.h"
#include "tests/exec/graph_builder.h"

namespace tally {
namespace {

using testing::GraphBuilder;

// Takes Relu only; what its nodes do on Run is given.
class FakeBackend : public Backend {
 public:
  using Body = std::function<absl::Status(const RunArgs&, size_t count)>;
  explicit FakeBackend(Body body) : body_(std::move(body)) {}
  std::string name() const override { return "fake"; }
  absl::Status Supports(const NodeContext& context) const override {
    return context.node.op == "Relu" ? absl::OkStatus() : MakeError(ErrorId::kUnsupportedNode, "only Relu");
  }
  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    class Compiled : public CompiledNode {
     public:
      Compiled(Body body, size_t count) : body_(std::move(body)), count_(count) {}
      absl::Status Run(const RunArgs& args) override { return body_(args, count_); }
      std::string kernel() const override { return "fake_relu"; }
      std::string isa() const override { return "scalar"; }

     private:
      Body body_;
      size_t count_;
    };
    return std::make_unique<Compiled>(body_, static_cast<size_t>(context.inputs[0].elements()));
  }

 private:
  Body body_;
};

absl::Status PlainRelu(const RunArgs& args, size_t count) {
  const float* x = static_cast<const float*>(args.inputs[0]);
  float* y = static_cast<float*>(args.outputs[0]);
  for (size_t i = 0; i < count; ++i) y[i] = x[i] > 0 ? x[i] : 0;
  return absl::OkStatus();
}

Registry FakeRegistry(FakeBackend::Body body = PlainRelu) {
  Registry registry;
  registry.Add(std::make_shared<FakeBackend>(std::move(body)));
  return registry;
}

SessionOptions OnFake() {
  SessionOptions options;
  options.backends = {"fake"};
  return options;
}

// y = relu(x) + c, z = y flattened; x is [N, 2, 2].
Graph SmallGraph() {
  GraphBuilder b;
  b.Input("x", {-1, 2, 2});
  b.Constant<float>("c", DType::kFloat32, {2}, {10, 20});
  b.Add("Relu", {"x"}, {"r"});
  b.Add("Add", {"r", "c"}, {"y"});
  b.Add("Flatten", {"y"}, {"z"});
  b.Output("y").Output("z");
  return b.graph;
}

Session MakeSession(const SessionOptions& options = OnFake(), const Registry& registry = FakeRegistry(),
                    Graph graph = SmallGraph()) {
  absl::StatusOr<Model> model = Model::FromGraph(std::move(graph));
  EXPECT_TRUE(model.ok()) << model.status();
  absl::StatusOr<Session> session = Session::Create(*model, options, registry);
  EXPECT_TRUE(session.ok()) << session.status();
  return *std::move(session);  // the model ends here; the session keeps what it needs
}

const std::vector<float> kInput = {-1, 2, 3, -4};

absl::Status RunSmall(Session& session, std::vector<float>* y, std::vector<float>* z, const RunOptions& options = {}) {
  y->assign(4, -1);
  z->assign(4, -1);
  return session.Run({{"x", {kInput.data(), DType::kFloat32, {1, 2, 2}}}},
                     {{"y", {y->data(), DType::kFloat32, {1, 2, 2}}}, {"z", {z->data(), DType::kFloat32, {1, 4}}}},
                     options);
}

std::string CodeOf(const absl::Status& status) { return GetErrorInfo(status).code; }

TEST(Session, RunsAndFillsOutputsThatShareOneValue) {
  Session session = MakeSession();
  std::vector<float> y, z;
  for (int run = 0; run < 3; ++run) {
    ASSERT_TRUE(RunSmall(session, &y, &z).ok());
    EXPECT_EQ(y, (std::vector<float>{10, 22, 13, 20}));
    EXPECT_EQ(z, y);
  }
}

TEST(Session, MayShareAThreadPool) {
  GraphBuilder b;
  b.Input("x", {1, 1000});
  b.Add("Relu", {"x"}, {"y"});
  b.Output("y");
  absl::StatusOr<Model> model = Model::FromGraph(b.graph);
  ASSERT_TRUE(model.ok()) << model.status();
  auto pool = ThreadPool::Create(3, ThreadPool::Idle::kSleep);
  ASSERT_TRUE(pool.ok()) << pool.status();
  SessionOptions options;
  options.backends = {};
  options.num_threads = 1;
  options.thread_pool = *std::move(pool);
  std::vector<float> x(1000), y(1000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 500;
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<Session> session = Session::Create(*model, options, Registry());
    ASSERT_TRUE(session.ok()) << session.status();
    EXPECT_EQ(session->num_threads(), 3);
    ASSERT_TRUE(
        session->Run({{"x", {x.data(), DType::kFloat32, {1, 1000}}}}, {{"y", {y.data(), DType::kFloat32, {1, 1000}}}})
            .ok());
    EXPECT_EQ(y[400], 0);
    EXPECT_EQ(y[600], 100);
  }
}

TEST(Session, OutputsThatAreNotAskedForNeedNoBuffer) {
  Session session = MakeSession();
  std::vector<float> z(4);
  const NamedView in{"x", {kInput.data(), DType::kFloat32, {1, 2, 2}}};
  ASSERT_TRUE(session.Run({in}, {}).ok());
  ASSERT_TRUE(session.Run({in}, {{"z", {z.data(), DType::kFloat32, {1, 4}}}}).ok());
  EXPECT_EQ(z, (std::vector<float>{10, 22, 13, 20}));
  ASSERT_TRUE(session.Run({in}, {}).ok());
}

TEST(Session, PlacementSaysWhereAndWhyNot) {
  Session session = MakeSession();
  const std::vector<NodePlacement>& p = session.placement();
  ASSERT_EQ(p.size(), 3u);
  EXPECT_EQ(p[0].backend, "fake");
  EXPECT_EQ(p[0].kernel, "fake_relu");
  EXPECT_EQ(p[1].backend, "ops");
  ASSERT_EQ(p[1].refused.size(), 1u);
  EXPECT_EQ(p[1].refused[0].backend, "fake");
  EXPECT_NE(p[1].refused[0].reason.find("only Relu"), std::string::npos);
  EXPECT_EQ(p[2].kernel, "view");
}

// Says that it may stand in for others of its kind, and counts what runs.
class StandIn : public FakeBackend {
 public:
  StandIn(std::string name, int* runs)
      : FakeBackend([runs](const RunArgs& args, size_t n) {
          ++*runs;
          return PlainRelu(args, n);
        }),
        name_(std::move(name)) {}
  std::string name() const override { return name_; }
  bool may_stand_in() const override { return true; }

 private:
  std::string name_;
};

TEST(Session, BackendsThatMayStandInForEachOtherAreMeasuredUnlessRulesDecide) {
  int first_runs = 0, second_runs = 0, other_runs = 0;
  Registry registry;
  registry.Add(std::make_shared<StandIn>("first", &first_runs));
  registry.Add(std::make_shared<StandIn>("second", &second_runs));
  registry.Add(std::make_shared<FakeBackend>([&](const RunArgs& args, size_t n) {
    ++other_runs;
    return PlainRelu(args, n);
  }));
  SessionOptions options;
  options.backends = {"first", "fake", "second"};
  options.tuning = Tuning::kRules;
  const Session by_rule = MakeSession(options, registry);
  EXPECT_EQ(by_rule.placement()[0].backend, "first");
  EXPECT_EQ(by_rule.placement()[0].why, "rule");
  EXPECT_EQ(first_runs + second_runs, 0);
  options.tuning = Tuning::kMeasure;
  Session measured = MakeSession(options, registry);
  EXPECT_GE(first_runs, 1);
  EXPECT_GE(second_runs, 1);
  EXPECT_EQ(other_runs, 0) << "it has no bits to keep, so it is no alternative";
  EXPECT_NE(measured.placement()[0].why, "rule");
  EXPECT_EQ(measured.placement()[1].why, "") << "the shared operators are no choice";
  std::vector<float> y, z;
  ASSERT_TRUE(RunSmall(measured, &y, &z).ok());
  EXPECT_EQ(y, (std::vector<float>{10, 22, 13, 20}));
  // The first that takes a node decides whether there are alternatives.
  options.backends = {"fake", "first", "second"};
  const int runs = first_runs + second_runs;
  EXPECT_EQ(MakeSession(options, registry).placement()[0].why, "only kernel");
  EXPECT_EQ(first_runs + second_runs, runs);
}

TEST(Session, ResizeInAChildOfForkMeasuresNothing) {
  int runs = 0;
  Registry registry;
  registry.Add(std::make_shared<StandIn>("first", &runs));
  registry.Add(std::make_shared<StandIn>("second", &runs));
  SessionOptions options;
  options.backends = {"first", "second"};
  options.num_threads = 2;
  Session session = MakeSession(options, registry);
  const pid_t child = fork();
  if (child == 0) {
    runs = 0;
    const bool ok = session.Resize({{"x", {77, 2, 2}}}).ok() && runs == 0;
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Session, RequireBackendMakesAFallbackAnError) {
  absl::StatusOr<Model> model = Model::FromGraph(SmallGraph());
  SessionOptions options = OnFake();
  options.require_backend = true;
  const absl::Status status = Session::Create(*model, options, FakeRegistry()).status();
  EXPECT_EQ(CodeOf(status), "TLY-E0608");
  EXPECT_EQ(ExitStatus(status), 6);
  EXPECT_NE(GetErrorInfo(status).subject.find("Add_y"), std::string::npos) << status;
}

// Models of images and sequences of any size halve them several times, which an extent of 1 does not survive.
TEST(Session, WindowsNeedNotFitIntoAnExtentOfOne) {
  GraphBuilder b;
  b.Input("x", {-1, 1, 8, -2});
  Node& pool = b.Add("AveragePool", {"x"}, {"y"});
  pool.SetInts("kernel_shape", {2, 2});
  pool.SetInts("strides", {2, 2});
  b.Output("y");
  absl::StatusOr<Model> model = Model::FromGraph(b.graph);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->outputs()[0].shape, (Shape{1, 1, 4, 32}));
  SessionOptions options;
  options.backends = {};
  EXPECT_EQ(CodeOf(Session::Create(*model, options, Registry()).status()), "TLY-E0316");
  options.dimensions = {{"M", 6}};
  const absl::StatusOr<Session> session = Session::Create(*model, options, Registry());
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->outputs()[0].shape, (Shape{1, 1, 4, 3}));
}

TEST(Session, BeginsWithTheExtentsOfTheCalibrationData) {
  GraphBuilder b;
  b.Input("x", {-1, -2});
  b.Add("Relu", {"x"}, {"y"});
  b.Output("y");
  SessionOptions options;
  options.backends = {};
  const auto input_of = [&](const std::string& recorded) {
    b.graph.metadata["extent.M"] = recorded;
    const absl::StatusOr<Model> model = Model::FromGraph(b.graph);
    EXPECT_TRUE(model.ok()) << model.status();
    const absl::StatusOr<Session> session = Session::Create(*model, options, Registry());
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? session->inputs()[0].shape : Shape();
  };
  EXPECT_EQ(input_of("10"), (Shape{1, 10}));
  // What no converter would write, or no session could hold, counts for nothing.
  for (const char* nonsense : {"", "0", "-4", "ten", "2147483647", "99999999999999999999"})
    EXPECT_EQ(input_of(nonsense), (Shape{1, 1}));
  options.dimensions = {{"M", 6}, {"N", 2}};
  EXPECT_EQ(input_of("10"), (Shape{2, 6}));
}

TEST(Session, ResizesDynamicExtentsAndOnlyThose) {
  Session session = MakeSession();
  ASSERT_TRUE(session.Resize({{"x", {3, 2, 2}}}).ok());
  EXPECT_EQ(session.outputs()[1].shape, (Shape{3, 4}));
  EXPECT_EQ(CodeOf(session.Resize({{"x", {3, 2, 5}}})), "TLY-E0207");
  EXPECT_EQ(CodeOf(session.Resize({{"x", {3, 2}}})), "TLY-E0207");
  EXPECT_EQ(CodeOf(session.Resize({{"w", {3}}})), "TLY-E0204");
  EXPECT_EQ(CodeOf(session.Resize({{"x", {1 << 30, 2, 2}}})), "TLY-E0503");
  EXPECT_EQ(session.inputs()[0].shape, (Shape{3, 2, 2})) << "a failed Resize keeps the old shapes";
  ASSERT_TRUE(session.Resize({{"x", {0, 2, 2}}}).ok()) << "an empty batch is legal";
  EXPECT_TRUE(session.Run({{"x", {nullptr, DType::kFloat32, {0, 2, 2}}}}, {}).ok());
}

TEST(Session, WrongInputsAndOutputsAreNamed) {
  Session session = MakeSession();
  std::vector<float> y(4);
  const TensorView good{kInput.data(), DType::kFloat32, {1, 2, 2}};
  EXPECT_EQ(CodeOf(session.Run({}, {})), "TLY-E0205");
  EXPECT_EQ(CodeOf(session.Run({{"x", good}, {"w", good}}, {})), "TLY-E0204");
  EXPECT_EQ(CodeOf(session.Run({{"x", {kInput.data(), DType::kInt32, {1, 2, 2}}}}, {})), "TLY-E0206");
  EXPECT_EQ(CodeOf(session.Run({{"x", {kInput.data(), DType::kFloat32, {2, 2}}}}, {})), "TLY-E0207");
  EXPECT_EQ(CodeOf(session.Run({{"x", {nullptr, DType::kFloat32, {1, 2, 2}}}}, {})), "TLY-E0207");
  EXPECT_EQ(CodeOf(session.Run({{"x", good}}, {{"q", {y.data(), DType::kFloat32, {1, 2, 2}}}})), "TLY-E0204");
  EXPECT_EQ(CodeOf(session.Run({{"x", good}}, {{"y", {y.data(), DType::kFloat32, {4}}}})), "TLY-E0207");
  std::vector<float> z;
  EXPECT_TRUE(RunSmall(session, &y, &z).ok()) << "the session stays usable";
}

TEST(Session, UnknownBackendListsWhatThereIs) {
  absl::StatusOr<Model> model = Model::FromGraph(SmallGraph());
  SessionOptions options;
  options.backends = {"npu"};
  const absl::Status status = Session::Create(*model, options, FakeRegistry()).status();
  EXPECT_EQ(CodeOf(status), "TLY-E0202");
  EXPECT_NE(std::string(status.message()).find("fake"), std::string::npos);
}

TEST(Session, ThreadCountsOutsideTheLimitAreRefused) {
  absl::StatusOr<Model> model = Model::FromGraph(SmallGraph());
  for (int threads : {-1, 1000000}) {
    SessionOptions options = OnFake();
    options.num_threads = threads;
    EXPECT_EQ(CodeOf(Session::Create(*model, options, FakeRegistry()).status()), "TLY-E0203");
  }
  SessionOptions automatic = OnFake();
  automatic.num_threads = 0;
  EXPECT_TRUE(Session::Create(*model, automatic, FakeRegistry()).ok());
}

TEST(Session, CancelAndDeadlineStopBetweenNodesAndLeaveItUsable) {
  CancellationToken token;
  Session session = MakeSession(OnFake(), FakeRegistry([&](const RunArgs& args, size_t n) {
                                  token.Cancel();
                                  return PlainRelu(args, n);
                                }));
  std::vector<float> y, z;
  RunOptions cancellable;
  cancellable.cancellation = &token;
  EXPECT_EQ(CodeOf(RunSmall(session, &y, &z, cancellable)), "TLY-E0507");
  RunOptions late;
  late.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(CodeOf(RunSmall(session, &y, &z, late)), "TLY-E0508");
  EXPECT_TRUE(RunSmall(session, &y, &z).ok());
}

TEST(Session, BackendsThatFailOrThrowBecomeErrorsThatNameTheNode) {
  int calls = 0;
  Session session = MakeSession(OnFake(), FakeRegistry([&](const RunArgs& args, size_t n) -> absl::Status {
                                  switch (calls++) {
                                    case 0: return absl::UnknownError("out of magic");
                                    case 1: throw std::runtime_error("boom");
                                    case 2: throw std::bad_alloc();
                                    case 3: throw 42;
                                    default: return PlainRelu(args, n);
                                  }
                                }));
  std::vector<float> y, z;
  const absl::Status failed = RunSmall(session, &y, &z);
  EXPECT_EQ(CodeOf(failed), "TLY-E7002");
  EXPECT_NE(GetErrorInfo(failed).subject.find("Relu_r"), std::string::npos) << failed;
  EXPECT_EQ(CodeOf(RunSmall(session, &y, &z)), "TLY-E7002");
  EXPECT_EQ(CodeOf(RunSmall(session, &y, &z)), "TLY-E0506");
  EXPECT_EQ(CodeOf(RunSmall(session, &y, &z)), "TLY-E7002");
  EXPECT_TRUE(RunSmall(session, &y, &z).ok());
}

TEST(Session, ASecondCallerIsRefusedWithoutARace) {
  std::atomic<bool> inside{false}, leave{false};
  Session session = MakeSession(OnFake(), FakeRegistry([&](const RunArgs& args, size_t n) {
                                  inside = true;
                                  while (!leave) std::this_thread::yield();
                                  return PlainRelu(args, n);
                                }));
  std::vector<float> y1, z1, y2, z2;
  absl::Status first;
  std::thread runner([&] { first = RunSmall(session, &y1, &z1); });
  while (!inside) std::this_thread::yield();
  EXPECT_EQ(CodeOf(RunSmall(session, &y2, &z2)), "TLY-E7003");
  EXPECT_EQ(CodeOf(session.Resize({{"x", {2, 2, 2}}})), "TLY-E7003");
  leave = true;
  runner.join();
  EXPECT_TRUE(first.ok());
}

TEST(Session, UseAfterForkIsAnErrorNotAHang) {
  SessionOptions options = OnFake();
  options.num_threads = 2;
  Session session = MakeSession(options);
  auto pool = ThreadPool::Create(2);
  ASSERT_TRUE(pool.ok()) << pool.status();
  const std::shared_ptr<ThreadPool> shared = *std::move(pool);
  const pid_t child = fork();
  if (child == 0) {
    std::vector<float> y, z;
    const bool run = CodeOf(RunSmall(session, &y, &z)) == "TLY-E7004";
    options.thread_pool = shared;
    absl::StatusOr<Model> model = Model::FromGraph(SmallGraph());
    const bool create = model.ok() && CodeOf(Session::Create(*model, options, FakeRegistry()).status()) == "TLY-E7004";
    _exit(run && create ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Session, ObserverSeesEveryTensorAndIntermediatesCanBeKept) {
  SessionOptions options = OnFake();
  options.keep_intermediates = true;
  Session session = MakeSession(options);
  std::map<std::string, std::vector<float>> seen;
  session.set_observer([&](const std::string&, const std::string& tensor, const TensorView& value) {
    seen[tensor].assign(value.as<float>(), value.as<float>() + 4);
  });
  std::vector<float> y, z;
  ASSERT_TRUE(RunSmall(session, &y, &z).ok());
  EXPECT_EQ(seen["r"], (std::vector<float>{0, 2, 3, 0}));
  EXPECT_EQ(seen["y"], y);
  EXPECT_EQ(seen["z"], y);
  absl::StatusOr<TensorView> kept = session.tensor("r");
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(kept->as<float>()[2], 3);
  EXPECT_EQ(CodeOf(session.tensor("nothing").status()), "TLY-E0204");
  EXPECT_EQ(CodeOf(MakeSession().tensor("r").status()), "TLY-E0204") << "not kept unless asked for";
}

TEST(Session, ProfileCoversEveryStep) {
  SessionOptions options = OnFake();
  options.enable_profiling = true;
  Session session = MakeSession(options);
  std::vector<float> y, z;
  ASSERT_TRUE(RunSmall(session, &y, &z).ok());
  ASSERT_EQ(session.profile().size(), 3u);
  EXPECT_EQ(session.profile()[0].backend, "fake");
  EXPECT_GE(session.profile()[0].microseconds, 0);
}

TEST(Session, DimensionsByNameSetTheFirstShapes) {
  SessionOptions options = OnFake();
  options.dimensions = {{"N", 7}};
  EXPECT_EQ(MakeSession(options).inputs()[0].shape[0], 7);
  options.dimensions = {{"Q", 7}};
  absl::StatusOr<Model> model = Model::FromGraph(SmallGraph());
  EXPECT_EQ(CodeOf(Session::Create(*model, options, FakeRegistry()).status()), "TLY-E0204");
}

TEST(Session, PassThroughAndConstantOutputsAreCopied) {
  GraphBuilder b;
  b.Input("x", {2});
  b.Constant<float>("c", DType::kFloat32, {2}, {5, 6});
  b.Add("Identity", {"x"}, {"same"});
  b.Output("same").Output("c").Output("x");
  Session session = MakeSession(OnFake(), FakeRegistry(), b.graph);
  const std::vector<float> x = {1, 2};
  std::vector<float> same(2), c(2), input(2);
  ASSERT_TRUE(session
                  .Run({{"x", {x.data(), DType::kFloat32, {2}}}}, {{"same", {same.data(), DType::kFloat32, {2}}},
                                                                   {"c", {c.data(), DType::kFloat32, {2}}},
                                                                   {"x", {input.data(), DType::kFloat32, {2}}}})
                  .ok());
  EXPECT_EQ(same, x);
  EXPECT_EQ(input, x);
  EXPECT_EQ(c, (std::vector<float>{5, 6}));
}

TEST(Session, ArenaBeyondTheLimitIsRefused) {
  Limits limits;
  limits.arena_bytes = 128;
  absl::StatusOr<Model> model = Model::FromGraph(SmallGraph(), limits);
  ASSERT_TRUE(model.ok());
  SessionOptions options = OnFake();
  options.dimensions = {{"N", 100}};
  EXPECT_EQ(CodeOf(Session::Create(*model, options, FakeRegistry()).status()), "TLY-E0504");
}

}  // namespace
}  // namespace tally
