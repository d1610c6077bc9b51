// Damaged, hostile and unsupported ONNX files: every one gives its error code, none crashes.
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "converter/onnx/protobuf_scan.h"
#include "gmock/gmock.h"
#include "tests/converter/onnx/onnx_builder.h"
#include "tests/converter/onnx/run_graph.h"

namespace tally::testing {
namespace {

using ::testing::HasSubstr;

std::string Code(const absl::Status& status) { return GetErrorInfo(status).code; }
std::string Code(ErrorId id) { return ErrorCodeString(id); }

#define EXPECT_IMPORT_ERROR(id, result)                                          \
  do {                                                                           \
    const auto import_result = (result);                                         \
    ASSERT_FALSE(import_result.ok());                                            \
    EXPECT_EQ(Code(import_result.status()), Code(id)) << import_result.status(); \
  } while (false)

// Conv (weight in raw data) -> Relu -> Gemm-like MatMul (weight in typed data).
OnnxBuilder SmallModel() {
  OnnxBuilder b;
  b.Input("x", {-1, 2, 4, 4}).Floats("w", {3, 2, 1, 1}, RandomFloats(6, 1)).Output("y");
  onnx::TensorProto& m = b.Initializer("m", {4, 5}, onnx::TensorProto::FLOAT);
  for (float v : RandomFloats(20, 2)) m.add_float_data(v);
  b.Node("Conv", {"x", "w"}, {"c"}, "conv");
  b.Node("Relu", {"c"}, {"r"}, "relu");
  b.Node("MatMul", {"r", "m"}, {"y"}, "matmul");
  return b;
}

absl::StatusOr<Graph> ImportBytes(const std::string& folder, const std::string& bytes) {
  WriteBytes(folder + "/m.onnx", bytes);
  return ImportOnnx(folder + "/m.onnx");
}

TEST(BadOnnx, TheIntactModelIsFine) { ASSERT_TRUE(SmallModel().Import().ok()); }

TEST(BadOnnx, EveryTruncationIsAnError) {
  const std::string bytes = SmallModel().Bytes();
  const std::string folder = TempDir();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const absl::StatusOr<Graph> result = ImportBytes(folder, bytes.substr(0, size));
    ASSERT_FALSE(result.ok()) << size;
    // A cut between two fields of the model leaves a valid protobuf without the graph or the opset.
    const std::string code = Code(result.status());
    EXPECT_TRUE(code == Code(ErrorId::kBadOnnx) || code == Code(ErrorId::kUnsupportedOnnx)) << size << result.status();
  }
}

TEST(BadOnnx, FlippedBytesNeverCrash) {
  const std::string bytes = SmallModel().Bytes();
  const std::string folder = TempDir();
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string damaged = bytes;
    for (int k = 0; k < 1 + round % 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    const absl::StatusOr<Graph> result = ImportBytes(folder, damaged);
    if (result.ok()) continue;
    ++refused;
    EXPECT_FALSE(Code(result.status()).empty()) << result.status();
    EXPECT_NE(Code(result.status()), Code(ErrorId::kInternal)) << result.status();
  }
  EXPECT_GT(refused, 500);
}

TEST(BadOnnx, GarbageIsNoProtobuf) {
  std::mt19937 random(3);
  const std::string folder = TempDir();
  for (int round = 0; round < 200; ++round) {
    std::string bytes(1 + random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const absl::StatusOr<Graph> result = ImportBytes(folder, bytes);
    ASSERT_FALSE(result.ok());
  }
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, ImportBytes(folder, "TALLY is not ONNX"));
}

TEST(BadOnnx, FilesThatAreNotThereOrNotFiles) {
  EXPECT_IMPORT_ERROR(ErrorId::kNotFound, ImportOnnx(TempDir() + "/none.onnx"));
  EXPECT_IMPORT_ERROR(ErrorId::kNotRegular, ImportOnnx(TempDir()));
}

TEST(BadOnnx, AFileBeyondTheLimitIsNotRead) {
  ImportOptions options;
  options.limits.file_bytes = 100;
  EXPECT_IMPORT_ERROR(ErrorId::kLimitFile, ImportOnnx(SmallModel().Save(), options));
}

TEST(BadOnnx, ATensorBeyondTheLimitIsNotAllocated) {
  ImportOptions options;
  options.limits.tensor_bytes = 16;
  EXPECT_IMPORT_ERROR(ErrorId::kLimitTensor, ImportOnnx(SmallModel().Save(), options));
}

TEST(BadOnnx, ManyEmptyMessagesAreRefusedBeforeParsing) {
  // 20 MiB of empty nodes would take over 1 GiB once parsed.
  std::string nodes;
  for (int i = 0; i < (10 << 20); ++i) nodes += std::string("\x0A\x00", 2);
  std::string bytes = "\x3A";  // field 7, the graph
  for (size_t size = nodes.size(); size > 0; size >>= 7)
    bytes += static_cast<char>((size & 0x7F) | (size > 0x7F ? 0x80 : 0));
  EXPECT_IMPORT_ERROR(ErrorId::kLimitMetadata, ImportBytes(TempDir(), bytes + nodes));
}

TEST(BadOnnx, ManyNodesOfOneNameTakeNoQuadraticTime) {
  OnnxBuilder b;
  b.Input("x", {1}).Output("y");
  std::string at = "x";
  constexpr int kNodes = 30000;  // 450 million tries if every name began at suffix 1
  for (int i = 0; i < kNodes; ++i) {
    const std::string next = i + 1 == kNodes ? "y" : "t" + std::to_string(i);
    b.Node("Relu", {at}, {next}, "same");
    at = next;
  }
  const auto graph = b.Import();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->nodes.back().name, "same_" + std::to_string(kNodes - 1));
}

