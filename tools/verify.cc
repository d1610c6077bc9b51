// tally verify: is this file whole, and does every backend compute what it should?
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "converter/calibration/evaluate.h"
#include "format/error.h"
#include "format/model_file.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/evaluation.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> backends = {"all", "histogram"};
  int num_threads = 1;
  std::string json;
};

// One backend's outputs against the golden ones.
struct Verdict {
  bool identical = true;
  std::string first_difference;
  double worst_sqnr_db = std::numeric_limits<double>::infinity();
};

absl::StatusOr<Verdict> RunGolden(const Graph& graph, Session* session) {
  Verdict verdict;
  for (size_t g = 0; g < graph.golden.size(); ++g) {
    const GoldenCase& golden = graph.golden[g];
    if (golden.inputs.size() != graph.inputs.size() || golden.outputs.size() != graph.outputs.size()) {
      return MakeError(ErrorId::kBadMetadata, absl::StrCat("golden case ", g, ": expected ", graph.inputs.size(),
                                                           " inputs and ", graph.outputs.size(), " outputs, found ",
                                                           golden.inputs.size(), " and ", golden.outputs.size()));
    }
    std::vector<NamedView> inputs;
    for (size_t i = 0; i < golden.inputs.size(); ++i) {
      const GoldenCase::Value& value = golden.inputs[i];
      inputs.push_back({session->inputs()[i].name, {value.data.data(), value.dtype, value.shape}});
    }
    TALLY_RETURN_IF_ERROR(session->Prepare(inputs));
    std::vector<std::vector<uint8_t>> storage;
    std::vector<NamedMutableView> outputs;
    for (const TensorInfo& info : session->outputs()) {
      storage.emplace_back(TensorType{info.dtype, info.shape}.bytes());
      outputs.push_back({info.name, {storage.back().data(), info.dtype, info.shape}});
    }
    TALLY_RETURN_IF_ERROR(session->Run(inputs, outputs));
    for (size_t i = 0; i < golden.outputs.size(); ++i) {
      const GoldenCase::Value& value = golden.outputs[i];
      const TensorInfo& info = session->outputs()[i];
      if (info.dtype != value.dtype || info.shape != value.shape || value.data.size() != storage[i].size()) {
        return MakeError(
            ErrorId::kBadMetadata,
            absl::StrCat("golden case ", g, ", output ", Quoted(info.name), ": expected ", DTypeName(info.dtype), " ",
                         ShapeString(info.shape), ", found ", DTypeName(value.dtype), " ", ShapeString(value.shape)));
      }
      if (std::memcmp(value.data.data(), storage[i].data(), storage[i].size()) == 0) continue;
      if (verdict.identical) verdict.first_difference = absl::StrCat("case ", g, ", output ", Quoted(info.name));
      verdict.identical = false;
      if (value.dtype == DType::kFloat32) {
        const double sqnr = SqnrDb(value.data.as<float>(), reinterpret_cast<const float*>(storage[i].data()),
                                   storage[i].size() / sizeof(float));
        verdict.worst_sqnr_db = std::min(verdict.worst_sqnr_db, sqnr);
      }
    }
  }
  return verdict;
}

absl::Status Run(const Options& options) {
  TALLY_ASSIGN_OR_RETURN(const std::vector<SessionSpec> specs, ParseBackends(options.backends));
  // Loading checks the structure and every checksum.
  TALLY_ASSIGN_OR_RETURN(const Model model, LoadTally(options.model));
  TALLY_RETURN_IF_ERROR(CheckOutputs({{"--json", options.json}}, {options.model}));
  TALLY_ASSIGN_OR_RETURN(const FileLayout layout, ReadFileLayout(options.model));
  const Graph& graph = model.graph();
  Json report = ReportHeader("verify", options.model, options.num_threads);
  report["file_bytes"] = layout.file_bytes;
  report["golden_cases"] = graph.golden.size();
  report["results"] = Json::array();
  std::string text =
      absl::StrCat("structure and checksums: ok (", layout.file_bytes, " bytes, ", graph.nodes.size(), " nodes)\n");
  std::string failed;
  if (graph.golden.empty()) {
    text += "golden tensors: none in this file (stripped?)\n";
  } else {
    Table table({"backend", "contract", "result", ">worst output SQNR dB"});
    SessionOptions session_options;
    session_options.num_threads = options.num_threads;
    session_options.tuning = Tuning::kRules;  // bits are looked at, not speed
    const auto body = [&](const SessionSpec& spec, Session& session) -> absl::Status {
      TALLY_ASSIGN_OR_RETURN(const Verdict verdict, RunGolden(graph, &session));
      const bool exact = IsExact(spec);
      if (exact && !verdict.identical && failed.empty()) {
        failed = absl::StrCat(spec.label, ": expected the golden outputs bit for bit, found others in ",
                              verdict.first_difference);
      }
      table.Add({spec.label, exact ? "same bits" : "none",
                 verdict.identical ? "identical" : (exact ? "DIFFERS" : "differs, as it may"),
                 Decibels(verdict.worst_sqnr_db)});
      report["results"].push_back({{"backend", spec.label},
                                   {"exact_contract", exact},
                                   {"identical", verdict.identical},
                                   {"worst_output_sqnr_db", Number(verdict.worst_sqnr_db)},
                                   {"first_difference", verdict.first_difference}});
      return absl::OkStatus();
    };
    TALLY_ASSIGN_OR_RETURN(const std::vector<SkippedSession> skipped,
                           ForEachSession(model, specs, session_options, body));
    report["skipped"] = SkippedJson(skipped);
    absl::StrAppend(&text, "golden tensors: ", graph.golden.size(), " cases\n", table.Text(), SkippedText(skipped));
  }
  report["ok"] = failed.empty();
  if (options.json != "-") Print(text);
  if (!options.json.empty()) TALLY_RETURN_IF_ERROR(WriteJson(options.json, report));
  if (failed.empty()) return absl::OkStatus();
  return MakeError(ErrorId::kComparisonFailed, failed, {options.model, "", -1, ""});
}

}  // namespace

void AddVerify(CLI::App* app, Action* action) {
  CLI::App* sub =
      app->add_subcommand("verify", "Check a file's structure, checksums and golden outputs on every backend");
  auto o = std::make_shared<Options>();
  sub->add_option("model", o->model, "A .tally file")->required();
  AddList(sub, "--backend", &o->backends, "Sessions, separated by commas")->capture_default_str();
  AddThreads(sub, &o->num_threads);
  sub->add_option("--json", o->json, "Also write the verdicts as JSON; - is stdout");
  sub->footer(
      "The converter stores a few inputs with the outputs that exact backends must give. exponent,\n"
      "onednn-codebook, histogram and nearmem must reproduce them bit for bit (else exit status 1); for the others "
      "the\n"
      "SQNR is shown.\n"
      "\n"
      "Example:\n"
      "  tally verify net.tally");
  sub->callback([=] { *action = [o] { return Run(*o); }; });
}

}  // namespace tally::tools
