// tally strip: a smaller file for deployment.
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/search/baselines.h"
#include "format/error.h"
#include "format/model_file.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

struct Options {
  std::string model;
  std::string output;
};

// How the model was searched for; who made it, from what, and what its tensors need to be understood stays.
bool IsSearchRecord(const std::string& key) {
  return absl::StartsWith(key, "option.") || absl::StartsWith(key, "calibration.") || key == "bias_corrected";
}

absl::Status Run(const Options& options) {
  TALLY_RETURN_IF_ERROR(CheckOutputs({{"-o", options.output, OutputPath::Kind::kFile}}, {options.model}));
  TALLY_ASSIGN_OR_RETURN(const Model model, LoadTally(options.model));
  Graph graph = model.graph();
  TALLY_ASSIGN_OR_RETURN(const FileLayout before, ReadFileLayout(options.model));
  DropFloatForms(&graph);
  DropInt8Forms(&graph);
  SettleCodeBiases(&graph);
  for (Tensor& tensor : graph.tensors) tensor.fit.reset();
  graph.golden.clear();
  for (auto it = graph.metadata.begin(); it != graph.metadata.end();) {
    it = IsSearchRecord(it->first) ? graph.metadata.erase(it) : std::next(it);
  }
  TALLY_ASSIGN_OR_RETURN(const uint64_t bytes, WriteModelFile(graph, options.output));
  Print(absl::StrCat(options.output, ": ", Bytes(static_cast<double>(bytes)), ", was ",
                     Bytes(static_cast<double>(before.file_bytes)), "\n"));
  return absl::OkStatus();
}

}  // namespace

void AddStrip(CLI::App* app, Action* action) {
  CLI::App* sub =
      app->add_subcommand("strip", "Write a smaller file: without baseline weights, golden tensors and search records");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally file")->required();
  sub->add_option("-o,--output", o->output, "The file to write")->required();
  sub->footer(
      "The result runs on the codebook backends exactly as before; int8 and float32 baselines (--keep) and the golden\n"
      "tensors of `tally verify` are gone.\n"
      "\n"
      "Example:\n"
      "  tally strip net.tally -o small.tally");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
