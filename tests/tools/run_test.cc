// run, eval, bench: what comes out of a session.
#include <algorithm>
#include <cmath>
#include <fstream>

#include "converter/calibration/dataset.h"
#include "format/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tally/tally.h"
#include "tests/exec/graph_builder.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using testing::Tally;

class RunTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { folder_ = testing::MakeSampleFolder(); }
  static std::string Path(const std::string& name) { return folder_ + "/" + name; }
  static std::string folder_;
};
std::string RunTest::folder_;

void ExpectPlacement(const nlohmann::json& placement) {
  ASSERT_EQ(placement.size(), 4u);
  for (const nlohmann::json& node : placement) {
    for (const char* key : {"node", "op", "backend", "kernel", "isa", "why", "refused"})
      EXPECT_TRUE(node.contains(key)) << key;
    for (const nlohmann::json& refusal : node["refused"]) {
      EXPECT_TRUE(refusal.contains("backend") && refusal.contains("reason")) << refusal;
    }
  }
  EXPECT_EQ(placement[0]["op"], "Conv");
}

TEST_F(RunTest, RunTakesAnyBatchAndWritesOutputs) {
  const Ended ended = Tally({"run", Path("model.tally"), "--backend", "exponent", "--input", "input=" + Path("x.npy"),
                             "--output", "logits=" + Path("y.npy")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const absl::StatusOr<NpyArray> y = ReadNpy(Path("y.npy"));
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_EQ(y->shape, (Shape{2, 5}));
}

// Not every network runs at extents of 1, where a session would begin.
TEST_F(RunTest, RunBeginsWithTheExtentsOfItsInputs) {
  Graph graph;
  graph.symbols = {"N", "W"};
  Tensor x, y;
  x.name = "x";
  x.shape = {-1, 1, 8, -2};
  y.name = "y";
  graph.inputs = {graph.AddTensor(x)};
  graph.outputs = {graph.AddTensor(y)};
  Node pool{"pool", "AveragePool", {0}, {1}, {}};
  pool.SetInts("kernel_shape", {2, 2});
  pool.SetInts("strides", {2, 2});
  graph.nodes.push_back(pool);
  ASSERT_TRUE(WriteModelFile(graph, Path("wide.tally")).ok());
  const std::vector<float> values(2 * 8 * 6, 1);
  ASSERT_TRUE(WriteNpy(Path("wide.npy"), {values.data(), DType::kFloat32, {2, 1, 8, 6}}).ok());
  const Ended ended = Tally({"run", Path("wide.tally"), "--backend", "reference", "--input", Path("wide.npy"),
                             "--output", Path("narrow.npy")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const absl::StatusOr<NpyArray> narrow = ReadNpy(Path("narrow.npy"));
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_EQ(narrow->shape, (Shape{2, 1, 4, 3}));
}

TEST_F(RunTest, RunNamesWhatIsWrongWithItsInputs) {
  const auto error = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run", Path("model.tally")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Tally(arguments);
  };
  EXPECT_THAT(error({}).err, HasSubstr("TLY-E0205"));
  EXPECT_EQ(error({}).status, 2);
  EXPECT_THAT(error({"--input", "in=" + Path("x.npy")}).err, HasSubstr("\"input\""));
  EXPECT_EQ(error({"--input", "in=" + Path("x.npy")}).status, 2);
  EXPECT_EQ(error({"--input", "input=" + Path("labels.npy")}).status, 2);  // shape
  EXPECT_EQ(error({"--input", "input=" + Path("absent.npy")}).status, 4);
  EXPECT_EQ(error({"--input", "input=" + Path("data.json")}).status, 3);
  EXPECT_EQ(error({"--explain", "--backend", "exponent,reference"}).status, 2);  // two sessions
  EXPECT_EQ(error({"--input", "input=" + Path("x.npy"), "--output", "logits=" + Path("x.npy")}).status, 4);
}

TEST_F(RunTest, ExplainNeedsNoInput) {
  const Ended text = Tally({"run", Path("model.tally"), "--explain"});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("conv"));
  const Ended json = Tally({"run", Path("model.tally"), "--explain", "--json", "-"});
  ASSERT_EQ(json.status, 0) << json.err;
  ExpectPlacement(json.json()["placement"]);
  EXPECT_EQ(json.json()["placement"][0]["backend"], "exponent");
}

TEST_F(RunTest, ShapesFollowFromTheValuesOfInputs) {
  testing::GraphBuilder b;
  b.Input("x", {-1, 4}).Input("s", {2}, DType::kInt64);
  b.Add("Reshape", {"x", "s"}, {"y"});
  b.Output("y");
  const std::string model = Path("reshape.tally");
  ASSERT_TRUE(WriteModelFile(b.graph, model).ok());
  const std::vector<float> x(12, 1);
  ASSERT_TRUE(WriteNpy(Path("x12.npy"), {x.data(), DType::kFloat32, {3, 4}}).ok());
  for (const std::vector<int64_t>& s : std::vector<std::vector<int64_t>>{{2, 6}, {12, 1}}) {
    ASSERT_TRUE(WriteNpy(Path("s.npy"), {s.data(), DType::kInt64, {2}}).ok());
    const std::vector<std::string> run = {"run",      model,
                                          "--input",  "x=" + Path("x12.npy"),
                                          "--input",  "s=" + Path("s.npy"),
                                          "--output", "y=" + Path("y12.npy")};
    const Ended ended = Tally(run);
    ASSERT_EQ(ended.status, 0) << ended.err;
    EXPECT_THAT(ended.out, HasSubstr(ShapeString(s)));
    const absl::StatusOr<NpyArray> y = ReadNpy(Path("y12.npy"));
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_EQ(y->shape, s);
  }
  const std::vector<int64_t> bad = {5, 5};
  ASSERT_TRUE(WriteNpy(Path("s.npy"), {bad.data(), DType::kInt64, {2}}).ok());
  EXPECT_THAT(Tally({"run", model, "--input", "x=" + Path("x12.npy"), "--input", "s=" + Path("s.npy")}).err,
              HasSubstr("TLY-E0316"));
  EXPECT_THAT(Tally({"run", model, "--explain"}).err, HasSubstr("TLY-E0205")) << "where nodes run depends on it";
  EXPECT_EQ(Tally({"inspect", model}).status, 0);
  // What has no value for it says so.
  EXPECT_THAT(Tally({"bench", model}).err, HasSubstr("TLY-E0610"));
  const Ended eval = Tally({"eval", model, "--data", Path("data.json")});
  EXPECT_EQ(eval.status, 6);
  EXPECT_THAT(eval.err, HasSubstr("input \"s\""));
}

TEST_F(RunTest, TuningIsSaidAndKept) {
  const auto why = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run", Path("model.tally"), "--explain", "--json", "-"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ended ended = Tally(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    std::string text;
    const nlohmann::json report = ended.json();
    for (const nlohmann::json& node : report["placement"]) text += node["why"].get<std::string>() + "\n";
    return text;
  };
  EXPECT_THAT(why({}), HasSubstr("only kernel"));
  const std::string rules = why({"--tuning", "rules", "--cache_dir", Path("tuning")});
  EXPECT_THAT(rules, ::testing::Not(HasSubstr("measured")));
  EXPECT_FALSE(testing::Exists(Path("tuning")));
  EXPECT_EQ(Tally({"run", Path("model.tally"), "--explain", "--tuning", "luck"}).status, 2);
  const std::vector<std::string> built = AvailableBackends();
  if (std::find(built.begin(), built.end(), "onednn-codebook") == built.end()) return;
  const std::vector<std::string> both = {"--backend", "exponent+onednn-codebook", "--cache-dir", Path("tuning")};
  // A machine that is too busy to measure on keeps nothing.
  if (why(both).find("measured") == std::string::npos) return;
  EXPECT_THAT(why(both), HasSubstr("cached: measured"));
}

TEST_F(RunTest, EvalReportsEachBackend) {
  const Ended ended = Tally({"eval", Path("model.tally"), "--data", Path("data.json"), "--backend",
                             "exponent,reference,exponent+reference", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json json = ended.json();
  EXPECT_EQ(json["schema_version"], 1);
  ASSERT_EQ(json["results"].size(), 3u);
  for (const nlohmann::json& result : json["results"]) {
    EXPECT_EQ(result["metric"], "top1");
    EXPECT_EQ(result["samples"], 16);
    EXPECT_EQ(result["source"], "measured");
    const double value = result["value"];
    EXPECT_DOUBLE_EQ(value * 16 / 100, std::round(value * 16 / 100));
  }
  EXPECT_EQ(json["results"][2]["backend"], "exponent+reference");
  const Ended table =
      Tally({"eval", Path("model.tally"), "--data", Path("data.json"), "--offset", "3", "--limit", "5"});
  ASSERT_EQ(table.status, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("ms/sample"));
  const Ended sliced =
      Tally({"eval", Path("model.tally"), "--data", Path("data.json"), "--offset", "3", "--limit", "5", "--json", "-"});
  EXPECT_EQ(sliced.json()["results"][0]["samples"], 5);
}

TEST_F(RunTest, EvalWithoutLabelsAgreesWithTheFloatModel) {
  const Ended ended = Tally({"eval", Path("model.tally"), "--data", Path("unlabelled.json"), "--backend",
                             "exponent,reference", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json results = ended.json()["results"];
  EXPECT_EQ(results[1]["metric"], "agreement");
  EXPECT_EQ(results[1]["value"], 100.0);  // the float model itself, on the same or another float backend
  EXPECT_GT(results[0]["output_sqnr_db"].get<double>(), 0.0);
}

TEST_F(RunTest, AllSkipsWhatTheFileCannotDo) {
  ASSERT_EQ(Tally({"strip", Path("model.tally"), "-o", Path("small.tally")}).status, 0);
  const Ended ended =
      Tally({"eval", Path("small.tally"), "--data", Path("data.json"), "--backend", "all", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json json = ended.json();
  ASSERT_GE(json["results"].size(), 1u);
  bool reference = false;
  for (const nlohmann::json& skipped : json["skipped"]) {
    reference |= skipped["backend"] == "reference";
    EXPECT_NE(skipped["reason"], "");
  }
  EXPECT_TRUE(reference) << json["skipped"];
  // The counting oracle is for tests and verify; a user who says "all" does not want to wait for it.
  EXPECT_EQ(ended.out.find("\"backend\": \"histogram\""), std::string::npos);
}

TEST_F(RunTest, BenchJsonHasTheDocumentedKeys) {
  const Ended ended =
      Tally({"bench", Path("model.tally"), "--backend", "exponent,reference", "--num_threads", "1,2", "--num_runs", "5",
             "--min_secs", "0", "--enable_op_profiling", "--json", Path("bench.json")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json json = nlohmann::json::parse(testing::ReadText(Path("bench.json")));
  ASSERT_EQ(json["results"].size(), 4u);
  for (const nlohmann::json& result : json["results"]) {
    const nlohmann::json& latency = result["latency_us"];
    EXPECT_GT(latency["min"].get<double>(), 0);
    EXPECT_LE(latency["min"], latency["median"]);
    EXPECT_LE(latency["median"], latency["p90"]);
    EXPECT_GE(latency["mean"], latency["min"]);
    EXPECT_GE(latency["stddev"], 0);
    EXPECT_GE(result["runs"], 5);
    EXPECT_EQ(result["source"], "measured");
    // A process with a model holds at least a megabyte and less than a gigabyte.
    EXPECT_GT(result["peak_rss_bytes"].get<uint64_t>(), uint64_t{1} << 20);
    EXPECT_LT(result["peak_rss_bytes"].get<uint64_t>(), uint64_t{1} << 30);
    EXPECT_TRUE(result["resident_weight_bytes"].is_number_unsigned());
    ExpectPlacement(result["placement"]);
    EXPECT_GE(result["profile"].size(), 3u);
  }
  EXPECT_EQ(json["results"][2]["num_threads"], 2);
}

TEST_F(RunTest, BenchWritesEveryFormat) {
  const auto bench = [&](const std::string& format) {
    const Ended ended = Tally({"bench", Path("model.tally"), "--backend", "exponent,reference", "--num_runs", "1",
                               "--min_secs", "0", "--output", format});
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.out;
  };
  EXPECT_THAT(bench("md"), HasSubstr("| exponent | 1 |"));
  EXPECT_THAT(bench("csv"), HasSubstr("\nreference,1,"));
  const std::string lines = bench("jsonl");
  ASSERT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_EQ(nlohmann::json::parse(lines.substr(0, lines.find('\n')))["backend"], "exponent");
}

TEST_F(RunTest, BenchListsBackendsWithoutAModel) {
  const Ended ended = Tally({"bench", "--list_backends"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_THAT(ended.out, HasSubstr("exponent"));
  EXPECT_THAT(ended.out, HasSubstr("reference"));
}

TEST_F(RunTest, TheStandAloneBinaryIsTheSameBenchmark) {
  const Ended ended = testing::RunProgram(
      TALLY_BENCHMARK_BINARY,
      {Path("model.tally"), "--backend", "exponent", "--num_runs", "1", "--min-secs", "0", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_GT(ended.json()["results"][0]["peak_rss_bytes"].get<uint64_t>(), uint64_t{1} << 20);
  EXPECT_EQ(testing::RunProgram(TALLY_BENCHMARK_BINARY, {Path("absent.tally")}).status, 4);
}

TEST_F(RunTest, LabelsOutsideTheModelsClassesAreAnError) {
  const std::vector<int64_t> labels = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5};
  ASSERT_TRUE(WriteNpy(Path("high.npy"), {labels.data(), DType::kInt64, {16}}).ok());
  const std::vector<float> scores(16, 1.0f);
  ASSERT_TRUE(WriteNpy(Path("float.npy"), {scores.data(), DType::kFloat32, {16}}).ok());
  for (const std::string name : {"high", "float"}) {
    std::ofstream(Path(name + ".json")) << R"({"inputs": [{"name": "input", "kind": "npy", "path": "images.npy"}], )"
                                        << R"("target": {"kind": "class", "path": ")" << name << R"(.npy"}})";
    const Ended ended = Tally({"eval", Path("model.tally"), "--data", Path(name + ".json")});
    EXPECT_EQ(ended.status, 3);
    EXPECT_THAT(ended.err, HasSubstr("TLY-E0321: " + Path(name + ".npy")));
    EXPECT_THAT(ended.err, HasSubstr(name == "high" ? "sample 15: expected a class below 5" : "integer labels"));
  }
}

TEST_F(RunTest, EveryReportSaysWhereItWasMeasured) {
  const Ended csv = Tally({"bench", Path("model.tally"), "--num_runs", "1", "--min_secs", "0", "--output", "csv"});
  EXPECT_THAT(csv.out, HasSubstr(",source,cpu,isa,"));
  EXPECT_THAT(csv.out, HasSubstr(",measured,"));
  ASSERT_EQ(Tally({"compare", Path("model.tally"), "--data", Path("data.json"), "--backend", "exponent", "--html",
                   Path("c.html")})
                .status,
            0);
  ASSERT_EQ(Tally({"inspect", Path("model.tally"), "--html", Path("i.html")}).status, 0);
  for (const char* page : {"c.html", "i.html"}) {
    EXPECT_THAT(testing::ReadText(Path(page)), HasSubstr("<td>compiler</td>")) << page;
  }
  const Ended eval = Tally({"eval", Path("model.tally"), "--data", Path("data.json"), "--json", "-"});
  const nlohmann::json versions = eval.json()["environment"]["versions"];
  EXPECT_FALSE(versions.empty());
  for (const auto& [name, version] : versions.items()) EXPECT_NE(version, "") << name;
}

TEST_F(RunTest, PrintsTheLargestOfEachSample) {
  const Ended ended = Tally({"run", Path("model.tally"), "--input", Path("x.npy")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("[0-4], [0-4]\n"));
}

}  // namespace
}  // namespace tally
