#include "runtime/core/cpu.h"

#include <gtest/gtest.h>

#include "tally/status.h"

namespace tally {
namespace {

CpuFeatures Features(std::initializer_list<Isa> isas) {
  CpuFeatures cpu;
  for (Isa isa : isas) cpu.Add(isa);
  return cpu;
}

TEST(AllowedCpu, EmptyMeansUnset) {
  const CpuFeatures cpu = Features({Isa::kAvx2, Isa::kAvx512});
  absl::StatusOr<CpuFeatures> allowed = AllowedCpu(cpu, "");
  ASSERT_TRUE(allowed.ok());
  EXPECT_EQ(allowed->isas, cpu.isas);
}

TEST(AllowedCpu, CapsAtTheForcedInstructionSet) {
  const CpuFeatures cpu = Features({Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAmx});
  const struct {
    const char* forced;
    CpuFeatures expected;
  } cases[] = {{"scalar", Features({})},
               {"avx2", Features({Isa::kAvx2})},
               {"avxvnni", Features({Isa::kAvx2, Isa::kAvxVnni})},
               {"avx512", Features({Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512})},
               {"avx512_amx", cpu}};
  for (const auto& c : cases) {
    absl::StatusOr<CpuFeatures> allowed = AllowedCpu(cpu, c.forced);
    ASSERT_TRUE(allowed.ok()) << c.forced;
    EXPECT_EQ(allowed->isas, c.expected.isas) << c.forced;
    EXPECT_STREQ(IsaName(allowed->best()), c.forced);
  }
}

TEST(AllowedCpu, RefusesWhatTheCpuLacksAndWhatDoesNotExist) {
  for (const char* forced : {"avx512", "neon", "sse9"}) {
    absl::StatusOr<CpuFeatures> allowed = AllowedCpu(Features({Isa::kAvx2}), forced);
    ASSERT_FALSE(allowed.ok()) << forced;
    EXPECT_EQ(GetErrorInfo(allowed.status()).code, "TLY-E0607");
    EXPECT_EQ(ExitStatus(allowed.status()), 6);
    EXPECT_NE(std::string(allowed.status().message()).find("scalar, avx2"), std::string::npos) << allowed.status();
  }
}

}  // namespace
}  // namespace tally
