// What reading and atomic writing share: descriptors, and errno as a stable error. POSIX only.
#ifndef TALLY_FORMAT_FILE_IO_H_
#define TALLY_FORMAT_FILE_IO_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "format/error.h"
#include "format/graph.h"

namespace tally {

// Owns a descriptor.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() { Close(); }
  File(File&& other) noexcept : fd_(other.Release()) {}
  File& operator=(File&& other) noexcept {
    Close();
    fd_ = other.Release();
    return *this;
  }

  int fd() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // 0 or the errno of close(); afterwards the file is closed either way.
  int Close();

 private:
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  int fd_;
};

// "<action>: <text of error_number>" under the code that fits the number; `otherwise` for all that have none of their
// own (EIO, ...).
absl::Status ErrnoError(int error_number, const std::string& action, const std::string& path, ErrorId otherwise);

// A regular file opened for reading. Never blocks, whatever `path` is. Errors: as ReadWholeFile (format/model_file.h).
struct OpenedFile {
  File file;
  uint64_t bytes = 0;
};
absl::StatusOr<OpenedFile> OpenRegularFile(const std::string& path, uint64_t max_bytes);

// Fills `data` from `offset` on; kReadFailed when the file ends early.
absl::Status ReadFully(const File& file, uint64_t offset, uint8_t* data, uint64_t bytes, const std::string& path);

// The whole file, in memory of its own.
absl::StatusOr<Blob> LoadWholeFile(const std::string& path, uint64_t max_bytes);

// The file as a private mapping, followed by at least one page of zeros so that vector loads may run past its end.
absl::StatusOr<Blob> MapWholeFile(const std::string& path, uint64_t max_bytes);

}  // namespace tally

#endif  // TALLY_FORMAT_FILE_IO_H_
