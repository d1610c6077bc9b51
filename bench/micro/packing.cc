// Bit packing: what loading a model costs per weight.
#include <vector>

#include "benchmark/benchmark.h"
#include "format/bit_packing.h"

namespace tally {
namespace {

constexpr size_t kCount = 65536;

void BM_UnpackBits(benchmark::State& state) {
  const int bits = static_cast<int>(state.range(0));
  std::vector<uint8_t> values(kCount), unpacked(kCount);
  for (size_t i = 0; i < kCount; ++i) values[i] = static_cast<uint8_t>((i * 37) & ((1u << bits) - 1));
  std::vector<uint8_t> packed(PackedBytes(kCount, bits));
  PackBits(values.data(), kCount, bits, packed.data());
  UnpackBits(packed.data(), bits, 0, kCount, unpacked.data());
  if (unpacked != values) return state.SkipWithError("values do not survive packing");
  for (auto _ : state) {
    UnpackBits(packed.data(), bits, 0, kCount, unpacked.data());
    benchmark::DoNotOptimize(unpacked.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kCount));
}
BENCHMARK(BM_UnpackBits)->DenseRange(3, 8);

}  // namespace
}  // namespace tally
