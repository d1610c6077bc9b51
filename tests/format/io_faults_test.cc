// Every system call of reading and writing fails, stops short, or is the last one before the process dies.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "format/model_file.h"
#include "tests/format/faulty_system.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

namespace fs = std::filesystem;
using testing::CodeOf;
using testing::Faults;
using testing::faults;

const std::string kOld(5000, 'o');
// More than one block of the comparison.
const std::string kNew((size_t{2} << 20) + 12345, 'n');

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

size_t FilesIn(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// A folder with a file to be replaced.
class IoFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir();
    path_ = folder_ + "/out";
    std::ofstream(path_, std::ios::binary) << kOld;
  }
  void TearDown() override { faults = nullptr; }

  absl::Status WriteWith(Faults* f, const std::string& path) {
    faults = f;
    absl::Status status = WriteFileAtomically(path, kNew.data(), kNew.size());
    faults = nullptr;
    return status;
  }
  absl::Status WriteWith(Faults* f) { return WriteWith(f, path_); }

  absl::Status ReadWith(Faults* f) {
    faults = f;
    absl::StatusOr<Blob> blob = ReadWholeFile(path_, UINT64_MAX);
    faults = nullptr;
    if (blob.ok()) {
      EXPECT_EQ(std::string(blob->as<char>(), blob->size()), kOld);
    }
    return blob.status();
  }

  std::string folder_;
  std::string path_;
};

int CallsOfOneWrite(const std::string& path) {
  Faults none;
  faults = &none;
  const absl::Status status = WriteFileAtomically(path, kNew.data(), kNew.size());
  faults = nullptr;
  TALLY_EXPECT_OK(status);
  return none.calls;
}

TEST_F(IoFaults, EveryFailedCallOfWritingLeavesTheOldFileOrSaysOtherwise) {
  const int calls = CallsOfOneWrite(folder_ + "/out");
  ASSERT_GE(calls, 12) << "the calls are really intercepted";
  for (int error : {EIO, ENOSPC, EDQUOT, EROFS, EACCES, EPERM, EMFILE, ENOMEM}) {
    for (int at = 0; at < calls; ++at) {
      std::ofstream(path_, std::ios::binary | std::ios::trunc) << kOld;
      Faults f;
      f.fail_at = at;
      f.error = error;
      const absl::Status status = WriteWith(&f);
      const std::string context = f.last_hit + " fails with " + std::to_string(error);
      if (status.ok()) {
        // The directory's descriptor is closed after all is done.
        EXPECT_EQ(f.last_hit, "close") << context;
        EXPECT_TRUE(Contents(path_) == kNew) << context;
      } else {
        const bool in_place = std::string(status.message()).find("the new file is in place") != std::string::npos;
        EXPECT_EQ(in_place, f.last_hit == "fsync" && at == calls - 2) << context << " " << status;
        EXPECT_TRUE(Contents(path_) == (in_place ? kNew : kOld)) << context;
        const int exit = ExitStatus(status);
        EXPECT_TRUE(exit == 4 || exit == 5) << context << " " << status;
        EXPECT_EQ(exit == 5, error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENOMEM) << context;
      }
      EXPECT_EQ(FilesIn(folder_), 1u) << context;
    }
  }
}

