// Every decoder gives the scalar one's bytes, over table sizes and tails, and writes nothing else.
#include "backends/onednn/decode.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace tally::onednn {
namespace {

TEST(OneDnnDecode, EveryInstructionSetGivesTheScalarBytes) {
  std::mt19937 rng(1);
  std::vector<uint8_t> table(256);
  for (uint8_t& v : table) v = static_cast<uint8_t>(rng());
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (!DetectCpu().Has(isa)) continue;
    CpuFeatures cpu;
    cpu.Add(isa);
    const DecodeFn decode = ChooseDecode(cpu);
    EXPECT_EQ(isa == Isa::kScalar, decode == DecodeScalar) << IsaName(isa);
    for (size_t entries : {2u, 4u, 15u, 16u, 17u, 32u, 64u, 100u, 128u, 255u, 256u}) {
      for (size_t count = 0; count < 200; ++count) {
        std::vector<uint8_t> codes(count), expected(count + 1, 0xEE), got(count + 1, 0xEE);
        for (uint8_t& c : codes) c = static_cast<uint8_t>(rng() % entries);
        DecodeScalar(codes.data(), table.data(), entries, count, expected.data());
        decode(codes.data(), table.data(), entries, count, got.data());
        ASSERT_EQ(got, expected) << IsaName(isa) << ", " << entries << " entries, " << count << " codes";
      }
    }
  }
}

}  // namespace
}  // namespace tally::onednn
