#include "converter/search/distribution.h"

#include <algorithm>
#include <cmath>

namespace tally {
namespace {

constexpr size_t kBins = 64;

// Smallest t below which a share of the values lies, by bisection on the sorted bins.
double Quantile(const Magnitudes& x, double share) {
  size_t low = 0, high = x.bins();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (x.prefix(middle + 1).weight < share * x.total().weight) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const size_t bin = std::min(low, x.bins() - 1);
  const Magnitudes::Sums &a = x.prefix(bin), &b = x.prefix(bin + 1);
  return (b.sum - a.sum) / (b.weight - a.weight);
}

}  // namespace

Distribution Describe(const Magnitudes& x) {
  Distribution result;
  if (x.bins() == 0) return result;
  const double count = x.total().weight;
  result.limit = Quantile(x, 0.999);
  double below = 0;
  for (size_t i = 1; i <= kBins; ++i) {
    // The limit is a bin's mean as the sums give it; its own is within rounding of that.
    const double edge = result.limit * static_cast<double>(i) / kBins * (1 + 1e-9);
    const double up_to = x.prefix(x.BinsUpTo(edge)).weight;
    result.shares.push_back((up_to - below) / count);
    below = up_to;
  }
  const double mean = x.total().sum / count, sigma = std::sqrt(x.total().squares / count), median = Quantile(x, 0.5);
  const size_t middle = x.BinsUpTo(median);
  const Magnitudes::Sums& lower = x.prefix(middle);
  const double deviation =
      (median * lower.weight - lower.sum + (x.total().sum - lower.sum) - median * (count - lower.weight)) / count;
  double last = 0;
  for (size_t bin = 0; bin < x.bins(); ++bin) {
    const Magnitudes::Sums &a = x.prefix(bin), &b = x.prefix(bin + 1);
    const double t = (b.sum - a.sum) / (b.weight - a.weight), share = b.weight / count;
    const auto distance = [&](double model) { return std::max(std::fabs(share - model), std::fabs(last - model)); };
    const double z = (t - median) / std::max(deviation, 1e-300);
    result.exponential = std::max(result.exponential, distance(1 - std::exp(-t / mean)));
    result.normal = std::max(result.normal, distance(std::erf(t / (sigma * std::sqrt(2.0)))));
    result.laplace = std::max(result.laplace, distance(z < 0 ? 0.5 * std::exp(z) : 1 - 0.5 * std::exp(-z)));
    result.uniform = std::max(result.uniform, distance(t / x.max()));
    last = share;
  }
  return result;
}

}  // namespace tally
