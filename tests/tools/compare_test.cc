#include "format/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using testing::Tally;

class CompareTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { folder_ = testing::MakeSampleFolder(); }
  static std::string Path(const std::string& name) { return folder_ + "/" + name; }
  static std::string folder_;
};
std::string CompareTest::folder_;

TEST_F(CompareTest, ReportsErrorsPerNodeAloneAndSoFar) {
  const Ended ended = Tally(
      {"compare", Path("model.tally"), "--data", Path("data.json"), "--backend", "exponent,reference", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json json = ended.json();
  EXPECT_EQ(json["reference"]["float_model"], true);
  ASSERT_EQ(json["results"].size(), 2u);
  const nlohmann::json& exponent = json["results"][0];
  EXPECT_GT(exponent["peak_rss_bytes"].get<uint64_t>(), uint64_t{1} << 20);
  EXPECT_GT(exponent["latency_us"]["median"].get<double>(), 0);
  ASSERT_EQ(exponent["nodes"].size(), 4u);
  const nlohmann::json& conv = exponent["nodes"][0];
  EXPECT_EQ(conv["node"], "conv");
  // The first node reads the network's input: alone and so far are the same sum.
  EXPECT_DOUBLE_EQ(conv["isolated_sqnr_db"].get<double>(), conv["cumulative_sqnr_db"].get<double>());
  // The last node adds the error of its own to what came before: alone it is at least as good.
  const nlohmann::json& fc = exponent["nodes"][3];
  EXPECT_TRUE(fc["isolated_sqnr_db"].is_number());
  EXPECT_TRUE(exponent["nodes"][1]["isolated_sqnr_db"].is_null());  // a pool has no codebook
}

TEST_F(CompareTest, SaysWhichBackendItComparesWithWhereThereIsNoFloatModel) {
  ASSERT_EQ(Tally({"strip", Path("model.tally"), "-o", Path("small.tally")}).status, 0);
  const Ended ended = Tally({"compare", Path("small.tally"), "--data", Path("data.json")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("reference"));
  EXPECT_THAT(ended.out, HasSubstr("skipped reference"));
}

TEST_F(CompareTest, ExactBackendsGiveTheSameBits) {
  const Ended ended = Tally({"compare", Path("model.tally"), "--data", Path("data.json"), "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json results = ended.json()["results"];
  for (const nlohmann::json& result : results) {
    if (result["exact_contract"] == false) continue;
    EXPECT_TRUE(result["first_diverging_node"].is_null()) << result;
  }
}

TEST_F(CompareTest, FailBelowEndsWithOne) {
  const auto compare = [&](const std::string& demand) {
    return Tally({"compare", Path("model.tally"), "--data", Path("data.json"), "--backend", "exponent",
                  "--error-samples", "0", "--fail_below", demand});
  };
  EXPECT_EQ(compare("top1=0").status, 0);
  EXPECT_EQ(compare("compression_vs_int8=1.5").status, 0);
  const Ended failed = compare("top1=100.5");
  EXPECT_EQ(failed.status, 1);
  EXPECT_THAT(failed.err, HasSubstr("tally: TLY-E0101: exponent: top1: expected at least 100.5"));
  EXPECT_THAT(failed.out, HasSubstr("exponent"));
  EXPECT_EQ(compare("compression_vs_int8=2.5").status, 1);
  for (const char* bad : {"speed=3", "top1", "top1=", "top1=fast"}) EXPECT_EQ(compare(bad).status, 2) << bad;
}

TEST_F(CompareTest, WritesASelfContainedPage) {
  ASSERT_EQ(Tally({"compare", Path("model.tally"), "--data", Path("data.json"), "--backend", "exponent", "--html",
                   Path("page.html")})
                .status,
            0);
  const std::string page = testing::ReadText(Path("page.html"));
  EXPECT_THAT(page, HasSubstr("<td>conv</td>"));
  EXPECT_EQ(page.find("http"), std::string::npos);
}

}  // namespace
}  // namespace tally
