// The addresses of writes that wait: a read of one is served from it, a second write is absorbed.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_POSTED_WRITES_H_
#define TALLY_BACKENDS_NEARMEM_SIM_POSTED_WRITES_H_

#include <cstdint>
#include <unordered_set>

#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

class PostedWrites {
 public:
  explicit PostedWrites(const DramGeometry& geometry) : geometry_(geometry) {}

  bool Holds(const DramAddress& address) const { return !keys_.empty() && keys_.count(Key(address)) > 0; }
  void Add(const DramAddress& address) { keys_.insert(Key(address)); }
  void Remove(const DramAddress& address) { keys_.erase(Key(address)); }

 private:
  int64_t Key(const DramAddress& a) const {
    const int64_t bank = int64_t{a.bank_group} * geometry_.banks_per_group + a.bank;
    return (bank * geometry_.rows + a.row) * geometry_.bursts_per_row + a.column;
  }

  const DramGeometry geometry_;
  std::unordered_set<int64_t> keys_;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_POSTED_WRITES_H_
