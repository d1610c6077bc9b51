// Replaces the system calls of file reading and writing, for the whole program, by ones that can be told to fail, stop
// short, lie, or end the process. Single-threaded tests only.
#ifndef TALLY_TESTS_FORMAT_FAULTY_SYSTEM_H_
#define TALLY_TESTS_FORMAT_FAULTY_SYSTEM_H_

#include <cstddef>
#include <string>

namespace tally::testing {

struct Faults {
  // Only these calls are counted and hit ("fsync"); empty: all of open, openat, fstat, fstatat, faccessat, write,
  // fchmod, fsync, pread, close, renameat.
  std::string only;
  // The call, counted from 0, that fails with `error`; negative: none. `forever`: all from it on.
  int fail_at = -1;
  bool forever = false;
  int error = 0;  // 0: the call "succeeds" with result 0 without doing anything
  // The call, counted from 0, before which the process ends at once, like by SIGKILL; negative: none.
  int exit_at = -1;
  // Every write and pread moves at most this many bytes.
  size_t most_bytes = SIZE_MAX;
  // Every pread delivers its last byte changed.
  bool corrupt_reads = false;

  int calls = 0;         // seen so far
  std::string last_hit;  // name of the call that failed last
};

// Null: all calls work. Not owned.
extern Faults* faults;

}  // namespace tally::testing

#endif  // TALLY_TESTS_FORMAT_FAULTY_SYSTEM_H_
