#include "format/error.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "format/model_file.h"
#include "tests/format/status_matchers.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

struct Entry {
  const char* id;
  int number;
  const char* status;
  const char* text;
};
constexpr Entry kEntries[] = {
#define TALLY_ERROR(id, number, status, text) {#id, number, #status, text},
#include "format/error_codes.inc"
#undef TALLY_ERROR
};

TEST(Error, MessageNamesEveryPart) {
  const absl::Status status =
      MakeError(ErrorId::kBadCodebook, "base 1, expected > 1", {"m.tally", "metadata", 12, "tensor \"w\""});
  EXPECT_EQ(std::string(status.message()), "TLY-E0310: m.tally: metadata: byte 12: tensor \"w\": base 1, expected > 1");
  const ErrorInfo info = GetErrorInfo(status);
  EXPECT_EQ(info.code, "TLY-E0310");
  EXPECT_EQ(info.file, "m.tally");
  EXPECT_EQ(info.section, "metadata");
  EXPECT_EQ(info.offset, 12);
  EXPECT_EQ(info.subject, "tensor \"w\"");
  EXPECT_EQ(ExitStatus(status), 3);
}

TEST(Error, AddWhereFillsOnlyWhatIsMissing) {
  absl::Status status = MakeError(ErrorId::kChecksum, "x", {"", "weights", -1, ""});
  status = AddWhere(status, {"m.tally", "header", 5, "s"});
  const ErrorInfo info = GetErrorInfo(status);
  EXPECT_EQ(info.file, "m.tally");
  EXPECT_EQ(info.section, "weights");
  EXPECT_EQ(info.offset, 5);
  EXPECT_EQ(info.subject, "s");
  EXPECT_TRUE(AddWhere(absl::OkStatus(), {"m", "", -1, ""}).ok());
  EXPECT_EQ(AddWhere(absl::InternalError("foreign"), {"m", "", -1, ""}), absl::InternalError("foreign"));
}

TEST(Error, ExitStatusOfForeignErrorsIsInternal) {
  EXPECT_EQ(ExitStatus(absl::OkStatus()), 0);
  EXPECT_EQ(ExitStatus(absl::InternalError("foreign")), 70);
  EXPECT_EQ(GetErrorInfo(absl::InternalError("foreign")).code, "");
}

TEST(Error, QuotedNamesAreSafeToPrint) {
  EXPECT_EQ(Quoted("conv1"), "\"conv1\"");
  EXPECT_EQ(Quoted("a\nb\x1b[31m\xff"), "\"a\\nb\\x1b[31m\\xff\"");
  EXPECT_EQ(Quoted("say \"x\""), "\"say \\\"x\\\"\"");
  EXPECT_LT(Quoted(std::string(5000, 'x')).size(), 100u);
}

TEST(ErrorCodes, AreUniqueAndCarryTheirExitStatus) {
  std::set<int> numbers;
  const std::map<int, int> exits = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {70, 70}};
  for (const Entry& e : kEntries) {
    EXPECT_TRUE(numbers.insert(e.number).second) << e.id;
    const absl::Status status = MakeError(static_cast<ErrorId>(e.number), "x");
    EXPECT_EQ(exits.count(e.number / 100), 1u) << e.id;
    EXPECT_EQ(ExitStatus(status), e.number / 100) << e.id;
    EXPECT_EQ(std::string(absl::StatusCodeToString(status.code())).size() > 0, true);
    EXPECT_FALSE(status.ok()) << e.id;
  }
}

// "ResourceExhausted" -> "RESOURCE_EXHAUSTED", as absl prints it.
std::string StatusName(const std::string& camel) {
  std::string name;
  for (char c : camel) {
    if (c >= 'A' && c <= 'Z' && !name.empty()) name += '_';
    name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return name;
}

std::string ErrorsDocument() {
  const std::map<int, const char*> groups = {{1, "1: a comparison failed"}, {2, "2: usage"},     {3, "3: bad input"},
                                             {4, "4: input and output"},    {5, "5: resources"}, {6, "6: unsupported"},
                                             {70, "70: internal"}};
  std::map<int, const Entry*> by_number;
  for (const Entry& e : kEntries) by_number[e.number] = &e;
  std::ostringstream out;
  out << "# Errors\n\n"
         "Every error of the library and of the command line carries a stable code. In C++ "
         "`tally::GetErrorInfo(status)`\n"
         "gives it with file, section, byte offset and the node or tensor; the command line prints one line on "
         "stderr:\n\n"
         "```\ntally: TLY-E0306: resnet20.tally: weights: byte 8192: checksum 0123456789abcdef, expected "
         "fedcba9876543210\n```\n\n"
         "The number divided by 100 is the exit status of the command line. Numbers are never reused.\n\n"
         "This file is written from `format/error_codes.inc`. After a change there, run\n"
         "`TALLY_WRITE_DOCS=1 build/release/bin/format_error_test --gtest_filter=ErrorCodes.DocumentIsUpToDate`.\n";
  int group = -1;
  for (const auto& [number, e] : by_number) {
    if (number / 100 != group) {
      group = number / 100;
      out << "\n## Exit status " << groups.at(group) << "\n\n| code | name | status | meaning |\n|---|---|---|---|\n";
    }
    out << "| " << ErrorCodeString(static_cast<ErrorId>(number)) << " | `" << e->id << "` | `" << StatusName(e->status)
        << "` | " << e->text << " |\n";
  }
  return out.str();
}

TEST(ErrorCodes, DocumentIsUpToDate) {
  const std::string path = testing::SourcePath("docs/errors.md");
  const std::string expected = ErrorsDocument();
  if (std::getenv("TALLY_WRITE_DOCS") != nullptr) {
    TALLY_ASSERT_OK(WriteFileAtomically(path, expected.data(), expected.size()));
  }
  std::ifstream file(path);
  ASSERT_TRUE(file.is_open()) << path;
  std::istringstream wanted(expected);
  std::string actual_line, expected_line;
  for (int line = 1; std::getline(wanted, expected_line); ++line) {
    ASSERT_TRUE(std::getline(file, actual_line)) << path << " ends before line " << line;
    ASSERT_EQ(actual_line, expected_line) << path << ":" << line << " is stale; the file says how to rewrite it";
  }
  EXPECT_FALSE(std::getline(file, actual_line)) << path << " has more lines than expected";
}

}  // namespace
}  // namespace tally
