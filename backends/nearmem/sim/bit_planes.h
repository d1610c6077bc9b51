// Codes as bit planes: blocks of 256 codes of b bits are b planes of 32 bytes, bit i of a plane belongs to code i. A
// stream of codes so takes b * 32 bytes per block, whatever b is, and nothing is moved that is not stored.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_BIT_PLANES_H_
#define TALLY_BACKENDS_NEARMEM_SIM_BIT_PLANES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/nearmem/sim/rounding.h"

namespace tally::nearmem {

inline constexpr int64_t kBlockCodes = 256;
inline constexpr int64_t kPlaneBytes = kBlockCodes / 8;

// Of `codes` codes; the last block is filled up with zeros.
inline int64_t PlaneStreamBytes(int64_t codes, int bits) { return CeilDiv(codes, kBlockCodes) * bits * kPlaneBytes; }

std::vector<uint8_t> PackPlanes(const uint8_t* codes, size_t count, int bits);
// Codes first .. first + count - 1 of a stream.
void UnpackPlanes(const uint8_t* stream, int bits, size_t first, size_t count, uint8_t* codes);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_BIT_PLANES_H_
