#include "converter/search/bit_allocation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace tally {
namespace {

// Room for the rounding of sums of bits.
double Allowed(double budget) { return budget * (1 + 1e-12); }

}  // namespace

double SumOfElements(const std::vector<BitItem>& items) {
  double sum = 0;
  for (const BitItem& item : items) sum += item.elements;
  return sum;
}

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

std::optional<Allocation> AllocateLeastError(const std::vector<BitItem>& items, double budget) {
  const Allocation fewest(items.size(), 0);
  const double least = TotalBits(items, fewest);
  if (least > Allowed(budget)) return std::nullopt;
  // A knapsack over what the budget holds beyond the fewest bits.
  constexpr size_t kResolution = 1 << 16;
  // Shares are rounded up to cells, so sums that just fit may take a few more.
  const size_t cells = kResolution + items.size();
  const double cell = std::max(Allowed(budget) - least, 0.0) / kResolution;
  const auto cells_of = [&](const BitItem& item, size_t option) {
    const double more = item.elements * (item.options[option].stored_bits - item.options[0].stored_bits);
    if (more <= 0) return size_t{0};
    return more <= cell * kResolution ? static_cast<size_t>(std::ceil(more / cell * (1 - 1e-12))) : cells + 1;
  };
  // The least error that the items so far reach within so many cells, and the option of the last of them.
  std::vector<double> error(cells + 1, 0);
  std::vector<std::vector<uint8_t>> chosen(items.size(), std::vector<uint8_t>(cells + 1, 0));
  for (size_t i = 0; i < items.size(); ++i) {
    std::vector<double> next(cells + 1, std::numeric_limits<double>::infinity());
    for (size_t option = 0; option < items[i].options.size(); ++option) {
      const double own = items[i].options[option].error;
      const size_t share = cells_of(items[i], option);
      for (size_t c = share; c <= cells; ++c) {
        const double sum = error[c - share] + own;
        if (sum < next[c]) next[c] = sum, chosen[i][c] = static_cast<uint8_t>(option);
      }
    }
    error = std::move(next);
    // What costs nothing gets the most bits, whatever was measured.
    if (!(items[i].elements > 0)) {
      std::fill(chosen[i].begin(), chosen[i].end(), static_cast<uint8_t>(items[i].options.size() - 1));
    }
  }
  for (size_t start = cells;; --start) {
    Allocation allocation = fewest;
    size_t left = start;
    for (size_t i = items.size(); i-- > 0;) {
      allocation[i] = chosen[i][left];
      left -= cells_of(items[i], allocation[i]);
    }
    if (start == 0 || TotalBits(items, allocation) <= Allowed(budget)) return allocation;
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
