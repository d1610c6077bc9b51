#include "format/code_check.h"

#include <algorithm>
#include <cstring>

#include "format/bit_packing.h"

namespace tally {
namespace {

// Eight codes of `bits` bits fill exactly `bits` bytes.
constexpr uint64_t kGroup = 8;

int64_t FindInGroup(const uint8_t* packed, uint64_t first, uint64_t count, int bits) {
  uint8_t codes[kGroup];
  UnpackBits(packed, bits, static_cast<size_t>(first), static_cast<size_t>(count), codes);
  for (uint64_t k = 0; k < count; ++k) {
    if (codes[k] == 1u << (bits - 1)) return static_cast<int64_t>(first + k);
  }
  return -1;
}

}  // namespace

int64_t FindNegativeZero(const uint8_t* packed, uint64_t count, int bits) {
  uint64_t low = 0;  // bit 0 of each of the eight fields
  for (uint64_t k = 0; k < kGroup; ++k) low |= uint64_t{1} << (k * static_cast<uint64_t>(bits));
  const uint64_t high = low << (bits - 1);
  const uint64_t bytes = PackedBytes(count, bits);
  uint64_t first = 0;
  const uint8_t* in = packed;
  // A group is loaded as eight bytes, of which the fields beyond `bits` bytes are ignored.
  for (; first + kGroup <= count && static_cast<uint64_t>(in - packed) + 8 <= bytes; first += kGroup, in += bits) {
    uint64_t word;
    std::memcpy(&word, in, 8);
    // A field that equals the pattern becomes zero; the test for "some field is zero" borrows from the lowest such
    // field only, so it is exact about whether there is one. Bits above the fields do not matter: `high` masks them.
    const uint64_t x = word ^ high;
    if (((x - low) & ~x & high) != 0) return FindInGroup(packed, first, kGroup, bits);
  }
  for (; first < count; first += kGroup) {
    const int64_t found = FindInGroup(packed, first, std::min(kGroup, count - first), bits);
    if (found >= 0) return found;
  }
  return -1;
}

bool PadBitsAreZero(const uint8_t* packed, uint64_t count, int bits) {
  const uint64_t used = count * static_cast<uint64_t>(bits) % 8;
  return used == 0 || packed[PackedBytes(count, bits) - 1] >> used == 0;
}

}  // namespace tally
