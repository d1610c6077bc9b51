// The near-memory backend: a simulated accelerator below the DRAM that counts exponents (docs/nearmem.md).
//
// It takes what the exponent backend takes and gives the same bits: integer grids by the lane program `bucketed`, the
// real grid with one base per layer by `folded`. What a run took in time, DRAM commands and energy goes to a recorder.
// Unlike other backends it allocates while it runs.
//
// Immutable; safe to share between threads.
#ifndef TALLY_BACKENDS_NEARMEM_NEARMEM_H_
#define TALLY_BACKENDS_NEARMEM_NEARMEM_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/layer_simulator.h"
#include "backends/nearmem/machine.h"
#include "runtime/backend/backend.h"

namespace tally {
namespace nearmem {

// A machine that layers are simulated on.
struct SimulatedMachine {
  bool int8 = false;  // the baseline: events alone, no results
  AcceleratorConfig config;
  DramConfig dram;
  DramMode dram_mode = DramMode::kEvent;
};

// A layer on one machine.
struct MachineRecord {
  LaneProgram program = LaneProgram::kBucketed;
  OperandBits bits;
  LayerResult result;
  std::vector<MappingChoice> mappings;  // the first was used
};

// A layer of the last run.
struct LayerRecord {
  std::string node, op;
  LayerShape shape;
  std::vector<MachineRecord> machines;  // in the order of the options
  std::vector<VaultSpan> spans;         // of the first machine's slowest vault, if asked for
};

// Thread-safe. A layer that runs again replaces its record.
class Recorder {
 public:
  void Add(LayerRecord record);
  std::vector<LayerRecord> Take();  // in the order in which they were first added

 private:
  std::mutex mutex_;
  std::vector<LayerRecord> records_;
};

struct Options {
  // The first counts and gives the results. Empty: the preset hmc.
  std::vector<SimulatedMachine> machines;
  // Nodes that need another program are refused. Nothing: what the node's grid needs.
  std::optional<LaneProgram> program;
  std::shared_ptr<Recorder> recorder;  // null: nobody wants to know
  bool record_spans = false;
};

}  // namespace nearmem

// "nearmem".
TALLY_API std::shared_ptr<const Backend> MakeNearmemBackend(nearmem::Options options = {});

}  // namespace tally

#endif  // TALLY_BACKENDS_NEARMEM_NEARMEM_H_
