#include "tools/measure.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "format/error.h"
#include "format/graph.h"

extern char** environ;

namespace tally::tools {
namespace {

constexpr char kMeasureCommand[] = "__measure_memory";
// Enough for lazily made buffers of the libraries to exist.
constexpr int kMemoryRuns = 3;

// A field such as "VmHWM" of /proc/self/status, in bytes; 0 where there is none.
uint64_t ProcStatusBytes(const char* field) {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return 0;
  char line[256];
  unsigned long long kib = 0;  // NOLINT: the type that %llu reads
  const std::string format = absl::StrCat(field, ": %llu kB");
  while (std::fgets(line, sizeof(line), file) != nullptr && std::sscanf(line, format.c_str(), &kib) != 1) {
  }
  std::fclose(file);
  return static_cast<uint64_t>(kib) * 1024;
}

absl::StatusOr<MemoryFigures> MeasureHere(const std::string& path, const std::string& label, int num_threads,
                                          int64_t batch, const TuningFlags& tuning, const Dimensions& dimensions,
                                          const ModelLoader& load) {
  MemoryFigures figures;
  figures.baseline_rss_bytes = ProcStatusBytes("VmRSS");
  TALLY_ASSIGN_OR_RETURN(const Model model, load(path));
  SessionOptions options;
  options.dimensions = dimensions;
  options.backends = absl::StrSplit(label, '+');
  options.num_threads = num_threads;
  SetTuning(tuning, &options);
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, options));
  if (batch > 0) TALLY_RETURN_IF_ERROR(ResizeBatch(&session, batch));
  const RunBuffers buffers(session, model);
  for (int i = 0; i < kMemoryRuns; ++i) TALLY_RETURN_IF_ERROR(session.Run(buffers.inputs(), buffers.outputs()));
  figures.resident_weight_bytes = session.stats().resident_weight_bytes;
  figures.arena_bytes = session.stats().arena_bytes;
  figures.peak_rss_bytes = ProcStatusBytes("VmHWM");
  return figures;
}

