// Codes to digits: to[i] = table[from[i]]. One file per instruction set; all give the same bytes.
#ifndef TALLY_BACKENDS_ONEDNN_DECODE_H_
#define TALLY_BACKENDS_ONEDNN_DECODE_H_

#include <cstddef>
#include <cstdint>

#include "runtime/core/cpu.h"

namespace tally::onednn {

// Reads `count` bytes, all below `entries`, from the table's 256-byte array. `from` and `to` may be equal, the table is
// apart from both. entries: 1..256.
using DecodeFn = void (*)(const uint8_t* from, const uint8_t* table, size_t entries, size_t count, uint8_t* to);

void DecodeScalar(const uint8_t* from, const uint8_t* table, size_t entries, size_t count, uint8_t* to);
void DecodeAvx2(const uint8_t* from, const uint8_t* table, size_t entries, size_t count, uint8_t* to);
void DecodeAvx512(const uint8_t* from, const uint8_t* table, size_t entries, size_t count, uint8_t* to);

// The fastest one that was built and that `cpu` allows.
DecodeFn ChooseDecode(const CpuFeatures& cpu);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_DECODE_H_