TEST(BadOnnx, OneNodeMayNotBecomeMoreThanTheLimit) {
  OnnxBuilder sum;
  sum.Input("x", {1}).Output("y");
  sum.Node("Sum", std::vector<std::string>(100000, "x"), {"y"});
  EXPECT_IMPORT_ERROR(ErrorId::kLimitCount, sum.Import());
  OnnxBuilder split;
  split.Input("x", {1}).Output("y");
  std::vector<std::string> outputs(100000);
  outputs[0] = "y";
  split.Node("Split", {"x"}, outputs);
  EXPECT_IMPORT_ERROR(ErrorId::kLimitCount, split.Import());
}

TEST(BadOnnx, WeightsAreNotStructure) {
  OnnxBuilder b = SmallModel();
  b.Floats("big", {100000}, std::vector<float>(100000));
  onnx::NodeProto& constant = b.Node("Constant", {}, {"c2"});
  onnx::TensorProto* value = AddAttribute(constant, "value", onnx::AttributeProto::TENSOR).mutable_t();
  value->set_raw_data(std::string(300000, 'x'));
  const std::string bytes = b.Bytes();
  uint64_t structure = 0;
  ASSERT_TRUE(StructureBytes(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &structure));
  EXPECT_LT(structure, 1000u);
  EXPECT_FALSE(StructureBytes(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size() - 1, &structure));
}

TEST(BadOnnx, RawDataMustMatchTheShape) {
  for (int delta : {-4, -1, 1, 4}) {
    OnnxBuilder b = SmallModel();
    std::string* raw = b.graph().mutable_initializer(0)->mutable_raw_data();
    raw->resize(static_cast<size_t>(static_cast<int>(raw->size()) + delta));
    EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, b.Import());
  }
}

TEST(BadOnnx, TypedDataMustMatchTheShape) {
  OnnxBuilder b = SmallModel();
  b.graph().mutable_initializer(1)->add_float_data(1);
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, b.Import());
  OnnxBuilder wrong_field = SmallModel();
  onnx::TensorProto* tensor = wrong_field.graph().mutable_initializer(1);
  tensor->clear_float_data();
  for (int i = 0; i < 20; ++i) tensor->add_int32_data(1);
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, wrong_field.Import());
}

