#include "converter/calibration/correlation.h"

#include <algorithm>
#include <cmath>

namespace tally {
namespace {

// Less than this share of the largest value is rounding of float32, not variation.
constexpr double kRounding = 1e-6;

// With mean 0 and mean square 1; empty where the values do not vary.
std::vector<double> Standardized(std::vector<double> values) {
  double mean = 0, largest = 0, square = 0;
  for (double v : values) mean += v / static_cast<double>(values.size());
  for (double v : values) largest = std::max(largest, std::fabs(v));
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (values.size() < 2 || *high - *low <= kRounding * largest) return {};
  for (double& v : values) {
    v -= mean;
    square += v * v / static_cast<double>(values.size());
  }
  for (double& v : values) v /= std::sqrt(square);
  return values;
}

}  // namespace

std::vector<float> Direction(const float* x, int64_t n) {
  const double length = std::sqrt(Dot(x, x, n));
  std::vector<float> direction(static_cast<size_t>(n));
  if (!std::isfinite(length) || length == 0) return direction;
  for (size_t i = 0; i < direction.size(); ++i) direction[i] = static_cast<float>(x[i] / length);
  return direction;
}

double Dot(const float* x, const float* y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

Correlation Correlate(const std::vector<double>& x, const std::vector<double>& y) {
  Correlation correlation;
  correlation.shares.assign(x.size(), correlation.r);
  const std::vector<double> u = Standardized(x), v = Standardized(y);
  if (u.empty() || v.empty()) return correlation;
  double r = 0;
  for (size_t i = 0; i < u.size(); ++i) r += u[i] * v[i] / static_cast<double>(u.size());
  correlation.r = r;
  for (size_t i = 0; i < u.size(); ++i) correlation.shares[i] = r + u[i] * v[i] - r * (u[i] * u[i] + v[i] * v[i]) / 2;
  return correlation;
}

}  // namespace tally
