// What other DRAM simulators found on the patterns of dram_trace.h, and how far the event model is from it.
//
// dram_figures.txt holds their figures, one line per machine and pattern:
//   machine pattern cycles activates [activate_pj read_pj write_pj refresh_pj background_pj]
// They were computed with DRAMsim3 29817593b338 and Ramulator 2.1 c5b1c3a478b6, unmodified; oracle_test.cc compares the
// file with their reports, where they are at hand.
#ifndef TALLY_TESTS_BACKENDS_NEARMEM_ORACLE_H_
#define TALLY_TESTS_BACKENDS_NEARMEM_ORACLE_H_

#include <map>
#include <string>
#include <vector>

#include "backends/nearmem/machine.h"
#include "backends/nearmem/sim/dram_request.h"
#include "backends/nearmem/sim/dram_trace.h"

namespace tally::nearmem::testing {

struct Figure {
  std::string machine;
  Pattern pattern = Pattern::kStreamRow;
  double cycles = 0;
  double activates = 0;
  std::map<std::string, double> energy_pj;  // by component; empty where the simulator knows none

  bool is_dramsim3() const { return machine.rfind("dramsim3.", 0) == 0; }
};

// Those of dram_figures.txt. Aborts when it is not readable.
std::vector<Figure> RecordedFigures();

Pattern PatternNamed(const std::string& name);
// The trace that the figures were measured on.
std::vector<DramRequest> FigureTrace(const DramGeometry& geometry, Pattern pattern);

// The event model against one figure; errors are relative to the figure.
struct Comparison {
  Figure figure;
  double cycles = 0;
  double activates = 0;
  std::map<std::string, double> energy_pj;

  double cycle_error() const { return cycles / figure.cycles - 1; }
  double activate_error() const { return activates / figure.activates - 1; }
};
Comparison Compare(const Figure& figure, const DramConfig& config, const std::vector<DramRequest>& trace);

// What the model promises (docs/nearmem.md): per simulator a bound on the mean and one on each error.
struct Bounds {
  double reads_mean, reads_max, writes_max;
};
Bounds BoundsOf(bool dramsim3);
// One line per broken bound; empty: all hold.
std::vector<std::string> BrokenBounds(const std::vector<Comparison>& comparisons);

}  // namespace tally::nearmem::testing

#endif  // TALLY_TESTS_BACKENDS_NEARMEM_ORACLE_H_