TEST(BadOnnx, ShapesThatWrapOrAreNegative) {
  for (const std::vector<int64_t>& dims : std::vector<std::vector<int64_t>>{
           {-1, 5}, {int64_t{1} << 40, int64_t{1} << 40}, {0, int64_t{1} << 40, int64_t{1} << 40}}) {
    OnnxBuilder b = SmallModel();
    b.graph().mutable_initializer(1)->clear_dims();
    for (int64_t d : dims) b.graph().mutable_initializer(1)->add_dims(d);
    EXPECT_IMPORT_ERROR(ErrorId::kBadShape, b.Import());
  }
  OnnxBuilder rank = SmallModel();
  for (int i = 0; i < 10; ++i) rank.graph().mutable_initializer(1)->add_dims(1);
  EXPECT_IMPORT_ERROR(ErrorId::kLimitCount, rank.Import());
}

TEST(BadOnnx, NonFiniteWeightsAreNamedWithTheirIndex) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    OnnxBuilder b = SmallModel();
    b.graph().mutable_initializer(1)->set_float_data(7, bad);
    const auto result = b.Import();
    EXPECT_IMPORT_ERROR(ErrorId::kNonFiniteWeight, result);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("\"m\""));
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("index 7"));
  }
}

TEST(BadOnnx, OtherConstantsMayBeInfinite) {
  OnnxBuilder b;
  b.Input("x", {2}).Floats("lo", {}, {-std::numeric_limits<float>::infinity()}).Floats("hi", {}, {1}).Output("y");
  b.Node("Clip", {"x", "lo", "hi"}, {"y"});
  EXPECT_TRUE(b.Import().ok());
}

TEST(BadOnnx, TopologyIsChecked) {
  OnnxBuilder early = SmallModel();
  early.graph().mutable_node()->SwapElements(0, 1);
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, early.Import());
  OnnxBuilder twice = SmallModel();
  twice.Node("Relu", {"x"}, {"r"});
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, twice.Import());
  OnnxBuilder overwritten = SmallModel();
  overwritten.Node("Relu", {"x"}, {"w"});
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, overwritten.Import());
  OnnxBuilder missing_output = SmallModel();
  missing_output.Output("nobody");
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, missing_output.Import());
  OnnxBuilder repeated_output = SmallModel();
  repeated_output.Output("y");
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, repeated_output.Import());
  OnnxBuilder no_output = SmallModel();
  no_output.graph().clear_output();
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, no_output.Import());
}

TEST(BadOnnx, NodesWithWrongNumbersOfInputsOrTypesOfAttributes) {
  OnnxBuilder arity = SmallModel();
  arity.graph().mutable_node(1)->add_input("w");
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, arity.Import());
  OnnxBuilder absent = SmallModel();
  absent.graph().mutable_node(0)->set_input(1, "");
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, absent.Import());
  OnnxBuilder type = SmallModel();
  SetFloat(*type.graph().mutable_node(0), "group", 1);
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, type.Import());
  OnnxBuilder kernel = SmallModel();
  SetInts(*kernel.graph().mutable_node(0), "kernel_shape", {3, 3});
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, kernel.Import());
}

TEST(BadOnnx, NamesMustBeUtf8) {
  OnnxBuilder b = SmallModel();
  b.graph().mutable_input(0)->set_name("\xFF\xFE");
  b.graph().mutable_node(0)->set_input(0, "\xFF\xFE");
  EXPECT_IMPORT_ERROR(ErrorId::kBadName, b.Import());
}

