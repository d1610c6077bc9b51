// Model files that are sound as files but not as models: every item of the list of what must be survived that only an
// operator or a plan can decide. tests/format has the items that the file format decides.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <limits>

#include "backends/all/all.h"
#include "format/bit_packing.h"
#include "format/model_file.h"
#include "tally/tally.h"
#include "tests/exec/graph_builder.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::GraphBuilder;

Codebook Book(int exponent_bits, bool is_signed) {
  absl::StatusOr<Codebook> book =
      MakeCodebook(exponent_bits, is_signed, Grid::kQ7, EncodeRule::kNearest, 1.5, 0.1, 0.01);
  EXPECT_TRUE(book.ok()) << book.status();
  return *book;
}

void AddCodedWeight(Graph* graph, const std::string& name, Shape shape, uint8_t code = 3) {
  Tensor t;
  t.name = name;
  t.shape = std::move(shape);
  t.codes.emplace();
  t.codes->codebook = Book(3, true);
  const std::vector<uint8_t> codes(t.elements(), code);
  std::vector<uint8_t> packed(PackedBytes(codes.size(), 4));
  PackBits(codes.data(), codes.size(), 4, packed.data());
  t.codes->packed = Blob::Copy(packed.data(), packed.size());
  graph->AddTensor(std::move(t));
}

// x [N,2,8,8] -> Conv (codes) -> MaxPool -> Softmax.
Graph Base() {
  GraphBuilder b;
  b.Input("x", {-1, 2, 8, 8});
  b.graph.tensors[0].codebook = Book(4, true);
  AddCodedWeight(&b.graph, "w", {4, 2, 3, 3});
  b.Add("Conv", {"x", "w"}, {"y"}).SetInts("pads", {1, 1, 1, 1});
  b.Add("MaxPool", {"y"}, {"p"}).SetInts("kernel_shape", {2, 2});
  b.Add("Softmax", {"p"}, {"s"}).SetInts("axis", {1});
  b.Output("s");
  return b.graph;
}

struct Item {
  const char* name;
  std::function<void(Graph*)> spoil;
  const char* code;
  int exit;
};

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

const Item kItems[] = {
    {"stride 0",
     [](Graph* g) {
       g->nodes[0].SetInts("strides", {0, 1});
     },
     "TLY-E0315", 3},
    {"negative stride",
     [](Graph* g) {
       g->nodes[0].SetInts("strides", {1, -2});
     },
     "TLY-E0315", 3},
    {"kernel 0",
     [](Graph* g) {
       g->nodes[1].SetInts("kernel_shape", {0, 2});
     },
     "TLY-E0315", 3},
    {"kernel 0 of a convolution",
     [](Graph* g) {
       g->tensors[1].shape = {4, 2, 0, 3};
       g->tensors[1].codes->packed = Blob();
     },
     "TLY-E0316", 3},
    {"kernel missing", [](Graph* g) { g->nodes[1].Remove("kernel_shape"); }, "TLY-E0315", 3},
    {"group 0", [](Graph* g) { g->nodes[0].SetInts("group", {0}); }, "TLY-E0315", 3},
    {"dilation overflow",
     [](Graph* g) {
       g->nodes[0].SetInts("dilations", {kHuge, 1});
     },
     "TLY-E0315", 3},
    {"pads overflow",
     [](Graph* g) {
       g->nodes[0].SetInts("pads", {kHuge, 1, kHuge, 1});
     },
     "TLY-E0315", 3},
    {"negative pad",
     [](Graph* g) {
       g->nodes[0].SetInts("pads", {-1, 0, 0, 0});
     },
     "TLY-E0315", 3},
    {"pads of the wrong length", [](Graph* g) { g->nodes[0].SetInts("pads", {1}); }, "TLY-E0315", 3},
    {"axis >= rank", [](Graph* g) { g->nodes[2].SetInts("axis", {4}); }, "TLY-E0315", 3},
    {"axis INT64_MIN", [](Graph* g) { g->nodes[2].SetInts("axis", {std::numeric_limits<int64_t>::min()}); },
     "TLY-E0315", 3},
    {"attribute of the wrong kind", [](Graph* g) { g->nodes[2].SetString("axis", "one"); }, "TLY-E0315", 3},
    {"unknown attribute", [](Graph* g) { g->nodes[0].SetInts("strife", {1}); }, "TLY-E0315", 3},
    {"unknown activation", [](Graph* g) { g->nodes[0].SetString("activation", "Swash"); }, "TLY-E0315", 3},
    {"weight of the wrong rank",
     [](Graph* g) {
       g->tensors[1].shape = {4, 18};
     },
     "TLY-E0316", 3},
    {"channels that do not match",
     [](Graph* g) {
       g->tensors[1].shape = {4, 3, 2, 3};
     },
     "TLY-E0316", 3},
    {"too few inputs", [](Graph* g) { g->nodes[0].inputs.pop_back(); }, "TLY-E0316", 3},
    {"unknown operator", [](Graph* g) { g->nodes[1].op = "MaxPuddle"; }, "TLY-E0603", 6},
    {"tensor over the limit",
     [](Graph* g) {
       // Padding blows the output up to 4 x 2^29 x 8 floats.
       g->nodes[0].SetInts("pads", {1 << 29, 1, 1, 1});
     },
     "TLY-E0503", 5},
};

absl::Status LoadAndPlan(const Graph& graph) {
  absl::StatusOr<std::vector<uint8_t>> bytes = SerializeModel(graph);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<Model> model = Model::Parse(bytes->data(), bytes->size());
  if (!model.ok()) return model.status();
  return Session::Create(*model, {}).status();
}

