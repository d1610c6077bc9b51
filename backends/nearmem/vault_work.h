// What one vault does in one layer: counts its outputs and writes down the program that its time follows from.
// Internal to LayerSimulator. Not thread-safe.
#ifndef TALLY_BACKENDS_NEARMEM_VAULT_WORK_H_
#define TALLY_BACKENDS_NEARMEM_VAULT_WORK_H_

#include <vector>

#include "backends/nearmem/layer_simulator.h"

namespace tally::nearmem {

class VaultWork {
 public:
  // `stream`: the bit planes of its outputs' weights; empty for kMac.
  VaultWork(const Accelerator& accelerator, const Layer& layer, const Mapping& mapping, int vault,
            const LayerOperands& operands, const std::vector<uint8_t>& stream, ResultSink* sink);

  void Run();

  const VaultProgram& program() const { return program_; }
  VaultProgram& program() { return program_; }
  const LayerEvents& events() const { return events_; }
  // Of this vault; bits where payloads are not whole bytes.
  int64_t weight_bits() const { return weight_bits_; }
  // Activations that reach this vault, unit by unit, and how many vaults want the same.
  const std::vector<int64_t>& unit_bits() const { return unit_bits_; }
  int64_t covered_bits() const;
  const std::vector<int64_t>& unit_residual_bits() const { return unit_residual_bits_; }
  int64_t residual_bits() const;
  int64_t output_bits() const { return output_bits_; }

 private:
  // One tile of k at one set of positions.
  struct Counts {
    int64_t count = 0, spill = 0, drain = 0;
  };

  void RunUnit(int64_t group, int64_t first_output, int64_t outputs, int64_t first_position, int64_t positions);
  void Gather(int64_t group, int64_t first_position, int64_t positions);
  void ListActivations(int64_t positions);
  void RunPass(int64_t first_output, int lanes, int64_t first_position, int64_t positions);
  void CountSet(int64_t first_output, int lanes, int64_t first_position, int64_t begin, int64_t end, Counts* tiles);
  Counts CountInStep(int64_t tile, int64_t begin, int64_t end, int lanes);
  void EmitSteps(int64_t first_output, int lanes, int64_t positions, const std::vector<Counts>& counts);
  int LoadFor(int64_t first_output, int lanes, int64_t first_k, int64_t k);
  const std::vector<Activation>& ListOf(int64_t position, int64_t tile) const {
    return lists_[static_cast<size_t>(position * tiles_ + tile)];
  }

  const Accelerator& accelerator_;
  const Layer& layer_;
  const Mapping mapping_;
  const LayerOperands& operands_;
  const std::vector<uint8_t>& stream_;
  ResultSink* const sink_;
  const VaultPart part_;
  const int64_t k_, tiles_;
  const int64_t bursts_of_;  // bytes of a burst
  const bool bucketed_, counts_codes_;
  LaneArray lanes_;
  std::vector<uint8_t> windows_;                // [position][k]
  std::vector<std::vector<Activation>> lists_;  // [position][tile]
  std::vector<uint8_t> codes_;                  // of a pass, [k][lane]
  std::vector<int64_t> sums_;
  std::vector<uint8_t> any_nonzero_;

  VaultProgram program_;
  LayerEvents events_;
  int64_t weight_bits_ = 0;
  std::vector<int64_t> unit_bits_, unit_residual_bits_;
  int64_t output_bits_ = 0, written_bursts_ = 0;
  int64_t load_begin_ = -1, load_end_ = -1;  // codes of the last load
  std::vector<int> resident_;                // load of each output, when weights stay
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_VAULT_WORK_H_