TEST(UnsupportedOnnx, AllOffendersAreInOneMessage) {
  OnnxBuilder b(99);
  b.Input("x", {1, 4, 8, 8, 8, 8}).Input("s", {2}, onnx::TensorProto::STRING).Output("y");
  b.Floats("w", {4, 4, 1, 1, 1, 1}, RandomFloats(16, 1));
  b.Node("Conv", {"x", "w"}, {"c"}, "conv4d");
  b.Node("Det", {"c"}, {"e"}, "det one");
  b.Node("Det", {"e"}, {"f"}, "det two");
  b.Node("Mystery", {"f"}, {"g"}, "mystery").set_domain("com.example");
  onnx::NodeProto& relu = b.Node("Relu", {"g"}, {"y"}, "relu");
  SetInt(relu, "unheard_of", 1);
  const auto result = b.Import();
  EXPECT_IMPORT_ERROR(ErrorId::kUnsupportedOnnx, result);
  const std::string message(result.status().message());
  for (const char* part : {"opset 99", "Conv: 4-D", "conv4d", "Det", "det one", "det two", "com.example.Mystery",
                           "input: element type STRING", "unheard_of"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
}

TEST(UnsupportedOnnx, OldAndMissingOpsets) {
  EXPECT_IMPORT_ERROR(ErrorId::kUnsupportedOnnx, [] {
    OnnxBuilder b = SmallModel();
    b.model().mutable_opset_import(0)->set_version(5);
    return b.Import();
  }());
  OnnxBuilder none = SmallModel();
  none.model().clear_opset_import();
  EXPECT_IMPORT_ERROR(ErrorId::kUnsupportedOnnx, none.Import());
  OnnxBuilder two = SmallModel();
  two.model().add_opset_import()->set_version(12);
  EXPECT_IMPORT_ERROR(ErrorId::kBadOnnx, two.Import());
}

TEST(UnsupportedOnnx, FormsThatTallyLacks) {
  const auto refused = [](const char* expected, const OnnxBuilder& b) {
    const auto result = b.Import();
    EXPECT_IMPORT_ERROR(ErrorId::kUnsupportedOnnx, result);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(expected));
  };
  {
    OnnxBuilder b;
    b.Input("x", {1, 1, 4, 4}).Output("y").Output("i");
    SetInts(b.Node("MaxPool", {"x"}, {"y", "i"}), "kernel_shape", {2, 2});
    refused("output 1", b);
  }
  {
    OnnxBuilder b;
    b.Input("x", {4}).Input("condition", {}, onnx::TensorProto::BOOL).Output("y");
    b.Node("If", {"condition"}, {"y"});
    refused("a condition that is not constant", b);
  }
  {
    OnnxBuilder b;
    b.Input("x", {4}).Input("shape", {1, 1}, onnx::TensorProto::INT64).Ints("one", {1}).Output("y");
    b.Node("Reshape", {"shape", "one"}, {"vector"});
    b.Node("Reshape", {"x", "vector"}, {"y"});
    refused("depends on the data", b);
  }
  {
    OnnxBuilder b;
    b.Input("x", {4}, onnx::TensorProto::INT64).Output("y");
    b.Node("Relu", {"x"}, {"y"});
    refused("element type int64", b);
  }
  {
    OnnxBuilder b;
    b.Input("x", {-1, 6}).Output("y").Output("z");
    b.Node("Split", {"x"}, {"y", "z"});
    refused("dynamic extent", b);
  }
  {
    OnnxBuilder b;
    b.Input("x", {4}).Output("y").Output("x");
    b.Node("Relu", {"x"}, {"y"});
    refused("an input of the model", b);
  }
  {
    OnnxBuilder b;
    b.Input("x", {4}).Output("y");
    b.Initializer("u", {4}, onnx::TensorProto::UINT64);
    b.Node("Add", {"x", "u"}, {"y"});
    refused("UINT64", b);
  }
}

// --- External data ---

class ExternalData : public ::testing::Test {
 protected:
  ExternalData() {
    std::filesystem::create_directory(folder_ + "/model");
    std::filesystem::create_directory(folder_ + "/model/sub");
    const std::vector<float> values = RandomFloats(6, 1);
    data_ = std::string(reinterpret_cast<const char*>(values.data()), 24);
    WriteBytes(folder_ + "/outside.bin", data_);
    WriteBytes(folder_ + "/model/weights.bin", "head" + data_);
    WriteBytes(folder_ + "/model/sub/w.bin", data_);
  }

  absl::StatusOr<Graph> Import(const std::string& location, const std::string& offset = "",
                               const std::string& length = "") {
    OnnxBuilder b = SmallModel();
    onnx::TensorProto* tensor = b.graph().mutable_initializer(0);
    tensor->clear_raw_data();
    tensor->set_data_location(onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] :
         {std::make_pair("location", location), std::make_pair("offset", offset), std::make_pair("length", length)}) {
      if (value.empty()) continue;
      onnx::StringStringEntryProto* entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    return ImportBytes(folder_ + "/model", b.Bytes());
  }

  const std::string folder_ = TempDir();
  std::string data_;
};

TEST_F(ExternalData, IsReadFromTheModelsFolder) {
  for (const auto& result : {Import("weights.bin", "4", "24"), Import("weights.bin", "4"), Import("sub/w.bin")}) {
    ASSERT_TRUE(result.ok()) << result.status();
    const int w = result->FindTensor("w");
    ASSERT_GE(w, 0);
    const Blob& blob = result->tensors[static_cast<size_t>(w)].data;
    EXPECT_EQ(std::string(blob.as<char>(), blob.size()), data_);
  }
}

TEST_F(ExternalData, EscapesAreRefused) {
  ASSERT_EQ(symlink("../outside.bin", (folder_ + "/model/link.bin").c_str()), 0);
  ASSERT_EQ(symlink("..", (folder_ + "/model/up").c_str()), 0);
  ASSERT_EQ(symlink("weights.bin", (folder_ + "/model/inner.bin").c_str()), 0);
  for (const std::string& location :
       {std::string("../outside.bin"), std::string("sub/../../outside.bin"), folder_ + "/outside.bin",
        std::string("/etc/passwd"), std::string("link.bin"), std::string("up/outside.bin"), std::string("inner.bin"),
        std::string("./weights.bin"), std::string("sub//w.bin"), std::string("sub\\w.bin"), std::string("sub/"),
        std::string("w\0.bin", 6), std::string("missing.bin"), std::string("sub")}) {
    SCOPED_TRACE(location);
    EXPECT_IMPORT_ERROR(ErrorId::kBadExternalData, Import(location));
  }
  EXPECT_IMPORT_ERROR(ErrorId::kBadExternalData, Import(""));
}

TEST_F(ExternalData, RangesAreChecked) {
  for (const auto& [offset, length] : std::vector<std::pair<std::string, std::string>>{{"5", ""},
                                                                                       {"-4", ""},
                                                                                       {"18446744073709551615", ""},
                                                                                       {"18446744073709551616", ""},
                                                                                       {"4 ", "x"},
                                                                                       {"4", "23"},
                                                                                       {"4", "25"},
                                                                                       {"4", "-1"},
                                                                                       {"+4", ""},
                                                                                       {"", "28"}}) {
    SCOPED_TRACE(offset + " " + length);
    EXPECT_IMPORT_ERROR(ErrorId::kBadExternalData, Import("weights.bin", offset, length));
  }
}

TEST_F(ExternalData, DevicesAndPipesAreRefused) {
  ASSERT_EQ(mkfifo((folder_ + "/model/fifo").c_str(), 0600), 0);
  EXPECT_IMPORT_ERROR(ErrorId::kBadExternalData, Import("fifo"));
}

TEST_F(ExternalData, OneFileSharedByManyTensorsCountsOften) {
  WriteBytes(folder_ + "/model/big.bin", std::string(4096, '\0'));
  OnnxBuilder b = SmallModel();
  for (int i = 0; i < 10; ++i) {
    onnx::TensorProto& tensor = b.Initializer("t" + std::to_string(i), {1024}, onnx::TensorProto::FLOAT);
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    onnx::StringStringEntryProto* entry = tensor.add_external_data();
    entry->set_key("location");
    entry->set_value("big.bin");
  }
  WriteBytes(folder_ + "/model/m.onnx", b.Bytes());
  ImportOptions options;
  options.limits.file_bytes = 65536;
  EXPECT_TRUE(ImportOnnx(folder_ + "/model/m.onnx", options).ok());
  // Each fits, all together do not.
  options.limits.file_bytes = 8192;
  EXPECT_IMPORT_ERROR(ErrorId::kLimitTensor, ImportOnnx(folder_ + "/model/m.onnx", options));
}

}  // namespace
}  // namespace tally::testing
