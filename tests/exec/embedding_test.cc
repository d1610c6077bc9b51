// Gather from a table that is stored as codes or int8: every backend decodes the same rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "backends/all/all.h"
#include "format/bit_packing.h"
#include "format/error.h"
#include "tally/tally.h"
#include "tests/exec/graph_builder.h"

namespace tally {
namespace {

using testing::GraphBuilder;

constexpr int64_t kRows = 5, kWidth = 301;  // a row takes more than one tile, and no row but the first begins a byte
constexpr int kBits = 3;
const std::vector<float> kScales = {1, 0.5f, 3, 0.1f, 7};

Codebook Book() { return *MakeCodebook(kBits, true, Grid::kQ7, EncodeRule::kNearest, 1.4, 0.05, 0); }

// One of the valid codes.
uint8_t CodeAt(int64_t row, int64_t column) {
  const uint8_t code = static_cast<uint8_t>((row * 7 + column * 3) % Book().code_count());
  return Book().is_valid_code(code) ? code : 0;
}
int8_t Int8At(int64_t row, int64_t column) { return static_cast<int8_t>((row * 50 + column) % 255 - 127); }

// ids [N,2] -> rows of `table` [N,2,kWidth].
GraphBuilder WithTable(Tensor table) {
  GraphBuilder b;
  b.Input("ids", {-1, 2}, DType::kInt64);
  table.name = "table";
  table.shape = {kRows, kWidth};
  b.graph.AddTensor(std::move(table));
  b.Add("Gather", {"table", "ids"}, {"rows"});
  b.Output("rows");
  return b;
}

Tensor TableOfCodes() {
  std::vector<uint8_t> codes;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kWidth; ++c) codes.push_back(CodeAt(r, c));
  }
  Tensor table;
  table.codes = CodeForm{Book(), kScales, {}};
  uint8_t* packed = nullptr;
  table.codes->packed = Blob::Allocate(PackedBytes(codes.size(), kBits + 1), &packed);
  PackBits(codes.data(), codes.size(), kBits + 1, packed);
  return table;
}

void AddInt8(Tensor* table) {
  std::vector<int8_t> values;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kWidth; ++c) values.push_back(Int8At(r, c));
  }
  table->int8 = Int8Form{kScales, Blob::Copy(values.data(), values.size())};
}

bool IsBuilt(const std::string& backend) {
  const std::vector<std::string> built = AvailableBackends();
  return std::find(built.begin(), built.end(), backend) != built.end();
}

absl::StatusOr<Session> On(const GraphBuilder& b, const std::string& backend) {
  absl::StatusOr<Model> model = Model::FromGraph(b.graph);
  if (!model.ok()) return model.status();
  SessionOptions options;
  options.backends = {backend};
  return Session::Create(*model, options);
}

absl::Status Look(Session* session, const std::vector<int64_t>& ids, std::vector<float>* rows) {
  const int64_t n = static_cast<int64_t>(ids.size()) / 2;
  if (absl::Status s = session->Resize({{"ids", {n, 2}}}); !s.ok()) return s;
  rows->assign(ids.size() * kWidth, -1);
  return session->Run({{"ids", {ids.data(), DType::kInt64, {n, 2}}}},
                      {{"rows", {rows->data(), DType::kFloat32, {n, 2, kWidth}}}});
}

TEST(Embedding, EveryBackendOfCodesDecodesTheSameRows) {
  const GraphBuilder b = WithTable(TableOfCodes());
  const std::vector<double> values = Book().Values();
  for (const std::string backend : {"exponent", "histogram", "onednn-codebook", "nearmem"}) {
    if (!IsBuilt(backend)) continue;
    absl::StatusOr<Session> session = On(b, backend);
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_EQ(session->placement().size(), 1u);
    EXPECT_EQ(session->placement()[0].backend, backend);
    EXPECT_EQ(session->placement()[0].kernel, "embedding");
    std::vector<float> rows;
    const absl::Status status = Look(&*session, {4, -5, 1, 1, 3, -3}, &rows);
    ASSERT_TRUE(status.ok()) << status;
    const int64_t expected[] = {4, 0, 1, 1, 3, 2};
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t row = expected[i / kWidth], column = static_cast<int64_t>(i % kWidth);
      const double scale = static_cast<double>(kScales[static_cast<size_t>(row)]);
      ASSERT_EQ(rows[i], static_cast<float>(values[CodeAt(row, column)] * scale)) << backend << ", element " << i;
    }
  }
}

TEST(Embedding, TheInt8BaselineReadsItsOwnForm) {
  if (!IsBuilt("onednn")) GTEST_SKIP() << "no oneDNN";
  Tensor table = TableOfCodes();
  AddInt8(&table);
  absl::StatusOr<Session> session = On(WithTable(table), "onednn");
  ASSERT_TRUE(session.ok()) << session.status();
  std::vector<float> rows;
  const absl::Status status = Look(&*session, {2, 4}, &rows);
  ASSERT_TRUE(status.ok()) << status;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t row = i < kWidth ? 2 : 4, column = static_cast<int64_t>(i % kWidth);
    ASSERT_EQ(rows[i], Int8At(row, column) * kScales[static_cast<size_t>(row)]) << i;
  }
}

TEST(Embedding, IndicesOutsideTheTableAreAnErrorThatLeavesTheSessionUsable) {
  absl::StatusOr<Session> session = On(WithTable(TableOfCodes()), "histogram");
  ASSERT_TRUE(session.ok()) << session.status();
  std::vector<float> rows;
  for (int64_t index : {kRows, -kRows - 1, std::numeric_limits<int64_t>::min()}) {
    const absl::Status status = Look(&*session, {0, index}, &rows);
    EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0316") << status;
  }
  EXPECT_TRUE(Look(&*session, {0, kRows - 1}, &rows).ok());
}

// What has codes is never read in float32 behind the back of a baseline that was asked for.
TEST(Embedding, ABaselineWithoutItsFormIsRefused) {
  const GraphBuilder b = WithTable(TableOfCodes());
  for (const std::string backend : {"reference", "xnnpack", "onednn"}) {
    if (!IsBuilt(backend)) continue;
    const absl::Status status = On(b, backend).status();
    EXPECT_EQ(ExitStatus(status), 6) << backend << ": " << status;
    EXPECT_NE(std::string(status.message()).find("table"), std::string::npos) << status;
  }
}

// Of another axis the codes of a row are not together.
TEST(Embedding, OtherAxesRunInFloat) {
  Tensor table = TableOfCodes();
  std::vector<float> values(kRows * kWidth, 2.5f);
  table.has_data = true;
  table.data = Blob::Copy(values.data(), values.size() * sizeof(float));
  GraphBuilder b = WithTable(table);
  b.graph.nodes[0].SetInts("axis", {1});
  absl::StatusOr<Session> session = On(b, "exponent");
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->placement()[0].backend, "ops");
  ASSERT_EQ(session->placement()[0].refused.size(), 1u);
  EXPECT_NE(session->placement()[0].refused[0].reason.find("no rows"), std::string::npos);
}

}  // namespace
}  // namespace tally
