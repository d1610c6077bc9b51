// The row kernels of this build and the choice among them.
#ifndef TALLY_RUNTIME_OPS_ROW_TABLE_H_
#define TALLY_RUNTIME_OPS_ROW_TABLE_H_

#include <vector>

#include "runtime/core/cpu.h"
#include "runtime/ops/row_kernels.h"

namespace tally {

struct RowEntry {
  const RowKernels* kernels;
  Isa isa;
};

// Best first; the last one is for any CPU.
const std::vector<RowEntry>& AllRowKernels();

// The best that `cpu` has.
const RowKernels& ChooseRowKernels(const CpuFeatures& cpu);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ROW_TABLE_H_
