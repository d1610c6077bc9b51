// Whole networks on a machine: which machines are compared, what crosses the link to the host, and networks of
// published shapes whose codes are made up. Functions without state.
#ifndef TALLY_BACKENDS_NEARMEM_NETWORK_H_
#define TALLY_BACKENDS_NEARMEM_NETWORK_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/nearmem.h"
#include "format/graph.h"

namespace tally::nearmem {

// How wide a network's operands are: what lanes must be built for.
struct NetworkBits {
  int activation_exponent_bits = 0, weight_exponent_bits = 0;  // the most of any layer
  double weight_bits_mean = 0;                                 // stored, by element
};

// Counting against INT8 on one machine. Indices of `machines`.
struct Comparison {
  std::string name;
  int counting = 0, int8 = 0;
};
struct ComparedMachines {
  std::vector<SimulatedMachine> machines;  // the first counts on the machine as it is
  std::vector<Comparison> comparisons;
};
// iso_lane: equal lanes. iso_area: as many INT8 lanes as take the area of the counting ones. iso_bandwidth: each side
// has the fewest lanes that keep up with a vault's DRAM at its own stored width.
// REQUIRES: machine.accelerator.
ComparedMachines Compare(const Machine& machine, LaneProgram program, const NetworkBits& bits, DramMode mode);

// Of the products of a graph.
NetworkBits BitsOf(const Graph& graph);

// A layer in which nothing happens but a transfer of so many bytes on each machine.
LayerRecord TransferRecord(const std::string& name, const std::string& op, const std::vector<int64_t>& bytes,
                           const std::vector<SimulatedMachine>& machines);

// Layers in which nothing happens but transfers to or from the host, "input:x", "output:y", or named for the operator
// that the host runs; and the records of the layers in memory, all in the order of the graph. A tensor crosses the link
// once: as codes towards the memory, as float32 towards the host and for residuals.
std::vector<LayerRecord> WithTransfers(const Graph& graph, const std::vector<LayerRecord>& in_memory,
                                       const std::function<int64_t(int tensor)>& elements,
                                       const std::vector<SimulatedMachine>& machines);

// "alexnet", "vgg16", "resnet50", "transformer-base", "bert-base".
std::vector<std::string> NetworkNames();

struct SyntheticOptions {
  double weight_bits = 4;  // stored, mean over the weights; layers take the whole numbers around it
  LaneProgram program = LaneProgram::kBucketed;
  uint64_t seed = 1;
};
// How wide the synthetic network's operands are. REQUIRES: a known name.
NetworkBits BitsOf(const std::string& network, const SyntheticOptions& options);
// Simulates a network's published shapes with made-up codes: exponents about the middle of the codebook; half of the
// activations behind a ReLU are zero, and one weight in sixteen. Weights and activations have as many exponent bits.
// `progress`: called with the share that is done.
absl::StatusOr<std::vector<LayerRecord>> SimulateNetwork(const std::string& network, const SyntheticOptions& options,
                                                         const std::vector<SimulatedMachine>& machines,
                                                         ThreadPool* pool, bool spans,
                                                         const std::function<void(double)>& progress);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_NETWORK_H_
