// What is written is what is read, to the bit; and the bytes of version 1 do not move.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "format/model_file.h"
#include "tests/format/file_surgery.h"
#include "tests/format/graph_diff.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::Bytes;
using testing::GraphDiff;
using testing::Parse;
using testing::Peek;
using testing::RandomGraph;
using testing::Serialized;
using testing::SmallConvNet;

TEST(RoundTrip, KeepsEveryBitOfRandomGraphs) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const Graph graph = RandomGraph(seed);
    const absl::StatusOr<Graph> again = Parse(Serialized(graph));
    TALLY_ASSERT_OK(again);
    ASSERT_EQ(GraphDiff::Of(graph, *again), "") << "seed " << seed;
  }
}

TEST(RoundTrip, KeepsTheSmallConvNetOnEveryGrid) {
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) {
    const Graph graph = SmallConvNet(grid);
    const absl::StatusOr<Graph> again = Parse(Serialized(graph));
    TALLY_ASSERT_OK(again);
    EXPECT_EQ(GraphDiff::Of(graph, *again), "");
  }
}

TEST(RoundTrip, KeepsAnEmptyGraph) {
  const absl::StatusOr<Graph> again = Parse(Serialized(Graph()));
  TALLY_ASSERT_OK(again);
  EXPECT_EQ(GraphDiff::Of(Graph(), *again), "");
}

// Eliding defaults, as FlatBuffers does by default, would turn -0.0 into 0.0.
TEST(RoundTrip, KeepsNegativeZero) {
  Graph graph = SmallConvNet();
  graph.tensors[0].codebook->beta = -0.0;
  graph.tensors[0].range = Range{-0.0f, -0.0f};
  const absl::StatusOr<Graph> again = Parse(Serialized(graph));
  TALLY_ASSERT_OK(again);
  EXPECT_TRUE(std::signbit(again->tensors[0].codebook->beta));
  EXPECT_TRUE(std::signbit(again->tensors[0].range->max));
}

TEST(RoundTrip, IsDeterministic) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const Bytes first = Serialized(RandomGraph(seed));
    EXPECT_EQ(first, Serialized(RandomGraph(seed)));
    const absl::StatusOr<Graph> again = Parse(first);
    TALLY_ASSERT_OK(again);
    EXPECT_EQ(first, Serialized(*again)) << "reading and writing changes nothing";
  }
}

TEST(RoundTrip, AlignsEveryBlobInMemory) {
  const absl::StatusOr<Graph> graph = Parse(Serialized(SmallConvNet()));
  TALLY_ASSERT_OK(graph);
  for (const Tensor& t : graph->tensors) {
    const Blob codes = t.codes ? t.codes->packed : Blob();
    const Blob int8 = t.int8 ? t.int8->values : Blob();
    for (const Blob* blob : {&t.data, &codes, &int8}) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(blob->data()) % 64, 0u) << t.name;
    }
  }
}

TEST(RoundTrip, ParsesFromAnyAlignment) {
  const Bytes file = Serialized(SmallConvNet());
  for (size_t shift = 0; shift < 9; ++shift) {
    Bytes shifted(shift);
    shifted.insert(shifted.end(), file.begin(), file.end());
    TALLY_EXPECT_OK(ParseModel(shifted.data() + shift, file.size(), "shifted"));
  }
}

TEST(RoundTrip, FilesReadAndMappedAreEqualAndOutliveTheFile) {
  const std::string path = testing::TempDir() + "/model.tally";
  const Graph graph = RandomGraph(7);
  const absl::StatusOr<uint64_t> written = WriteModelFile(graph, path);
  TALLY_ASSERT_OK(written);
  EXPECT_EQ(*written, Serialized(graph).size());
  LoadOptions mapped;
  mapped.use_mmap = true;
  const absl::StatusOr<Graph> a = ReadModelFile(path);
  const absl::StatusOr<Graph> b = ReadModelFile(path, mapped);
  TALLY_ASSERT_OK(a);
  TALLY_ASSERT_OK(b);
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(GraphDiff::Of(graph, *a), "");
  EXPECT_EQ(GraphDiff::Of(graph, *b), "");
}

