// Scans packed codes for what no encoder may write. Pure functions.
#ifndef TALLY_FORMAT_CODE_CHECK_H_
#define TALLY_FORMAT_CODE_CHECK_H_

#include <cstdint>

namespace tally {

// Index of the first code that equals 1 << (bits - 1), the zero code of a signed codebook with its sign set; -1 when
// there is none. Looks at eight codes at a time: 25 to 50 ms per 100 million.
// REQUIRES: 3 <= bits <= 8; `packed` has PackedBytes(count, bits) bytes.
int64_t FindNegativeZero(const uint8_t* packed, uint64_t count, int bits);

// Whether the unused high bits of the last byte are zero. REQUIRES: as above, but any 1 <= bits <= 8.
bool PadBitsAreZero(const uint8_t* packed, uint64_t count, int bits);

}  // namespace tally

#endif  // TALLY_FORMAT_CODE_CHECK_H_
