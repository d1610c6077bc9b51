#include "tests/testing/paths.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace tally::testing {

std::string SourcePath(const std::string& relative) { return std::string(TALLY_SOURCE_DIR) + "/" + relative; }

namespace {

// `relative` in the folder that the environment names, or else beside the source tree; empty when it is not there.
std::string SharedPath(const char* variable, const std::string& folder, const std::string& relative) {
  const char* set = std::getenv(variable);
  const std::string root = set != nullptr ? set : std::string(TALLY_SOURCE_DIR) + "/../shared/" + folder;
  const std::string path = root + "/" + relative;
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace

std::string AssetPath(const std::string& relative) { return SharedPath("TALLY_ASSETS", "assets", relative); }

std::string DramReferencePath(const std::string& relative) {
  return SharedPath("TALLY_DRAM_REF", "dram_ref", relative);
}

std::string TempDir() {
  static struct Directories {
    std::vector<std::filesystem::path> paths;
    ~Directories() {
      std::error_code ignored;
      for (const auto& p : paths) std::filesystem::remove_all(p, ignored);
    }
  } made;
  std::string pattern = (std::filesystem::temp_directory_path() / "tally-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  made.paths.emplace_back(pattern);
  return pattern;
}

}  // namespace tally::testing