TEST(BadModel, TheBaseIsGood) { EXPECT_TRUE(LoadAndPlan(Base()).ok()) << LoadAndPlan(Base()); }

TEST(BadModel, EveryItemGivesItsStableCodeAndExitStatus) {
  for (const Item& item : kItems) {
    Graph graph = Base();
    item.spoil(&graph);
    const absl::Status status = LoadAndPlan(graph);
    EXPECT_EQ(GetErrorInfo(status).code, item.code) << item.name << ": " << status;
    EXPECT_EQ(ExitStatus(status), item.exit) << item.name;
  }
}

TEST(BadModel, AnActivationBombIsRefusedBeforeItAllocates) {
  // Each Concat of a tensor with itself doubles it: 1 KiB of file asks for terabytes.
  GraphBuilder b;
  b.Input("x0", {1, 1 << 20});
  for (int i = 0; i < 24; ++i) {
    const std::string from = "x" + std::to_string(i), to = "x" + std::to_string(i + 1);
    b.Add("Concat", {from, from}, {to}).SetInts("axis", {0});
  }
  b.Output("x24");
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status = LoadAndPlan(b.graph);
  EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0503") << status;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << "no work before the refusal";
}

// An image of 4 GiB for a handful of outputs.
TEST(BadModel, PaddingThatNothingReadsMeetsTheArenasLimit) {
  GraphBuilder b;
  b.Input("x", {1, 4, 1, 1});
  b.graph.tensors[0].codebook = Book(4, true);
  AddCodedWeight(&b.graph, "w", {2, 4, 1, 1});
  Node& conv = b.Add("Conv", {"x", "w"}, {"y"});
  conv.SetInts("pads", {1 << 30, 0, 1, 0});
  conv.SetInts("strides", {1 << 29, 1});
  b.Output("y");
  const absl::Status status = LoadAndPlan(b.graph);
  EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0504") << status;
}

TEST(BadModel, AFileThatIsTruncatedAfterLoadingChangesNothing) {
  const std::string path = testing::TempDir() + "/model.tally";
  ASSERT_TRUE(WriteModelFile(Base(), path).ok());
  absl::StatusOr<Model> model = Model::Load(path);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto run = [&]() {
    const std::vector<float> x(2 * 8 * 8, 0.5f);
    std::vector<float> y(4 * 7 * 7);
    absl::StatusOr<Session> session = Session::Create(*model, {});
    EXPECT_TRUE(session.ok()) << session.status();
    EXPECT_TRUE(session
                    ->Run({{"x", {x.data(), DType::kFloat32, {1, 2, 8, 8}}}},
                          {{"s", {y.data(), DType::kFloat32, {1, 4, 7, 7}}}})
                    .ok());
    return y;
  };
  const std::vector<float> before = run();
  ASSERT_EQ(truncate(path.c_str(), 0), 0);
  EXPECT_EQ(run(), before);
}

TEST(BadModel, ManyTensorsBelowTheirLimitStillMeetTheArenasLimit) {
  GraphBuilder b;
  b.Input("x", {1, 1 << 27});  // 512 MiB
  for (int i = 0; i < 8; ++i) b.Add("Relu", {"x"}, {"y" + std::to_string(i)});
  for (int i = 0; i < 8; ++i) b.Output("y" + std::to_string(i));
  EXPECT_EQ(GetErrorInfo(LoadAndPlan(b.graph)).code, "TLY-E0504");
}

TEST(BadModel, ZeroExtentsAreLegalAndGiveEmptyResults) {
  absl::StatusOr<Model> model = Model::FromGraph(Base());
  ASSERT_TRUE(model.ok()) << model.status();
  SessionOptions options;
  options.dimensions = {{"N", 0}};
  absl::StatusOr<Session> session = Session::Create(*model, options);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->outputs()[0].shape, (Shape{0, 4, 7, 7}));
  EXPECT_TRUE(session->Run({{"x", {nullptr, DType::kFloat32, {0, 2, 8, 8}}}}, {}).ok());
}

TEST(BadModel, ADotProductThatNeedsSegmentsRunsExactly) {
  // 127 * 127 * K exceeds int32 from K = 133,145.
  constexpr int64_t kLength = 140000;
  GraphBuilder b;
  b.Input("x", {1, kLength});
  b.graph.tensors[0].codebook = Book(4, true);
  AddCodedWeight(&b.graph, "w", {2, kLength}, 7);  // the largest mantissa
  b.Add("Gemm", {"x", "w"}, {"y"});
  b.Output("y");
  absl::StatusOr<Model> model = Model::FromGraph(b.graph);
  ASSERT_TRUE(model.ok()) << model.status();
  const Codebook book = Book(4, true), weights = Book(3, true);
  const std::vector<float> x(kLength, 1e9f);  // saturates at mantissa 127
  const float scale = static_cast<float>(static_cast<double>(book.scale) * weights.scale);
  const float expected = static_cast<float>(int64_t{127} * 127 * kLength) * scale;
  for (const std::string& backend : AvailableBackends()) {
    if (backend == "reference" || backend == "xnnpack" || backend == "onednn") continue;
    SessionOptions options;
    options.backends = {backend};
    absl::StatusOr<Session> session = Session::Create(*model, options);
    ASSERT_TRUE(session.ok()) << session.status();
    float y[2] = {};
    ASSERT_TRUE(
        session->Run({{"x", {x.data(), DType::kFloat32, {1, kLength}}}}, {{"y", {y, DType::kFloat32, {1, 2}}}}).ok());
    EXPECT_EQ(y[0], expected) << backend;
    EXPECT_EQ(y[1], expected) << backend;
  }
}

}  // namespace
}  // namespace tally
