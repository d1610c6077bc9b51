// Seeded samples of the distributions that weights and activations resemble. The generators are spelled out because
// std:: distributions differ between standard libraries.
#ifndef TALLY_TESTS_CONVERTER_SEARCH_DISTRIBUTIONS_H_
#define TALLY_TESTS_CONVERTER_SEARCH_DISTRIBUTIONS_H_

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace tally::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // In (0, 1).
  double Uniform() { return (static_cast<double>(engine_() >> 11) + 0.5) * 0x1p-53; }
  double Normal() { return std::sqrt(-2 * std::log(Uniform())) * std::cos(6.283185307179586 * Uniform()); }
  double Laplace() { return (Uniform() < 0.5 ? -1 : 1) * std::log(Uniform()); }
  double StudentT(int degrees) {
    double chi = 0;
    for (int i = 0; i < degrees; ++i) {
      const double z = Normal();
      chi += z * z;
    }
    return Normal() / std::sqrt(chi / degrees);
  }
  uint64_t Bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

// "normal", "laplace", "student4", "relu".
inline std::vector<float> Sample(const std::string& name, size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(count);
  for (float& v : x) {
    v = static_cast<float>(name == "normal"     ? random.Normal()
                           : name == "laplace"  ? random.Laplace()
                           : name == "student4" ? random.StudentT(4)
                                                : std::max(0.0, random.Normal()));
  }
  return x;
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONVERTER_SEARCH_DISTRIBUTIONS_H_
