// tally_bench_layers: single layers on every implementation, in turns, against the machine's limits.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "backends/exponent/exponent.h"
#include "bench/layers/candidate.h"
#include "bench/layers/interleave.h"
#include "bench/layers/roof.h"
#include "format/error.h"
#include "format/limits.h"
#include "tools/cli.h"
#include "tools/common.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace tally::bench {
namespace {

using tools::Fixed;
using tools::Json;

struct Options {
  std::vector<std::string> problems;
  std::string problem_file;
  std::vector<int> bits = {4};
  int activation_bits = 6;
  std::string activation_grid = "q7";
  bool signed_activations = false;
  std::vector<int64_t> batch = {1};
  std::vector<double> zero_fraction = {0};
  std::vector<std::string> backends = {"exponent", "onednn"};
  std::string kernel = "auto";
  std::vector<int> num_threads = {1};
  std::string cache = "hot";
  double min_secs = 0.5;
  double cold_mb = 0;
  std::string json;
};

// One candidate's line.
struct Result {
  std::string problem, backend, kernel, isa, why;
  LayerSettings settings;
  int num_threads = 1;
  Times times;
  double macs = 0, bytes = 0;
  size_t resident_weight_bytes = 0;
  double bandwidth = 0, peak = 0;  // of the machine: bytes and products per second
  double speedup = std::nan("");   // against onednn; NaN: not measured

  double seconds() const { return times.median * 1e-6; }
  double bandwidth_fraction() const { return bytes / seconds() / bandwidth; }
  double peak_fraction() const { return macs / seconds() / peak; }
};

// Bytes that no cache holds beside what is read next.
double ColdBytes(const Options& options) {
  if (options.cold_mb > 0) return options.cold_mb * 1e6;
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::max(1.1 * static_cast<double>(cache), 256e6);
}

class Benchmark {
 public:
  explicit Benchmark(const Options& options) : options_(options) {}

  absl::Status Run() {
    TALLY_ASSIGN_OR_RETURN(cpu_, AllowedCpu());
    std::vector<Problem> problems;
    for (const std::string& text : options_.problems) {
      TALLY_ASSIGN_OR_RETURN(Problem problem, ParseProblem(text));
      problems.push_back(std::move(problem));
    }
    if (!options_.problem_file.empty()) {
      TALLY_ASSIGN_OR_RETURN(const std::vector<Problem> more, ReadProblems(options_.problem_file));
      problems.insert(problems.end(), more.begin(), more.end());
    }
    if (problems.empty()) return MakeError(ErrorId::kUsage, "expected --problem or --problems; see --help");
    TALLY_RETURN_IF_ERROR(tools::CheckOutputs({{"--json", options_.json}}, {options_.problem_file}));
    const std::vector<LayerSettings> settings = AllSettings();
    const double total = static_cast<double>(options_.num_threads.size() * problems.size() * settings.size());
    double done = 0;
    for (int threads : options_.num_threads) {
      TALLY_ASSIGN_OR_RETURN(pool_, ThreadPool::Create(threads));
      peak_ = PeakMacsPerSecond(cpu_, pool_.get());
      for (const Problem& problem : problems) {
        for (const LayerSettings& s : settings) {
          progress_.Update(problem.text, done++ / total);
          TALLY_RETURN_IF_ERROR(Measure(problem, s));
        }
      }
    }
    progress_.Clear();
    return Report();
  }

 private:
  std::vector<LayerSettings> AllSettings() const {
    const Grid grid = options_.activation_grid == "q14" ? Grid::kQ14 : Grid::kQ7;
    std::vector<LayerSettings> all;
    for (int bits : options_.bits) {
      for (int64_t batch : options_.batch) {
        for (double zeros : options_.zero_fraction) {
          all.push_back({bits, options_.activation_bits, grid, options_.signed_activations, batch, zeros});
        }
      }
    }
    return all;
  }

