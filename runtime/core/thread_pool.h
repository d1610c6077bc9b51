// The one thread pool of a session: pthreadpool, which XNNPACK uses directly.
// Parallel calls from several threads wait for each other. Results never depend on the thread count: a task owns its
// outputs.
#ifndef TALLY_RUNTIME_CORE_THREAD_POOL_H_
#define TALLY_RUNTIME_CORE_THREAD_POOL_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "absl/status/statusor.h"
#include "tally/types.h"

struct pthreadpool;

namespace tally {

class TALLY_API ThreadPool {
 public:
  // `num_threads` counts the calling thread; 0 = one per CPU that the process may run on, 1 = no worker at all.
  // Between calls workers spin for some milliseconds, which makes the next call fast, or sleep at once, which leaves
  // their CPUs to others (after a call of XNNPACK's they spin all the same). They always sleep where there are more of
  // them than CPUs.
  // Errors: kBadThreadCount, kOutOfMemory.
  enum class Idle { kSpin, kSleep };
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(int num_threads, Idle idle = Idle::kSpin);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }
  // False in a child of fork(), where the workers do not exist.
  bool usable() const;

  // Calls fn(begin, end) on disjoint ranges of at most `tile` that cover [0, count). Returns when all are done.
  // fn must not throw.
  template <typename Fn>
  void ParallelFor(size_t count, size_t tile, const Fn& fn) {
    Run(count, tile, const_cast<void*>(static_cast<const void*>(&fn)),
        [](void* context, size_t begin, size_t end) { (*static_cast<const Fn*>(context))(begin, end); });
  }

  // For libraries that take a pthreadpool; null when there is no worker (they then run on the caller).
  pthreadpool* native() const { return pool_; }

 private:
  ThreadPool(pthreadpool* pool, int num_threads, uint32_t flags);
  void Run(size_t count, size_t tile, void* context, void (*task)(void*, size_t, size_t));

  pthreadpool* pool_;
  int num_threads_;
  uint32_t flags_;  // of pthreadpool, for every call
  pid_t pid_;
};

// Puts the calling thread's floating-point state to round-to-nearest, denormals kept, exceptions masked, and restores
// the caller's on destruction, so that results do not depend on it.
class ScopedFpEnvironment {
 public:
  ScopedFpEnvironment();
  ~ScopedFpEnvironment();
  ScopedFpEnvironment(const ScopedFpEnvironment&) = delete;
  ScopedFpEnvironment& operator=(const ScopedFpEnvironment&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace tally

#endif  // TALLY_RUNTIME_CORE_THREAD_POOL_H_
