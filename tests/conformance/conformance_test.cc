// The ONNX project's own tests (Debian's libonnx-testdata) against the committed list of what is expected of each:
// a regression fails, and so does a new pass until it is recorded. To rewrite the list:
//
//   TALLY_WRITE_EXPECTED=1 build/release/bin/conformance_test
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/conformance/onnx_case.h"
#include "tests/testing/paths.h"

namespace tally::testing {
namespace {

constexpr char kFolder[] = "/usr/share/libonnx-testdata/data";
constexpr const char* kGroups[] = {"node", "simple", "pytorch-converted", "pytorch-operator"};

std::map<std::string, std::string> ReadExpected(const std::string& path) {
  std::map<std::string, std::string> expected;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line[0] != '#' && colon != std::string::npos) expected[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return expected;
}

TEST(OnnxConformance, EveryModelDoesWhatTheListSays) {
  if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "libonnx-testdata is not installed";
  const std::string path = SourcePath("tests/conformance/expected.txt");
  const std::map<std::string, std::string> expected = ReadExpected(path);
  std::string list, summary;
  size_t models = 0;
  for (const char* group : kGroups) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(std::string(kFolder) + "/" + group)) {
      names.push_back(std::string(group) + "/" + entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    size_t passed = 0;
    for (const std::string& name : names) {
      const std::string result = RunOnnxCase(std::string(kFolder) + "/" + name);
      passed += result == "pass" ? 1 : 0;
      list += name + ": " + result + "\n";
      EXPECT_NE(result.substr(0, 5), "WRONG") << name << ": " << result;
      const auto found = expected.find(name);
      if (std::getenv("TALLY_WRITE_EXPECTED") == nullptr) {
        EXPECT_EQ(result, found == expected.end() ? "not listed" : found->second) << name;
      }
    }
    models += names.size();
    summary +=
        "# " + std::string(group) + ": " + std::to_string(passed) + " of " + std::to_string(names.size()) + " pass\n";
  }
  std::printf("%s", summary.c_str());
  if (std::getenv("TALLY_WRITE_EXPECTED") != nullptr) {
    std::ofstream(path) << "# Written by conformance_test; see there. Results are explained in onnx_case.h.\n"
                        << summary << list;
  } else {
    EXPECT_EQ(models, expected.size());
  }
}

}  // namespace
}  // namespace tally::testing
