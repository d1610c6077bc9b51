#include "converter/onnx/external_data.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "format/checked.h"
#include "format/error.h"

namespace tally {
namespace {

// A file descriptor, closed on destruction.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status Bad(const ExternalRange& range, const std::string& detail) {
  return MakeError(ErrorId::kBadExternalData, detail, {"", "", -1, "external file " + Quoted(range.location)});
}

absl::Status OpenFailed(const ExternalRange& range, int error) {
  if (error == ELOOP || error == ENOTDIR) return Bad(range, "expected a path without symbolic links");
  if (error == EACCES) {
    return MakeError(ErrorId::kPermission, "may not be read", {"", "", -1, "external file " + Quoted(range.location)});
  }
  return Bad(range, std::string("cannot be opened: ") + std::strerror(error));
}

// Opens every part of the path relative to the one before, so that none can be exchanged for a link meanwhile.
absl::StatusOr<Descriptor> OpenWithin(const std::string& folder, const ExternalRange& range) {
  const std::vector<std::string> parts = absl::StrSplit(range.location, '/');
  for (const std::string& part : parts) {
    if (part.empty() || part == ".." || part == "." || part.find('\0') != std::string::npos ||
        part.find('\\') != std::string::npos) {
      return Bad(range, "expected a relative path below the model's folder");
    }
  }
  Descriptor at(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (at.get() < 0) return OpenFailed(range, errno);
  for (size_t i = 0; i < parts.size(); ++i) {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    const int flags = i + 1 < parts.size() ? O_DIRECTORY : O_NONBLOCK;
    Descriptor next(openat(at.get(), parts[i].c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags));
    if (next.get() < 0) return OpenFailed(range, errno);
    at = std::move(next);
  }
  return at;
}

}  // namespace

absl::StatusOr<Blob> ReadExternalData(const std::string& folder, const ExternalRange& range, uint64_t bytes) {
  TALLY_ASSIGN_OR_RETURN(const Descriptor file, OpenWithin(folder, range));
  struct stat info;
  if (fstat(file.get(), &info) != 0) return OpenFailed(range, errno);
  if (!S_ISREG(info.st_mode)) return Bad(range, "expected a regular file");
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if (!RangeFits(range.offset, bytes, size)) {
    return Bad(range, "expected " + std::to_string(bytes) + " bytes at offset " + std::to_string(range.offset) +
                          ", the file has " + std::to_string(size) + " bytes");
  }
  uint8_t* to = nullptr;
  Blob blob = Blob::Allocate(bytes, &to);
  uint64_t done = 0;
  while (done < bytes) {
    const ssize_t got = pread(file.get(), to + done, bytes - done, static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return MakeError(ErrorId::kReadFailed, got < 0 ? std::strerror(errno) : "the file ended early",
                       {"", "", -1, "external file " + Quoted(range.location)});
    }
    done += static_cast<uint64_t>(got);
  }
  return blob;
}

}  // namespace tally