absl::StatusOr<std::string> RunSelf(const std::vector<std::string>& arguments) {
  const auto failed = [](const char* what, int error) {
    return MakeError(ErrorId::kOutOfMemory,
                     absl::StrCat("cannot start a child process: ", what, ": ", std::strerror(error)));
  };
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return failed("pipe", errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_fds[1]);
  std::string output;
  if (error == 0) {
    char buffer[4096];
    ssize_t n = 0;
    while ((n = read(pipe_fds[0], buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR)) {
      if (n > 0) output.append(buffer, static_cast<size_t>(n));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
  }
  close(pipe_fds[0]);
  if (error != 0) return failed("posix_spawn", error);
  return output;
}

}  // namespace

absl::Status CheckInputsCanBeMadeUp(const Model& model) {
  for (const TensorInfo& input : model.inputs()) {
    if (!input.is_shape_input) continue;
    return MakeError(ErrorId::kShapeInput, "shapes follow from its value, which cannot be made up",
                     {"", "", -1, absl::StrCat("input ", Quoted(input.name))});
  }
  return absl::OkStatus();
}

RunBuffers::RunBuffers(const Session& session, const Model& model) {
  uint32_t state = 1;
  for (const TensorInfo& info : session.inputs()) {
    const TensorType type{info.dtype, info.shape};
    std::vector<uint8_t> data(type.bytes(), 0);
    if (info.dtype == DType::kFloat32) {
      const Graph& graph = model.graph();
      const int t = graph.FindTensor(info.name);
      const std::optional<Range> range = t < 0 ? std::nullopt : graph.tensors[static_cast<size_t>(t)].range;
      const float low = range ? range->min : 0;
      const float high = range ? range->max : 1;
      for (size_t i = 0; i < data.size(); i += sizeof(float)) {
        state = state * 1664525u + 1013904223u;
        const float value = low + (high - low) * (static_cast<float>(state >> 8) * (1.0f / 16777216.0f));
        std::memcpy(data.data() + i, &value, sizeof(float));
      }
    }
    storage_.push_back(std::move(data));
    inputs_.push_back({info.name, {storage_.back().data(), info.dtype, info.shape}});
  }
  for (const TensorInfo& info : session.outputs()) {
    storage_.emplace_back(TensorType{info.dtype, info.shape}.bytes());
    outputs_.push_back({info.name, {storage_.back().data(), info.dtype, info.shape}});
  }
}

absl::StatusOr<Latency> MeasureLatency(Session* session, const std::vector<NamedView>& inputs,
                                       const std::vector<NamedMutableView>& outputs, const LatencyOptions& options) {
  using Clock = std::chrono::steady_clock;
  for (int64_t i = 0; i < options.warmup_runs; ++i) TALLY_RETURN_IF_ERROR(session->Run(inputs, outputs));
  std::vector<double> us;
  const Clock::time_point begin = Clock::now();
  double elapsed = 0;
  while (us.empty() || (elapsed < options.max_secs &&
                        (static_cast<int64_t>(us.size()) < options.num_runs || elapsed < options.min_secs))) {
    const Clock::time_point start = Clock::now();
    TALLY_RETURN_IF_ERROR(session->Run(inputs, outputs));
    const Clock::time_point end = Clock::now();
    us.push_back(std::chrono::duration<double, std::micro>(end - start).count());
    elapsed = std::chrono::duration<double>(end - begin).count();
  }
  std::sort(us.begin(), us.end());
  Latency latency;
  const size_t n = us.size();
  latency.runs = static_cast<int64_t>(n);
  latency.min = us[0];
  latency.median = (us[(n - 1) / 2] + us[n / 2]) / 2;
  latency.p90 = us[static_cast<size_t>(std::ceil(0.9 * static_cast<double>(n))) - 1];
  latency.mean = std::accumulate(us.begin(), us.end(), 0.0) / static_cast<double>(n);
  double squares = 0;
  for (double x : us) squares += (x - latency.mean) * (x - latency.mean);
  latency.stddev = n > 1 ? std::sqrt(squares / static_cast<double>(n - 1)) : 0;
  return latency;
}

Json LatencyJson(const Latency& latency) {
  return {{"min", latency.min},
          {"median", latency.median},
          {"p90", latency.p90},
          {"mean", latency.mean},
          {"stddev", latency.stddev}};
}

absl::Status ResizeBatch(Session* session, int64_t batch) {
  std::vector<std::pair<std::string, Shape>> shapes;
  for (const TensorInfo& info : session->inputs()) {
    Shape shape = info.shape;
    if (!shape.empty()) shape[0] = batch;
    shapes.emplace_back(info.name, shape);
  }
  return session->Resize(shapes);
}

absl::StatusOr<MemoryFigures> MeasureMemory(const std::string& model_path, const SessionSpec& spec, int num_threads,
                                            int64_t batch, const TuningFlags& tuning, const Dimensions& dimensions) {
  std::vector<std::string> arguments = {"tally",       kMeasureCommand,           model_path,
                                        spec.label,    absl::StrCat(num_threads), absl::StrCat(batch),
                                        tuning.tuning, tuning.cache_dir};
  for (const auto& [symbol, extent] : dimensions) {
    arguments.push_back(symbol);
    arguments.push_back(absl::StrCat(extent));
  }
  TALLY_ASSIGN_OR_RETURN(const std::string output, RunSelf(arguments));
  // "ok <peak> <baseline> <weights> <arena>" or "error <message>".
  const std::vector<std::string> words = absl::StrSplit(output, ' ');
  MemoryFigures figures;
  if (words.size() == 5 && words[0] == "ok" && absl::SimpleAtoi(words[1], &figures.peak_rss_bytes) &&
      absl::SimpleAtoi(words[2], &figures.baseline_rss_bytes) &&
      absl::SimpleAtoi(words[3], &figures.resident_weight_bytes) && absl::SimpleAtoi(words[4], &figures.arena_bytes)) {
    return figures;
  }
  return MakeError(ErrorId::kBackendFailed, absl::StrCat("measuring memory of ", spec.label, " in a child process: ",
                                                         output.empty() ? "it ended without a result" : output));
}

bool RunMeasureChild(int argc, char** argv, const ModelLoader& load, int* exit_status) {
  if (argc < 8 || argc % 2 != 0 || std::strcmp(argv[1], kMeasureCommand) != 0) return false;
  int num_threads = 0;
  int64_t batch = 0;
  absl::StatusOr<MemoryFigures> figures = MakeError(ErrorId::kUsage, "bad arguments");
  Dimensions dimensions;
  bool good = absl::SimpleAtoi(argv[4], &num_threads) && absl::SimpleAtoi(argv[5], &batch);
  for (int i = 8; i < argc; i += 2) {
    dimensions.emplace_back(argv[i], 0);
    good = good && absl::SimpleAtoi(argv[i + 1], &dimensions.back().second);
  }
  if (good) {
    figures = MeasureHere(argv[2], argv[3], num_threads, batch, {argv[6], argv[7]}, dimensions, load);
  }
  Print(figures.ok() ? absl::StrCat("ok ", figures->peak_rss_bytes, " ", figures->baseline_rss_bytes, " ",
                                    figures->resident_weight_bytes, " ", figures->arena_bytes)
                     : absl::StrCat("error ", std::string(figures.status().message())));
  *exit_status = FinishStdout().ok() ? ExitStatus(figures.status()) : 4;
  return true;
}

}  // namespace tally::tools
