#include "tests/backends/nearmem/oracle.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/nearmem/sim/dram_energy.h"
#include "backends/nearmem/sim/dram_replay.h"
#include "tests/testing/paths.h"

namespace tally::nearmem::testing {
namespace {

// The traces' size and seed are part of the figures.
constexpr int64_t kRequests = 32768;
constexpr uint64_t kSeed = 20261124;

constexpr const char* kEnergies[] = {"activate", "read", "write", "refresh", "background"};

[[noreturn]] void Die(const std::string& what) {
  std::cerr << what << std::endl;
  std::abort();
}

bool OneBankOrClosed(const Comparison& c) {
  return c.figure.pattern == Pattern::kStreamOneBank || c.figure.pattern == Pattern::kRandomOneBank ||
         c.figure.machine.find("_closed") != std::string::npos;
}

}  // namespace

Pattern PatternNamed(const std::string& name) {
  for (Pattern pattern : kAllPatterns) {
    if (PatternName(pattern) == name) return pattern;
  }
  Die("no pattern " + name);
}

std::vector<Figure> RecordedFigures() {
  const std::string path = tally::testing::SourcePath("tests/backends/nearmem/dram_figures.txt");
  std::ifstream file(path);
  std::vector<Figure> figures;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    Figure figure;
    std::string pattern;
    if (!(fields >> figure.machine >> pattern >> figure.cycles >> figure.activates)) Die(path + ": " + line);
    figure.pattern = PatternNamed(pattern);
    double pj = 0;
    for (const char* component : kEnergies) {
      if (fields >> pj) figure.energy_pj[component] = pj;
    }
    figures.push_back(figure);
  }
  if (figures.empty()) Die(path + " holds no figure");
  return figures;
}

std::vector<DramRequest> FigureTrace(const DramGeometry& geometry, Pattern pattern) {
  return GenerateTrace(pattern, geometry, kRequests, kSeed);
}

Comparison Compare(const Figure& figure, const DramConfig& config, const std::vector<DramRequest>& trace) {
  const absl::StatusOr<DramReplay> replay = ReplayTrace(config, trace);
  if (!replay.ok()) Die(std::string(replay.status().message()));
  Comparison c{figure, static_cast<double>(replay->cycles), static_cast<double>(replay->counts.activates), {}};
  for (const EnergyPart& part : EventEnergy(config, replay->counts, replay->drained_cycles)) {
    c.energy_pj[part.name] = part.pj;
  }
  return c;
}

Bounds BoundsOf(bool dramsim3) { return dramsim3 ? Bounds{0.02, 0.05, 0.05} : Bounds{0.03, 0.08, 0.05}; }

std::vector<std::string> BrokenBounds(const std::vector<Comparison>& comparisons) {
  std::vector<std::string> broken;
  for (const bool dramsim3 : {true, false}) {
    const Bounds bounds = BoundsOf(dramsim3);
    double sum = 0;
    int reads = 0;
    for (const Comparison& c : comparisons) {
      if (c.figure.is_dramsim3() != dramsim3) continue;
      const std::string name = absl::StrCat(c.figure.machine, " ", PatternName(c.figure.pattern));
      const double error = std::abs(c.cycle_error());
      const bool writes = c.figure.pattern == Pattern::kReadsAndWrites;
      const double bound = writes ? bounds.writes_max : bounds.reads_max;
      if (!(error <= bound)) {
        broken.push_back(absl::StrFormat("%s: %.0f cycles, expected %.0f within %.0f %%", name, c.cycles,
                                         c.figure.cycles, 100 * bound));
      }
      if (!writes) {
        sum += error;
        ++reads;
      }
      // Ramulator counts requests by what they found, not activations: reported, not held.
      const double activate_bound = OneBankOrClosed(c) ? 0.02 : 0.15;
      if (dramsim3 && !(std::abs(c.activate_error()) <= activate_bound)) {
        broken.push_back(absl::StrFormat("%s: %.0f activates, expected %.0f within %.0f %%", name, c.activates,
                                         c.figure.activates, 100 * activate_bound));
      }
    }
    if (reads > 0 && !(sum / reads <= bounds.reads_mean)) {
      broken.push_back(absl::StrFormat("mean error of reads %.2f %%, expected at most %.0f %%", 100 * sum / reads,
                                       100 * bounds.reads_mean));
    }
  }
  return broken;
}

}  // namespace tally::nearmem::testing
