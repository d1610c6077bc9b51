#include "converter/search/bit_allocation.h"

namespace tally {
namespace {

// Room for the rounding of sums of bits.
double Allowed(double budget) { return budget * (1 + 1e-12); }

}  // namespace

double TotalBits(const std::vector<BitItem>& items, const Allocation& allocation) {
  double bits = 0;
  for (size_t i = 0; i < items.size(); ++i) bits += items[i].elements * items[i].options[allocation[i]].stored_bits;
  return bits;
}

std::optional<Allocation> AllocateUniform(const std::vector<BitItem>& items, double budget) {
  Allocation allocation(items.size(), 0);
  if (TotalBits(items, allocation) > Allowed(budget)) return std::nullopt;
  for (int bits = 8; bits >= 2; --bits) {
    Allocation uniform(items.size(), 0);
    for (size_t i = 0; i < items.size(); ++i) {
      while (uniform[i] + 1 < items[i].options.size() && items[i].options[uniform[i] + 1].stored_bits <= bits)
        ++uniform[i];
    }
    if (TotalBits(items, uniform) <= Allowed(budget)) {
      allocation = uniform;
      break;
    }
  }
  std::vector<bool> done(items.size());
  double total = TotalBits(items, allocation);
  while (true) {
    size_t worst = items.size();
    for (size_t i = 0; i < items.size(); ++i) {
      if (done[i] || allocation[i] + 1 >= items[i].options.size()) continue;
      if (worst == items.size() ||
          items[i].options[allocation[i]].rmae > items[worst].options[allocation[worst]].rmae) {
        worst = i;
      }
    }
    if (worst == items.size()) return allocation;
    const std::vector<BitOption>& options = items[worst].options;
    const size_t at = allocation[worst];
    const double more = items[worst].elements * (options[at + 1].stored_bits - options[at].stored_bits);
    if (total + more <= Allowed(budget)) {
      total += more;
      ++allocation[worst];
    } else {
      done[worst] = true;
    }
  }
}

std::optional<Allocation> AllocateMarginal(const std::vector<BitItem>& items, double budget) {
  Allocation allocation(items.size(), 0);
  double total = TotalBits(items, allocation);
  if (total > Allowed(budget)) return std::nullopt;
  while (true) {
    size_t best = items.size(), best_option = 0;
    double best_rate = 0, best_more = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      const std::vector<BitOption>& options = items[i].options;
      const BitOption& now = options[allocation[i]];
      // Any number of steps at once: the first may buy little, the second much.
      for (size_t j = allocation[i] + 1; j < options.size(); ++j) {
        const double more = items[i].elements * (options[j].stored_bits - now.stored_bits);
        if (total + more > Allowed(budget)) break;
        const double gain = now.error - options[j].error;
        const double rate = gain / (more > 0 ? more : 1e-9);
        if (gain > 0 && rate > best_rate) best = i, best_option = j, best_rate = rate, best_more = more;
      }
    }
    if (best == items.size()) return allocation;
    allocation[best] = best_option;
    total += best_more;
  }
}

Allocation AllocateByThreshold(const std::vector<BitItem>& items, double threshold) {
  Allocation allocation;
  for (const BitItem& item : items) {
    size_t i = 0;
    while (i + 1 < item.options.size() && item.options[i].rmae > threshold) ++i;
    allocation.push_back(i);
  }
  return allocation;
}

}  // namespace tally
