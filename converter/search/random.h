// SplitMix64, the random numbers of the search: the same on every machine.
#ifndef TALLY_CONVERTER_SEARCH_RANDOM_H_
#define TALLY_CONVERTER_SEARCH_RANDOM_H_

#include <cstdint>

namespace tally {

// The next number; advances the state.
inline uint64_t NextRandom(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_RANDOM_H_
