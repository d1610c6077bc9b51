// A kernel per instruction set, and the choice among them.
#ifndef TALLY_RUNTIME_CORE_ISA_TABLE_H_
#define TALLY_RUNTIME_CORE_ISA_TABLE_H_

#include <vector>

#include "runtime/core/cpu.h"

namespace tally {

template <typename Kernel>
struct IsaEntry {
  const Kernel* kernel;
  Isa isa;
};

// Best first; the last one is for any CPU.
template <typename Kernel>
using IsaTable = std::vector<IsaEntry<Kernel>>;

// The best one that `cpu` has.
template <typename Kernel>
const IsaEntry<Kernel>& ChooseKernel(const IsaTable<Kernel>& table, const CpuFeatures& cpu) {
  for (const IsaEntry<Kernel>& entry : table) {
    if (cpu.Has(entry.isa)) return entry;
  }
  return table.back();
}

}  // namespace tally

#endif  // TALLY_RUNTIME_CORE_ISA_TABLE_H_
