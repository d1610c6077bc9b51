// tally simulate: its report, its other forms, and how it ends when something is wrong.
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/paths.h"
#include "tests/tools/program.h"

namespace tally {
namespace {

using testing::Ended;
using ::testing::HasSubstr;
using testing::ReadText;
using testing::Tally;
using Json = nlohmann::json;

std::string Model() { return testing::MakeSampleFolder() + "/model.tally"; }

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

// Every key but `total` is a part; whole numbers, so the sum is exact in any order.
void ExpectParts(const Json& json, const std::string& what) {
  double sum = 0;
  for (const auto& [key, value] : json.items()) {
    if (key != "total") sum += value.get<double>();
  }
  EXPECT_EQ(json["total"].get<double>(), sum) << what;
}

TEST(Simulate, ReportsLayersWhosePartsAndTotalsAddUpExactly) {
  const Ended ended = Tally({"simulate", Model(), "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const Json report = ended.json();
  EXPECT_EQ(report["schema_version"], 1);
  EXPECT_EQ(report["source"], "simulated");
  EXPECT_EQ(report["codes"], "of the model");
  EXPECT_TRUE(report["environment"].contains("commit"));
  double cycles = 0, energy = 0, flat = 0;
  ASSERT_GT(report["layers"].size(), 2u);
  for (const Json& layer : report["layers"]) {
    for (const Json* side : {&layer, &layer["int8"]}) {
      ExpectParts((*side)["cycles"], layer["name"]);
      ExpectParts((*side)["energy_pj"], layer["name"]);
      ExpectParts((*side)["energy_pj_flat"], layer["name"]);
      const Json& bytes = (*side)["bytes"];
      EXPECT_EQ(bytes["dram"], bytes["weights"].get<int64_t>() + bytes["activations"].get<int64_t>() +
                                   bytes["residuals"].get<int64_t>() + bytes["outputs"].get<int64_t>() +
                                   bytes["padding"].get<int64_t>());
    }
    cycles += layer["cycles"]["total"].get<double>();
    energy += layer["energy_pj"]["total"].get<double>();
    flat += layer["energy_pj_flat"]["total"].get<double>();
  }
  for (const char* name : {"iso_lane", "iso_area", "iso_bandwidth"}) {
    const Json& totals = report["totals"][name];
    for (const char* side : {"counting", "int8"}) {
      ExpectParts(totals[side]["cycles"], name);
      ExpectParts(totals[side]["energy_pj"], name);
      ExpectParts(totals[side]["energy_pj_flat"], name);
    }
    EXPECT_DOUBLE_EQ(totals["speedup"].get<double>(), totals["int8"]["cycles"]["total"].get<double>() /
                                                          totals["counting"]["cycles"]["total"].get<double>());
    EXPECT_DOUBLE_EQ(totals["energy_ratio"].get<double>(), totals["int8"]["energy_pj"]["total"].get<double>() /
                                                               totals["counting"]["energy_pj"]["total"].get<double>());
  }
  const Json& counting = report["totals"]["iso_lane"]["counting"];
  EXPECT_EQ(counting["cycles"]["total"].get<double>(), cycles);
  EXPECT_EQ(counting["energy_pj"]["total"].get<double>(), energy);
  EXPECT_EQ(counting["energy_pj_flat"]["total"].get<double>(), flat);
}

TEST(Simulate, ReportBytesDependOnNoThreadCountAndNoRun) {
  const std::string model = Model();
  const auto report = [&](const char* threads) {
    return Tally({"simulate", model, "--json", "-", "--num_threads", threads}).out;
  };
  const std::string one = report("1");
  EXPECT_EQ(report("1"), one);
  EXPECT_EQ(report("3"), one);
}

TEST(Simulate, WritesPageTraceAndRows) {
  const std::string folder = testing::TempDir();
  const std::string html = folder + "/s.html", trace = folder + "/s.json", csv = folder + "/s.csv";
  const Ended ended = Tally({"simulate", Model(), "--html", html, "--trace", trace, "--csv", csv});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("simulated"));
  EXPECT_THAT(ended.out, HasSubstr("iso_bandwidth"));
  EXPECT_THAT(ReadText(html), HasSubstr("<svg"));
  EXPECT_THAT(ReadText(html), HasSubstr("Roofline"));
  const Json events = Json::parse(ReadText(trace))["traceEvents"];
  int64_t spans = 0;
  for (const Json& event : events) {
    if (event["ph"] != "X") continue;
    ++spans;
    EXPECT_GE(event["ts"].get<double>(), 0);
    EXPECT_GT(event["dur"].get<double>(), 0);
  }
  EXPECT_GT(spans, 5);
  EXPECT_THAT(ReadText(csv), HasSubstr("config_hash,machine,program,lanes,layer"));
}

TEST(Simulate, SweepsEveryCombinationWithItsHash) {
  const Ended ended = Tally({"simulate", Model(), "--sweep", "lanes=16,64", "counter_bits=4..5", "--csv", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  std::vector<std::string> lines;
  std::stringstream text(ended.out);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 1u + 4 * 3);
  EXPECT_THAT(lines[0], HasSubstr("config_hash,model,machine,program,lanes,counter_bits"));
  // One hash per point, in three rows of comparisons.
  EXPECT_EQ(lines[1].substr(0, 16), lines[3].substr(0, 16));
  EXPECT_NE(lines[1].substr(0, 16), lines[4].substr(0, 16));
}

TEST(Simulate, NetworksSayThatTheirCodesAreMadeUp) {
  const Ended ended = Tally({"simulate", "--network", "transformer-base", "--bits", "4.5", "--dram", "closed_form",
                             "--lane", "bucketed", "--json", "-"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const Json report = ended.json();
  EXPECT_EQ(report["codes"], "synthetic");
  EXPECT_EQ(report["dram_mode"], "closed_form");
  EXPECT_NEAR(report["bits"]["weight_stored_bits_mean"].get<double>(), 4.5, 0.3);  // whole bits per layer
}

TEST(Simulate, NamesWhatIsWrong) {
  const std::string model = Model();
  const auto error = [&](int status, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "simulate");
    const Ended ended = Tally(arguments);
    EXPECT_EQ(ended.status, status) << ended.err;
    EXPECT_EQ(ended.out, "");
    return ended.err;
  };
  const std::string bad =
      WriteFile("m.json", R"({"base": "hmc", "sources": {"me": "x"}, "accelerator": {"lanes": {"lanse": [3, "me"]}}})");
  EXPECT_THAT(error(3, {model, "--machine", bad}), HasSubstr("accelerator.lanes: unknown key \"lanse\""));
  const std::string zero =
      WriteFile("z.json", R"({"base": "hmc", "sources": {"me": "x"}, "accelerator": {"lanes": {"lanes": [0, "me"]}}})");
  EXPECT_THAT(error(3, {model, "--machine", zero}),
              HasSubstr("accelerator.lanes.lanes: expected an integer in 1..4096"));
  EXPECT_THAT(error(3, {model, "--machine", "dramsim3.hmc_vault64_open"}), HasSubstr("accelerator: expected this key"));
  EXPECT_THAT(error(2, {}), HasSubstr("--network"));
  EXPECT_THAT(error(2, {model, "--network", "vgg16"}), HasSubstr("one of them"));
  EXPECT_THAT(error(2, {model, "--sweep", "bits=3..7"}), HasSubstr("--network"));
  EXPECT_THAT(error(2, {model, "--sweep", "lanes=0"}), HasSubstr("above 0"));
  EXPECT_THAT(error(2, {model, "--sweep", "lanse=1"}), HasSubstr("AXIS one of"));
  EXPECT_THAT(error(2, {model, "--sweep", "lanes=16", "--html", "-"}), HasSubstr("--csv"));
  EXPECT_THAT(error(6, {model, "--lane", "folded"}), HasSubstr("no function of i + j"));
}

}  // namespace
}  // namespace tally