TEST_F(IoFaults, DyingBeforeAnyCallLeavesOneOfTheTwoFiles) {
  const int calls = CallsOfOneWrite(folder_ + "/out");
  for (int at = 0; at <= calls; ++at) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << kOld;
    const pid_t child = fork();
    if (child == 0) {
      Faults f;
      f.exit_at = at;
      _exit(WriteWith(&f).ok() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(WEXITSTATUS(status), at < calls ? 77 : 0) << at;
    const std::string now = Contents(path_);
    EXPECT_TRUE(now == kOld || now == kNew) << "call " << at << ": torn file of " << now.size() << " bytes";
  }
}

TEST_F(IoFaults, ShortTransfersAreContinued) {
  Faults f;
  f.most_bytes = 4097;
  TALLY_EXPECT_OK(WriteWith(&f));
  EXPECT_TRUE(Contents(path_) == kNew);
  EXPECT_GT(f.calls, 500);
}

TEST_F(IoFaults, InterruptedTransfersAreRepeated) {
  for (const char* call : {"write", "pread"}) {
    Faults f;
    f.only = call;
    f.fail_at = 0;
    f.error = EINTR;
    TALLY_EXPECT_OK(WriteWith(&f));
    EXPECT_EQ(f.last_hit, call);
  }
  Faults f;
  f.only = "close";
  f.fail_at = 0;
  f.error = EINTR;
  TALLY_EXPECT_OK(WriteWith(&f));
}

TEST_F(IoFaults, WritingThatMovesNothingStops) {
  Faults f;
  f.only = "write";
  f.fail_at = 0;
  f.forever = true;
  TALLY_EXPECT_ERROR(ErrorId::kWriteFailed, WriteWith(&f));
  EXPECT_TRUE(Contents(path_) == kOld);
}

TEST_F(IoFaults, WhatReadsBackDifferentlyIsNotKept) {
  Faults f;
  f.corrupt_reads = true;
  TALLY_EXPECT_ERROR(ErrorId::kWriteFailed, WriteWith(&f));
  EXPECT_TRUE(Contents(path_) == kOld);
  EXPECT_EQ(FilesIn(folder_), 1u);
}

// A write that claims success but stores nothing.
TEST_F(IoFaults, ASizeThatDiffersIsNotKept) {
  Faults f;
  f.only = "fstat";
  f.fail_at = 0;  // "succeeds" without filling in the size
  EXPECT_FALSE(WriteWith(&f).ok());
  EXPECT_TRUE(Contents(path_) == kOld);
}

TEST_F(IoFaults, TakenTemporaryNamesAreTriedAgainButNotForever) {
  Faults f;
  f.only = "openat";
  f.fail_at = 0;
  f.error = EEXIST;
  TALLY_EXPECT_OK(WriteWith(&f));
  EXPECT_EQ(f.calls, 2);
  f = {};
  f.only = "openat";
  f.fail_at = 0;
  f.error = EEXIST;
  f.forever = true;
  TALLY_EXPECT_ERROR(ErrorId::kWriteFailed, WriteWith(&f));
}

// Some file systems cannot sync directories.
TEST_F(IoFaults, AFolderThatCannotBeSyncedAtAllIsAccepted) {
  Faults f;
  f.only = "fsync";
  f.fail_at = 1;
  f.error = EINVAL;
  TALLY_EXPECT_OK(WriteWith(&f));
  EXPECT_EQ(f.last_hit, "fsync");
}

TEST_F(IoFaults, EveryFailedCallOfReadingIsNamed) {
  for (const auto& [error, code] : {std::pair{EIO, "TLY-E0404"}, {EACCES, "TLY-E0402"}, {EMFILE, "TLY-E0506"}}) {
    for (const char* call : {"open", "fstat", "pread"}) {
      Faults f;
      f.only = call;
      f.fail_at = 0;
      f.error = error;
      const absl::Status status = ReadWith(&f);
      EXPECT_EQ(CodeOf(status), code) << call;
      EXPECT_EQ(GetErrorInfo(status).file, path_);
    }
  }
}

TEST_F(IoFaults, ReadingContinuesShortAndInterruptedTransfers) {
  Faults f;
  f.most_bytes = 7;
  TALLY_EXPECT_OK(ReadWith(&f));
  f = {};
  f.only = "pread";
  f.fail_at = 0;
  f.error = EINTR;
  TALLY_EXPECT_OK(ReadWith(&f));
  EXPECT_EQ(f.calls, 2);
}

TEST_F(IoFaults, AFileThatEndsEarlyIsAnError) {
  Faults f;
  f.only = "pread";
  f.most_bytes = 100;
  f.fail_at = 2;  // end of file
  TALLY_EXPECT_ERROR(ErrorId::kReadFailed, ReadWith(&f));
}

}  // namespace
}  // namespace tally
