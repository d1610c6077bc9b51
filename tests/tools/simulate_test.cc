// tally simulate: its report, its other forms, and how it ends when something is wrong.
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
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
  const auto network = [](const char* threads) {
    return Tally({"simulate", "--network", "transformer-base", "--seed", "7", "--json", "-", "--num_threads", threads})
        .out;
  };
  EXPECT_EQ(network("1"), network("3"));
}

TEST(Simulate, WritesPageTraceAndRows) {
  const std::string folder = testing::TempDir();
  const std::string html = folder + "/s.html", trace = folder + "/s.json", csv = folder + "/s.csv";
  const Ended ended = Tally({"simulate", Model(), "--html", html, "--trace", trace, "--csv", csv});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("simulated"));
  EXPECT_THAT(ended.out, HasSubstr("iso_bandwidth"));
  const std::string page = ReadText(html);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos) << "fetches something";
  for (const char* heading : {"Roofline", "Energy of the network", "Cycles", "Energy"}) {
    const size_t at = page.find(absl::StrCat("<h2>", heading, "</h2>"));
    ASSERT_NE(at, std::string::npos) << heading;
    EXPECT_LT(page.find("<svg", at), page.find("<h2>", at + 1)) << heading;
  }
  EXPECT_THAT(ReadText(csv), HasSubstr("config_hash,machine,program,lanes,layer"));
}

// The JSON array format of Chrome's trace viewer, as Perfetto imports it: metadata that names the process and every
// thread, and complete events (ph X) with ts and dur in microseconds. Here no two of a track overlap, and they come in
// order, so that none is nested in another or dropped.
TEST(Simulate, TracesAreWellFormed) {
  const std::string trace = testing::TempDir() + "/trace.json", model = Model();
  ASSERT_EQ(Tally({"simulate", model, "--trace", trace}).status, 0);
  const Json report = Tally({"simulate", model, "--json", "-"}).json();
  const Json json = Json::parse(ReadText(trace));
  std::map<int64_t, std::string> tracks;
  std::map<int64_t, double> ends, durations;
  std::string process;
  double layers_us = 0;
  for (const Json& event : json["traceEvents"]) {
    ASSERT_TRUE(event["ph"].is_string() && event["pid"].is_number_integer() && event["name"].is_string()) << event;
    EXPECT_EQ(event["pid"], 1);
    if (event["ph"] == "M") {
      ASSERT_TRUE(event["args"]["name"].is_string()) << event;
      if (event["name"] == "process_name") {
        process = event["args"]["name"];
      } else {
        EXPECT_EQ(event["name"], "thread_name");
        EXPECT_TRUE(tracks.emplace(event["tid"].get<int64_t>(), event["args"]["name"]).second) << event;
      }
      continue;
    }
    ASSERT_EQ(event["ph"], "X") << event;
    const int64_t track = event["tid"].get<int64_t>();
    ASSERT_EQ(tracks.count(track), 1u) << event;
    const double ts = event["ts"].get<double>(), dur = event["dur"].get<double>();
    // Microseconds in double: the last digits of a begin and of the end before it may differ.
    EXPECT_GE(ts, ends[track] - 1e-6) << event;
    EXPECT_GT(dur, 0) << event;
    ends[track] = ts + dur;
    durations[track] += dur;
    if (tracks[track] == "layers") layers_us += dur;
  }
  EXPECT_THAT(process, HasSubstr("model.tally on hmc"));
  ASSERT_EQ(tracks.size(), 4u);
  for (const auto& [track, name] : tracks) EXPECT_GT(durations[track], 0) << name;
  // Layers follow each other without a gap and take the total; lanes and waiting share it, but for transfers.
  const Json& counting = report["totals"]["iso_lane"]["counting"];
  EXPECT_NEAR(layers_us, counting["ns"].get<double>() * 1e-3, 1e-6);
  const double transfers_us = counting["cycles"]["link"].get<double>() * 0.8e-3;
  double vault_us = 0;
  for (const auto& [track, name] : tracks) {
    if (name == "slowest vault: lanes" || name == "slowest vault: waiting") vault_us += durations[track];
  }
  EXPECT_NEAR(vault_us + transfers_us, layers_us, 1e-6);
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
