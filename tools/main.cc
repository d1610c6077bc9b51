#include <memory>

#include "absl/strings/str_cat.h"
#include "tally/tally.h"
#include "tools/bench.h"
#include "tools/commands.h"
#include "tools/measure.h"
#include "tools/model_input.h"

namespace tally::tools {
namespace {

int Main(int argc, char** argv) {
  PrepareProcess();
  int exit_status = 0;
  const auto load = [](const std::string& path) -> absl::StatusOr<Model> {
    absl::StatusOr<ModelInput> input = OpenModel(path);
    if (!input.ok()) return input.status();
    return std::move(input->model);
  };
  if (RunMeasureChild(argc, argv, load, &exit_status)) return exit_status;

  CLI::App app("Tally runs neural networks whose weights and activations are exponents.", "tally");
  app.set_version_flag("--version", absl::StrCat("tally ", Version()));
  app.require_subcommand(1);
  app.footer(
      "A first walk:\n"
      "  tally convert net.onnx -o net.tally --calibration data.json\n"
      "  tally inspect net.tally\n"
      "  tally eval net.tally --data data.json --backend exponent\n"
      "  tally bench net.tally --backend exponent\n"
      "\n"
      "Long options may be typed with - or _. Lists take commas or repetition.\n"
      "Exit status: 0 ok, 1 a comparison failed, 2 usage, 3 bad input, 4 I/O, 5 resources, 6 unsupported, 70 "
      "internal.\n"
      "Environment: TALLY_FORCE_ISA=scalar|avx2|avxvnni|avx512|avx512_amx|neon caps the instruction sets that kernels "
      "use.");
  Action action;
  AddConvert(&app, &action);
  AddInspect(&app, &action);
  AddRun(&app, &action);
  AddEval(&app, &action);
  AddBench(&app, &action);
  AddCompare(&app, &action);
  AddVerify(&app, &action);
  AddStrip(&app, &action);
  AddSimulate(&app, &action);
  return RunCommandLine(&app, action, "tally", argc, argv);
}

}  // namespace

void AddBench(CLI::App* app, Action* action) {
  CLI::App* sub = app->add_subcommand("bench", "Measure latency and memory of sessions on random inputs");
  auto options = std::make_shared<BenchOptions>();
  AddBenchOptions(sub, options.get(), "tally bench");
  sub->callback([=] { *action = [options] { return RunBench(*options); }; });
}

}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::Main(argc, argv); }
