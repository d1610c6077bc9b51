// Fields of 1..8 bits, packed without gaps: element k occupies bits k*bits .. k*bits + bits - 1 of the stream, where
// bit j of the stream is bit j % 8 of byte j / 8 (low bit first). Unused bits of the last byte are zero.
#ifndef TALLY_FORMAT_BIT_PACKING_H_
#define TALLY_FORMAT_BIT_PACKING_H_

#include <cstddef>
#include <cstdint>

#include "tally/types.h"

namespace tally {

// ceil(count * bits / 8). REQUIRES: count <= 2^56, 1 <= bits <= 8.
inline uint64_t PackedBytes(uint64_t count, int bits) { return (count * static_cast<uint64_t>(bits) + 7) / 8; }

// REQUIRES: every value < 2^bits; `packed` has PackedBytes(count, bits) bytes.
TALLY_API void PackBits(const uint8_t* values, size_t count, int bits, uint8_t* packed);

// Unpacks elements first .. first + count - 1.
TALLY_API void UnpackBits(const uint8_t* packed, int bits, size_t first, size_t count, uint8_t* values);

}  // namespace tally

#endif  // TALLY_FORMAT_BIT_PACKING_H_
