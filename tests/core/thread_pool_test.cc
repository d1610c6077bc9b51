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

#if defined(__x86_64__)
TEST(ScopedFpEnvironment, KeepsDenormalsAndRestoresTheCallersState) {
  const unsigned flush = _mm_getcsr() | 0x8040;  // FTZ and DAZ
  const unsigned before = _mm_getcsr();
  _mm_setcsr(flush);
  volatile float denormal = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(denormal * 1.0f, 0.0f);
  {
    ScopedFpEnvironment environment;
    EXPECT_NE(denormal * 1.0f, 0.0f);
  }
  EXPECT_EQ(_mm_getcsr() & 0x8040u, 0x8040u);
  _mm_setcsr(before);
}

TEST(ThreadPool, WorkersDoNotInheritTheCallersFlushToZero) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  auto pool = ThreadPool::Create(4);
  ASSERT_TRUE(pool.ok());
  std::atomic<int> flushed{0};
  {
    ScopedFpEnvironment environment;  // as Session::Run does for the calling thread
    (*pool)->ParallelFor(64, 1, [&](size_t, size_t) {
      if ((_mm_getcsr() & 0x8040) != 0) ++flushed;
    });
  }
  _mm_setcsr(before);
  EXPECT_EQ(flushed, 0);
}
#endif

}  // namespace
}  // namespace tally
