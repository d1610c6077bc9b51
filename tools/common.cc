#include "tools/common.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "backends/all/all.h"
#include "format/error.h"
#include "runtime/core/cpu.h"
#include "tools/table.h"
#include "tools_commit.h"

namespace tally::tools {
namespace {

// Some hundred times slower than what is deployed: it runs when it is named.
constexpr char kOracle[] = "histogram";

bool HasCode(const absl::Status& status, ErrorId id) { return GetErrorInfo(status).code == ErrorCodeString(id); }

}  // namespace

Json EnvironmentJson(int num_threads) {
  const absl::StatusOr<CpuFeatures> allowed = AllowedCpu();
  Json isas = Json::array();
  for (Isa isa : kAllIsas) {
    if (DetectCpu().Has(isa)) isas.push_back(IsaName(isa));
  }
  Json versions = Json::object();
  versions["tally"] = Version();
  const Registry registry = DefaultRegistry();
  for (const std::string& name : registry.names()) {
    const std::string version = registry.Find(name)->version();
    versions[name] = version.empty() ? absl::StrCat("Tally ", Version()) : version;
  }
  return {{"cpu", CpuModelName()},
          {"isa", allowed.ok() ? IsaName(allowed->best()) : "unavailable"},
          {"isas", isas},
          {"cpus", std::thread::hardware_concurrency()},
          {"threads", num_threads == 0 ? static_cast<int>(std::thread::hardware_concurrency()) : num_threads},
          {"versions", versions},
          {"commit", TALLY_COMMIT},
          {"compiler", __VERSION__}};
}

Json ReportHeader(const std::string& command, const std::string& model, int num_threads) {
  return {{"schema_version", kSchemaVersion},
          {"command", command},
          {"model", model},
          {"environment", EnvironmentJson(num_threads)}};
}

std::string EnvironmentHtml(int num_threads) {
  Table table({"environment", ""});
  const Json environment = EnvironmentJson(num_threads);
  for (const auto& [key, value] : environment.items()) {
    table.Add({key, value.is_string() ? value.get<std::string>() : value.dump()});
  }
  return table.Html();
}

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

void AddTuning(CLI::App* app, TuningFlags* flags) {
  app->add_option(
         "--tuning", flags->tuning,
         "measure: where kernels or backends give the same bits, the fastest on this machine; rules: always the "
         "same")
      ->check(CLI::IsMember({"measure", "rules"}))
      ->capture_default_str();
  app->add_option("--cache_dir", flags->cache_dir, "Keep what was measured in this directory, for later runs")
      ->envname("TALLY_CACHE_DIR");
}

void SetTuning(const TuningFlags& flags, SessionOptions* options) {
  options->tuning = flags.tuning == "rules" ? Tuning::kRules : Tuning::kMeasure;
  options->cache_dir = flags.cache_dir;
  options->log = [](LogLevel level, const std::string& text) {
    if (level == LogLevel::kWarning) std::fprintf(stderr, "warning: %s\n", text.c_str());
  };
}

Json PlacementJson(const std::vector<NodePlacement>& placement) {
  Json nodes = Json::array();
  for (const NodePlacement& p : placement) {
    Json refused = Json::array();
    for (const NodePlacement::Refusal& r : p.refused) refused.push_back({{"backend", r.backend}, {"reason", r.reason}});
    nodes.push_back({{"node", p.node},
                     {"op", p.op},
                     {"backend", p.backend},
                     {"kernel", p.kernel},
                     {"isa", p.isa},
                     {"why", p.why},
                     {"refused", refused}});
  }
  return nodes;
}

std::string PlacementText(const std::vector<NodePlacement>& placement) {
  Table table({"node", "op", "backend", "kernel", "isa", "why", "refused by"});
  for (const NodePlacement& p : placement) {
    const std::string refused = absl::StrJoin(p.refused, "; ", [](std::string* out, const NodePlacement::Refusal& r) {
      absl::StrAppend(out, r.backend, ": ", r.reason);
    });
    table.Add({Shown(p.node, 40), p.op, p.backend, p.kernel, p.isa, p.why, refused});
  }
  return table.Text();
}

absl::StatusOr<std::vector<SessionSpec>> ParseBackends(const std::vector<std::string>& arguments) {
  const std::vector<std::string> built = AvailableBackends();
  std::vector<SessionSpec> specs;
  const auto add = [&](SessionSpec spec) {
    const bool known = std::any_of(specs.begin(), specs.end(), [&](const auto& s) { return s.label == spec.label; });
    if (!known) specs.push_back(std::move(spec));
  };
  for (const std::string& argument : arguments) {
    for (const std::string& label : std::vector<std::string>(absl::StrSplit(argument, ','))) {
      if (label == "all") {
        for (const std::string& name : built) {
          if (name != kOracle) add({name, {name}, true});
        }
        continue;
      }
      SessionSpec spec{label, absl::StrSplit(label, '+'), false};
      for (const std::string& name : spec.backends) {
        if (std::find(built.begin(), built.end(), name) == built.end()) {
          return MakeError(ErrorId::kUnknownBackend, absl::StrCat("expected one of ", absl::StrJoin(built, ", "),
                                                                  " or all, found ", Quoted(name)));
        }
      }
      if (std::set<std::string>(spec.backends.begin(), spec.backends.end()).size() != spec.backends.size()) {
        return MakeError(ErrorId::kUsage,
                         absl::StrCat("--backend: expected each backend once in a session, found ", Quoted(label)));
      }
      add(std::move(spec));
    }
  }
  return specs;
}

bool IsExact(const SessionSpec& spec) {
  return std::all_of(spec.backends.begin(), spec.backends.end(), [](const std::string& name) {
    return name == "exponent" || name == "onednn-codebook" || name == "histogram" || name == "nearmem";
  });
}

bool IsOnnxFile(const std::string& path, const absl::Status& error) {
  return absl::EndsWith(absl::AsciiStrToLower(path), ".onnx") &&
         (HasCode(error, ErrorId::kBadMagic) || HasCode(error, ErrorId::kTooShort));
}

absl::StatusOr<Model> LoadTally(const std::string& path) {
  absl::StatusOr<Model> model = Model::Load(path);
  if (!IsOnnxFile(path, model.status())) return model;
  return MakeError(ErrorId::kBadMagic, "expected a .tally file, found an .onnx file; tally convert makes one of it",
                   {path, "", -1, ""});
}

absl::StatusOr<std::vector<SkippedSession>> ForEachSession(
    const Model& model, const std::vector<SessionSpec>& specs, const SessionOptions& options,
    const std::function<absl::Status(const SessionSpec&, Session&)>& body) {
  std::vector<SkippedSession> skipped;
  bool only_forms = true;
  for (const SessionSpec& spec : specs) {
    SessionOptions session_options = options;
    session_options.backends = spec.backends;
    absl::StatusOr<Session> session = Session::Create(model, session_options);
    const bool missing_form = HasCode(session.status(), ErrorId::kMissingForm);
    if (spec.optional && (missing_form || HasCode(session.status(), ErrorId::kRefused))) {
      only_forms = only_forms && missing_form;
      skipped.push_back({spec.label, std::string(session.status().message())});
      continue;
    }
    TALLY_RETURN_IF_ERROR(session.status());
    if (spec.optional) {
      const std::vector<NodePlacement>& placement = session->placement();
      const bool used = std::any_of(placement.begin(), placement.end(),
                                    [&](const NodePlacement& p) { return p.backend == spec.backends[0]; });
      if (!used) {
        std::string reason = "takes no node of this model";
        for (const NodePlacement& p : placement) {
          if (p.refused.empty()) continue;
          absl::StrAppend(&reason, "; ", Quoted(p.node), ": ", p.refused[0].reason);
          break;
        }
        skipped.push_back({spec.label, reason});
        only_forms = false;
        continue;
      }
    }
    TALLY_RETURN_IF_ERROR(body(spec, *session));
  }
  if (skipped.size() == specs.size()) {
    return MakeError(only_forms ? ErrorId::kMissingForm : ErrorId::kUnsupportedNode,
                     absl::StrCat("no backend can run this file: ",
                                  absl::StrJoin(skipped, "; ", [](std::string* out, const auto& s) {
                                    absl::StrAppend(out, s.label, ": ", s.reason);
                                  })));
  }
  return skipped;
}

Json SkippedJson(const std::vector<SkippedSession>& skipped) {
  Json list = Json::array();
  for (const SkippedSession& s : skipped) list.push_back({{"backend", s.label}, {"reason", s.reason}});
  return list;
}

std::string SkippedText(const std::vector<SkippedSession>& skipped) {
  std::string text;
  for (const SkippedSession& s : skipped) absl::StrAppend(&text, "skipped ", s.label, ": ", s.reason, "\n");
  return text;
}

}  // namespace tally::tools
