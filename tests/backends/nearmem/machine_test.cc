#include "backends/nearmem/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/sim/dram_replay.h"
#include "backends/nearmem/sim/dram_trace.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"

namespace tally::nearmem {
namespace {

using ::testing::HasSubstr;

std::string PresetText(const std::string& name) {
  std::ifstream file(tally::testing::SourcePath("backends/nearmem/machines/" + name + ".json"));
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str(), "") << name;
  return text.str();
}

std::string Replaced(const std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.substr(0, at) + to + text.substr(at + from.size());
}

TEST(Machine, EveryPresetLoadsAndEveryConstantHasASource) {
  EXPECT_EQ(MachinePresets().size(), 18u);
  for (const std::string& name : MachinePresets()) {
    const absl::StatusOr<Machine> machine = LoadMachine(name);
    TALLY_ASSERT_OK(machine);
    EXPECT_EQ(machine->name, name);
    EXPECT_NE(machine->description, "") << name;
    std::set<std::string> keys;
    for (const MachineConstant& constant : machine->constants) {
      EXPECT_TRUE(keys.insert(constant.key).second) << constant.key;
      EXPECT_NE(constant.source, "") << constant.key;
    }
    EXPECT_GE(keys.size(), 40u) << name;
  }
}

TEST(Machine, ABaseIsChangedKeyByKey) {
  const absl::StatusOr<Machine> open = LoadMachine("dramsim3.hmc_vault64_open");
  const absl::StatusOr<Machine> closed = LoadMachine("dramsim3.hmc_vault64_closed_noref");  // two bases away
  TALLY_ASSERT_OK(open);
  TALLY_ASSERT_OK(closed);
  EXPECT_EQ(closed->dram.controller.page_policy, PagePolicy::kClosed);
  EXPECT_EQ(closed->dram.controller.refresh, RefreshMode::kNone);
  EXPECT_EQ(closed->dram.timing.cl, open->dram.timing.cl);
  EXPECT_EQ(closed->dram.energy.activate_pj, open->dram.energy.activate_pj);
  // null takes a section away.
  const absl::StatusOr<Machine> direct =
      ParseMachine(R"({"base": "dramsim3.hmc_gen1_links_closed", "dram": {"links": null}})", "m");
  TALLY_ASSERT_OK(direct);
  EXPECT_FALSE(direct->dram.links.has_value());
}

TEST(Machine, ReadsAFileThatIsNoPreset) {
  const std::string path = tally::testing::TempDir() + "/m.json";
  std::ofstream(path) << R"({"base": "hmc", "sources": {"me": "a thought"}, "dram": {"timing": {"cl": [20, "me"]}}})";
  const absl::StatusOr<Machine> machine = LoadMachine(path);
  TALLY_ASSERT_OK(machine);
  EXPECT_EQ(machine->dram.timing.cl, 20);
  EXPECT_EQ(machine->name, path);
  TALLY_EXPECT_ERROR(ErrorId::kNotFound, LoadMachine("no/such/machine"));
  EXPECT_THAT(std::string(LoadMachine("hmd").status().message()), HasSubstr("hmc"));
}

TEST(Machine, NamesFileKeyExpectedAndFoundValue) {
  const auto message = [](const std::string& text) {
    const absl::Status status = ParseMachine(text, "m.json").status();
    TALLY_EXPECT_ERROR(ErrorId::kBadMachine, status);
    EXPECT_EQ(ExitStatus(status), 3);
    EXPECT_THAT(std::string(status.message()), HasSubstr("m.json"));
    return std::string(status.message());
  };
  const auto dram = [&](const std::string& section) {
    return message(absl::StrCat(R"({"base": "hmc", "dram": {)", section, "}}"));
  };
  EXPECT_THAT(dram(R"("timing": {"tcl": [17, "ini"]})"), HasSubstr("dram.timing: unknown key \"tcl\"; known keys: "));
  EXPECT_THAT(dram(R"("timming": {})"), HasSubstr("dram: unknown key \"timming\""));
  EXPECT_THAT(dram(R"("timing": {"cl": 17})"), HasSubstr("dram.timing.cl: expected [value, \"source\"], found 17"));
  EXPECT_THAT(dram(R"("timing": {"cl": [17, "hearsay"]})"),
              HasSubstr("dram.timing.cl: expected a key of sources, found string \"hearsay\""));
  EXPECT_THAT(dram(R"("timing": {"cl": [17.5, "ini"]})"),
              HasSubstr("dram.timing.cl: expected a 32-bit integer, found 17.5"));
  EXPECT_THAT(dram(R"("timing": {"cl": [9223372036854775807, "ini"]})"), HasSubstr("32-bit integer"));
  EXPECT_THAT(dram(R"("timing": {"cl": [18446744073709551615, "ini"]})"), HasSubstr("32-bit integer"));
  EXPECT_THAT(dram(R"("timing": {"cl": null})"), HasSubstr("dram.timing.cl: expected this key, found none"));
  EXPECT_THAT(dram(R"("timing": {"cl": [-3, "ini"]})"), HasSubstr("dram.timing.cl: expected an integer in 0.."));
  EXPECT_THAT(dram(R"("timing": {"tck_ns": ["fast", "ini"]})"), HasSubstr("expected a finite number"));
  EXPECT_THAT(dram(R"("timing": {"refi": [10, "ini"]})"), HasSubstr("dram.timing.refi: expected more than"));
  EXPECT_THAT(dram(R"("timing": [])"), HasSubstr("dram.timing: expected an object, found an array of 0"));
  EXPECT_THAT(
      dram(R"("controller": {"page_policy": ["ajar", "ini"]})"),
      HasSubstr("dram.controller.page_policy: expected one of open, closed, closed_cap, found string \"ajar\""));
  EXPECT_THAT(dram(R"("controller": {"dual_command_bus": [1, "ini"]})"), HasSubstr("expected true or false"));
  EXPECT_THAT(dram(R"("energy": {"events": {"activate_nj": [1, "ini"]}})"), HasSubstr("activate_nj"));
  EXPECT_THAT(dram(R"("timing": {"cl": [17, "ini"], "cl": [18, "ini"]})"), HasSubstr("key \"cl\" occurs twice"));
  EXPECT_THAT(message("{"), HasSubstr("expected JSON: parse error at line 1, column 2"));
  EXPECT_THAT(message("[]"), HasSubstr("expected an object, found an array of 0"));
  EXPECT_THAT(message(""), HasSubstr("expected JSON"));
  EXPECT_THAT(message("{}"), HasSubstr("schema_version: expected 1, found none"));
  EXPECT_THAT(message(R"({"base": "hmc", "schema_version": 2})"), HasSubstr("schema_version: expected 1, found 2"));
  EXPECT_THAT(message(R"({"base": "hmc", "vaults": 16})"), HasSubstr("unknown key \"vaults\""));
  EXPECT_THAT(message(R"({"base": "hmc", "description": 3})"), HasSubstr("description: expected a string"));
  EXPECT_THAT(message(R"({"base": "hmc", "sources": {"ini": ""}})"), HasSubstr("sources.\"ini\": expected a text"));
  EXPECT_THAT(message(R"({"base": "ddr5"})"), HasSubstr("base: expected one of dramsim3."));
  EXPECT_THAT(message(R"({"base": 5})"), HasSubstr("base: expected one of"));
  EXPECT_THAT(message("{\"base\": \"\x1b[31m\"}"), HasSubstr("expected JSON"));
}

// Every key of a machine, taken away, spelt wrongly or given another type, is named.
TEST(Machine, NamesEveryKeyThatIsMissing) {
  const std::string good = PresetText("dramsim3.hbm2_open");
  const absl::StatusOr<Machine> machine = ParseMachine(good, "m");
  TALLY_ASSERT_OK(machine);
  for (const MachineConstant& constant : machine->constants) {
    const std::string key = constant.key.substr(constant.key.rfind('.') + 1);
    const std::string misspelt = Replaced(good, absl::StrCat("\"", key, "\": ["), absl::StrCat("\"", key, "x\": ["));
    EXPECT_THAT(std::string(ParseMachine(misspelt, "m").status().message()),
                HasSubstr(absl::StrCat("unknown key \"", key, "x\"")));
    const std::string wrong = Replaced(good, absl::StrCat("\"", key, "\": ["), absl::StrCat("\"", key, "\": [{}, "));
    EXPECT_THAT(std::string(ParseMachine(wrong, "m").status().message()), HasSubstr(constant.key));
  }
}

// Damage at every byte: an error, or a machine that works.
TEST(Machine, DamageNeverCrashes) {
  const std::string good = PresetText("dramsim3.hmc_vault64_open");
  int errors = 0;
  ASSERT_EQ(good.substr(good.size() - 2), "}\n");
  for (size_t i = 0; i + 1 < good.size(); ++i) {
    TALLY_EXPECT_ERROR(ErrorId::kBadMachine, ParseMachine(good.substr(0, i), "m"));
    for (const char c : {'\0', '"', '{', ']', '9', '-', ',', '\xff'}) {
      std::string text = good;
      text[i] = c;
      const absl::StatusOr<Machine> machine = ParseMachine(text, "m");
      if (!machine.ok()) {
        ++errors;
        TALLY_EXPECT_ERROR(ErrorId::kBadMachine, machine);
        continue;
      }
      const absl::StatusOr<DramReplay> replay =
          ReplayTrace(machine->dram, GenerateTrace(Pattern::kReadsAndWrites, machine->dram.geometry, 16, 1));
      TALLY_ASSERT_OK(replay);
    }
  }
  EXPECT_GT(errors, 5000);
}

RC_GTEST_PROP(Machine, NoTextCrashesTheReader, (const std::string& text)) { RC_ASSERT(!ParseMachine(text, "m").ok()); }

TEST(Machine, DeepNestingIsAnError) {
  const std::string deep(200000, '[');
  TALLY_EXPECT_ERROR(ErrorId::kBadMachine, ParseMachine("{\"dram\": " + deep, "m"));
  TALLY_EXPECT_ERROR(ErrorId::kBadMachine,
                     ParseMachine("{\"dram\": " + deep + std::string(deep.size(), ']') + "}", "m"));
}

}  // namespace
}  // namespace tally::nearmem
