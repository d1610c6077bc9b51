// What the tests of look-up kernels share. Buffers have exactly the size (and the slack) that the contract names, for
// sanitizers.
#ifndef TALLY_TESTS_BACKENDS_EXPONENT_LOOKUP_KERNEL_HARNESS_H_
#define TALLY_TESTS_BACKENDS_EXPONENT_LOOKUP_KERNEL_HARNESS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "backends/exponent/kernels/lookup/lookup_table.h"
#include "tests/backends/exponent/harness.h"

namespace tally::testing {

class LookupKernelTest : public ::testing::TestWithParam<IsaEntry<LookupKernel>> {
 protected:
  void SetUp() override {
    if (!DetectCpu().Has(GetParam().isa)) GTEST_SKIP() << "this CPU has no " << IsaName(GetParam().isa);
    scope_.emplace(&kernel());
  }
  const LookupKernel& kernel() const { return *GetParam().kernel; }

  // An activation digit as the kernel stores it.
  uint8_t Store(int digit, bool is_signed) const {
    return static_cast<uint8_t>(digit + (is_signed ? kernel().signed_offset : 0));
  }
  // What the kernel's sums must be corrected by.
  int64_t Correction(bool is_signed, int64_t weight_sum) const {
    return is_signed ? -kernel().signed_offset * weight_sum : 0;
  }
  // Of digit k of row r in a row panel.
  size_t PanelAt(size_t k, size_t r, size_t rows, size_t groups) const {
    const size_t first = k / 4 / kernel().row_groups * kernel().row_groups;
    const size_t together = std::min(kernel().row_groups, (groups - first + 3) / 4 * 4);
    return (first * rows + together * r) * 4 + k - first * 4;
  }
  static size_t PanelBytes(size_t rows, size_t groups) { return (groups + 3) / 4 * rows * 16 + kLookupPanelSlack; }

 private:
  std::optional<LookupScope> scope_;
};

// Heap memory of an exact size.
template <typename T>
std::unique_ptr<T[]> Exact(size_t count) {
  return std::unique_ptr<T[]>(new T[count]());
}

inline Codebook BookOfBits(Rng& rng, int bits, bool is_signed) {
  return RandomCodebook(rng, is_signed ? bits - 1 : bits, is_signed, Pick(rng, 2) == 0 ? Grid::kQ7 : Grid::kQ14);
}

// Bytes beyond the code's width too: they must not lead anywhere.
inline std::unique_ptr<uint8_t[]> AnyBytes(Rng& rng, size_t count) {
  auto bytes = Exact<uint8_t>(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(Pick(rng, 256));
  return bytes;
}

#define INSTANTIATE_LOOKUP_KERNEL_TESTS(Suite)                                \
  INSTANTIATE_TEST_SUITE_P(Isas, Suite, ::testing::ValuesIn(LookupKernels()), \
                           [](const auto& parameter) { return std::string(IsaName(parameter.param.isa)); })

}  // namespace tally::testing

#endif  // TALLY_TESTS_BACKENDS_EXPONENT_LOOKUP_KERNEL_HARNESS_H_
