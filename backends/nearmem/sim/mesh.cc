#include "backends/nearmem/sim/mesh.h"

#include <algorithm>
#include <cstdlib>

#include "backends/nearmem/sim/rounding.h"

namespace tally::nearmem {
namespace {

enum Direction { kEast, kWest, kSouth, kNorth, kDirections };

// Marks the links of the XY route.
int Walk(const NocConfig& noc, int from, int to, std::vector<bool>* links) {
  int x = from % noc.columns, y = from / noc.columns, hops = 0;
  const int to_x = to % noc.columns, to_y = to / noc.columns;
  const auto step = [&](Direction direction, int* coordinate, int by) {
    (*links)[static_cast<size_t>((y * noc.columns + x) * kDirections + direction)] = true;
    *coordinate += by;
    ++hops;
  };
  while (x != to_x) step(x < to_x ? kEast : kWest, &x, x < to_x ? 1 : -1);
  while (y != to_y) step(y < to_y ? kSouth : kNorth, &y, y < to_y ? 1 : -1);
  return hops;
}

}  // namespace

MeshTraffic Route(const NocConfig& noc, const std::vector<Multicast>& multicasts) {
  MeshTraffic traffic;
  const int vaults = noc.columns * noc.rows;
  const size_t links = static_cast<size_t>(vaults) * kDirections;
  std::vector<int64_t> load(links, 0);  // bytes times vaults
  for (const Multicast& multicast : multicasts) {
    for (int source = 0; source < vaults; ++source) {
      std::vector<bool> tree(links, false);
      for (const int to : multicast.vaults) {
        traffic.longest_route = std::max(traffic.longest_route, Walk(noc, source, to, &tree));
      }
      for (size_t l = 0; l < links; ++l) {
        if (tree[l]) load[l] += multicast.bytes;
      }
    }
  }
  int64_t all = 0;
  for (const int64_t l : load) {
    all += l;
    traffic.busiest_link = std::max(traffic.busiest_link, l);
  }
  traffic.byte_hops = CeilDiv(all, vaults);
  traffic.busiest_link = CeilDiv(traffic.busiest_link, vaults);
  return traffic;
}

}  // namespace tally::nearmem
