// Bounds on what an untrusted file may ask for; an application may lower or raise them.
#ifndef TALLY_LIMITS_H_
#define TALLY_LIMITS_H_

#include <cstdint>

namespace tally {

struct Limits {
  uint64_t file_bytes = uint64_t{4} << 30;
  uint64_t metadata_bytes = uint64_t{64} << 20;
  uint64_t tensor_bytes = uint64_t{1} << 30;
  uint64_t arena_bytes = uint64_t{2} << 30;  // activations and scratch of one session
};

}  // namespace tally

#endif  // TALLY_LIMITS_H_
