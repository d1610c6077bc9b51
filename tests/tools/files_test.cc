// inspect, verify, strip: what a file holds, whether it is whole, and a smaller one.
#include <fstream>

#include "format/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/format/sample_graph.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Tally;

class FilesTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) { return folder_ + "/" + name; }
  const std::string folder_ = testing::MakeSampleFolder();
};

TEST_F(FilesTest, InspectJsonHasTheDocumentedKeys) {
  const Ended ended = Tally({"inspect", Path("model.tally"), "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json json = ended.json();
  EXPECT_EQ(json["schema_version"], 1);
  for (const char* key : {"cpu", "isa", "threads", "versions", "commit"}) {
    EXPECT_TRUE(json["environment"].contains(key)) << key;
  }
  EXPECT_EQ(json["file_bytes"], testing::ReadText(Path("model.tally")).size());
  // Both weights of the sample have 3 exponent bits and a sign.
  EXPECT_EQ(json["weights"]["exponent_bits_mean"], 3.0);
  EXPECT_EQ(json["weights"]["stored_bits_mean"], 4.0);
  EXPECT_EQ(json["weights"]["compression_vs_int8"], 2.0);
  EXPECT_EQ(json["weights"]["elements"], 4 * 27 + 5 * 4);
  EXPECT_TRUE(json["weights"]["bytes"].is_number_unsigned());
  // The input is the network's own; what counts is "flat", 5 bits without a sign.
  EXPECT_EQ(json["activations"]["stored_bits_mean"], 5.0);
  bool found = false;
  for (const nlohmann::json& tensor : json["tensors"]) {
    if (tensor["name"] != "conv.weight") continue;
    found = true;
    EXPECT_EQ(tensor["kind"], "weight");
    EXPECT_EQ(tensor["exponent_bits"], 3);
    EXPECT_EQ(tensor["stored_bits"], 4);
    EXPECT_EQ(tensor["mantissas"].size(), 7u);
    EXPECT_EQ(tensor["bytes"]["codes"], 54);
    uint64_t elements = 0;
    for (uint64_t n : tensor["occupancy"]) elements += n;
    EXPECT_EQ(elements, 108u);
    for (const char* key : {"base", "alpha", "beta", "scale", "rmae", "shape"})
      EXPECT_TRUE(tensor.contains(key)) << key;
  }
  EXPECT_TRUE(found);
}

TEST_F(FilesTest, InspectShowsTablesAndWritesAPage) {
  const Ended ended = Tally({"inspect", Path("model.tally"), "--html", Path("page.html")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("conv.weight"));
  const std::string page = testing::ReadText(Path("page.html"));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("conv.weight"));
  // Self-contained: nothing is fetched.
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

TEST_F(FilesTest, HostileNamesAreEscaped) {
  Graph graph = testing::SmallConvNet();
  graph.tensors[static_cast<size_t>(graph.FindTensor("conv.weight"))].name = "<script>\x1b[2J";
  ASSERT_TRUE(WriteModelFile(graph, Path("hostile.tally")).ok());
  const Ended ended = Tally({"inspect", Path("hostile.tally"), "--html", Path("page.html")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out.find('\x1b'), std::string::npos);
  EXPECT_THAT(testing::ReadText(Path("page.html")), Not(HasSubstr("<script>")));
}

TEST_F(FilesTest, VerifyAcceptsAGoodFile) {
  const Ended ended = Tally({"verify", Path("model.tally"), "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json json = ended.json();
  EXPECT_EQ(json["golden_cases"], 1);
  EXPECT_EQ(json["ok"], true);
  bool exponent = false;
  for (const nlohmann::json& result : json["results"]) {
    exponent |= result["backend"] == "exponent";
    if (result["exact_contract"] == false) continue;
    EXPECT_EQ(result["identical"], true) << result;
  }
  EXPECT_TRUE(exponent);
}

TEST_F(FilesTest, VerifyNamesADamagedFile) {
  std::string bytes = testing::ReadText(Path("model.tally"));
  bytes[bytes.size() - 70] = static_cast<char>(bytes[bytes.size() - 70] ^ 1);
  std::ofstream(Path("damaged.tally"), std::ios::binary) << bytes;
  const Ended ended = Tally({"verify", Path("damaged.tally")});
  EXPECT_EQ(ended.status, 3);
  EXPECT_THAT(ended.err, HasSubstr("TLY-E0306"));
}

TEST_F(FilesTest, VerifyFailsWhenAnExactBackendGivesOtherBits) {
  Graph graph = testing::SmallConvNet();
  testing::AddGolden(&graph);
  std::vector<float> y(5);
  std::memcpy(y.data(), graph.golden[0].outputs[0].data.data(), 20);
  y[3] = std::nextafter(y[3], 1e30f);
  graph.golden[0].outputs[0].data = testing::ToBlob(y);
  ASSERT_TRUE(WriteModelFile(graph, Path("other.tally")).ok());
  const Ended ended = Tally({"verify", Path("other.tally"), "--backend", "exponent"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr("TLY-E0101"));
  EXPECT_THAT(ended.err, HasSubstr("exponent"));
  EXPECT_THAT(ended.out, HasSubstr("DIFFERS"));
}

TEST_F(FilesTest, StripDropsBaselinesAndKeepsResults) {
  const Ended ended = Tally({"strip", Path("model.tally"), "-o", Path("small.tally")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const absl::StatusOr<Graph> graph = ReadModelFile(Path("small.tally"));
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_TRUE(graph->golden.empty());
  for (const Tensor& tensor : graph->tensors) {
    EXPECT_FALSE(tensor.fit.has_value());
    EXPECT_FALSE(tensor.range.has_value());
    if (!tensor.codes) continue;
    EXPECT_FALSE(tensor.has_data) << tensor.name;
    EXPECT_FALSE(tensor.int8.has_value()) << tensor.name;
  }
  EXPECT_LT(testing::ReadText(Path("small.tally")).size(), testing::ReadText(Path("model.tally")).size());
  // The same bits as before; the baselines are gone, with the option that keeps them named.
  for (const char* name : {"model", "small"}) {
    ASSERT_EQ(Tally({"run", Path(std::string(name) + ".tally"), "--input", "input=" + Path("x.npy"), "--output",
                     "logits=" + Path(std::string(name) + ".npy")})
                  .status,
              0);
  }
  EXPECT_EQ(testing::ReadText(Path("small.npy")), testing::ReadText(Path("model.npy")));
  const Ended baseline = Tally({"bench", Path("small.tally"), "--backend", "reference"});
  EXPECT_EQ(baseline.status, 6);
  EXPECT_THAT(baseline.err, HasSubstr("TLY-E0606"));
}

TEST_F(FilesTest, StripDoesNotOverwriteItsInput) {
  const std::string before = testing::ReadText(Path("model.tally"));
  const Ended ended = Tally({"strip", Path("model.tally"), "-o", folder_ + "/./model.tally"});
  EXPECT_EQ(ended.status, 4);
  EXPECT_THAT(ended.err, HasSubstr("TLY-E0406"));
  EXPECT_EQ(testing::ReadText(Path("model.tally")), before);
}

}  // namespace
}  // namespace tally
