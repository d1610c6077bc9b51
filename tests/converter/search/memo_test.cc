#include "converter/search/memo.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tally/status.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

class MemoTest : public ::testing::Test {
 protected:
  Memo Open(const std::string& context = "context") {
    const auto memo = Memo::Open(folder_, context);
    EXPECT_TRUE(memo.ok()) << memo.status();
    return *memo;
  }
  std::string OnlyFile() const { return std::filesystem::directory_iterator(folder_)->path(); }
  void Write(const std::string& text) { std::ofstream(OnlyFile(), std::ios::trunc) << text; }
  const std::string folder_ = testing::TempDir() + "/memo";
};

TEST_F(MemoTest, FindsWhatItKeptUnderKeyAndContext) {
  const nlohmann::json value = {1.5, "text", {{"a", 0.1f}}};
  ASSERT_TRUE(Open().Keep("key", value).ok());
  EXPECT_EQ(Open().Find("key"), value);
  EXPECT_FALSE(Open().Find("other key"));
  EXPECT_FALSE(Open("other context").Find("key"));
  EXPECT_FALSE(Memo().Find("key"));
  EXPECT_TRUE(Memo().Keep("key", value).ok());
}

TEST_F(MemoTest, IgnoresDamagedFiles) {
  ASSERT_TRUE(Open().Keep("key", {1, 2, 3}).ok());
  std::string text;
  std::getline(std::ifstream(OnlyFile()), text);
  ASSERT_TRUE(Open().Find("key"));
  for (size_t length = 0; length < text.size(); ++length) {
    Write(text.substr(0, length));
    ASSERT_FALSE(Open().Find("key")) << length;
  }
  std::string other = text;
  other[other.rfind('2')] = '4';
  Write(other);
  EXPECT_FALSE(Open().Find("key")) << "the check does not match";
  Write("{\"check\":\"0\",\"context\":\"context\",\"key\":\"key\",\"value\":" + std::string(1000000, '[') +
        std::string(1000000, ']') + "}");
  EXPECT_FALSE(Open().Find("key"));
  Write("[]");
  EXPECT_FALSE(Open().Find("key"));
}

TEST_F(MemoTest, NeedsAFolder) {
  std::ofstream(folder_) << "a file";
  EXPECT_EQ(GetErrorInfo(Memo::Open(folder_, "").status()).code, "TLY-E0403");
  EXPECT_EQ(GetErrorInfo(Memo::Open(testing::TempDir() + "/no/such", "").status()).code, "TLY-E0401");
}

QuantizedWeight SomeWeight() {
  QuantizedWeight weight;
  weight.fit.codebook = *MakeCodebook(3, true, Grid::kQ7, EncodeRule::kLog, 1.3, 0.2, 0.01);
  weight.fit.channel_scales = {0.1f, 3};
  weight.fit.error = {0.25, 0.5};
  weight.codes = {0, 1, 7, 9, 15, 3};
  weight.bias = {1e-20f, -2};
  weight.notes = "notes";
  weight.errors = {{2, 0.1}, {3, 1.0 / 3}};
  return weight;
}

TEST(WeightFromJson, GivesBackWhatToJsonTook) {
  const QuantizedWeight weight = SomeWeight();
  const auto back = WeightFromJson(nlohmann::json::parse(ToJson(weight).dump()), 6, 2);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->fit.codebook, weight.fit.codebook);
  EXPECT_EQ(back->fit.channel_scales, weight.fit.channel_scales);
  EXPECT_EQ(back->fit.error.relative_mse, 0.25);
  EXPECT_EQ(back->fit.error.rmae, 0.5);
  EXPECT_EQ(back->codes, weight.codes);
  EXPECT_EQ(back->bias, weight.bias);
  EXPECT_EQ(back->notes, weight.notes);
  EXPECT_EQ(back->errors, weight.errors);
}

TEST(WeightFromJson, RefusesWhatDoesNotFitTheWeight) {
  const nlohmann::json good = ToJson(SomeWeight());
  EXPECT_FALSE(WeightFromJson(good, 7, 2));
  EXPECT_FALSE(WeightFromJson(good, 6, 3));
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[key] = value;
    return !WeightFromJson(bad, 6, 2);
  };
  EXPECT_TRUE(refused("codes", "888888"));  // the code of a negative zero
  EXPECT_TRUE(refused("codes", "12"));
  EXPECT_TRUE(refused("codes", 5));
  EXPECT_TRUE(refused("channel_scales", {1.0, -1.0}));
  EXPECT_TRUE(refused("channel_scales", {1.0}));
  EXPECT_TRUE(refused("bias", {"a", "b"}));
  EXPECT_TRUE(refused("rule", 7));
  EXPECT_TRUE(refused("grid", 9));
  EXPECT_TRUE(refused("exponent_bits", 8));
  EXPECT_TRUE(refused("mantissas", {1, 2}));
  EXPECT_TRUE(refused("errors", {{"a", 1}}));
  EXPECT_TRUE(refused("errors", {{1e300, 1}}));
  EXPECT_TRUE(refused("exponent_bits", 1e300));
  EXPECT_TRUE(refused("exponent_bits", -4000000000));
  EXPECT_TRUE(refused("grid", 1.5));
  EXPECT_FALSE(refused("notes", "others"));
  for (const auto& item : good.items()) {
    nlohmann::json bad = good;
    bad.erase(item.key());
    EXPECT_FALSE(WeightFromJson(bad, 6, 2)) << item.key();
  }
}

}  // namespace
}  // namespace tally
