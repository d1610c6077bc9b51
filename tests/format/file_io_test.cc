// Reading what is not a model, and writing that leaves either the old file or the complete new one.
#include "format/file_io.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "format/model_file.h"
#include "tests/format/graph_diff.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"
#include "tests/testing/sanitized.h"

namespace tally {
namespace {

namespace fs = std::filesystem;
using testing::SmallConvNet;
using testing::TempDir;

constexpr uint64_t kNoLimit = UINT64_MAX;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  return WriteFileAtomically(path, text.data(), text.size());
}

size_t FilesIn(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

mode_t ModeOf(const std::string& path) {
  struct stat st = {};
  stat(path.c_str(), &st);
  return st.st_mode & 0777;
}

// Both ways of loading must refuse the same things.
void ExpectRefused(ErrorId id, const std::string& path) {
  for (bool use_mmap : {false, true}) {
    LoadOptions options;
    options.use_mmap = use_mmap;
    TALLY_EXPECT_ERROR(id, ReadModelFile(path, options));
  }
  TALLY_EXPECT_ERROR(id, ReadFileLayout(path));
}

TEST(ReadFile, RefusesWhatIsNotARegularFile) {
  const std::string folder = TempDir();
  ExpectRefused(ErrorId::kNotRegular, folder);
  ExpectRefused(ErrorId::kNotRegular, "/dev/zero");
  ExpectRefused(ErrorId::kNotRegular, "/dev/null");
  // Nobody writes to it: a blocking open would hang here.
  const std::string fifo = folder + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  ExpectRefused(ErrorId::kNotRegular, fifo);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder + "/socket").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ExpectRefused(ErrorId::kNotRegular, folder + "/socket");
  close(fd);
}

TEST(ReadFile, NamesWhatIsMissing) {
  const std::string folder = TempDir();
  ExpectRefused(ErrorId::kNotFound, folder + "/absent");
  ExpectRefused(ErrorId::kNotFound, folder + "/absent/child");
  ExpectRefused(ErrorId::kNotFound, "");
  ExpectRefused(ErrorId::kNotFound, std::string("/dev/zero\0x", 11));
  ExpectRefused(ErrorId::kNotFound, folder + "/" + std::string(300, 'x'));
  TALLY_ASSERT_OK(WriteText(folder + "/file", "x"));
  ExpectRefused(ErrorId::kNotFound, folder + "/file/child");
  fs::create_symlink("loop", folder + "/loop");
  ExpectRefused(ErrorId::kNotFound, folder + "/loop");
}

TEST(ReadFile, EmptyFilesAreTooShort) {
  const std::string path = TempDir() + "/empty";
  TALLY_ASSERT_OK(WriteText(path, ""));
  ExpectRefused(ErrorId::kTooShort, path);
  const absl::StatusOr<Blob> blob = ReadWholeFile(path, kNoLimit);
  TALLY_ASSERT_OK(blob);
  EXPECT_EQ(blob->size(), 0u);
}

// A sparse file of 5 GiB: refused by its size, not read.
TEST(ReadFile, KeepsTheSizeLimit) {
  const std::string path = TempDir() + "/sparse";
  TALLY_ASSERT_OK(WriteText(path, "x"));
  ASSERT_EQ(truncate(path.c_str(), off_t{5} << 30), 0);
  for (bool use_mmap : {false, true}) {
    LoadOptions options;
    options.use_mmap = use_mmap;
    TALLY_EXPECT_ERROR(ErrorId::kLimitFile, ReadModelFile(path, options));
  }
  TALLY_ASSERT_OK(WriteText(path, "12345"));
  TALLY_EXPECT_ERROR(ErrorId::kLimitFile, ReadWholeFile(path, 4));
  TALLY_EXPECT_OK(ReadWholeFile(path, 5));
}

TEST(ReadFile, AFileThatShrinksWhileItIsReadIsAnError) {
  const std::string path = TempDir() + "/file";
  TALLY_ASSERT_OK(WriteText(path, "12345"));
  absl::StatusOr<OpenedFile> opened = OpenRegularFile(path, kNoLimit);
  TALLY_ASSERT_OK(opened);
  ASSERT_EQ(truncate(path.c_str(), 3), 0);
  uint8_t data[5];
  TALLY_EXPECT_ERROR(ErrorId::kReadFailed, ReadFully(opened->file, 0, data, opened->bytes, path));
}

TEST(ReadFile, WhatWasReadOutlivesTheFile) {
  const std::string path = TempDir() + "/file";
  TALLY_ASSERT_OK(WriteText(path, "12345"));
  const absl::StatusOr<Blob> blob = ReadWholeFile(path, kNoLimit);
  TALLY_ASSERT_OK(blob);
  ASSERT_EQ(truncate(path.c_str(), 0), 0);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(blob->data()), blob->size()), "12345");
}

