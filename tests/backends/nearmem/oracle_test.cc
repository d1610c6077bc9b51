// The event model against DRAMsim3 and Ramulator 2.1: recorded figures always, their own reports and traces where they
// are at hand.
#include "tests/backends/nearmem/oracle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "format/model_file.h"
#include "nlohmann/json.hpp"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"
#include "tools/gzip.h"

namespace tally::nearmem {
namespace {

using testing::BrokenBounds;
using testing::Compare;
using testing::Comparison;
using testing::Figure;
using testing::FigureTrace;
using testing::PatternNamed;
using testing::RecordedFigures;

using Change = std::function<void(DramConfig*)>;

DramConfig ConfigOf(const std::string& machine) {
  const absl::StatusOr<Machine> loaded = LoadMachine(machine);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->dram;
}

// All of `figures` on generated traces, with the machines changed.
std::vector<Comparison> CompareAll(
    const std::vector<Figure>& figures, const Change& change = [](DramConfig*) {}) {
  std::vector<Comparison> comparisons;
  for (const Figure& figure : figures) {
    DramConfig config = ConfigOf(figure.machine);
    change(&config);
    comparisons.push_back(Compare(figure, config, FigureTrace(config.geometry, figure.pattern)));
  }
  return comparisons;
}

// Computed once: several tests read it.
const std::vector<Comparison>& Unchanged() {
  static const auto* comparisons = new std::vector<Comparison>(CompareAll(RecordedFigures()));
  return *comparisons;
}

struct Errors {
  double cycles_mean = 0, cycles_max = 0, activates_max = 0, writes = 0;
  int reads = 0;
};

std::map<std::string, Errors> ErrorsByMachine() {
  std::map<std::string, Errors> by_machine;
  for (const Comparison& c : Unchanged()) {
    Errors& e = by_machine[c.figure.machine];
    const double error = std::abs(c.cycle_error());
    e.activates_max = std::max(e.activates_max, std::abs(c.activate_error()));
    if (c.figure.pattern == Pattern::kReadsAndWrites) {
      e.writes = error;
      continue;
    }
    e.cycles_mean = (e.cycles_mean * e.reads + error) / (e.reads + 1);
    e.cycles_max = std::max(e.cycles_max, error);
    ++e.reads;
  }
  return by_machine;
}

TEST(DramOracle, AllMachinesAndPatternsStayWithinTheBounds) {
  EXPECT_EQ(Unchanged().size(), 105u);
  EXPECT_THAT(BrokenBounds(Unchanged()), ::testing::IsEmpty());
}

// Components of energy, one by one: the same counts at the same prices, and the same time with rows open.
TEST(DramOracle, EnergyByComponentIsThatOfTheSimulator) {
  for (const Comparison& c : Unchanged()) {
    for (const auto& [component, pj] : c.figure.energy_pj) {
      // Activations and time are held to their own bounds; what is read and written is the same but for addresses that
      // DRAMsim3 merges, and refreshes are a few dozen.
      const double bound = component == "activate" || component == "refresh" ? 0.05 : 0.01;
      EXPECT_NEAR(c.energy_pj.at(component), pj, bound * pj)
          << c.figure.machine << " " << PatternName(c.figure.pattern) << " " << component;
    }
  }
}

// A gate that any constants pass would be none.
TEST(DramOracle, AWrongConstantBreaksTheGate) {
  const std::map<std::string, Change> changes = {
      {"rp", [](DramConfig* c) { c->timing.rp += 4; }},
      {"ras", [](DramConfig* c) { c->timing.ras += 6; }},
      {"burst", [](DramConfig* c) { ++c->timing.burst; }},
      {"faw", [](DramConfig* c) { c->timing.faw *= 2; }},
      {"ccd_l", [](DramConfig* c) { c->timing.ccd_l += 4; }},
      {"rrd", [](DramConfig* c) { c->timing.rrd_s = c->timing.rrd_l = c->timing.rrd_s * 3; }},
      {"rcd", [](DramConfig* c) { c->timing.rcd_read += 8; }},
      {"wtr", [](DramConfig* c) { c->timing.wtr_s = c->timing.wtr_l += 8; }},
      {"rfc", [](DramConfig* c) { c->timing.rfc *= 2; }},
      {"refi", [](DramConfig* c) { c->timing.refi *= 3; }},
      {"refi_bank", [](DramConfig* c) { c->timing.refi_bank *= 4; }},
      {"column_cap", [](DramConfig* c) { ++c->controller.column_cap; }},
      {"read_queue", [](DramConfig* c) { c->controller.read_queue = 8; }},
      {"drain_high",
       [](DramConfig* c) {
         c->controller.drain_high = std::min(c->controller.drain_high, 4);
         c->controller.drain_low = std::min(c->controller.drain_low, 1);
       }},
      {"page_policy",
       [](DramConfig* c) {
         if (c->controller.page_policy == PagePolicy::kClosed) c->controller.page_policy = PagePolicy::kOpen;
       }},
      {"links", [](DramConfig* c) {
         if (c->links) *c->links = {1, c->links->queue_depth, c->links->flit_bytes / 4, 1};
       }}};
  // Two machines of each simulator have it all, refresh per bank and links included; more would only take longer.
  const std::set<std::string> machines = {"dramsim3.hmc_gen1_links_closed", "dramsim3.hbm2_open",
                                          "ramulator2.hbm2_2000_open_refpb", "ramulator2.hbm2_2000_closedcap1_refab"};
  std::vector<Figure> figures;
  for (const Figure& figure : RecordedFigures()) {
    if (machines.count(figure.machine) > 0) figures.push_back(figure);
  }
  EXPECT_THAT(BrokenBounds(CompareAll(figures)), ::testing::IsEmpty());
  for (const auto& [name, change] : changes) {
    EXPECT_THAT(BrokenBounds(CompareAll(figures, change)), ::testing::Not(::testing::IsEmpty())) << name;
  }
}

// ---- where the reference is at hand ----

// The reports of both simulators in the form of dram_figures.txt.
std::string FiguresText(const std::string& dramsim3, const std::string& ramulator2) {
  std::string text =
      "# machine pattern cycles activates [activate_pj read_pj write_pj refresh_pj background_pj]; see oracle.h\n";
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
  };
  for (const auto& r : read(dramsim3)) {
    absl::StrAppend(&text, "dramsim3.", r["config"].get<std::string>(), " ", r["pattern"].get<std::string>(), " ",
                    r["cycles"].get<int64_t>(), " ", r["ACT"].get<int64_t>());
    for (const char* key : {"E_act_pJ", "E_rd_pJ", "E_wr_pJ", "E_ref_pJ", "E_bg_pJ"}) {
      absl::StrAppendFormat(&text, " %.1f", r[key].get<double>());
    }
    text += "\n";
  }
  for (const auto& r : read(ramulator2)) {
    const double activates = r["row_misses"].get<double>() + r["row_conflicts"].get<double>();
    absl::StrAppendFormat(&text, "ramulator2.%s %s %d %.0f\n", r["config"].get<std::string>(),
                          r["pattern"].get<std::string>(), r["cycles"].get<int64_t>(), activates);
  }
  return text;
}

TEST(DramReference, RecordedFiguresAreThoseOfTheReports) {
  TALLY_DRAM_REFERENCE_OR_SKIP(dramsim3, "results/dramsim3.json");
  TALLY_DRAM_REFERENCE_OR_SKIP(ramulator2, "results/ramulator2.json");
  const std::string expected = FiguresText(dramsim3, ramulator2);
  const std::string path = tally::testing::SourcePath("tests/backends/nearmem/dram_figures.txt");
  if (std::getenv("TALLY_WRITE_GOLDENS") != nullptr) {
    TALLY_ASSERT_OK(WriteFileAtomically(path, expected.data(), expected.size()));
  }
  std::ifstream file(path);
  std::stringstream recorded;
  recorded << file.rdbuf();
  EXPECT_EQ(recorded.str(), expected) << "TALLY_WRITE_GOLDENS=1 rewrites " << path;
}

// The traces on which the simulators ran, read as files, against the generator and the bounds.
TEST(DramReference, TracesAreThoseThatAreGenerated) {
  TALLY_DRAM_REFERENCE_OR_SKIP(folder, "traces");
  std::vector<Comparison> comparisons;
  for (const Figure& figure : RecordedFigures()) {
    const DramConfig config = ConfigOf(figure.machine);
    const std::string geometry = figure.machine.find("hbm2") != std::string::npos      ? "hbm2"
                                 : figure.machine.find("vault32") != std::string::npos ? "hmc32"
                                                                                       : "hmc64";
    const std::string path = absl::StrCat(folder, "/", geometry, ".", PatternName(figure.pattern), ".txt.gz");
    const absl::StatusOr<std::string> text = tools::ReadMaybeGzip(path, 1 << 24, ErrorId::kBadTrace);
    TALLY_ASSERT_OK(text);
    const absl::StatusOr<std::vector<DramRequest>> trace = ParseTrace(*text, config.geometry, 1);
    TALLY_ASSERT_OK(trace);
    const std::vector<DramRequest> generated = FigureTrace(config.geometry, figure.pattern);
    ASSERT_EQ(trace->size(), generated.size()) << path;
    for (size_t i = 0; i < generated.size(); ++i) {
      ASSERT_TRUE((*trace)[i].address == generated[i].address && (*trace)[i].is_write == generated[i].is_write)
          << path << ":" << i + 1;
    }
    comparisons.push_back(Compare(figure, config, *trace));
  }
  EXPECT_THAT(BrokenBounds(comparisons), ::testing::IsEmpty());
}

// ---- the documentation ----

std::string Percent(double value) { return absl::StrFormat("%.2f %%", 100 * value); }

std::string ErrorTable() {
  std::string text = "| machine | reads, mean | reads, max | rd7_wr1 | activates, max |\n|---|---|---|---|---|\n";
  for (const auto& [machine, e] : ErrorsByMachine()) {
    absl::StrAppend(&text, "| `", machine, "` | ", Percent(e.cycles_mean), " | ", Percent(e.cycles_max), " | ",
                    Percent(e.writes), " | ", Percent(e.activates_max), " |\n");
  }
  return text;
}

std::string ConstantsTable(const std::vector<std::string>& machines) {
  std::vector<std::string> keys;
  std::map<std::string, std::map<std::string, MachineConstant>> constants;  // by key, by machine
  for (const std::string& name : machines) {
    const absl::StatusOr<Machine> machine = LoadMachine(name);
    EXPECT_TRUE(machine.ok()) << machine.status();
    for (const MachineConstant& constant : machine->constants) {
      if (constants[constant.key].empty()) keys.push_back(constant.key);
      constants[constant.key][name] = constant;
    }
  }
  std::string text = "| key |";
  for (const std::string& name : machines) absl::StrAppend(&text, " `", name, "` | source |");
  absl::StrAppend(&text, "\n|---|");
  for (size_t i = 0; i < machines.size(); ++i) text += "---|---|";
  text += "\n";
  for (const std::string& key : keys) {
    absl::StrAppend(&text, "| `", key, "` |");
    for (const std::string& name : machines) {
      const MachineConstant& constant = constants[key][name];
      absl::StrAppend(&text, " ", constant.value, " | ", constant.source, " |");
    }
    text += "\n";
  }
  return text;
}

// Replaces what is between "<!-- begin NAME -->" and "<!-- end NAME -->".
std::string WithBlock(const std::string& document, const std::string& name, const std::string& block) {
  const std::string begin = absl::StrCat("<!-- begin ", name, " -->\n"), end = absl::StrCat("<!-- end ", name, " -->");
  const size_t from = document.find(begin), to = document.find(end);
  if (from == std::string::npos || to == std::string::npos) return absl::StrCat(document, "no block ", name);
  return absl::StrCat(document.substr(0, from + begin.size()), block, document.substr(to));
}

TEST(DramDocument, TablesAreUpToDate) {
  const std::string path = tally::testing::SourcePath("docs/nearmem.md");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::string expected = WithBlock(text.str(), "dram errors", ErrorTable());
  expected = WithBlock(expected, "dram constants", ConstantsTable({"hmc", "hbm2"}));
  if (std::getenv("TALLY_WRITE_DOCS") != nullptr) {
    TALLY_ASSERT_OK(WriteFileAtomically(path, expected.data(), expected.size()));
  } else {
    EXPECT_EQ(text.str(), expected) << "TALLY_WRITE_DOCS=1 rewrites its tables";
  }
}

}  // namespace
}  // namespace tally::nearmem
