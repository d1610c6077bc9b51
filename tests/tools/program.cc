#include "tests/tools/program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "converter/calibration/dataset.h"
#include "format/model_file.h"
#include "tally/tally.h"
#include "tests/format/sample_graph.h"
#include "tests/testing/paths.h"

namespace tally::testing {
namespace {

void OrDie(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << std::endl;
  std::abort();
}

std::vector<float> SampleValues(size_t samples, uint32_t seed) {
  Random random(seed);
  std::vector<float> values(samples * 3 * 8 * 8);
  for (float& v : values) v = random.Float(-1, 1);
  return values;
}

}  // namespace

Ended RunProgram(const std::string& program, const std::vector<std::string>& arguments,
                 const std::string& stdout_path) {
  const std::string folder = TempDir();
  const std::string out = folder + "/out", err = folder + "/err";
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string& target = stdout_path.empty() || stdout_path == "closed" ? out : stdout_path;
    const int out_fd = open(target.c_str(), O_WRONLY | O_CREAT, 0600);
    const int err_fd = open(err.c_str(), O_WRONLY | O_CREAT, 0600);
    if (out_fd < 0 || err_fd < 0) _exit(126);
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    if (stdout_path == "closed") close(STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  Ended ended;
  int status = 0;
  waitpid(pid, &status, 0);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ended.out = ReadText(out);
  ended.err = ReadText(err);
  return ended;
}

Ended Tally(const std::vector<std::string>& arguments, const std::string& stdout_path) {
  return RunProgram(TALLY_BINARY, arguments, stdout_path);
}

std::string MakeSampleFolder() {
  const std::string folder = TempDir();
  Graph graph = SmallConvNet();
  AddGolden(&graph);
  OrDie(WriteModelFile(graph, folder + "/model.tally").status());
  const std::vector<float> x = SampleValues(16, 5);
  OrDie(WriteNpy(folder + "/images.npy", {x.data(), DType::kFloat32, {16, 3, 8, 8}}));
  OrDie(WriteNpy(folder + "/x.npy", {x.data(), DType::kFloat32, {2, 3, 8, 8}}));
  std::vector<int64_t> labels(16);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 5);
  OrDie(WriteNpy(folder + "/labels.npy", {labels.data(), DType::kInt64, {16}}));
  const std::string inputs = R"("inputs": [{"name": "input", "kind": "npy", "path": "images.npy"}])";
  std::ofstream(folder + "/data.json") << R"({"name": "noise", )" << inputs
                                       << R"(, "target": {"kind": "class", "path": "labels.npy"}, "metric": "top1"})";
  std::ofstream(folder + "/unlabelled.json") << R"({"name": "noise", )" << inputs << "}";
  return folder;
}

void AddGolden(Graph* graph) {
  graph->golden.clear();
  absl::StatusOr<Model> model = Model::FromGraph(*graph);
  OrDie(model.status());
  absl::StatusOr<Session> session = Session::Create(*model, {});
  OrDie(session.status());
  const std::vector<float> x = SampleValues(1, 9);
  std::vector<float> y(5);
  OrDie(session->Run({{"input", {x.data(), DType::kFloat32, {1, 3, 8, 8}}}},
                     {{"logits", {y.data(), DType::kFloat32, {1, 5}}}}));
  GoldenCase golden;
  golden.inputs.push_back({DType::kFloat32, {1, 3, 8, 8}, ToBlob(x)});
  golden.outputs.push_back({DType::kFloat32, {1, 5}, ToBlob(y)});
  graph->golden.push_back(std::move(golden));
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

}  // namespace tally::testing
