#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "format/graph.h"
#include "format/limits.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"

namespace tally {
namespace {

using testing::Activation;
using testing::Constant;
using testing::PackCodes;
using testing::SmallConvNet;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Tensor& At(Graph& g, const char* name) { return g.tensors[static_cast<size_t>(g.FindTensor(name))]; }

// SmallConvNet with one golden case, a plain bool constant and a spare, unused activation.
Graph Valid() {
  Graph g = SmallConvNet();
  g.AddTensor(Constant<uint8_t>("flags", DType::kBool, {20}, std::vector<uint8_t>(20, 1)));
  g.AddTensor(Activation("spare"));
  GoldenCase golden;
  golden.inputs.push_back({DType::kFloat32, {2, 3, 8, 8}, Blob::Copy(std::vector<float>(384).data(), 384 * 4)});
  golden.outputs.push_back({DType::kFloat32, {2, 5}, Blob::Copy(std::vector<float>(10).data(), 40)});
  g.golden = {golden};
  return g;
}

TEST(ValidateGraph, AcceptsWhatIsValid) {
  TALLY_EXPECT_OK(ValidateGraph(Graph()));
  TALLY_EXPECT_OK(ValidateGraph(Valid()));
  for (Grid grid : {Grid::kQ7, Grid::kQ14, Grid::kReal}) TALLY_EXPECT_OK(ValidateGraph(SmallConvNet(grid)));
  for (uint32_t seed = 0; seed < 200; ++seed) TALLY_EXPECT_OK(ValidateGraph(testing::RandomGraph(seed)));
}

TEST(ValidateGraph, AcceptsNamesInAnyScript) {
  for (const char* name : {"a", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF0\x90\x80\x80",
                           "\xF4\x8F\xBF\xBF", "tab\tand \"quotes\""}) {
    Graph g;
    g.AddTensor(Activation(name));
    TALLY_EXPECT_OK(ValidateGraph(g));
  }
}

TEST(ValidateGraph, RefusesNamesThatAreNotUtf8) {
  for (const char* name :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3(", "a\xE2(\xA1"}) {
    Graph g;
    g.AddTensor(Activation(name));
    TALLY_EXPECT_ERROR(ErrorId::kBadName, ValidateGraph(g));
  }
}

TEST(ValidateGraph, NamesTheTensorAndTheNode) {
  Graph g = Valid();
  At(g, "fc.weight").int8->scales = {0};
  EXPECT_EQ(GetErrorInfo(ValidateGraph(g)).subject, "tensor \"fc.weight\"");
  g = Valid();
  g.nodes[3].inputs[0] = 99;
  EXPECT_EQ(GetErrorInfo(ValidateGraph(g)).subject, "node \"fc\"");
}

TEST(ValidateGraph, AcceptsZeroExtentsButNotBesideExtentsThatWrap) {
  Graph g;
  g.AddTensor(Constant<float>("empty", DType::kFloat32, {2147483647, 0, 2147483647}, {}));
  TALLY_EXPECT_OK(ValidateGraph(g));
  g.tensors[0].shape = {2147483647, 0, 2147483647, 2147483647};
  TALLY_EXPECT_ERROR(ErrorId::kBadShape, ValidateGraph(g));
}

// Sorting must not be fooled either: many names, one pair of equals.
TEST(ValidateGraph, FindsARepeatedNameAmongMany) {
  Graph g;
  for (int i = 0; i < 3000; ++i) g.AddTensor(Activation("t" + std::to_string(i)));
  TALLY_EXPECT_OK(ValidateGraph(g));
  g.tensors[2999].name = "t0";
  TALLY_EXPECT_ERROR(ErrorId::kBadName, ValidateGraph(g));
}

struct Damage {
  const char* name;
  ErrorId expected;
  std::function<void(Graph&)> apply;
};

class ValidateGraphRules : public ::testing::TestWithParam<Damage> {};

TEST_P(ValidateGraphRules, AreChecked) {
  Graph g = Valid();
  TALLY_ASSERT_OK(ValidateGraph(g));
  GetParam().apply(g);
  TALLY_EXPECT_ERROR(GetParam().expected, ValidateGraph(g));
}

const std::string kLongName(kMaxNameBytes + 1, 'x');

std::vector<Damage> Names() {
  return {
      {"tensor_name_empty", ErrorId::kBadName, [](Graph& g) { g.tensors[0].name = ""; }},
      {"tensor_name_repeated", ErrorId::kBadName, [](Graph& g) { g.tensors[3].name = g.tensors[0].name; }},
      {"tensor_name_too_long", ErrorId::kLimitCount, [](Graph& g) { g.tensors[3].name = kLongName; }},
      {"tensor_name_with_nul", ErrorId::kBadName, [](Graph& g) { g.tensors[3].name = std::string("a\0b", 3); }},
      {"node_name_empty", ErrorId::kBadName, [](Graph& g) { g.nodes[0].name = ""; }},
      {"node_name_repeated", ErrorId::kBadName, [](Graph& g) { g.nodes[1].name = g.nodes[0].name; }},
      {"op_empty", ErrorId::kBadName, [](Graph& g) { g.nodes[0].op = ""; }},
      {"op_too_long", ErrorId::kLimitCount, [](Graph& g) { g.nodes[0].op = kLongName; }},
      {"graph_name_not_utf8", ErrorId::kBadName, [](Graph& g) { g.name = "\xFF"; }},
      {"symbol_empty", ErrorId::kBadName, [](Graph& g) { g.symbols[0] = ""; }},
      {"symbol_repeated", ErrorId::kBadName,
       [](Graph& g) {
         g.symbols = {"N", "N"};
       }},
      {"metadata_key_empty", ErrorId::kBadName, [](Graph& g) { g.metadata[""] = "x"; }},
      {"metadata_value_not_utf8", ErrorId::kBadRecord, [](Graph& g) { g.metadata["k"] = "\xFF"; }},
      {"attribute_name_empty", ErrorId::kBadName, [](Graph& g) { g.nodes[0].attributes[0].name = ""; }},
      {"attribute_repeated", ErrorId::kBadName,
       [](Graph& g) { g.nodes[0].attributes.push_back(g.nodes[0].attributes[0]); }},
      {"too_many_tensors", ErrorId::kLimitCount, [](Graph& g) { g.tensors.resize(kMaxTensors + 1); }},
      {"too_many_nodes", ErrorId::kLimitCount, [](Graph& g) { g.nodes.resize(kMaxNodes + 1); }},
      {"too_many_symbols", ErrorId::kLimitCount, [](Graph& g) { g.symbols.resize(kMaxTensors + 1); }},
  };
}

std::vector<Damage> Topology() {
  return {
      {"input_index_too_large", ErrorId::kBadIndex, [](Graph& g) { g.inputs[0] = 1000; }},
      {"input_index_negative", ErrorId::kBadIndex, [](Graph& g) { g.inputs[0] = -1; }},
      {"output_index_too_large", ErrorId::kBadIndex, [](Graph& g) { g.outputs[0] = 1000; }},
      {"output_index_negative", ErrorId::kBadIndex, [](Graph& g) { g.outputs[0] = INT32_MIN; }},
      {"node_input_too_large", ErrorId::kBadIndex, [](Graph& g) { g.nodes[0].inputs[0] = INT32_MAX; }},
      {"node_input_below_minus_one", ErrorId::kBadIndex, [](Graph& g) { g.nodes[0].inputs[0] = -2; }},
      {"node_output_too_large", ErrorId::kBadIndex, [](Graph& g) { g.nodes[0].outputs[0] = 1000; }},
      {"node_output_absent", ErrorId::kBadIndex, [](Graph& g) { g.nodes[0].outputs[0] = -1; }},
      {"graph_input_twice", ErrorId::kBadTopology, [](Graph& g) { g.inputs.push_back(g.inputs[0]); }},
      {"graph_input_constant", ErrorId::kBadTopology, [](Graph& g) { g.inputs.push_back(g.FindTensor("conv.bias")); }},
      {"graph_output_twice", ErrorId::kBadTopology, [](Graph& g) { g.outputs.push_back(g.outputs[0]); }},
      {"graph_output_not_produced", ErrorId::kBadTopology, [](Graph& g) { g.outputs[0] = g.FindTensor("spare"); }},
      {"used_before_production", ErrorId::kBadTopology, [](Graph& g) { std::swap(g.nodes[1], g.nodes[2]); }},
      {"used_but_never_produced", ErrorId::kBadTopology,
       [](Graph& g) { g.nodes[1].inputs[0] = g.FindTensor("spare"); }},
      {"cycle", ErrorId::kBadTopology, [](Graph& g) { g.nodes[0].inputs[0] = g.nodes[2].outputs[0]; }},
      {"node_reads_its_own_output", ErrorId::kBadTopology,
       [](Graph& g) { g.nodes[0].inputs[0] = g.nodes[0].outputs[0]; }},
      {"double_producer", ErrorId::kBadTopology, [](Graph& g) { g.nodes[1].outputs[0] = g.nodes[0].outputs[0]; }},
      {"output_twice_in_one_node", ErrorId::kBadTopology,
       [](Graph& g) { g.nodes[0].outputs.push_back(g.nodes[0].outputs[0]); }},
      {"constant_produced", ErrorId::kBadTopology,
       [](Graph& g) { g.nodes[0].outputs.push_back(g.FindTensor("flags")); }},
      {"graph_input_produced", ErrorId::kBadTopology, [](Graph& g) { g.nodes[0].outputs.push_back(g.inputs[0]); }},
  };
}

std::vector<Damage> ShapesAndForms() {
  return {
      {"dtype_unknown", ErrorId::kUnknownEnum, [](Graph& g) { At(g, "spare").dtype = static_cast<DType>(6); }},
      {"rank_seven", ErrorId::kLimitCount, [](Graph& g) { At(g, "input").shape = {1, 1, 1, 1, 1, 1, 1}; }},
      {"extent_beyond_2_31", ErrorId::kLimitCount, [](Graph& g) { At(g, "input").shape[1] = int64_t{1} << 31; }},
      {"extent_huge", ErrorId::kLimitCount, [](Graph& g) { At(g, "input").shape[1] = INT64_MAX; }},
      {"extents_wrap", ErrorId::kBadShape,
       [](Graph& g) {
         At(g, "input").shape = {2147483647, 2147483647, 2147483647};
       }},
      {"extent_negative_on_constant", ErrorId::kBadShape, [](Graph& g) { At(g, "conv.bias").shape = {-1}; }},
      {"symbol_out_of_range", ErrorId::kBadIndex, [](Graph& g) { At(g, "input").shape[0] = -2; }},
      {"symbol_far_out_of_range", ErrorId::kBadIndex, [](Graph& g) { At(g, "input").shape[0] = INT64_MIN; }},
      {"activation_with_shape", ErrorId::kBadShape,
       [](Graph& g) {
         At(g, "conv").shape = {1, 4, 4, 4};
       }},
      {"data_too_short", ErrorId::kBadForm,
       [](Graph& g) { At(g, "conv.bias").data = Blob::Copy("123456789012345", 15); }},
      {"data_too_long", ErrorId::kBadForm, [](Graph& g) { At(g, "conv.bias").shape = {3}; }},
      {"data_denied", ErrorId::kBadForm, [](Graph& g) { At(g, "conv.weight").has_data = false; }},
      {"bool_two", ErrorId::kBadForm,
       [](Graph& g) {
         std::vector<uint8_t> flags(20, 1);
         flags[19] = 2;
         At(g, "flags").data = testing::ToBlob(flags);
       }},
      {"bool_255", ErrorId::kBadForm,
       [](Graph& g) {
         std::vector<uint8_t> flags(20, 1);
         flags[3] = 255;
         At(g, "flags").data = testing::ToBlob(flags);
       }},
      {"codes_on_int64", ErrorId::kBadForm,
       [](Graph& g) {
         Tensor& t = At(g, "fc.weight");
         t.has_data = false;
         t.data = Blob();
         t.dtype = DType::kInt64;
       }},
      {"codes_too_short", ErrorId::kBadForm,
       [](Graph& g) { At(g, "fc.weight").codes->packed = Blob::Copy("123456789", 9); }},
      {"codes_too_long", ErrorId::kBadForm,
       [](Graph& g) { At(g, "fc.weight").codes->packed = Blob::Copy("12345678901", 11); }},
      {"codes_of_another_width", ErrorId::kBadForm,
       [](Graph& g) { At(g, "fc.weight").codes->codebook = testing::SampleCodebook(4, true); }},
      {"zero_code_with_sign", ErrorId::kBadCode,
       [](Graph& g) {
         std::vector<uint8_t> codes(20, 1);
         codes[17] = 8;
         At(g, "fc.weight").codes->packed = PackCodes(At(g, "fc.weight").codes->codebook, codes);
       }},
      {"pad_bits", ErrorId::kBadCode,
       [](Graph& g) {
         // 20 codes of 5 bits take 12.5 bytes.
         Tensor& t = At(g, "fc.weight");
         t.codes->codebook = testing::SampleCodebook(4, true);
         std::vector<uint8_t> packed(13, 0);
         packed[12] = 0x10;
         t.codes->packed = testing::ToBlob(packed);
       }},
      {"codes_codebook_invalid", ErrorId::kBadCodebook, [](Graph& g) { At(g, "fc.weight").codes->codebook.base = 1; }},
      {"channel_scale_count", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").codes->channel_scales = {1}; }},
      {"code_bias_count", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").codes->bias = {1}; }},
      {"code_bias_nan", ErrorId::kBadForm,
       [](Graph& g) { At(g, "fc.weight").codes->bias.assign(static_cast<size_t>(At(g, "fc.weight").shape[0]), kNaN); }},
      {"channel_scale_zero", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").codes->channel_scales[4] = 0; }},
      {"channel_scale_nan", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").codes->channel_scales[0] = kNaN; }},
      {"channel_scale_infinite", ErrorId::kBadForm,
       [](Graph& g) { At(g, "fc.weight").codes->channel_scales[0] = kInf; }},
      {"int8_too_short", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").int8->values = Blob::Copy("1", 1); }},
      {"int8_scale_missing", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").int8->scales.clear(); }},
      {"int8_scale_count", ErrorId::kBadForm,
       [](Graph& g) {
         At(g, "fc.weight").int8->scales = {1, 1};
       }},
      {"int8_scale_negative", ErrorId::kBadForm, [](Graph& g) { At(g, "fc.weight").int8->scales = {-1}; }},
      {"activation_codebook_on_constant", ErrorId::kBadForm,
       [](Graph& g) { At(g, "conv.bias").codebook = testing::SampleCodebook(4, true); }},
      {"activation_codebook_on_bool", ErrorId::kBadForm,
       [](Graph& g) {
         At(g, "spare").dtype = DType::kBool;
         At(g, "spare").codebook = testing::SampleCodebook(4, true);
       }},
      {"activation_codebook_invalid", ErrorId::kBadCodebook,
       [](Graph& g) { At(g, "input").codebook->mantissas.clear(); }},
  };
}

std::vector<Damage> Records() {
  return {
      {"range_reversed", ErrorId::kBadRecord,
       [](Graph& g) {
         At(g, "input").range = Range{1, 0};
       }},
      {"range_nan", ErrorId::kBadRecord,
       [](Graph& g) {
         At(g, "input").range = Range{kNaN, 0};
       }},
      {"range_infinite", ErrorId::kBadRecord,
       [](Graph& g) {
         At(g, "input").range = Range{0, kInf};
       }},
      {"fit_nan", ErrorId::kBadRecord,
       [](Graph& g) {
         At(g, "fc.weight").fit = FitRecord{0, kNaN, 0};
       }},
      {"fit_negative", ErrorId::kBadRecord,
       [](Graph& g) {
         At(g, "fc.weight").fit = FitRecord{-1, 0, 0};
       }},
      {"attribute_kind_unknown", ErrorId::kUnknownEnum,
       [](Graph& g) { g.nodes[0].attributes[0].kind = static_cast<Attribute::Kind>(3); }},
      {"attribute_of_two_kinds", ErrorId::kBadAttribute, [](Graph& g) { g.nodes[0].attributes[0].floats = {1}; }},
      {"attribute_nan", ErrorId::kBadAttribute,
       [](Graph& g) {
         g.nodes[0].SetFloats("alpha", {0, kNaN});
       }},
      {"attribute_text_not_utf8", ErrorId::kBadAttribute, [](Graph& g) { g.nodes[0].SetString("mode", "\xFF"); }},
      {"golden_input_missing", ErrorId::kBadRecord, [](Graph& g) { g.golden[0].inputs.clear(); }},
      {"golden_output_too_many", ErrorId::kBadRecord,
       [](Graph& g) { g.golden[0].outputs.push_back(g.golden[0].outputs[0]); }},
      {"golden_dtype", ErrorId::kBadRecord, [](Graph& g) { g.golden[0].inputs[0].dtype = DType::kInt32; }},
      {"golden_dtype_unknown", ErrorId::kUnknownEnum,
       [](Graph& g) { g.golden[0].outputs[0].dtype = static_cast<DType>(200); }},
      {"golden_rank", ErrorId::kBadRecord,
       [](Graph& g) {
         g.golden[0].inputs[0].shape = {2, 3, 64};
       }},
      {"golden_extent", ErrorId::kBadRecord,
       [](Graph& g) {
         g.golden[0].inputs[0].shape = {2, 8, 3, 8};
       }},
      {"golden_size", ErrorId::kBadForm,
       [](Graph& g) {
         g.golden[0].inputs[0].shape = {1, 3, 8, 8};
       }},
      {"golden_extent_negative", ErrorId::kBadShape,
       [](Graph& g) {
         g.golden[0].outputs[0].shape = {-1, 5};
       }},
      {"golden_output_size", ErrorId::kBadForm,
       [](Graph& g) {
         g.golden[0].outputs[0].shape = {2, 6};
       }},
      {"golden_symbol_with_two_values", ErrorId::kBadRecord,
       [](Graph& g) {
         Tensor second = Activation("second");
         second.shape = {-1};
         g.inputs.push_back(g.AddTensor(second));
         g.golden[0].inputs.push_back({DType::kFloat32, {1}, Blob::Copy("1234", 4)});
       }},
  };
}

std::string NameOf(const ::testing::TestParamInfo<Damage>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Names, ValidateGraphRules, ::testing::ValuesIn(Names()), NameOf);
INSTANTIATE_TEST_SUITE_P(Topology, ValidateGraphRules, ::testing::ValuesIn(Topology()), NameOf);
INSTANTIATE_TEST_SUITE_P(ShapesAndForms, ValidateGraphRules, ::testing::ValuesIn(ShapesAndForms()), NameOf);
INSTANTIATE_TEST_SUITE_P(Records, ValidateGraphRules, ::testing::ValuesIn(Records()), NameOf);

}  // namespace
}  // namespace tally
