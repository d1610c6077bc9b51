// What a tensor's magnitudes look like, for reports: a histogram and how far known distributions are from it.
#ifndef TALLY_CONVERTER_SEARCH_DISTRIBUTION_H_
#define TALLY_CONVERTER_SEARCH_DISTRIBUTION_H_

#include <vector>

#include "converter/search/magnitudes.h"

namespace tally {

struct Distribution {
  double limit = 0;            // of the histogram: 99.9 % of the nonzero magnitudes lie below
  std::vector<double> shares;  // of the nonzero values, in equal bins of |x| from 0 to limit
  // Kolmogorov-Smirnov distances, 0..1: the largest difference between the cumulative shares of |x| and those of an
  // exponential distribution (values: Laplace about zero), of a normal one about zero, of a Laplace one of |x| about
  // its median, and of a uniform one up to the maximum; each fitted by its maximum likelihood.
  double exponential = 0, normal = 0, laplace = 0, uniform = 0;
};

Distribution Describe(const Magnitudes& magnitudes);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_DISTRIBUTION_H_
