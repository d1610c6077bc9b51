// WriteFileAtomically of format/model_file.h. At any moment, killed at any system call, the path holds the old file or
// the complete new one; a kill can leave a temporary file ".tally-<hex>.tmp" behind, nothing else can.
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/file_io.h"
#include "format/model_file.h"

namespace tally {
namespace {

constexpr uint64_t kMaxTransfer = uint64_t{1} << 30;
constexpr size_t kCompareBytes = size_t{1} << 20;
constexpr mode_t kPermissionBits = 0777;

class AtomicWriter {
 public:
  explicit AtomicWriter(const std::string& path) : path_(path) {
    const size_t slash = path.rfind('/');
    directory_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    name_ = slash == std::string::npos ? path : path.substr(slash + 1);
  }
  ~AtomicWriter() {
    if (temporary_exists_) unlinkat(folder_.fd(), temporary_.c_str(), 0);
  }

  absl::Status Write(const uint8_t* data, uint64_t size) {
    TALLY_RETURN_IF_ERROR(OpenFolder());
    TALLY_RETURN_IF_ERROR(InspectTarget());
    TALLY_RETURN_IF_ERROR(CreateTemporary());
    TALLY_RETURN_IF_ERROR(WriteFully(data, size));
    if (target_mode_ && fchmod(file_.fd(), *target_mode_) != 0) return Failed("cannot set permissions");
    if (fsync(file_.fd()) != 0) return Failed("cannot sync");
    TALLY_RETURN_IF_ERROR(VerifyWritten(data, size));
    if (const int error = file_.Close()) return ErrnoError(error, "cannot close", path_, ErrorId::kWriteFailed);
    if (renameat(folder_.fd(), temporary_.c_str(), folder_.fd(), name_.c_str()) != 0) return Failed("cannot rename");
    temporary_exists_ = false;
    // Some file systems cannot sync a directory and say so with EINVAL.
    if (fsync(folder_.fd()) != 0 && errno != EINVAL) {
      return Failed("the new file is in place, but may not survive a power failure: cannot sync its directory");
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Failed(const std::string& action) const {
    return ErrnoError(errno, action, path_, ErrorId::kWriteFailed);
  }

  absl::Status OpenFolder() {
    if (path_.find('\0') != std::string::npos) {
      return MakeError(ErrorId::kNotFound, absl::StrCat("the path ", Quoted(path_), " holds a NUL"));
    }
    if (name_.empty() || name_ == "." || name_ == "..") {
      return MakeError(ErrorId::kNotRegular, "the path names a directory", {path_, "", -1, ""});
    }
    const int fd = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Failed("cannot open the directory");
    folder_ = File(fd);
    return absl::OkStatus();
  }

  // A file that may not be written may not be replaced either, though rename() would. A symbolic link is replaced, not
  // followed.
  absl::Status InspectTarget() {
    struct stat st;
    if (fstatat(folder_.fd(), name_.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno == ENOENT ? absl::OkStatus() : Failed("cannot stat");
    }
    if (S_ISLNK(st.st_mode)) return absl::OkStatus();
    if (!S_ISREG(st.st_mode)) {
      return MakeError(ErrorId::kNotRegular, "a directory, pipe or device, expected a regular file or none",
                       {path_, "", -1, ""});
    }
    if (faccessat(folder_.fd(), name_.c_str(), W_OK, AT_EACCESS) != 0) return Failed("may not be replaced");
    target_mode_ = st.st_mode & kPermissionBits;
    return absl::OkStatus();
  }

  // O_EXCL and a name that cannot be foreseen: in a shared directory nobody can plant a link under it.
  absl::Status CreateTemporary() {
    for (int attempt = 0; attempt < 16; ++attempt) {
      uint64_t random = 0;
      if (getrandom(&random, sizeof(random), 0) != sizeof(random)) return Failed("no random numbers");
      temporary_ = absl::StrCat(".tally-", absl::Hex(random, absl::kZeroPad16), ".tmp");
      // The permissions of a file that is replaced may be narrower than the usual ones, so they start narrow.
      const int fd = openat(folder_.fd(), temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                            target_mode_ ? 0600 : 0666);
      if (fd >= 0) {
        file_ = File(fd);
        temporary_exists_ = true;
        return absl::OkStatus();
      }
      if (errno != EEXIST && errno != EINTR) return Failed("cannot create a temporary file beside it");
    }
    return MakeError(ErrorId::kWriteFailed, "no free name for a temporary file", {path_, "", -1, ""});
  }

  absl::Status WriteFully(const uint8_t* data, uint64_t size) {
    uint64_t done = 0;
    while (done < size) {
      const ssize_t n = write(file_.fd(), data + done, static_cast<size_t>(std::min(size - done, kMaxTransfer)));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed(absl::StrCat("cannot write beyond byte ", done));
      if (n == 0) {
        return MakeError(ErrorId::kWriteFailed, absl::StrCat("writing stopped at byte ", done, " of ", size),
                         {path_, "", -1, ""});
      }
      done += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status VerifyWritten(const uint8_t* data, uint64_t size) const {
    struct stat st;
    if (fstat(file_.fd(), &st) != 0) return Failed("cannot stat");
    bool same = static_cast<uint64_t>(st.st_size) == size;
    std::vector<uint8_t> read(static_cast<size_t>(std::min<uint64_t>(size, kCompareBytes)));
    for (uint64_t at = 0; same && at < size; at += read.size()) {
      const size_t part = static_cast<size_t>(std::min<uint64_t>(size - at, read.size()));
      TALLY_RETURN_IF_ERROR(ReadFully(file_, at, read.data(), part, path_));
      same = std::memcmp(read.data(), data + at, part) == 0;
    }
    if (same) return absl::OkStatus();
    return MakeError(ErrorId::kWriteFailed, "what was written reads back differently", {path_, "", -1, ""});
  }

  const std::string path_;
  std::string directory_;
  std::string name_;
  std::string temporary_;
  bool temporary_exists_ = false;
  std::optional<mode_t> target_mode_;  // of the file that is replaced
  File folder_{-1};
  File file_{-1};
};

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, const void* data, size_t size) {
  try {
    return AtomicWriter(path).Write(static_cast<const uint8_t*>(data), size);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "no memory", {path, "", -1, ""});
  }
}

}  // namespace tally
