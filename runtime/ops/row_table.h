// The row kernels of this build.
#ifndef TALLY_RUNTIME_OPS_ROW_TABLE_H_
#define TALLY_RUNTIME_OPS_ROW_TABLE_H_

#include "runtime/core/isa_table.h"
#include "runtime/ops/row_kernels.h"

namespace tally {

const IsaTable<RowKernels>& RowKernelTable();

// Those that any CPU runs.
const RowKernels& BaselineRows();

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ROW_TABLE_H_