  absl::Status Measure(const Problem& problem, const LayerSettings& settings) {
    TALLY_ASSIGN_OR_RETURN(const Layer layer, Layer::Create(problem, settings));
    const size_t copied_bytes = options_.cache == "cold" ? static_cast<size_t>(ColdBytes(options_)) : 0;
    std::vector<std::unique_ptr<Candidate>> candidates;
    for (const std::string& backend : options_.backends) {
      absl::StatusOr<std::unique_ptr<Candidate>> candidate =
          MakeCandidate(layer, {backend, options_.kernel, cpu_, pool_, copied_bytes});
      absl::Status status = candidate.status();
      if (status.ok()) status = (*candidate)->Run(0);
      if (status.ok()) status = (*candidate)->Check();
      if (!status.ok() && !IsRefusal(status)) {
        return AddWhere(status, {"", "", -1, absl::StrCat(backend, " on ", problem.text)});
      }
      if (!status.ok()) {
        skipped_.push_back({absl::StrCat(backend, " on ", problem.text), std::string(status.message())});
        continue;
      }
      candidates.push_back(*std::move(candidate));
    }
    if (candidates.empty()) return absl::OkStatus();

    // The roof takes its turns as well: as many bytes as the smallest candidate moves.
    size_t least = candidates[0]->bytes_moved();
    for (const auto& c : candidates) least = std::min(least, c->bytes_moved());
    const size_t read_bytes = (least + 255) / 256 * 256;
    const size_t read_copies = CopyCount(copied_bytes, read_bytes);
    AlignedBuffer stream(read_bytes * read_copies);
    std::memset(stream.data(), 1, stream.size());
    std::vector<Contestant> contestants = {{[&](size_t copy) {
                                              StreamRead(stream.data() + copy * read_bytes, read_bytes, cpu_,
                                                         pool_.get());
                                              return absl::OkStatus();
                                            },
                                            read_copies}};
    for (const auto& c : candidates) {
      contestants.push_back({[&c](size_t copy) { return c->Run(copy); }, c->copies()});
    }
    TALLY_ASSIGN_OR_RETURN(const std::vector<Times> times,
                           Interleave(contestants, {options_.min_secs, pool_->num_threads() > 1}));
    const double bandwidth = static_cast<double>(read_bytes) / (times[0].median * 1e-6);
    double onednn = std::nan("");
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i]->backend() == "onednn") onednn = times[i + 1].median;
    }
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Candidate& c = *candidates[i];
      results_.push_back({problem.text, c.backend(), c.kernel(), c.isa(), c.why(), settings, pool_->num_threads(),
                          times[i + 1], static_cast<double>(layer.problem().macs()),
                          static_cast<double>(c.bytes_moved()), c.resident_weight_bytes(), bandwidth, peak_,
                          onednn / times[i + 1].median});
    }
    return absl::OkStatus();
  }

  static bool IsRefusal(const absl::Status& status) {
    return GetErrorInfo(status).code == ErrorCodeString(ErrorId::kUnsupportedNode);
  }

  absl::Status Report() const {
    if (results_.empty()) {
      return MakeError(ErrorId::kUnsupportedNode, absl::StrCat("nothing to measure", tools::SkippedText(skipped_)));
    }
    if (!options_.json.empty()) TALLY_RETURN_IF_ERROR(tools::WriteJson(options_.json, ReportJson()));
    if (options_.json == "-") return absl::OkStatus();
    tools::Table table({"problem", ">bits", ">batch", ">zeros", ">threads", "backend", "kernel", ">median us",
                        ">GMAC/s", ">GB/s", ">% of bandwidth", ">% of multipliers", ">x onednn", ">weight bytes"});
    for (const Result& r : results_) {
      table.Add({r.problem, absl::StrCat(r.settings.bits), absl::StrCat(r.settings.batch),
                 Fixed(r.settings.zero_fraction, 2), absl::StrCat(r.num_threads), r.backend, r.kernel,
                 Fixed(r.times.median, 1), Fixed(r.macs / r.seconds() * 1e-9, 1),
                 Fixed(r.bytes / r.seconds() * 1e-9, 1), Fixed(100 * r.bandwidth_fraction(), 0),
                 Fixed(100 * r.peak_fraction(), 0), Fixed(r.speedup, 2), absl::StrCat(r.resident_weight_bytes)});
    }
    tools::Print(absl::StrCat(table.Markdown(), Means(), tools::SkippedText(skipped_), "\n", options_.cache,
                              " weights, measured on ", CpuModelName(), ", Tally ", Version(), "\n"));
    return absl::OkStatus();
  }

  // Geometric means over the problems, where there are several.
  std::string Means() const {
    std::map<std::string, std::pair<double, int>> sums;
    for (const Result& r : results_) {
      if (r.backend == "onednn" || std::isnan(r.speedup)) continue;
      auto& [sum, count] = sums[absl::StrCat(r.backend, ", ", r.settings.bits, " bits, batch ", r.settings.batch, ", ",
                                             r.num_threads, " threads")];
      sum += std::log(r.speedup);
      ++count;
    }
    std::string text;
    for (const auto& [what, sum] : sums) {
      if (sum.second < 2) continue;
      absl::StrAppend(&text, "\n", what, ": ", Fixed(std::exp(sum.first / sum.second), 2),
                      " x onednn, geometric mean of ", sum.second);
    }
    return text.empty() ? text : text + "\n";
  }

  Json ReportJson() const {
    Json report = tools::ReportHeader("bench_layers", "", options_.num_threads[0]);
    report["results"] = Json::array();
    for (const Result& r : results_) {
      report["results"].push_back(
          {{"problem", r.problem},
           {"bits", r.settings.bits},
           {"activation_bits", r.settings.activation_bits},
           {"activation_grid", GridName(r.settings.activation_grid)},
           {"signed_activations", r.settings.signed_activations},
           {"batch", r.settings.batch},
           {"zero_fraction", r.settings.zero_fraction},
           {"backend", r.backend},
           {"kernel", r.kernel},
           {"isa", r.isa},
           {"why", r.why},
           {"num_threads", r.num_threads},
           {"cache", options_.cache},
           {"time_us", {{"median", r.times.median}, {"min", r.times.min}, {"p90", r.times.p90}}},
           {"gmac_s", r.macs / r.seconds() * 1e-9},
           {"bytes_moved", r.bytes},
           {"gb_s", r.bytes / r.seconds() * 1e-9},
           {"stream_gb_s", r.bandwidth * 1e-9},
           {"peak_gmac_s", r.peak * 1e-9},
           {"bandwidth_fraction", r.bandwidth_fraction()},
           {"peak_fraction", r.peak_fraction()},
           {"roof_fraction", std::max(r.bandwidth_fraction(), r.peak_fraction())},
           {"resident_weight_bytes", r.resident_weight_bytes},
           {"speedup_vs_onednn", tools::Number(r.speedup)}});
    }
    report["skipped"] = tools::SkippedJson(skipped_);
    return report;
  }

  Options options_;
  CpuFeatures cpu_;
  std::shared_ptr<ThreadPool> pool_;
  double peak_ = 0;
  tools::Progress progress_;
  std::vector<Result> results_;
  std::vector<tools::SkippedSession> skipped_;
};

