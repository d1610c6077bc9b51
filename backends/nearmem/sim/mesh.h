// The network of a stack: a mesh of vaults with XY routing. Functions of a plain value; safe to share between threads.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_MESH_H_
#define TALLY_BACKENDS_NEARMEM_SIM_MESH_H_

#include <cstdint>
#include <vector>

#include "backends/nearmem/sim/accelerator.h"

namespace tally::nearmem {

// Bytes that lie evenly over all vaults and that every vault of a set must have.
struct Multicast {
  int64_t bytes = 0;
  std::vector<int> vaults;
};

struct MeshTraffic {
  int64_t byte_hops = 0;     // over all links
  int64_t busiest_link = 0;  // bytes
  int longest_route = 0;     // links
};

// Each vault sends its share to a set along the tree of the XY routes, which crosses a link once.
MeshTraffic Route(const NocConfig& noc, const std::vector<Multicast>& multicasts);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_MESH_H_
