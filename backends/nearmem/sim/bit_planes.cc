#include "backends/nearmem/sim/bit_planes.h"

#include <algorithm>

namespace tally::nearmem {
namespace {

constexpr size_t kBlock = static_cast<size_t>(kBlockCodes), kPlane = static_cast<size_t>(kPlaneBytes);
// Bit 0 of every byte.
constexpr uint64_t kOnes = 0x0101010101010101u;

// Byte i of the result is bit i of `byte`.
uint64_t Spread(uint8_t byte) {
  const uint64_t copies = byte * kOnes;
  const uint64_t bits = copies & 0x8040201008040201u;  // byte i holds bit i alone
  return ((bits + 0x7f7f7f7f7f7f7f7fu) | bits) >> 7 & kOnes;
}

}  // namespace

std::vector<uint8_t> PackPlanes(const uint8_t* codes, size_t count, int bits) {
  std::vector<uint8_t> stream(static_cast<size_t>(PlaneStreamBytes(static_cast<int64_t>(count), bits)));
  for (size_t i = 0; i < count; ++i) {
    uint8_t* block = stream.data() + i / kBlock * static_cast<size_t>(bits) * kPlane;
    const size_t in_block = i % kBlock;
    for (size_t b = 0; b < static_cast<size_t>(bits); ++b) {
      block[b * kPlane + in_block / 8] =
          static_cast<uint8_t>(block[b * kPlane + in_block / 8] | (codes[i] >> b & 1) << in_block % 8);
    }
  }
  return stream;
}

void UnpackPlanes(const uint8_t* stream, int bits, size_t first, size_t count, uint8_t* codes) {
  for (size_t i = first; i < first + count;) {
    const uint8_t* block = stream + i / kBlock * static_cast<size_t>(bits) * kPlane;
    const size_t byte = i % kBlock / 8, from = i % 8;
    const size_t n = std::min(8 - from, first + count - i);
    uint64_t eight = 0;
    for (size_t b = 0; b < static_cast<size_t>(bits); ++b) eight |= Spread(block[b * kPlane + byte]) << b;
    for (size_t j = 0; j < n; ++j) *codes++ = static_cast<uint8_t>(eight >> 8 * (from + j));
    i += n;
  }
}

}  // namespace tally::nearmem
