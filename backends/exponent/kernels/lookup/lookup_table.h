// The look-up kernels of this build and the streams that they read.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_TABLE_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_TABLE_H_

#include <vector>

#include "backends/exponent/kernels/lookup/lookup.h"
#include "format/codebook.h"
#include "runtime/core/isa_table.h"

namespace tally {

const IsaTable<LookupKernel>& LookupKernels();

// Digits of a codebook: 1 on q7, 2 on q14.
int DigitCount(const Codebook& book);

// Table of digit `digit` (0: low) of a codebook, `signed_offset` added to the digits of a signed one. Weights: offset
// 0.
LookupTable MakeLookupTable(const Codebook& book, int digit, int signed_offset);

// Packs codes[units * 128] at `bits` a code: low bit first without gaps (format/bit_packing.h). In 4-bit units codes
// j and 64 + j of the 128 share byte j, so that 64 bytes split into two vectors with one shift.
void PackStream(const uint8_t* codes, size_t units, int bits, uint8_t* stream);

inline size_t StreamBytes(size_t units, int bits) { return units * 16 * static_cast<size_t>(bits); }

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_TABLE_H_
