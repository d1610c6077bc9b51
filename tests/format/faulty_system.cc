#include "tests/format/faulty_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>

namespace tally::testing {

Faults* faults = nullptr;

namespace {

// Whether this call is to fail; then errno is set.
bool Hit(const char* name) {
  if (faults == nullptr || (!faults->only.empty() && faults->only != name)) return false;
  const int call = faults->calls++;
  if (call == faults->exit_at) _exit(77);
  const bool hit = faults->fail_at >= 0 && (call == faults->fail_at || (faults->forever && call > faults->fail_at));
  if (!hit) return false;
  faults->last_hit = name;
  errno = faults->error;
  return true;
}

int Result() { return faults->error == 0 ? 0 : -1; }

size_t Most(size_t bytes) { return faults == nullptr ? bytes : std::min(bytes, faults->most_bytes); }

int Open(int folder, const char* path, int flags, mode_t mode) {
  return static_cast<int>(syscall(SYS_openat, folder, path, flags, mode));
}

}  // namespace
}  // namespace tally::testing

using tally::testing::Hit;
using tally::testing::Result;

// Raw system calls below, so that no other interposer is involved.
extern "C" {

int open(const char* path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
  va_end(args);
  return Hit("open") ? Result() : tally::testing::Open(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
  va_end(args);
  return Hit("openat") ? Result() : tally::testing::Open(folder, path, flags, mode);
}
int fstat(int fd, struct stat* st) noexcept {
  return Hit("fstat") ? Result() : static_cast<int>(syscall(SYS_fstat, fd, st));
}
int fstatat(int folder, const char* path, struct stat* st, int flags) noexcept {
  return Hit("fstatat") ? Result() : static_cast<int>(syscall(SYS_newfstatat, folder, path, st, flags));
}
int faccessat(int folder, const char* path, int mode, int) noexcept {
  return Hit("faccessat") ? Result() : static_cast<int>(syscall(SYS_faccessat, folder, path, mode));
}
ssize_t write(int fd, const void* data, size_t bytes) {
  return Hit("write") ? Result() : syscall(SYS_write, fd, data, tally::testing::Most(bytes));
}
ssize_t pread(int fd, void* data, size_t bytes, off_t offset) {
  if (Hit("pread")) return Result();
  const ssize_t n = syscall(SYS_pread64, fd, data, tally::testing::Most(bytes), offset);
  if (n > 0 && tally::testing::faults != nullptr && tally::testing::faults->corrupt_reads) {
    static_cast<unsigned char*>(data)[n - 1] ^= 1;
  }
  return n;
}
int fchmod(int fd, mode_t mode) noexcept {
  return Hit("fchmod") ? Result() : static_cast<int>(syscall(SYS_fchmod, fd, mode));
}
int fsync(int fd) { return Hit("fsync") ? Result() : static_cast<int>(syscall(SYS_fsync, fd)); }
int close(int fd) {
  // Like Linux, which frees the descriptor also when it reports an error.
  const bool hit = Hit("close");
  const int error = errno;
  const int result = static_cast<int>(syscall(SYS_close, fd));
  if (hit) errno = error;
  return hit ? Result() : result;
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  return Hit("renameat") ? Result() : static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, 0));
}

}  // extern "C"
