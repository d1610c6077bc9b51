// Bounds on what an untrusted file may ask for. An application may lower or raise them.
#ifndef TALLY_FORMAT_LIMITS_H_
#define TALLY_FORMAT_LIMITS_H_

#include <cstdint>

#include "tally/limits.h"

namespace tally {

inline constexpr int kMaxRank = 6;
inline constexpr int64_t kMaxExtent = 2147483647;  // 2^31 - 1
inline constexpr int kMaxTensors = 65536;
inline constexpr int kMaxNodes = 65536;
inline constexpr int kMaxNameBytes = 1024;
inline constexpr int kMaxThreads = 256;

}  // namespace tally

#endif  // TALLY_FORMAT_LIMITS_H_