TEST(ReadFile, AFileLargerThanMemoryIsAnError) {
  if (testing::kSanitized) GTEST_SKIP() << "sanitizers need the address space that this test takes away";
  const std::string path = TempDir() + "/sparse";
  TALLY_ASSERT_OK(WriteText(path, "x"));
  ASSERT_EQ(truncate(path.c_str(), off_t{1} << 41), 0) << "2 TiB, sparse";
  const pid_t child = fork();
  if (child == 0) {
    // In a child, so that the limit does not hit the test itself.
    const rlimit limit = {rlim_t{1} << 30, rlim_t{1} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(9);
    const bool read = GetErrorInfo(ReadWholeFile(path, kNoLimit).status()).code == "TLY-E0506";
    const bool mapped = GetErrorInfo(MapWholeFile(path, kNoLimit).status()).code == "TLY-E0506";
    _exit(read && mapped ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(AtomicWrite, WritesAndReplaces) {
  const std::string folder = TempDir();
  const std::string path = folder + "/out";
  TALLY_ASSERT_OK(WriteText(path, "old"));
  EXPECT_EQ(Contents(path), "old");
  TALLY_ASSERT_OK(WriteText(path, "new and longer"));
  EXPECT_EQ(Contents(path), "new and longer");
  TALLY_ASSERT_OK(WriteText(path, ""));
  EXPECT_EQ(Contents(path), "");
  EXPECT_EQ(FilesIn(folder), 1u) << "no temporary file stays";
}

TEST(AtomicWrite, WritesSeveralMegabytes) {
  const std::string path = TempDir() + "/out";
  std::string data(size_t{3} << 20, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
  data += "tail";
  TALLY_ASSERT_OK(WriteText(path, data));
  EXPECT_TRUE(Contents(path) == data);
}

TEST(AtomicWrite, TakesRelativePathsAndLongNames) {
  const std::string folder = TempDir();
  const fs::path before = fs::current_path();
  fs::current_path(folder);
  const absl::Status status = WriteText("relative", "x");
  fs::current_path(before);
  TALLY_EXPECT_OK(status);
  EXPECT_EQ(Contents(folder + "/relative"), "x");
  // NAME_MAX: the temporary name must not be derived from it.
  TALLY_EXPECT_OK(WriteText(folder + "/" + std::string(255, 'n'), "x"));
}

TEST(AtomicWrite, NewFilesFollowTheUmaskAndOldPermissionsStay) {
  const std::string folder = TempDir();
  const mode_t before = umask(027);
  TALLY_EXPECT_OK(WriteText(folder + "/new", "x"));
  EXPECT_EQ(ModeOf(folder + "/new"), 0640u);
  ASSERT_EQ(chmod((folder + "/new").c_str(), 0604), 0);
  TALLY_EXPECT_OK(WriteText(folder + "/new", "y"));
  EXPECT_EQ(ModeOf(folder + "/new"), 0604u);
  umask(before);
}

TEST(AtomicWrite, RefusesTargetsThatAreNotRegularFiles) {
  const std::string folder = TempDir();
  fs::create_directory(folder + "/sub");
  TALLY_ASSERT_OK(WriteText(folder + "/sub/kept", "kept"));
  TALLY_EXPECT_ERROR(ErrorId::kNotRegular, WriteText(folder + "/sub", "x"));
  TALLY_EXPECT_ERROR(ErrorId::kNotRegular, WriteText(folder + "/sub/", "x"));
  TALLY_EXPECT_ERROR(ErrorId::kNotRegular, WriteText(folder + "/sub/..", "x"));
  TALLY_EXPECT_ERROR(ErrorId::kNotRegular, WriteText("", "x"));
  TALLY_EXPECT_ERROR(ErrorId::kNotRegular, WriteText("/dev/null", "x"));
  const std::string fifo = folder + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  TALLY_EXPECT_ERROR(ErrorId::kNotRegular, WriteText(fifo, "x"));
  EXPECT_EQ(Contents(folder + "/sub/kept"), "kept");
  EXPECT_EQ(FilesIn(folder), 2u);
  EXPECT_EQ(FilesIn(folder + "/sub"), 1u);
}

TEST(AtomicWrite, NamesAMissingFolder) {
  const std::string folder = TempDir();
  TALLY_EXPECT_ERROR(ErrorId::kNotFound, WriteText(folder + "/absent/out", "x"));
  TALLY_ASSERT_OK(WriteText(folder + "/file", "x"));
  TALLY_EXPECT_ERROR(ErrorId::kNotFound, WriteText(folder + "/file/out", "x"));
  TALLY_EXPECT_ERROR(ErrorId::kNotFound, WriteText(std::string("/tmp/a\0b", 8), "x"));
}

// Replaced, not followed: in a shared folder a planted link must not redirect the write.
TEST(AtomicWrite, ReplacesASymbolicLink) {
  const std::string folder = TempDir();
  TALLY_ASSERT_OK(WriteText(folder + "/victim", "untouched"));
  fs::create_symlink("victim", folder + "/link");
  TALLY_EXPECT_OK(WriteText(folder + "/link", "x"));
  EXPECT_FALSE(fs::is_symlink(folder + "/link"));
  EXPECT_EQ(Contents(folder + "/victim"), "untouched");
}

// /proc has no files that can be created, for root neither.
TEST(AtomicWrite, FolderThatCannotBeWrittenIsNamed) {
  const absl::Status status = WriteText("/proc/out", "x");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(ExitStatus(status), 4) << status;
}

// As another user: root may do anything.
TEST(AtomicWrite, PermissionsAreKept) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  const std::string folder = TempDir();
  TALLY_ASSERT_OK(WriteText(folder + "/kept", "kept"));
  ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(9);
    const bool new_file = GetErrorInfo(WriteText(folder + "/new", "x")).code == "TLY-E0402";
    const bool old_file = GetErrorInfo(WriteText(folder + "/kept", "x")).code == "TLY-E0402";
    _exit(new_file && old_file ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);

  // A folder that anybody may write, a file that only its owner may: rename() would allow it, the writer does not.
  ASSERT_EQ(chmod(folder.c_str(), 0777), 0);
  ASSERT_EQ(chmod((folder + "/kept").c_str(), 0644), 0);
  const pid_t second = fork();
  if (second == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(9);
    _exit(GetErrorInfo(WriteText(folder + "/kept", "x")).code == "TLY-E0402" ? 0 : 1);
  }
  ASSERT_EQ(waitpid(second, &status, 0), second);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Contents(folder + "/kept"), "kept");
  EXPECT_EQ(FilesIn(folder), 1u);
}

// A file size limit acts like a full disk: write() stops in the middle.
TEST(AtomicWrite, AFullDiskLeavesTheOldFile) {
  const std::string folder = TempDir();
  const std::string path = folder + "/out.tally";
  TALLY_ASSERT_OK(WriteText(path, "old"));
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {1000, 1000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(9);
    const bool raw = GetErrorInfo(WriteText(path, std::string(5000, 'x'))).code == "TLY-E0506";
    const bool model = GetErrorInfo(WriteModelFile(SmallConvNet(), path).status()).code == "TLY-E0506";
    _exit(raw && model ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Contents(path), "old");
  EXPECT_EQ(FilesIn(folder), 1u) << "the temporary file is removed";
}

TEST(AtomicWrite, NoFileHandlesLeftIsAnError) {
  const std::string folder = TempDir();
  TALLY_ASSERT_OK(WriteText(folder + "/old", "old"));
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {0, 0};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(9);
    const bool write = GetErrorInfo(WriteText(folder + "/new", "x")).code == "TLY-E0506";
    const bool read = GetErrorInfo(ReadWholeFile(folder + "/old", kNoLimit).status()).code == "TLY-E0506";
    _exit(write && read ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(AtomicWrite, AnInvalidGraphDoesNotTouchTheFile) {
  const std::string path = TempDir() + "/out.tally";
  TALLY_ASSERT_OK(WriteText(path, "old"));
  Graph graph = SmallConvNet();
  graph.tensors[1].name = "";
  TALLY_EXPECT_ERROR(ErrorId::kBadName, WriteModelFile(graph, path));
  EXPECT_EQ(Contents(path), "old");
}

// Killed at an arbitrary moment, again and again: the file is always one of the two, complete.
TEST(AtomicWrite, AKillLeavesOneOfTheTwoFiles) {
  const std::string folder = TempDir();
  const std::string path = folder + "/out";
  const std::string a(300000, 'a'), b(500000, 'b');
  TALLY_ASSERT_OK(WriteText(path, a));
  for (int round = 0; round < 40; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      for (;;) {
        if (!WriteText(path, b).ok() || !WriteText(path, a).ok()) _exit(9);
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(300 + 797 * round));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const std::string now = Contents(path);
    ASSERT_TRUE(now == a || now == b) << "torn file of " << now.size() << " bytes";
  }
}

TEST(AtomicWrite, TwoWritersOfOneTargetLeaveOneOfTheirFiles) {
  const std::string folder = TempDir();
  const std::string path = folder + "/out";
  const std::string a(200000, 'a'), b(100000, 'b');
  const auto write = [&](const std::string& text) {
    for (int i = 0; i < 30; ++i) TALLY_EXPECT_OK(WriteText(path, text));
  };
  std::thread first(write, a), second(write, b);
  for (int i = 0; i < 100; ++i) {
    const std::string now = Contents(path);
    EXPECT_TRUE(now.empty() || now == a || now == b) << now.size();
  }
  first.join();
  second.join();
  const std::string last = Contents(path);
  EXPECT_TRUE(last == a || last == b);
  EXPECT_EQ(FilesIn(folder), 1u);
}

// A file that is replaced while a model of it lives, read or mapped, does not change under the model.
TEST(AtomicWrite, LoadedModelsKeepTheirBytes) {
  const std::string path = TempDir() + "/model.tally";
  const Graph graph = SmallConvNet();
  TALLY_ASSERT_OK(WriteModelFile(graph, path));
  LoadOptions mapped;
  mapped.use_mmap = true;
  const absl::StatusOr<Graph> loaded = ReadModelFile(path, mapped);
  TALLY_ASSERT_OK(loaded);
  TALLY_ASSERT_OK(WriteModelFile(SmallConvNet(Grid::kQ7, 2), path));
  EXPECT_EQ(testing::GraphDiff::Of(graph, *loaded), "");
}

}  // namespace
}  // namespace tally
