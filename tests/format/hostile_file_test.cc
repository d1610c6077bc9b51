// Files made to do harm, checksums and all, and the stable code that each must get.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "tests/format/file_surgery.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"

namespace tally {
namespace {

using testing::AttributeField;
using testing::Bytes;
using testing::CodebookField;
using testing::CodeFormField;
using testing::GoldenCaseField;
using testing::GoldenValueField;
using testing::Int8Field;
using testing::KeyValueField;
using testing::ModelField;
using testing::NodeAt;
using testing::NodeField;
using testing::Parse;
using testing::Place;
using testing::Poke;
using testing::Reseal;
using testing::Root;
using testing::Serialized;
using testing::SmallConvNet;
using testing::TensorAt;
using testing::TensorField;
using testing::WeightsOf;

// Tensors of SmallConvNet.
enum { kInput, kConvWeight, kConvBias, kConv, kPooled, kFlat, kFcWeight, kFcBias, kLogits };

Graph NetWithGolden() {
  Graph g = SmallConvNet();
  GoldenCase golden;
  golden.inputs.push_back({DType::kFloat32, {1, 3, 8, 8}, testing::ToBlob(std::vector<float>(192))});
  golden.outputs.push_back({DType::kFloat32, {1, 5}, testing::ToBlob(std::vector<float>(5))});
  g.golden.push_back(golden);
  // 35 codes of 4 bits leave four pad bits.
  testing::Random random(5);
  g.AddTensor(testing::CodedWeight("odd", {5, 7}, testing::SampleCodebook(3, true), random));
  g.nodes[0].SetFloats("activation_params", {0, 6});
  return g;
}
constexpr int kOdd = 9;

struct Damage {
  const char* name;
  ErrorId expected;
  std::function<void(Bytes*)> apply;
};

class HostileFile : public ::testing::TestWithParam<Damage> {};

TEST_P(HostileFile, GetsItsCode) {
  Bytes file = Serialized(NetWithGolden());
  TALLY_ASSERT_OK(Parse(file));
  GetParam().apply(&file);
  Reseal(&file);
  const absl::Status status = Parse(file).status();
  TALLY_EXPECT_ERROR(GetParam().expected, status);
  EXPECT_EQ(GetErrorInfo(status).file, "test.tally");
}

Place CodebookOf(Bytes* f, int tensor) { return TensorAt(f, tensor).Child(TensorField::kCodebook); }
Place CodesOf(Bytes* f, int tensor) { return TensorAt(f, tensor).Child(TensorField::kCodes); }
Place GoldenOf(Bytes* f) { return Root(f).Element(ModelField::kGolden, 0); }

std::vector<Damage> Headers() {
  return {
      {"version_newer", ErrorId::kNewerVersion, [](Bytes* f) { Poke<uint32_t>(f, 12, 2); }},
      {"version_zero", ErrorId::kBadHeader, [](Bytes* f) { Poke<uint32_t>(f, 12, 0); }},
      // A newer file may differ in everything behind the frozen fields and is still called newer.
      {"version_newer_all_else_different", ErrorId::kNewerVersion,
       [](Bytes* f) {
         Poke<uint32_t>(f, 12, 7);
         for (size_t i = 24; i < 128; ++i) (*f)[i] = 0xEE;
       }},
      {"required_feature_unknown", ErrorId::kUnknownFeature, [](Bytes* f) { Poke<uint64_t>(f, 32, 1); }},
      {"required_feature_63_unknown", ErrorId::kUnknownFeature,
       [](Bytes* f) { Poke<uint64_t>(f, 32, uint64_t{1} << 63); }},
      {"header_length", ErrorId::kBadHeader, [](Bytes* f) { Poke<uint32_t>(f, 24, 192); }},
      {"reserved_field", ErrorId::kBadHeader, [](Bytes* f) { Poke<uint64_t>(f, 56, 1); }},
      {"byte_order_mark_wrong", ErrorId::kBadHeader, [](Bytes* f) { Poke<uint32_t>(f, 8, 0x01020304); }},
      {"byte_order_mark_reversed", ErrorId::kByteSwapped, [](Bytes* f) { Poke<uint32_t>(f, 8, 0x0D0C0B0A); }},
      {"magic_reversed_in_words_of_8", ErrorId::kByteSwapped,
       [](Bytes* f) { std::reverse(f->begin(), f->begin() + 8); }},
      {"magic_reversed_in_words_of_4", ErrorId::kByteSwapped,
       [](Bytes* f) {
         std::reverse(f->begin(), f->begin() + 4);
         std::reverse(f->begin() + 4, f->begin() + 8);
       }},
      {"magic_reversed_in_words_of_2", ErrorId::kByteSwapped,
       [](Bytes* f) {
         for (int i = 0; i < 8; i += 2) std::swap((*f)[static_cast<size_t>(i)], (*f)[static_cast<size_t>(i) + 1]);
       }},
      {"magic_of_png", ErrorId::kBadMagic, [](Bytes* f) { std::memcpy(f->data(), "\x89PNG\r\n\x1a\n", 8); }},
      {"magic_after_text_transfer", ErrorId::kBadMagic, [](Bytes* f) { f->erase(f->begin() + 4); }},
      {"file_size_too_large", ErrorId::kTruncated, [](Bytes* f) { Poke<uint64_t>(f, 48, f->size() + 1); }},
      {"file_size_huge", ErrorId::kTruncated, [](Bytes* f) { Poke<uint64_t>(f, 48, UINT64_MAX); }},
      {"metadata_elsewhere", ErrorId::kBadSection, [](Bytes* f) { Poke<uint64_t>(f, 64, 192); }},
      {"metadata_empty", ErrorId::kBadSection, [](Bytes* f) { Poke<uint64_t>(f, 72, 0); }},
      {"metadata_misaligned_length", ErrorId::kBadSection, [](Bytes* f) { Poke<uint64_t>(f, 72, 100); }},
      {"metadata_beyond_file", ErrorId::kBadSection, [](Bytes* f) { Poke<uint64_t>(f, 72, uint64_t{1} << 40); }},
      {"metadata_length_wraps", ErrorId::kBadSection, [](Bytes* f) { Poke<uint64_t>(f, 72, UINT64_MAX - 127); }},
      {"weights_overlap_metadata", ErrorId::kBadSection,
       [](Bytes* f) { Poke<uint64_t>(f, 96, testing::Peek<uint64_t>(*f, 96) - 64); }},
      {"weights_after_a_hole", ErrorId::kBadSection,
       [](Bytes* f) { Poke<uint64_t>(f, 96, testing::Peek<uint64_t>(*f, 96) + 64); }},
      {"weights_too_short", ErrorId::kBadSection,
       [](Bytes* f) { Poke<uint64_t>(f, 104, testing::Peek<uint64_t>(*f, 104) - 1); }},
      {"weights_length_wraps", ErrorId::kBadSection, [](Bytes* f) { Poke<uint64_t>(f, 104, UINT64_MAX); }},
  };
}

std::vector<Damage> Ranges() {
  const auto shift = [](int tensor, int64_t offset, int64_t bytes) {
    return [=](Bytes* f) {
      const Place t = TensorAt(f, tensor);
      t.SetRange(TensorField::kData, t.RangeOffset(TensorField::kData) + static_cast<uint64_t>(offset),
                 t.RangeBytes(TensorField::kData) + static_cast<uint64_t>(bytes));
    };
  };
  return {
      {"misaligned", ErrorId::kBadSection, shift(kFcBias, 1, 0)},
      {"alias_of_the_one_before", ErrorId::kBadSection, shift(kFcBias, -64, 0)},
      {"hole", ErrorId::kBadSection, shift(kFcBias, 64, 0)},
      {"overlap_with_the_next", ErrorId::kBadSection, shift(kConvWeight, 0, 64)},
      {"too_short_leaves_a_hole", ErrorId::kBadSection, shift(kConvWeight, 0, -64)},
      {"too_short_within_the_padding", ErrorId::kBadForm, shift(kConvBias, 0, -4)},
      {"too_long_within_the_padding", ErrorId::kBadForm, shift(kConvWeight, 0, 4)},
      {"offset_huge", ErrorId::kBadSection, shift(kConvWeight, INT64_MIN, 0)},
      {"end_wraps", ErrorId::kBadSection, shift(kConvWeight, 0, -433)},
      {"length_huge", ErrorId::kBadSection, shift(kConvWeight, 0, INT64_MAX)},
      {"padding_not_zero", ErrorId::kBadSection, [](Bytes* f) { WeightsOf(f)[447] = 1; }},
      {"bytes_that_belong_to_nothing", ErrorId::kBadSection,
       [](Bytes* f) {
         f->push_back(0);
         Poke<uint64_t>(f, 48, f->size());
         Poke<uint64_t>(f, 104, testing::Peek<uint64_t>(*f, 104) + 1);
       }},
      {"codes_without_range", ErrorId::kBadMetadata, [](Bytes* f) { CodesOf(f, kOdd).Drop(CodeFormField::kPacked); }},
      {"int8_without_range", ErrorId::kBadMetadata,
       [](Bytes* f) { TensorAt(f, kOdd).Child(TensorField::kInt8).Drop(Int8Field::kValues); }},
      {"golden_without_range", ErrorId::kBadMetadata,
       [](Bytes* f) { GoldenOf(f).Element(GoldenCaseField::kInputs, 0).Drop(GoldenValueField::kData); }},
      {"golden_too_short", ErrorId::kBadForm,
       [](Bytes* f) {
         GoldenOf(f).Element(GoldenCaseField::kOutputs, 0).SetElement<int64_t>(GoldenValueField::kShape, 1, 6);
       }},
  };
}

std::vector<Damage> Shapes() {
  const auto extent = [](int tensor, size_t i, int64_t value) {
    return [=](Bytes* f) { TensorAt(f, tensor).SetElement<int64_t>(TensorField::kShape, i, value); };
  };
  return {
      {"extent_negative", ErrorId::kBadShape, extent(kConvWeight, 0, -4)},
      {"extent_of_zero_leaves_data_over", ErrorId::kBadForm, extent(kConvWeight, 0, 0)},
      {"extent_beyond_2_31", ErrorId::kLimitCount, extent(kInput, 1, int64_t{1} << 31)},
      {"extent_huge", ErrorId::kLimitTensor, extent(kConvWeight, 1, INT64_MAX / 36)},
      {"extents_wrap", ErrorId::kLimitCount, extent(kConvWeight, 1, INT64_MAX)},
      {"extents_wrap_within_limits", ErrorId::kBadShape,
       [](Bytes* f) {
         for (size_t i = 0; i < 4; ++i)
           TensorAt(f, kConvWeight).SetElement<int64_t>(TensorField::kShape, i, 2147483647);
       }},
      {"tensor_beyond_limit", ErrorId::kLimitTensor, extent(kConvWeight, 0, 1 << 28)},
      {"symbol_unknown", ErrorId::kBadIndex, extent(kInput, 0, -2)},
      {"codes_shorter_than_shape", ErrorId::kBadForm, extent(kOdd, 0, 6)},
      {"rank_zero", ErrorId::kBadForm, [](Bytes* f) { TensorAt(f, kConvWeight).SetLength(TensorField::kShape, 0); }},
      {"shape_longer_than_the_file", ErrorId::kBadMetadata,
       [](Bytes* f) { TensorAt(f, kConvWeight).SetLength(TensorField::kShape, 0x7FFFFFFF); }},
      {"shape_length_wraps", ErrorId::kBadMetadata,
       [](Bytes* f) { TensorAt(f, kConvWeight).SetLength(TensorField::kShape, 0xFFFFFFFF); }},
      {"shape_missing", ErrorId::kBadForm, [](Bytes* f) { TensorAt(f, kFcBias).Drop(TensorField::kShape); }},
  };
}

std::vector<Damage> Codes() {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const auto set = [](int field, auto value) { return [=](Bytes* f) { CodebookOf(f, kInput).Set(field, value); }; };
  return {
      {"exponent_bits_1", ErrorId::kBadCodebook, set(CodebookField::kExponentBits, uint8_t{1})},
      {"exponent_bits_8", ErrorId::kBadCodebook, set(CodebookField::kExponentBits, uint8_t{8})},
      {"exponent_bits_255", ErrorId::kBadCodebook, set(CodebookField::kExponentBits, uint8_t{255})},
      {"exponent_bits_of_a_weight", ErrorId::kBadCodebook,
       [](Bytes* f) {
         CodesOf(f, kOdd).Child(CodeFormField::kCodebook).Set(CodebookField::kExponentBits, uint8_t{4});
       }},
      {"base_one", ErrorId::kBadCodebook, set(CodebookField::kBase, 1.0)},
      {"base_below_one", ErrorId::kBadCodebook, set(CodebookField::kBase, 0.5)},
      {"base_nan", ErrorId::kBadCodebook, set(CodebookField::kBase, kNaN)},
      {"alpha_zero", ErrorId::kBadCodebook, set(CodebookField::kAlpha, 0.0)},
      {"alpha_nan", ErrorId::kBadCodebook, set(CodebookField::kAlpha, kNaN)},
      {"alpha_infinite", ErrorId::kBadCodebook, set(CodebookField::kAlpha, kInf)},
      {"beta_infinite", ErrorId::kBadCodebook, set(CodebookField::kBeta, kInf)},
      {"scale_nan", ErrorId::kBadCodebook, set(CodebookField::kScale, std::numeric_limits<float>::quiet_NaN())},
      {"inverse_scale_zero", ErrorId::kBadCodebook, set(CodebookField::kInverseScale, 0.0f)},
      {"mantissas_decrease", ErrorId::kBadCodebook,
       [](Bytes* f) { CodebookOf(f, kInput).SetElement<uint16_t>(CodebookField::kMantissas, 0, 127); }},
      {"mantissa_zero", ErrorId::kBadCodebook,
       [](Bytes* f) { CodebookOf(f, kInput).SetElement<uint16_t>(CodebookField::kMantissas, 0, 0); }},
      {"mantissa_outside_grid", ErrorId::kBadCodebook,
       [](Bytes* f) { CodebookOf(f, kInput).SetElement<uint16_t>(CodebookField::kMantissas, 14, 128); }},
      {"mantissa_65535", ErrorId::kBadCodebook,
       [](Bytes* f) { CodebookOf(f, kInput).SetElement<uint16_t>(CodebookField::kMantissas, 14, 65535); }},
      {"mantissas_missing", ErrorId::kBadCodebook,
       [](Bytes* f) { CodebookOf(f, kInput).SetLength(CodebookField::kMantissas, 0); }},
      {"grid_real_without_thresholds", ErrorId::kBadCodebook, set(CodebookField::kGrid, uint8_t{2})},
      {"codes_without_codebook", ErrorId::kMissingCodebook,
       [](Bytes* f) { CodesOf(f, kOdd).Drop(CodeFormField::kCodebook); }},
      {"zero_code_with_sign", ErrorId::kBadCode,
       [](Bytes* f) { WeightsOf(f)[CodesOf(f, kOdd).RangeOffset(CodeFormField::kPacked) + 3] = 0x81; }},
      {"pad_bits", ErrorId::kBadCode,
       [](Bytes* f) { WeightsOf(f)[CodesOf(f, kOdd).RangeOffset(CodeFormField::kPacked) + 17] |= 0x20; }},
      {"channel_scale_negative", ErrorId::kBadForm,
       [](Bytes* f) { CodesOf(f, kOdd).SetElement<float>(CodeFormField::kChannelScales, 2, -1.0f); }},
      {"channel_scales_too_few", ErrorId::kBadForm,
       [](Bytes* f) { CodesOf(f, kOdd).SetLength(CodeFormField::kChannelScales, 3); }},
      {"int8_scale_nan", ErrorId::kBadForm,
       [](Bytes* f) {
         TensorAt(f, kOdd).Child(TensorField::kInt8).SetElement<uint32_t>(Int8Field::kScales, 0, 0x7FC00000);
       }},
  };
}

std::vector<Damage> Enums() {
  const auto set = [](int field) { return [=](Bytes* f) { CodebookOf(f, kInput).Set(field, uint8_t{7}); }; };
  return {
      {"dtype", ErrorId::kUnknownEnum, [](Bytes* f) { TensorAt(f, kConv).Set(TensorField::kDType, uint8_t{6}); }},
      {"dtype_255", ErrorId::kUnknownEnum, [](Bytes* f) { TensorAt(f, kConv).Set(TensorField::kDType, uint8_t{255}); }},
      {"sign", ErrorId::kUnknownEnum, set(CodebookField::kSign)},
      {"grid", ErrorId::kUnknownEnum, set(CodebookField::kGrid)},
      {"encode_rule", ErrorId::kUnknownEnum, set(CodebookField::kEncodeRule)},
      {"attribute_kind", ErrorId::kUnknownEnum,
       [](Bytes* f) { NodeAt(f, 0).Element(NodeField::kAttributes, 0).Set(AttributeField::kKind, uint8_t{3}); }},
      {"golden_dtype", ErrorId::kUnknownEnum,
       [](Bytes* f) { GoldenOf(f).Element(GoldenCaseField::kInputs, 0).Set(GoldenValueField::kDType, uint8_t{9}); }},
  };
}

std::vector<Damage> Structure() {
  const auto input = [](int node, int32_t value) {
    return [=](Bytes* f) { NodeAt(f, node).SetElement<int32_t>(NodeField::kInputs, 0, value); };
  };
  const auto output = [](int node, int32_t value) {
    return [=](Bytes* f) { NodeAt(f, node).SetElement<int32_t>(NodeField::kOutputs, 0, value); };
  };
  return {
      {"node_input_out_of_range", ErrorId::kBadIndex, input(1, 10)},
      {"node_input_negative", ErrorId::kBadIndex, input(1, -2)},
      {"node_output_out_of_range", ErrorId::kBadIndex, output(1, INT32_MAX)},
      {"node_output_absent", ErrorId::kBadIndex, output(1, -1)},
      {"graph_input_out_of_range", ErrorId::kBadIndex,
       [](Bytes* f) { Root(f).SetElement<int32_t>(ModelField::kInputs, 0, 10); }},
      {"graph_output_out_of_range", ErrorId::kBadIndex,
       [](Bytes* f) { Root(f).SetElement<int32_t>(ModelField::kOutputs, 0, INT32_MIN); }},
      {"cycle", ErrorId::kBadTopology, input(1, kFlat)},
      {"used_before_production", ErrorId::kBadTopology, input(1, kLogits)},
      {"double_producer", ErrorId::kBadTopology, output(1, kConv)},
      {"constant_produced", ErrorId::kBadTopology, output(3, kFcBias)},
      {"output_not_produced", ErrorId::kBadTopology, output(3, kConv)},
      {"constant_as_input", ErrorId::kBadTopology,
       [](Bytes* f) { Root(f).SetElement<int32_t>(ModelField::kInputs, 0, kConvBias); }},
      {"input_that_is_not_listed", ErrorId::kBadShape, [](Bytes* f) { Root(f).SetLength(ModelField::kInputs, 0); }},
      {"name_empty", ErrorId::kBadName,
       [](Bytes* f) { TensorAt(f, kConv).SetString(TensorField::kName, std::string(4, '\0')); }},
      {"name_not_utf8", ErrorId::kBadName, [](Bytes* f) { TensorAt(f, kConv).SetString(TensorField::kName, "\xFF"); }},
      {"name_repeated", ErrorId::kBadName, [](Bytes* f) { TensorAt(f, kConv).SetString(TensorField::kName, "flat"); }},
      {"name_missing", ErrorId::kBadName, [](Bytes* f) { NodeAt(f, 0).Drop(NodeField::kName); }},
      {"op_missing", ErrorId::kBadName, [](Bytes* f) { NodeAt(f, 0).Drop(NodeField::kOp); }},
      {"metadata_keys_out_of_order", ErrorId::kBadMetadata,
       [](Bytes* f) { Root(f).Element(ModelField::kMetadata, 0).SetString(KeyValueField::kKey, "z"); }},
      {"metadata_key_not_utf8", ErrorId::kBadName,
       [](Bytes* f) { Root(f).Element(ModelField::kMetadata, 1).SetString(KeyValueField::kKey, "\xFE"); }},
      {"attribute_nan", ErrorId::kBadAttribute,
       [](Bytes* f) {
         NodeAt(f, 0).Element(NodeField::kAttributes, 3).SetElement<uint32_t>(AttributeField::kFloats, 1, 0x7F800001);
       }},
      {"range_reversed", ErrorId::kBadRecord,
       [](Bytes* f) {
         TensorAt(f, kInput).SetStruct(TensorField::kRange, Range{1, 0});
       }},
      {"identifier", ErrorId::kBadMetadata, [](Bytes* f) { (*f)[kHeaderBytes + 4] = 'X'; }},
      {"root_offset_zero", ErrorId::kBadMetadata, [](Bytes* f) { Poke<uint32_t>(f, kHeaderBytes, 0); }},
      {"root_offset_huge", ErrorId::kBadMetadata, [](Bytes* f) { Poke<uint32_t>(f, kHeaderBytes, 0x7FFFFFFF); }},
      {"root_offset_odd", ErrorId::kBadMetadata,
       [](Bytes* f) { Poke<uint32_t>(f, kHeaderBytes, testing::Peek<uint32_t>(*f, kHeaderBytes) + 1); }},
  };
}

std::string NameOf(const ::testing::TestParamInfo<Damage>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Header, HostileFile, ::testing::ValuesIn(Headers()), NameOf);
INSTANTIATE_TEST_SUITE_P(Range, HostileFile, ::testing::ValuesIn(Ranges()), NameOf);
INSTANTIATE_TEST_SUITE_P(Shape, HostileFile, ::testing::ValuesIn(Shapes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Codes, HostileFile, ::testing::ValuesIn(Codes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Enum, HostileFile, ::testing::ValuesIn(Enums()), NameOf);
INSTANTIATE_TEST_SUITE_P(Structure, HostileFile, ::testing::ValuesIn(Structure()), NameOf);

TEST(HostileFileSize, EmptyAndShortFilesAreTooShort) {
  const Bytes file = Serialized(SmallConvNet());
  TALLY_EXPECT_ERROR(ErrorId::kTooShort, ParseModel(nullptr, 0, "empty"));
  for (size_t size = 1; size < 16; ++size) {
    TALLY_EXPECT_ERROR(ErrorId::kTooShort, ParseModel(file.data(), size, "short"));
    TALLY_EXPECT_ERROR(ErrorId::kTooShort, ParseModel("not a model at all", size, "short"));
  }
  TALLY_EXPECT_ERROR(ErrorId::kBadMagic, ParseModel("not a model at all", 16, "text"));
}

TEST(HostileFileSize, LimitsComeBeforeWork) {
  const Bytes file = Serialized(SmallConvNet());
  Limits limits;
  limits.file_bytes = file.size() - 1;
  TALLY_EXPECT_ERROR(ErrorId::kLimitFile, Parse(file, limits));
  limits = {};
  limits.metadata_bytes = testing::Peek<uint64_t>(file, 72) - 1;
  TALLY_EXPECT_ERROR(ErrorId::kLimitMetadata, Parse(file, limits));
  limits = {};
  limits.tensor_bytes = 431;  // conv.weight: 108 elements of 4 bytes
  TALLY_EXPECT_ERROR(ErrorId::kLimitTensor, Parse(file, limits));
  limits.tensor_bytes = 432;
  TALLY_EXPECT_OK(Parse(file, limits));
}

TEST(HostileFileSize, ErrorsSayWhere) {
  Bytes file = Serialized(SmallConvNet());
  Poke<uint64_t>(&file, 32, 4);
  Reseal(&file);
  ErrorInfo info = GetErrorInfo(Parse(file).status());
  EXPECT_EQ(info.section, "header");
  EXPECT_EQ(info.offset, 32);

  file = Serialized(SmallConvNet());
  file[file.size() - 1] ^= 1;
  info = GetErrorInfo(Parse(file).status());
  EXPECT_EQ(info.section, "weights");
  EXPECT_EQ(info.offset, testing::Peek<int64_t>(file, 96));

  file = Serialized(SmallConvNet());
  CodebookOf(&file, kInput).Set(CodebookField::kGrid, uint8_t{9});
  Reseal(&file);
  info = GetErrorInfo(Parse(file).status());
  EXPECT_EQ(info.section, "metadata");
  EXPECT_EQ(info.subject, "tensor \"input\"");

  file = Serialized(SmallConvNet());
  WeightsOf(&file)[447] = 1;
  Reseal(&file);
  info = GetErrorInfo(Parse(file).status());
  EXPECT_EQ(info.section, "weights");
  EXPECT_EQ(info.offset, testing::Peek<int64_t>(file, 96) + 447);
}

// Optional features are for what an old reader may ignore.
TEST(HostileFileSize, UnknownOptionalFeaturesAreIgnored) {
  Bytes file = Serialized(SmallConvNet());
  Poke<uint64_t>(&file, 40, UINT64_MAX);
  Reseal(&file);
  TALLY_EXPECT_OK(Parse(file));
}

}  // namespace
}  // namespace tally