// Vector kernels may load up to 64 bytes past a blob, also where the file ends with its page.
TEST(RoundTrip, MappedBlobsHaveSlack) {
  Graph graph;
  graph.AddTensor(testing::Constant<uint8_t>("c", DType::kUint8, {1}, {1}));
  // Pads the file to exactly two pages.
  const size_t used = Serialized(graph).size();
  const size_t wanted = 2 * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  graph.tensors[0] = testing::Constant("c", DType::kUint8, {static_cast<int64_t>(wanted - used + 1)},
                                       std::vector<uint8_t>(wanted - used + 1, 7));
  const std::string path = testing::TempDir() + "/model.tally";
  const absl::StatusOr<uint64_t> written = WriteModelFile(graph, path);
  TALLY_ASSERT_OK(written);
  ASSERT_EQ(*written, wanted);
  LoadOptions mapped;
  mapped.use_mmap = true;
  const absl::StatusOr<Graph> again = ReadModelFile(path, mapped);
  TALLY_ASSERT_OK(again);
  const Blob& blob = again->tensors[0].data;
  volatile const uint8_t* end = blob.data() + blob.size();
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(end[i], 0);
}

// docs/format.md, "Header". A change here needs a new version of the format.
TEST(Version1, HeaderIsFrozen) {
  const Bytes file = Serialized(SmallConvNet());
  ASSERT_GT(file.size(), 128u);
  const uint8_t magic[8] = {0x89, 'T', 'L', 'Y', '\r', '\n', 0x1A, '\n'};
  EXPECT_EQ(std::memcmp(file.data(), magic, 8), 0);
  EXPECT_EQ(Peek<uint32_t>(file, 8), 0x0A0B0C0Du);
  EXPECT_EQ(Peek<uint32_t>(file, 12), 1u) << "version";
  EXPECT_EQ(Peek<uint32_t>(file, 24), 128u) << "header bytes";
  EXPECT_EQ(Peek<uint32_t>(file, 28), 0u);
  EXPECT_EQ(Peek<uint64_t>(file, 32), 0u) << "required features";
  EXPECT_EQ(Peek<uint64_t>(file, 40), 0u) << "optional features";
  EXPECT_EQ(Peek<uint64_t>(file, 48), file.size());
  EXPECT_EQ(Peek<uint64_t>(file, 56), 0u);
  EXPECT_EQ(Peek<uint64_t>(file, 64), 128u) << "metadata follows the header";
  EXPECT_EQ(Peek<uint64_t>(file, 72) % 64, 0u);
  EXPECT_EQ(Peek<uint64_t>(file, 88), 0u);
  EXPECT_EQ(Peek<uint64_t>(file, 96), 128 + Peek<uint64_t>(file, 72)) << "weights follow the metadata";
  EXPECT_EQ(Peek<uint64_t>(file, 104), file.size() - Peek<uint64_t>(file, 96));
  EXPECT_EQ(Peek<uint64_t>(file, 120), 0u);
  EXPECT_EQ(std::memcmp(file.data() + 128 + 4, "TLYM", 4), 0) << "FlatBuffers identifier";
}

// XXH3 with seed 0: the published value for the empty input, and for this one of the reference implementation.
TEST(Version1, ChecksumIsFrozen) { EXPECT_EQ(Checksum(nullptr, 0), 0x2D06800538D394C2u); }

