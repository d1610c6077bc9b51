// Every single C++ allocation of loading and writing fails once. The call must return kOutOfMemory, leak nothing
// (LeakSanitizer watches in sanitizer builds), leave the old file, and succeed the next time.
#include <gtest/gtest.h>

#include <fstream>
#include <utility>

#include "tests/format/failing_allocator.h"
#include "tests/format/file_surgery.h"
#include "tests/format/graph_diff.h"
#include "tests/format/sample_graph.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::allocations_until_failure;
using testing::Bytes;
using testing::CodeOf;
using testing::RandomGraph;
using testing::Serialized;

// Calls `fn` with its first, second, ... allocation failing until it gets through. Returns how many failed.
template <typename Fn>
int Sweep(const Fn& fn) {
  for (int failed = 0;; ++failed) {
    allocations_until_failure = failed;
    const absl::Status status = fn();
    const bool reached = allocations_until_failure < 0;
    allocations_until_failure = -1;
    if (!reached) {
      TALLY_EXPECT_OK(status);
      return failed;
    }
    EXPECT_EQ(CodeOf(status), "TLY-E0506") << "allocation " << failed;
  }
}

TEST(AllocationFailure, ParsingReportsIt) {
  const Graph graph = RandomGraph(2);
  const Bytes file = Serialized(graph);
  absl::StatusOr<Graph> parsed = Graph();
  const int failed = Sweep([&] {
    parsed = ParseModel(file.data(), file.size(), "test.tally");
    return parsed.status();
  });
  EXPECT_GT(failed, 50);
  EXPECT_EQ(testing::GraphDiff::Of(graph, *parsed), "");
}

TEST(AllocationFailure, ReadingAFileReportsIt) {
  const std::string path = testing::TempDir() + "/model.tally";
  TALLY_ASSERT_OK(WriteModelFile(RandomGraph(3), path));
  LoadOptions mapped;
  mapped.use_mmap = true;
  EXPECT_GT(Sweep([&] { return ReadModelFile(path).status(); }), 50);
  EXPECT_GT(Sweep([&] { return ReadModelFile(path, mapped).status(); }), 50);
  EXPECT_GT(Sweep([&] { return ReadWholeFile(path, UINT64_MAX).status(); }), 0);
  EXPECT_GT(Sweep([&] { return ReadFileLayout(path).status(); }), 0);
}

TEST(AllocationFailure, SerializingReportsIt) {
  const Graph graph = RandomGraph(2);
  EXPECT_GT(Sweep([&] { return SerializeModel(graph).status(); }), 50);
}

TEST(AllocationFailure, WritingReportsItAndKeepsTheOldFile) {
  const std::string folder = testing::TempDir();
  const std::string path = folder + "/model.tally";
  TALLY_ASSERT_OK(WriteFileAtomically(path, "old", 3));
  const Graph graph = RandomGraph(4);
  const int failed = Sweep([&] {
    const absl::Status status = WriteModelFile(graph, path).status();
    const long armed = std::exchange(allocations_until_failure, -1);
    std::ifstream file(path, std::ios::binary);
    const std::string now(std::istreambuf_iterator<char>(file), {});
    EXPECT_EQ(now == "old", !status.ok());
    file.close();
    allocations_until_failure = armed;
    return status;
  });
  EXPECT_GT(failed, 50);
}

}  // namespace
}  // namespace tally
