// The bit-sliced kernels of every instruction set that this CPU runs, planes in the second cache. Items are products.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/exponent/kernels/bitsliced/bitsliced_table.h"
#include "bench/micro/operands.h"
#include "benchmark/benchmark.h"

namespace tally::bench {
namespace {

constexpr size_t kRows = 1024;
constexpr int kActivationBits = 3;

void Count(benchmark::State& state, const BitslicedKernel& kernel, int n) {
  const Codebook book = *MakeCodebook(n, true, Grid::kQ7, EncodeRule::kNearest, 1.3, 0.5, 0.01);
  const std::vector<int32_t> transform = WalshTransform(book);
  const size_t row_bytes = static_cast<size_t>(n + 1) * kBitslicedPlane;
  // Any bits are codes.
  const AlignedBuffer planes = SmallBytes((kRows + kBitslicedAhead) * row_bytes, 255);
  std::vector<uint32_t> rows, ends;
  std::vector<int32_t> magnitudes;
  for (size_t i = 0; i < kRows + kBitslicedAhead; ++i) rows.push_back(static_cast<uint32_t>(i * row_bytes));
  constexpr size_t kBuckets = (1 << kActivationBits) - 1;
  for (size_t b = 1; b <= kBuckets; ++b) {
    ends.push_back(static_cast<uint32_t>(kRows * b / kBuckets / kBitslicedGroup * kBitslicedGroup));
    magnitudes.push_back(static_cast<int32_t>(9 * b));
  }
  AlignedBuffer counters(BitslicedScratchBytes(n, kBuckets)), sums(kBitslicedOutputs * sizeof(int32_t));
  BitslicedCall call;
  call.n = n;
  call.planes = planes.data();
  call.rows = rows.data();
  call.ends = ends.data();
  call.buckets = kBuckets;
  call.magnitudes = magnitudes.data();
  call.transform = transform.data();
  call.counters = counters.data();
  std::vector<int64_t> expected(kBitslicedOutputs);
  call.wide = expected.data();
  BitslicedKernels().back().kernel->count(call);
  call.wide = nullptr;
  call.narrow = reinterpret_cast<int32_t*>(sums.data());
  kernel.count(call);
  for (size_t o = 0; o < kBitslicedOutputs; ++o) {
    if (call.narrow[o] != expected[o]) return state.SkipWithError("sums differ from the scalar kernel's");
  }
  for (auto _ : state) {
    kernel.count(call);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(ends.back() * kBitslicedOutputs));
}

[[maybe_unused]] const bool kRegistered =
    ForEachKernel(BitslicedKernels(), [](const std::string& isa, const BitslicedKernel& kernel) {
      for (int n = kBitslicedMinBits; n <= kBitslicedMaxBits; ++n) {
        benchmark::RegisterBenchmark(absl::StrCat("BM_BitslicedCount/", isa, "/n:", n).c_str(), Count, kernel, n);
      }
    });

}  // namespace
}  // namespace tally::bench
