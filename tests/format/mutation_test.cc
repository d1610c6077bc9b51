// Damage at every byte. Nothing may crash; without recomputed checksums nothing may load.
#include <gtest/gtest.h>

#include "tests/format/file_surgery.h"
#include "tests/format/graph_diff.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"

namespace tally {
namespace {

using testing::Bytes;
using testing::CodeOf;
using testing::Parse;
using testing::Peek;
using testing::RandomGraph;
using testing::Reseal;
using testing::Serialized;
using testing::SmallConvNet;

constexpr uint8_t kFlips[] = {0x01, 0x80, 0xFF, 0x24};

TEST(Mutation, TruncationIsNamedAtEveryByte) {
  const Bytes file = Serialized(SmallConvNet());
  for (size_t size = 0; size < file.size(); ++size) {
    const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    const std::string expected = ErrorCodeString(size < kHeaderBytes ? ErrorId::kTooShort : ErrorId::kTruncated);
    ASSERT_EQ(CodeOf(Parse(cut).status()), expected) << size << " bytes";
  }
}

TEST(Mutation, TrailingBytesAreRefused) {
  Bytes file = Serialized(SmallConvNet());
  file.push_back(0);
  TALLY_EXPECT_ERROR(ErrorId::kTruncated, Parse(file));
}

// Every bit of header and metadata, one bit of every byte of the weights.
TEST(Mutation, FlippedBitsAreSeen) {
  Bytes file = Serialized(SmallConvNet());
  const size_t weights = Peek<uint64_t>(file, 96);
  for (size_t bit = 0; bit < file.size() * 8; bit += bit < weights * 8 ? 1 : 9) {
    const uint8_t mask = static_cast<uint8_t>(1u << bit % 8);
    file[bit / 8] ^= mask;
    const std::string expected = ErrorCodeString(bit < 64 ? ErrorId::kBadMagic : ErrorId::kChecksum);
    ASSERT_EQ(CodeOf(Parse(file).status()), expected) << "bit " << bit;
    file[bit / 8] ^= mask;
  }
}

// With its checksum recomputed, no header but the right one is accepted: every field is either checked or, in the case
// of optional features, meant to be ignored.
TEST(Mutation, ResealedHeadersAreCheckedFieldByField) {
  const Bytes file = Serialized(SmallConvNet());
  for (size_t i = 0; i < kHeaderBytes; ++i) {
    for (uint8_t flip : kFlips) {
      Bytes changed = file;
      changed[i] = static_cast<uint8_t>(changed[i] ^ flip);
      Reseal(&changed);
      const std::string code = CodeOf(Parse(changed).status());
      const bool checksum_field = (i >= 16 && i < 24) || (i >= 80 && i < 88) || (i >= 112 && i < 120);
      if (checksum_field || (i >= 40 && i < 48)) {
        ASSERT_EQ(code, "OK") << "byte " << i;
      } else {
        ASSERT_NE(code, "OK") << "byte " << i;
        ASSERT_EQ(code.rfind("TLY-E", 0), 0u) << code;
      }
    }
  }
}

// What loads is valid: it can be written again and is then read as the same graph.
void ExpectRefusedOrSound(const Bytes& file, int* accepted) {
  const absl::StatusOr<Graph> graph = Parse(file);
  if (!graph.ok()) {
    ASSERT_EQ(CodeOf(graph.status()).rfind("TLY-E", 0), 0u) << graph.status();
    return;
  }
  ++*accepted;
  const absl::StatusOr<Bytes> again = SerializeModel(*graph);
  TALLY_ASSERT_OK(again);
  const absl::StatusOr<Graph> reread = Parse(*again);
  TALLY_ASSERT_OK(reread);
  ASSERT_EQ(testing::GraphDiff::Of(*graph, *reread), "");
}

TEST(Mutation, ResealedMetadataIsRefusedOrSound) {
  int tried = 0, accepted = 0;
  for (const Graph& graph : {SmallConvNet(), RandomGraph(2)}) {
    const Bytes file = Serialized(graph);
    const size_t end = kHeaderBytes + Peek<uint64_t>(file, 72);
    for (size_t i = kHeaderBytes; i < end; ++i) {
      for (uint8_t flip : kFlips) {
        Bytes changed = file;
        changed[i] = static_cast<uint8_t>(changed[i] ^ flip);
        Reseal(&changed);
        ExpectRefusedOrSound(changed, &accepted);
        if (HasFatalFailure()) FAIL() << "byte " << i << " ^ " << int{flip};
        ++tried;
      }
    }
  }
  EXPECT_GT(accepted, tried / 100) << "names and numbers that may have any value exist";
  EXPECT_LT(accepted, tried * 3 / 4) << "most of the metadata is checked";
}

TEST(Mutation, ResealedRandomDamageIsRefusedOrSound) {
  testing::Random random(99);
  int accepted = 0;
  for (uint32_t round = 0; round < 2000; ++round) {
    Bytes file = Serialized(RandomGraph(round % 40));
    for (int hits = random.Int(1, 8); hits > 0; --hits) {
      const size_t at =
          static_cast<size_t>(random.Int(static_cast<int>(kHeaderBytes), static_cast<int>(file.size()) - 1));
      // Small numbers hit counts, offsets and enumerations; 32-bit ones wrap.
      if (random.Coin()) {
        file[at] = static_cast<uint8_t>(random.Int(0, 255));
      } else if (at + 4 <= file.size()) {
        testing::Poke<uint32_t>(&file, at, random.Coin() ? 0xFFFFFFFFu : static_cast<uint32_t>(random.Int(0, 70000)));
      }
    }
    Reseal(&file);
    ExpectRefusedOrSound(file, &accepted);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

}  // namespace
}  // namespace tally
