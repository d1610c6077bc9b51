#include "runtime/core/thread_pool.h"

#include <pthread.h>
#include <pthreadpool.h>
#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "format/limits.h"

namespace tally {
namespace {

// CPUs that this process may run on, which a container may have cut below the machine's.
int AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

// Waits until every thread of CheckThreadsStart was started, so that all live at once.
void* WaitAtGate(void* gate) {
  pthread_mutex_lock(static_cast<pthread_mutex_t*>(gate));
  pthread_mutex_unlock(static_cast<pthread_mutex_t*>(gate));
  return nullptr;
}

// Whether `count` more threads can be started now; kOutOfMemory when not. Another process may still take them before
// the pool does.
absl::Status CheckThreadsStart(int count) {
  std::vector<pthread_t> threads(static_cast<size_t>(count));
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&gate);
  int started = 0, error = 0;
  while (started < count && error == 0) {
    error = pthread_create(&threads[static_cast<size_t>(started)], nullptr, WaitAtGate, &gate);
    if (error == 0) ++started;
  }
  pthread_mutex_unlock(&gate);
  for (int i = 0; i < started; ++i) pthread_join(threads[static_cast<size_t>(i)], nullptr);
  if (error == 0) return absl::OkStatus();
  return MakeError(ErrorId::kOutOfMemory,
                   absl::StrCat("cannot start thread ", started + 1, " of ", count,
                                " beside this one: ", std::strerror(error), "; fewer threads may do"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(int num_threads, Idle idle) {
  if (num_threads < 0 || num_threads > kMaxThreads) {
    return MakeError(ErrorId::kBadThreadCount,
                     absl::StrCat(num_threads, " threads, expected 0 (one per CPU) .. ", kMaxThreads));
  }
  if (num_threads == 0) num_threads = std::min(AvailableCpus(), kMaxThreads);
  pthreadpool_t pool = nullptr;
  if (num_threads > 1) {
    // pthreadpool waits for ever for a worker that could not be started.
    TALLY_RETURN_IF_ERROR(CheckThreadsStart(num_threads - 1));
    // Workers inherit the floating-point state of the thread that creates them.
    ScopedFpEnvironment environment;
    pool = pthreadpool_create(static_cast<size_t>(num_threads));
    if (pool == nullptr) {
      return MakeError(ErrorId::kOutOfMemory, absl::StrCat("cannot start ", num_threads, " threads"));
    }
  }
  const bool sleeps = idle == Idle::kSleep || num_threads > AvailableCpus();
  const uint32_t flags = sleeps ? PTHREADPOOL_FLAG_YIELD_WORKERS : 0;
  return std::unique_ptr<ThreadPool>(new ThreadPool(pool, num_threads, flags));
}

ThreadPool::ThreadPool(pthreadpool* pool, int num_threads, uint32_t flags)
    : pool_(pool), num_threads_(num_threads), flags_(flags), pid_(getpid()) {}

bool ThreadPool::usable() const { return pool_ == nullptr || pid_ == getpid(); }

ThreadPool::~ThreadPool() {
  if (pool_ != nullptr) pthreadpool_destroy(pool_);
}

void ThreadPool::Run(size_t count, size_t tile, void* context, void (*task)(void*, size_t, size_t)) {
  if (count == 0) return;
  tile = std::max<size_t>(tile, 1);
  if (pool_ == nullptr || count <= tile) {
    for (size_t begin = 0; begin < count; begin += std::min(tile, count - begin)) {
      task(context, begin, begin + std::min(tile, count - begin));
    }
    return;
  }
  struct Call {
    void* context;
    void (*task)(void*, size_t, size_t);
  } call{context, task};
  pthreadpool_parallelize_1d_tile_1d(
      pool_,
      [](void* argument, size_t begin, size_t size) {
        const Call* c = static_cast<const Call*>(argument);
        c->task(c->context, begin, begin + size);
      },
      &call, count, tile, flags_);
}

#if defined(__x86_64__)
namespace {
constexpr unsigned kDefaultMxcsr = 0x1F80;  // all exceptions masked, round to nearest, denormals kept
}
ScopedFpEnvironment::ScopedFpEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(kDefaultMxcsr); }
ScopedFpEnvironment::~ScopedFpEnvironment() { _mm_setcsr(static_cast<unsigned>(saved_)); }
#elif defined(__aarch64__)
ScopedFpEnvironment::ScopedFpEnvironment() {
  __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
  __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
}
ScopedFpEnvironment::~ScopedFpEnvironment() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }
#else
ScopedFpEnvironment::ScopedFpEnvironment() : saved_(0) {}
ScopedFpEnvironment::~ScopedFpEnvironment() {}
#endif

}  // namespace tally
