#include "format/bit_packing.h"

#include <gtest/gtest.h>

#include <vector>

#include "format/code_check.h"
#include "tests/format/sample_graph.h"

namespace tally {
namespace {

using testing::Random;

std::vector<uint8_t> RandomValues(size_t count, int bits, Random& random) {
  std::vector<uint8_t> values(count);
  for (uint8_t& v : values) v = static_cast<uint8_t>(random.Int(0, (1 << bits) - 1));
  return values;
}

// The definition, one bit at a time.
std::vector<uint8_t> PackBitByBit(const std::vector<uint8_t>& values, int bits) {
  std::vector<uint8_t> packed((values.size() * static_cast<size_t>(bits) + 7) / 8);
  for (size_t k = 0; k < values.size(); ++k) {
    for (int j = 0; j < bits; ++j) {
      const size_t at = k * static_cast<size_t>(bits) + static_cast<size_t>(j);
      if ((values[k] >> j) & 1) packed[at / 8] = static_cast<uint8_t>(packed[at / 8] | 1u << at % 8);
    }
  }
  return packed;
}

// Exact-size vectors on the heap: AddressSanitizer sees a byte too many.
TEST(BitPacking, RoundTripsEveryWidthAndTail) {
  Random random(1);
  for (int bits = 1; bits <= 8; ++bits) {
    for (size_t count = 0; count <= 70; ++count) {
      const std::vector<uint8_t> values = RandomValues(count, bits, random);
      std::vector<uint8_t> packed(PackedBytes(count, bits), 0xFF);
      PackBits(values.data(), count, bits, packed.data());
      ASSERT_EQ(packed, PackBitByBit(values, bits)) << bits << " bits, " << count << " values";
      std::vector<uint8_t> unpacked(count);
      UnpackBits(packed.data(), bits, 0, count, unpacked.data());
      ASSERT_EQ(unpacked, values) << bits << " bits";
    }
  }
}

TEST(BitPacking, UnpacksAnyRange) {
  Random random(2);
  const size_t count = 41;
  for (int bits = 1; bits <= 8; ++bits) {
    const std::vector<uint8_t> values = RandomValues(count, bits, random);
    const std::vector<uint8_t> packed = PackBitByBit(values, bits);
    for (size_t first = 0; first <= count; ++first) {
      for (size_t n = 0; n <= count - first; ++n) {
        std::vector<uint8_t> part(n);
        UnpackBits(packed.data(), bits, first, n, part.data());
        ASSERT_TRUE(std::equal(part.begin(), part.end(), values.begin() + static_cast<std::ptrdiff_t>(first)))
            << bits << " bits, " << n << " values from " << first;
      }
    }
  }
}

// The examples of docs/format.md.
TEST(BitPacking, MatchesTheExamplesOfTheSpecification) {
  const std::vector<uint8_t> values = {1, 2, 3, 4, 5, 6, 7, 0};
  std::vector<uint8_t> packed(3);
  PackBits(values.data(), 8, 3, packed.data());
  EXPECT_EQ(packed, (std::vector<uint8_t>{0xD1, 0x58, 0x1F}));
  PackBits(values.data(), 5, 3, packed.data());
  EXPECT_EQ((std::vector<uint8_t>{packed[0], packed[1]}), (std::vector<uint8_t>{0xD1, 0x58}));
  PackBits(values.data(), 3, 4, packed.data());
  EXPECT_EQ((std::vector<uint8_t>{packed[0], packed[1]}), (std::vector<uint8_t>{0x21, 0x03}));
}

TEST(BitPacking, PackedBytesRoundsUp) {
  EXPECT_EQ(PackedBytes(0, 5), 0u);
  EXPECT_EQ(PackedBytes(1, 1), 1u);
  EXPECT_EQ(PackedBytes(8, 5), 5u);
  EXPECT_EQ(PackedBytes(9, 5), 6u);
  EXPECT_EQ(PackedBytes(uint64_t{1} << 56, 8), uint64_t{1} << 56);
}

TEST(CodeCheck, FindsANegativeZeroAtEveryPosition) {
  Random random(3);
  for (int bits = 3; bits <= 8; ++bits) {
    const uint8_t bad = static_cast<uint8_t>(1u << (bits - 1));
    for (size_t count = 1; count <= 67; ++count) {
      std::vector<uint8_t> values = RandomValues(count, bits, random);
      for (uint8_t& v : values) v = v == bad ? 0 : v;
      ASSERT_EQ(FindNegativeZero(PackBitByBit(values, bits).data(), count, bits), -1) << bits << " bits";
      for (size_t at = 0; at < count; ++at) {
        std::vector<uint8_t> planted = values;
        planted[at] = bad;
        ASSERT_EQ(FindNegativeZero(PackBitByBit(planted, bits).data(), count, bits), static_cast<int64_t>(at))
            << bits << " bits, " << count << " codes";
      }
    }
  }
}

TEST(CodeCheck, FindsTheFirstOfManyNegativeZeros) {
  Random random(4);
  for (int bits = 3; bits <= 8; ++bits) {
    for (int repeat = 0; repeat < 300; ++repeat) {
      const std::vector<uint8_t> values = RandomValues(static_cast<size_t>(random.Int(1, 100)), bits, random);
      int64_t expected = -1;
      for (size_t k = 0; k < values.size() && expected < 0; ++k) {
        if (values[k] == 1u << (bits - 1)) expected = static_cast<int64_t>(k);
      }
      ASSERT_EQ(FindNegativeZero(PackBitByBit(values, bits).data(), values.size(), bits), expected) << bits << " bits";
    }
  }
}

TEST(CodeCheck, SeesEveryPadBit) {
  Random random(5);
  for (int bits = 1; bits <= 8; ++bits) {
    for (size_t count = 1; count <= 17; ++count) {
      const std::vector<uint8_t> packed = PackBitByBit(RandomValues(count, bits, random), bits);
      ASSERT_TRUE(PadBitsAreZero(packed.data(), count, bits));
      for (size_t bit = count * static_cast<size_t>(bits); bit < packed.size() * 8; ++bit) {
        std::vector<uint8_t> dirty = packed;
        dirty[bit / 8] = static_cast<uint8_t>(dirty[bit / 8] | 1u << bit % 8);
        ASSERT_FALSE(PadBitsAreZero(dirty.data(), count, bits)) << bits << " bits, " << count << " codes";
      }
    }
  }
}

}  // namespace
}  // namespace tally
