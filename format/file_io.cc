#include "format/file_io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tally {
namespace {

// Linux transfers at most 2^31 - 4096 bytes per call anyway.
constexpr uint64_t kMaxTransfer = uint64_t{1} << 30;

ErrorId IdOfErrno(int error_number, ErrorId otherwise) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP: return ErrorId::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorId::kPermission;
    case EISDIR:
    case ENXIO: return ErrorId::kNotRegular;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE: return ErrorId::kOutOfMemory;
    default: return otherwise;
  }
}

}  // namespace

int File::Close() {
  if (fd_ < 0) return 0;
  // Linux frees the descriptor even when it reports EINTR.
  const int failed = close(Release());
  return failed != 0 && errno != EINTR ? errno : 0;
}

absl::Status ErrnoError(int error_number, const std::string& action, const std::string& path, ErrorId otherwise) {
  return MakeError(IdOfErrno(error_number, otherwise), absl::StrCat(action, ": ", std::strerror(error_number)),
                   {path, "", -1, ""});
}

absl::StatusOr<OpenedFile> OpenRegularFile(const std::string& path, uint64_t max_bytes) {
  if (path.find('\0') != std::string::npos) {
    return MakeError(ErrorId::kNotFound, absl::StrCat("the path ", Quoted(path), " holds a NUL"));
  }
  // O_NONBLOCK: opening a FIFO without a writer would hang.
  File file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return ErrnoError(errno, "cannot open", path, ErrorId::kReadFailed);
  struct stat st;
  if (fstat(file.fd(), &st) != 0) return ErrnoError(errno, "cannot stat", path, ErrorId::kReadFailed);
  if (!S_ISREG(st.st_mode)) {
    return MakeError(ErrorId::kNotRegular, "a directory, pipe or device, expected a regular file", {path, "", -1, ""});
  }
  const uint64_t bytes = static_cast<uint64_t>(st.st_size);
  if (bytes > max_bytes) {
    return MakeError(ErrorId::kLimitFile, absl::StrCat(bytes, " bytes, at most ", max_bytes), {path, "", -1, ""});
  }
  return OpenedFile{std::move(file), bytes};
}

absl::Status ReadFully(const File& file, uint64_t offset, uint8_t* data, uint64_t bytes, const std::string& path) {
  uint64_t done = 0;
  while (done < bytes) {
    const size_t part = static_cast<size_t>(std::min(bytes - done, kMaxTransfer));
    const ssize_t n = pread(file.fd(), data + done, part, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "cannot read", path, ErrorId::kReadFailed);
    if (n == 0) {
      return MakeError(ErrorId::kReadFailed,
                       absl::StrCat("ended after ", offset + done, " bytes, expected ", offset + bytes),
                       {path, "", -1, ""});
    }
    done += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<Blob> LoadWholeFile(const std::string& path, uint64_t max_bytes) {
  TALLY_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegularFile(path, max_bytes));
  uint8_t* data = nullptr;
  Blob blob = Blob::Allocate(static_cast<size_t>(opened.bytes), &data);
  TALLY_RETURN_IF_ERROR(ReadFully(opened.file, 0, data, opened.bytes, path));
  return blob;
}

absl::StatusOr<Blob> MapWholeFile(const std::string& path, uint64_t max_bytes) {
  TALLY_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegularFile(path, max_bytes));
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const size_t mapped = static_cast<size_t>((opened.bytes + page - 1) / page * page + page);
  // Touching a page beyond the file's end would be SIGBUS; the anonymous page behind it reads as zeros.
  void* base = mmap(nullptr, mapped, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return ErrnoError(errno, "cannot map", path, ErrorId::kReadFailed);
  std::shared_ptr<const void> owner(base, [mapped](void* p) { munmap(p, mapped); });
  if (opened.bytes > 0 && mmap(base, static_cast<size_t>(opened.bytes), PROT_READ, MAP_PRIVATE | MAP_FIXED,
                               opened.file.fd(), 0) == MAP_FAILED) {
    return ErrnoError(errno, "cannot map", path, ErrorId::kReadFailed);
  }
  return Blob::Wrap(std::move(owner), static_cast<const uint8_t*>(base), static_cast<size_t>(opened.bytes));
}

}  // namespace tally
