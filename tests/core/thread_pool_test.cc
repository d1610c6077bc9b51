#include "runtime/core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "tally/status.h"

namespace tally {
namespace {

TEST(ThreadPool, EveryIndexRunsExactlyOnce) {
  for (int threads : {1, 2, 5}) {
    auto pool = ThreadPool::Create(threads);
    ASSERT_TRUE(pool.ok());
    EXPECT_EQ((*pool)->num_threads(), threads);
    for (size_t count : {0, 1, 7, 64, 1000}) {
      for (size_t tile : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> visits(count);
        (*pool)->ParallelFor(count, tile, [&](size_t begin, size_t end) {
          EXPECT_LE(end - begin, std::max<size_t>(tile, 1));
          for (size_t i = begin; i < end; ++i) ++visits[i];
        });
        for (size_t i = 0; i < count; ++i) EXPECT_EQ(visits[i], 1) << threads << " " << count << " " << tile;
      }
    }
  }
}

TEST(ThreadPool, ZeroMeansOnePerCpu) {
  auto pool = ThreadPool::Create(0);
  ASSERT_TRUE(pool.ok());
  EXPECT_GE((*pool)->num_threads(), 1);
}

TEST(ThreadPool, RefusesImpossibleCounts) {
  for (int threads : {-1, 257, 1000000}) {
    auto pool = ThreadPool::Create(threads);
    ASSERT_FALSE(pool.ok());
    EXPECT_EQ(GetErrorInfo(pool.status()).code, "TLY-E0203");
  }
}

#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
constexpr uint64_t kFlush = 0x8040;  // FTZ and DAZ
uint64_t FpState() { return _mm_getcsr(); }
void SetFpState(uint64_t state) { _mm_setcsr(static_cast<unsigned>(state)); }
#else
constexpr uint64_t kFlush = uint64_t{1} << 24;  // FZ
uint64_t FpState() {
  uint64_t state;
  asm volatile("mrs %0, fpcr" : "=r"(state));
  return state;
}
void SetFpState(uint64_t state) { asm volatile("msr fpcr, %0" : : "r"(state)); }
#endif

TEST(ScopedFpEnvironment, KeepsDenormalsAndRestoresTheCallersState) {
  const uint64_t before = FpState();
  SetFpState(before | kFlush);
  volatile float denormal = std::numeric_limits<float>::denorm_min();
  volatile float one = 1.0f;
  EXPECT_EQ(denormal * one, 0.0f);
  {
    ScopedFpEnvironment environment;
    EXPECT_NE(denormal * one, 0.0f);
  }
  EXPECT_EQ(FpState() & kFlush, kFlush);
  SetFpState(before);
}

TEST(ThreadPool, WorkersDoNotInheritTheCallersFlushToZero) {
  const uint64_t before = FpState();
  SetFpState(before | kFlush);
  auto pool = ThreadPool::Create(4);
  ASSERT_TRUE(pool.ok());
  std::atomic<int> flushed{0};
  {
    ScopedFpEnvironment environment;  // as Session::Run does for the calling thread
    (*pool)->ParallelFor(64, 1, [&](size_t, size_t) {
      if ((FpState() & kFlush) != 0) ++flushed;
    });
  }
  SetFpState(before);
  EXPECT_EQ(flushed, 0);
}
#endif

}  // namespace
}  // namespace tally
