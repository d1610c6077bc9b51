// Cosines of vectors, and how numbers correlate. Functions without state.
#ifndef TALLY_CONVERTER_CALIBRATION_CORRELATION_H_
#define TALLY_CONVERTER_CALIBRATION_CORRELATION_H_

#include <cstdint>
#include <limits>
#include <vector>

namespace tally {

// `x` at length 1; all zeros where it has no direction (all zeros, or a value that is not finite).
std::vector<float> Direction(const float* x, int64_t n);

double Dot(const float* x, const float* y, int64_t n);

// Pearson's r of pairs (x_i, y_i), and what each adds to it: r + u v - r (u^2 + v^2) / 2 with u, v the standardized
// x_i, y_i. The mean of these shares is r, and the standard error of their mean (or of the mean of their differences,
// for two correlations of the same pairs) is that of r, because they are its influence function (Hampel 1974): no
// bootstrap with its draws is needed.
struct Correlation {
  double r = std::numeric_limits<double>::quiet_NaN();  // also where x or y hardly varies (1e-6 of its largest value)
  std::vector<double> shares;                           // one per pair, NaN where r is
};
// REQUIRES: x and y are finite and as many.
Correlation Correlate(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_CORRELATION_H_
