// What the look-up kernel for AMX does by itself; all else is AVX-512's (lookup_avx512.cc).
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_AMX_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_AMX_H_

#include "backends/exponent/kernels/lookup/lookup.h"

namespace tally {

// Row panels of up to kLookupPanelRows rows, 16 groups a block. Not for rows of pixels.
void LookupTileAmx(const LookupTile& t);
void LookupPackAmx(const LookupPack& p);
// Take and give back the thread's tile registers: loading their configuration takes hundreds of cycles.
void LookupEnterAmx();
void LookupLeaveAmx();

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_AMX_H_
