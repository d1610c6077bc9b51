// tally_benchmark_model: latency and memory of a .tally file on this machine.
#include "absl/strings/str_cat.h"
#include "tally/tally.h"
#include "tools/bench.h"
#include "tools/measure.h"

namespace tally::tools {
namespace {

int Main(int argc, char** argv) {
  PrepareProcess();
  int exit_status = 0;
  const auto load = [](const std::string& path) { return Model::Load(path); };
  if (RunMeasureChild(argc, argv, load, &exit_status)) return exit_status;

  CLI::App app("Measures latency and memory of a .tally file.", "tally_benchmark_model");
  app.set_version_flag("--version", absl::StrCat("tally_benchmark_model ", Version()));
  BenchOptions options;
  AddBenchOptions(&app, &options, "tally_benchmark_model");
  return RunCommandLine(
      &app, [&] { return RunBench(options); }, "tally_benchmark_model", argc, argv);
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::Main(argc, argv); }