// Starts the program anew with glibc asking for huge pages, which it reads when a process begins: without them walks of
// page tables, and not the weights, take the time of a cold layer. Both sides get them.
void AskForHugePages(char** argv) {
  constexpr char kTunables[] = "GLIBC_TUNABLES";
  if (std::getenv(kTunables) != nullptr) return;
  setenv(kTunables, "glibc.malloc.hugetlb=1", 1);
  execv("/proc/self/exe", argv);
}

int Main(int argc, char** argv) {
  AskForHugePages(argv);
  tools::PrepareProcess();
  CLI::App app("Times single layers on several implementations, in turns, and checks their answers.",
               "tally_bench_layers");
  app.set_version_flag("--version", absl::StrCat("tally_bench_layers ", Version()));
  Options o;
  app.add_option("--problem", o.problems,
                 "fc:KxN, matmul:MxKxN or conv:CxHxW:OxRxS:stride[:groups[:pad]]; pad is R/2 unless given; repeatable")
      ->allow_extra_args(false);
  app.add_option("--problems", o.problem_file, "File of problems, one a line (bench/layers/problems)");
  tools::AddList(&app, "--bits", &o.bits, "Stored bits of the weights")
      ->check(tools::InRange(3, 8))
      ->capture_default_str();
  app.add_option("--activation_bits", o.activation_bits, "Stored bits of the activations")
      ->check(tools::InRange(2, 8))
      ->capture_default_str();
  app.add_option("--activation_grid", o.activation_grid, "Grid of the activations")
      ->check(CLI::IsMember({"q7", "q14"}))
      ->capture_default_str();
  app.add_flag("--signed_activations", o.signed_activations, "Activations of both signs");
  tools::AddList(&app, "--batch", &o.batch, "Samples per run")
      ->check(tools::InRange(1, 1 << 12))
      ->capture_default_str();
  tools::AddList(&app, "--zero_fraction", &o.zero_fraction, "Share of zero activations")
      ->check(tools::InRange(0.0, 1.0))
      ->capture_default_str();
  tools::AddList(&app, "--backend", &o.backends, "Implementations")
      ->check(CLI::IsMember(CandidateNames()))
      ->capture_default_str();
  app.add_option("--kernel", o.kernel, "Kernel family of exponent")
      ->check(CLI::IsMember(ExponentKernelNames()))
      ->capture_default_str();
  tools::AddList(&app, "--num_threads", &o.num_threads, "Thread counts; 0 = one per CPU")
      ->check(tools::InRange(0, kMaxThreads))
      ->capture_default_str();
  app.add_option("--cache", o.cache, "hot: the same weights in every run; cold: copies that no cache holds, in turn")
      ->check(CLI::IsMember({"hot", "cold"}))
      ->capture_default_str();
  app.add_option("--cold_mb", o.cold_mb, "Megabytes of copies for cold (default: 1.1 times the last-level cache)")
      ->check(tools::InRange(1e-3, 1e6));
  app.add_option("--min_secs", o.min_secs, "Seconds of timed runs of each implementation, at least")
      ->check(tools::InRange(0.0, 1e4))
      ->capture_default_str();
  app.add_option("--json", o.json, "Report as JSON to this file; - is stdout");
  app.footer(
      "Implementations take turns of ten milliseconds in one process, beside a plain read of as many bytes, which is\n"
      "the roof. onednn is oneDNN's INT8 with everything prepared beforehand. exponent with kernel auto, and\n"
      "exponent+onednn-codebook, take what a session would find to be the fastest.\n\n"
      "Examples:\n"
      "  tally_bench_layers --problem fc:4096x4096 --bits 4,5,6 --cache cold\n"
      "  tally_bench_layers --problems bench/layers/problems/resnet50.txt --backend exponent,onednn,xnnpack-qs8");
  return tools::RunCommandLine(
      &app, [&] { return Benchmark(o).Run(); }, "tally_bench_layers", argc, argv);
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) { return tally::bench::Main(argc, argv); }
