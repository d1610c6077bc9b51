#include "runtime/ops/row_table.h"

#include "runtime/ops/row_loops.h"

namespace tally {

#ifdef TALLY_HAVE_AVX512
extern const RowKernels kRowAvx512;
#endif
#ifdef TALLY_HAVE_AVX2
extern const RowKernels kRowAvx2;
#endif
#ifdef TALLY_HAVE_NEON
extern const RowKernels kRowNeon;
#endif
static const RowKernels kRowBaseline = {Finish, EncodeBlocks, EncodeUniformRow, Max};

const RowKernels& BaselineRows() { return kRowBaseline; }

const IsaTable<RowKernels>& RowKernelTable() {
  static const IsaTable<RowKernels> kernels = {
#ifdef TALLY_HAVE_AVX512
      {&kRowAvx512, Isa::kAvx512},
#endif
#ifdef TALLY_HAVE_AVX2
      {&kRowAvx2, Isa::kAvx2},
#endif
#ifdef TALLY_HAVE_NEON
      {&kRowNeon, Isa::kNeon},
#endif
      {&kRowBaseline, Isa::kScalar},
  };
  return kernels;
}

}  // namespace tally
