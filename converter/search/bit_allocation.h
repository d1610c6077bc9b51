// Shares a budget of bits out among tensors. Pure functions.
#ifndef TALLY_CONVERTER_SEARCH_BIT_ALLOCATION_H_
#define TALLY_CONVERTER_SEARCH_BIT_ALLOCATION_H_

#include <optional>
#include <vector>

namespace tally {

struct BitOption {
  int exponent_bits = 0;
  int stored_bits = 0;
  double error = 0;  // squared, relative: of the tensor, or of the network's output where that was measured
  double rmae = 0;
};

struct BitItem {
  double elements = 0;
  std::vector<BitOption> options;  // by rising bits; at least one
};

// An index into the options of each item.
using Allocation = std::vector<size_t>;

double SumOfElements(const std::vector<BitItem>& items);
double TotalBits(const std::vector<BitItem>& items, const Allocation& allocation);

// Sums of bits * elements stay within `budget`; nothing when even the fewest bits do not.
// Uniform: as many bits for all as fit, then more for the item of the largest RMAE for as long as that fits.
std::optional<Allocation> AllocateUniform(const std::vector<BitItem>& items, double budget);
// Least error: the smallest sum of errors, up to what rounding each item's share to 1/65536 of the budget costs.
std::optional<Allocation> AllocateLeastError(const std::vector<BitItem>& items, double budget);

// The fewest bits whose RMAE is at most `threshold`, else the most bits.
Allocation AllocateByThreshold(const std::vector<BitItem>& items, double threshold);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_BIT_ALLOCATION_H_
