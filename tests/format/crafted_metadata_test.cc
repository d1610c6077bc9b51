// FlatBuffers as no builder of the schema would make them: those that the library's verifier accepts or takes forever
// on.
#include <gtest/gtest.h>

#include <cstring>
#include <ctime>

#include "tests/format/file_surgery.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/sanitized.h"

namespace tally {
namespace {

using testing::AttributeField;
using testing::Bytes;
using testing::Field;
using testing::GoldenCaseField;
using testing::GoldenValueField;
using testing::ModelField;
using testing::NodeField;
using testing::Parse;
using testing::Poke;
using testing::TensorField;

using flatbuffers::FlatBufferBuilder;
using Offset = flatbuffers::Offset<void>;
using TableOffset = flatbuffers::Offset<flatbuffers::Table>;

Bytes FileOf(FlatBufferBuilder& builder, flatbuffers::uoffset_t root, const Bytes& weights = {}) {
  builder.Finish(flatbuffers::Offset<flatbuffers::Table>(root), "TLYM");
  return testing::Assemble(Bytes(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()), weights);
}

// A table with the given offset fields.
TableOffset TableOf(FlatBufferBuilder& builder, const std::vector<std::pair<int, flatbuffers::uoffset_t>>& fields) {
  const auto start = builder.StartTable();
  for (const auto& [number, offset] : fields) builder.AddOffset(Field(number), Offset(offset));
  return TableOffset(builder.EndTable(start));
}

flatbuffers::uoffset_t Repeated(FlatBufferBuilder& builder, TableOffset table, size_t count) {
  return builder.CreateVector(std::vector<TableOffset>(count, table)).o;
}

// Refused in less than 100 ms; the attacks would take minutes. It is the processor's time, which a busy machine does
// not change; sanitizers take up to 30 times as much.
void ExpectCheapRefusal(ErrorId id, const Bytes& file) {
  const auto seconds = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  const double start = seconds();
  TALLY_EXPECT_ERROR(id, Parse(file));
  EXPECT_LT(seconds() - start, testing::kSlow ? 3.0 : 0.1);
}

TEST(Amplification, ManyTensorsShareOneLongShape) {
  FlatBufferBuilder b;
  const auto shape = b.CreateVector(std::vector<int64_t>(100000, 1));
  const auto name = b.CreateString("t");
  const TableOffset tensor = TableOf(b, {{TensorField::kName, name.o}, {TensorField::kShape, shape.o}});
  const TableOffset root = TableOf(b, {{ModelField::kTensors, Repeated(b, tensor, 60000)}});
  ExpectCheapRefusal(ErrorId::kBadMetadata, FileOf(b, root.o));
}

TEST(Amplification, ManyTensorsShareOneLongName) {
  FlatBufferBuilder b;
  const auto name = b.CreateString(std::string(1000000, 'n'));
  const TableOffset tensor = TableOf(b, {{TensorField::kName, name.o}});
  const TableOffset root = TableOf(b, {{ModelField::kTensors, Repeated(b, tensor, 60000)}});
  ExpectCheapRefusal(ErrorId::kBadMetadata, FileOf(b, root.o));
}

TEST(Amplification, NodesShareAttributesThatShareValues) {
  FlatBufferBuilder b;
  const auto ints = b.CreateVector(std::vector<int64_t>(10000, 1));
  const TableOffset attribute = TableOf(b, {{AttributeField::kInts, ints.o}});
  const TableOffset node = TableOf(b, {{NodeField::kAttributes, Repeated(b, attribute, 60000)}});
  const TableOffset root = TableOf(b, {{ModelField::kNodes, Repeated(b, node, 60000)}});
  ExpectCheapRefusal(ErrorId::kBadMetadata, FileOf(b, root.o));
}

TEST(Amplification, ManyGoldenCasesShareManyValues) {
  FlatBufferBuilder b;
  const auto shape = b.CreateVector(std::vector<int64_t>(1000, 1));
  const TableOffset value = TableOf(b, {{GoldenValueField::kShape, shape.o}});
  const TableOffset golden = TableOf(b, {{GoldenCaseField::kInputs, Repeated(b, value, 400)}});
  const TableOffset root = TableOf(b, {{ModelField::kGolden, Repeated(b, golden, 400)}});
  ExpectCheapRefusal(ErrorId::kBadMetadata, FileOf(b, root.o));
}

TEST(Amplification, MoreTensorsThanTheLimit) {
  FlatBufferBuilder b;
  const TableOffset tensor = TableOf(b, {});
  const TableOffset root = TableOf(b, {{ModelField::kTensors, Repeated(b, tensor, 65537)}});
  ExpectCheapRefusal(ErrorId::kLimitCount, FileOf(b, root.o));
}

TEST(Amplification, MoreNodesThanTheLimit) {
  FlatBufferBuilder b;
  const TableOffset node = TableOf(b, {});
  const TableOffset root = TableOf(b, {{ModelField::kNodes, Repeated(b, node, 65537)}});
  ExpectCheapRefusal(ErrorId::kLimitCount, FileOf(b, root.o));
}

TEST(CraftedMetadata, AnEmptyRootIsAnEmptyGraph) {
  FlatBufferBuilder b;
  const absl::StatusOr<Graph> graph = Parse(FileOf(b, TableOf(b, {}).o));
  TALLY_ASSERT_OK(graph);
  EXPECT_TRUE(graph->tensors.empty() && graph->nodes.empty() && graph->name.empty());
}

// Fields beyond the schema are from the future and ignored.
TEST(CraftedMetadata, UnknownFieldsAreIgnored) {
  FlatBufferBuilder b;
  const auto future = b.CreateString("from the future");
  const auto name = b.CreateString("g");
  const absl::StatusOr<Graph> graph = Parse(FileOf(b, TableOf(b, {{ModelField::kName, name.o}, {40, future.o}}).o));
  TALLY_ASSERT_OK(graph);
  EXPECT_EQ(graph->name, "g");
}

// The verifier of FlatBuffers 2.0.8 checks the alignment of a vector's length, not that of its elements.
TEST(CraftedMetadata, MisalignedElementsAreReadAsTheyAre) {
  for (int padding = 0; padding < 2; ++padding) {
    FlatBufferBuilder b;
    const auto name = b.CreateString("t");
    const auto text = b.CreateString(std::string(static_cast<size_t>(padding) * 4, 'p'));
    b.StartVector(4, 4);
    for (uint32_t half : {0u, 4u, 0u, 3u}) b.PushElement<uint32_t>(half);  // {3, 4}, built backwards
    const flatbuffers::uoffset_t shape = b.EndVector(2);
    b.StartVector(1, 4);
    b.PushElement<int32_t>(0);
    const flatbuffers::uoffset_t inputs = b.EndVector(1);
    const TableOffset tensor = TableOf(b, {{TensorField::kName, name.o}, {TensorField::kShape, shape}});
    const TableOffset root = TableOf(
        b,
        {{ModelField::kName, text.o}, {ModelField::kTensors, Repeated(b, tensor, 1)}, {ModelField::kInputs, inputs}});
    const absl::StatusOr<Graph> graph = Parse(FileOf(b, root.o));
    TALLY_ASSERT_OK(graph);
    EXPECT_EQ(graph->tensors[0].shape, (Shape{3, 4}));
  }
}

// Elements that point to themselves or outside.
TEST(CraftedMetadata, WildElementOffsetsAreRefused) {
  for (uint32_t offset : {0u, 1u, 4u, 0x7FFFFFF0u, 0xFFFFFFFFu}) {
    FlatBufferBuilder b;
    b.StartVector(1, 4);
    b.PushElement<uint32_t>(offset);
    const flatbuffers::uoffset_t tensors = b.EndVector(1);
    const TableOffset root = TableOf(b, {{ModelField::kTensors, tensors}});
    EXPECT_FALSE(Parse(FileOf(b, root.o)).ok()) << offset;
  }
}

TEST(CraftedMetadata, GarbageIsRefused) {
  testing::Random random(17);
  for (int round = 0; round < 2000; ++round) {
    Bytes metadata(static_cast<size_t>(random.Int(1, 8)) * 64);
    for (uint8_t& byte : metadata) byte = static_cast<uint8_t>(random.Coin() ? random.Int(0, 255) : random.Int(0, 16));
    std::memcpy(metadata.data() + 4, "TLYM", 4);
    Poke<uint32_t>(&metadata, 0, static_cast<uint32_t>(random.Int(2, 30)) * 4);
    const absl::Status status = Parse(testing::Assemble(metadata, {})).status();
    EXPECT_TRUE(status.ok() || testing::CodeOf(status).rfind("TLY-E", 0) == 0) << status;
  }
}

}  // namespace
}  // namespace tally
