// Encoding of activations: float32 -> codes, per grid, against the scalar oracle.
#include "runtime/ops/encode.h"

#include <cstring>
#include <vector>

#include "benchmark/benchmark.h"
#include "runtime/core/thread_pool.h"
#include "runtime/ops/row_table.h"

namespace tally {
namespace {

constexpr size_t kCount = 65536;

// Covers the codebook's whole range and both signs.
std::vector<float> Values() {
  std::vector<float> x(kCount);
  uint32_t state = 1;
  for (float& v : x) {
    state = state * 1664525u + 1013904223u;
    v = (static_cast<float>(state >> 8) / 8388608.0f - 1) * 4;
  }
  return x;
}

void BM_Encode(benchmark::State& state, Grid grid, int bits) {
  const absl::StatusOr<Codebook> codebook = MakeCodebook(bits, true, grid, EncodeRule::kNearest, 1.3, 0.5, 0.01);
  const absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(1);
  if (!codebook.ok() || !pool.ok()) return state.SkipWithError("no codebook or thread pool");
  const Encoder encoder(*codebook);
  const std::vector<float> x = Values();
  std::vector<uint8_t> codes(kCount), expected(kCount);
  EncodeCounters counters;
  const RowKernels& rows = *ChooseKernel(RowKernelTable(), DetectCpu()).kernel;
  EncodeCodes(encoder, x.data(), kCount, codes.data(), pool->get(), &counters, rows);
  for (size_t i = 0; i < kCount; ++i) expected[i] = encoder.Encode(x[i]);
  if (codes != expected) return state.SkipWithError("codes differ from the oracle's");
  for (auto _ : state) {
    EncodeCodes(encoder, x.data(), kCount, codes.data(), pool->get(), &counters, rows);
    benchmark::DoNotOptimize(codes.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kCount));
}
BENCHMARK_CAPTURE(BM_Encode, q7_n4, Grid::kQ7, 4);
BENCHMARK_CAPTURE(BM_Encode, q14_n5, Grid::kQ14, 5);
BENCHMARK_CAPTURE(BM_Encode, real_n4, Grid::kReal, 4);

}  // namespace
}  // namespace tally
