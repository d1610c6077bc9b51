#include "format/bit_packing.h"

#include <cstring>

namespace tally {

void PackBits(const uint8_t* values, size_t count, int bits, uint8_t* packed) {
  uint32_t buffer = 0;
  int held = 0;
  for (size_t k = 0; k < count; ++k) {
    buffer |= static_cast<uint32_t>(values[k]) << held;
    held += bits;
    while (held >= 8) {
      *packed++ = static_cast<uint8_t>(buffer);
      buffer >>= 8;
      held -= 8;
    }
  }
  if (held > 0) *packed = static_cast<uint8_t>(buffer);
}

void UnpackBits(const uint8_t* packed, int bits, size_t first, size_t count, uint8_t* values) {
  const uint32_t mask = (1u << bits) - 1;
  const uint64_t first_bit = static_cast<uint64_t>(first) * static_cast<uint64_t>(bits);
  const uint8_t* in = packed + first_bit / 8;
  const int skip = static_cast<int>(first_bit % 8);
  uint32_t buffer = 0;
  int held = 0;
  if (skip != 0 && count > 0) {
    buffer = static_cast<uint32_t>(*in++) >> skip;
    held = 8 - skip;
  }
  for (size_t k = 0; k < count; ++k) {
    if (held < bits) {
      buffer |= static_cast<uint32_t>(*in++) << held;
      held += 8;
    }
    values[k] = static_cast<uint8_t>(buffer & mask);
    buffer >>= bits;
    held -= bits;
  }
}

}  // namespace tally