TEST(Version1, FieldNumbersAreFrozen) {
  Graph graph = RandomGraph(3);
  graph.name = "g";
  Bytes file = Serialized(graph);
  const auto* root = flatbuffers::GetRoot<flatbuffers::Table>(file.data() + kHeaderBytes);
  using testing::Field;
  using testing::ModelField;
  EXPECT_EQ(root->GetPointer<const flatbuffers::String*>(Field(ModelField::kName))->str(), "g");
  const auto* tensors = root->GetPointer<const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::Table>>*>(
      Field(ModelField::kTensors));
  ASSERT_EQ(tensors->size(), graph.tensors.size());
  EXPECT_EQ(tensors->Get(0)->GetPointer<const flatbuffers::String*>(Field(testing::TensorField::kName))->str(),
            graph.tensors[0].name);
  EXPECT_EQ(tensors->Get(0)->GetField<uint8_t>(Field(testing::TensorField::kDType), 99),
            static_cast<uint8_t>(graph.tensors[0].dtype));
  const auto* nodes =
      root->GetPointer<const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::Table>>*>(Field(ModelField::kNodes));
  ASSERT_EQ(nodes->size(), graph.nodes.size());
  EXPECT_EQ(nodes->Get(0)->GetPointer<const flatbuffers::String*>(Field(testing::NodeField::kOp))->str(),
            graph.nodes[0].op);
  EXPECT_EQ(root->GetPointer<const flatbuffers::Vector<int32_t>*>(Field(ModelField::kOutputs))->size(),
            graph.outputs.size());
}

TEST(FileLayout, NamesTheSections) {
  const std::string path = testing::TempDir() + "/model.tally";
  TALLY_ASSERT_OK(WriteModelFile(SmallConvNet(), path));
  const absl::StatusOr<FileLayout> layout = ReadFileLayout(path);
  TALLY_ASSERT_OK(layout);
  EXPECT_EQ(layout->version, 1u);
  EXPECT_EQ(layout->required_features, 0u);
  ASSERT_EQ(layout->sections.size(), 3u);
  uint64_t end = 0;
  for (const FileLayout::Section& s : layout->sections) {
    EXPECT_EQ(s.offset, end) << s.name;
    end += s.bytes;
  }
  EXPECT_EQ(end, layout->file_bytes);
  TALLY_EXPECT_ERROR(ErrorId::kNotFound, ReadFileLayout(path + ".absent"));
  TALLY_ASSERT_OK(WriteFileAtomically(path, "abc", 3));
  TALLY_EXPECT_ERROR(ErrorId::kTooShort, ReadFileLayout(path));
}

TEST(Serialize, RefusesAnInvalidGraph) {
  Graph graph = SmallConvNet();
  graph.outputs[0] = 99;
  TALLY_EXPECT_ERROR(ErrorId::kBadIndex, SerializeModel(graph));
}

TEST(Serialize, KeepsTheLimits) {
  const Graph graph = SmallConvNet();
  const size_t size = Serialized(graph).size();
  Limits limits;
  limits.file_bytes = size;
  TALLY_EXPECT_OK(SerializeModel(graph, limits));
  limits.file_bytes = size - 1;
  TALLY_EXPECT_ERROR(ErrorId::kLimitFile, SerializeModel(graph, limits));
  limits = {};
  limits.metadata_bytes = 1024;
  TALLY_EXPECT_ERROR(ErrorId::kLimitMetadata, SerializeModel(graph, limits));
  limits = {};
  limits.tensor_bytes = 100 * 4;  // conv.weight has 108 elements
  TALLY_EXPECT_ERROR(ErrorId::kLimitTensor, SerializeModel(graph, limits));
}

TEST(Serialize, RefusesMoreTablesThanReadersAccept) {
  Graph graph = SmallConvNet();
  Node& node = graph.nodes[1];
  for (int i = 0; i < 200001; ++i) {
    node.attributes.push_back({std::to_string(i), Attribute::Kind::kInts, {}, {}, ""});
  }
  TALLY_EXPECT_ERROR(ErrorId::kLimitCount, SerializeModel(graph));
}

// The FlatBuffers builder would abort beyond 2 GiB; the count stops long before, without building.
TEST(Serialize, RefusesMetadataBeyondTheBuilder) {
  Graph graph = SmallConvNet();
  graph.metadata["small"] = std::string(size_t{1} << 20, 'x');
  graph.metadata["large"] = std::string(size_t{256} << 20, 'x');
  Limits limits;
  limits.metadata_bytes = std::numeric_limits<uint64_t>::max();
  TALLY_EXPECT_ERROR(ErrorId::kLimitMetadata, SerializeModel(graph, limits));
}

}  // namespace
}  // namespace tally
