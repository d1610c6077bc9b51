// Where tests find the project's own files, real models, and scratch space.
#ifndef TALLY_TESTS_TESTING_PATHS_H_
#define TALLY_TESTS_TESTING_PATHS_H_

#include <string>

namespace tally::testing {

// A file of the source tree.
std::string SourcePath(const std::string& relative);

// A file of the optional folder of real models: $TALLY_ASSETS, else ../shared/assets beside the source tree. Empty when
// there is no such file; tests then skip and say so.
std::string AssetPath(const std::string& relative);

// The same for traces and results of DRAM simulators: $TALLY_DRAM_REF, else ../shared/dram_ref.
std::string DramReferencePath(const std::string& relative);

// A fresh directory, removed at exit.
std::string TempDir();

}  // namespace tally::testing

// Skips the test with a printed reason when an asset is absent.
#define TALLY_ASSET_OR_SKIP(variable, relative)                       \
  const std::string variable = ::tally::testing::AssetPath(relative); \
  if (variable.empty()) GTEST_SKIP() << "no " << relative << " in ../shared/assets or $TALLY_ASSETS"

#define TALLY_DRAM_REFERENCE_OR_SKIP(variable, relative)                      \
  const std::string variable = ::tally::testing::DramReferencePath(relative); \
  if (variable.empty()) GTEST_SKIP() << "no " << relative << " in ../shared/dram_ref or $TALLY_DRAM_REF"

#endif  // TALLY_TESTS_TESTING_PATHS_H_
