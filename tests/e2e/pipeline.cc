#include "tests/e2e/pipeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backends/all/all.h"
#include "converter/onnx/import.h"
#include "converter/passes/passes.h"
#include "format/error.h"
#include "runtime/core/cpu.h"

namespace tally::testing {
namespace {

// Sets TALLY_FORCE_ISA for its lifetime.
class ScopedIsa {
 public:
  explicit ScopedIsa(const std::string& isa) { setenv("TALLY_FORCE_ISA", isa.c_str(), 1); }
  ~ScopedIsa() { unsetenv("TALLY_FORCE_ISA"); }
};

}  // namespace

absl::StatusOr<Graph> ImportFloat(const std::string& onnx) {
  TALLY_ASSIGN_OR_RETURN(Graph graph, ImportOnnx(onnx));
  TALLY_RETURN_IF_ERROR(RunPasses(&graph));
  return graph;
}

absl::StatusOr<Model> ConvertModel(const std::string& onnx, const std::string& calibration, int64_t calibration_samples,
                                   const ConvertOptions& options) {
  TALLY_ASSIGN_OR_RETURN(Graph graph, ImportFloat(onnx));
  TALLY_ASSIGN_OR_RETURN(Model float_model, Model::FromGraph(graph));
  TALLY_ASSIGN_OR_RETURN(Dataset data, Dataset::Open(calibration, float_model.inputs()));
  TALLY_RETURN_IF_ERROR(data.Slice(0, calibration_samples));
  TALLY_ASSIGN_OR_RETURN(ConvertResult result, Convert(graph, data, nullptr, options, DefaultRegistry()));
  return Model::FromGraph(std::move(result.graph));
}

absl::StatusOr<std::vector<std::vector<float>>> Outputs(const Model& model, const Dataset& data, int64_t count,
                                                        const std::string& backend, const std::string& isa,
                                                        int num_threads) {
  const ScopedIsa forced(isa);
  SessionOptions options;
  options.backends = {backend};
  options.num_threads = num_threads;
  TALLY_ASSIGN_OR_RETURN(Session session, Session::Create(model, options));
  const TensorInfo out = session.outputs()[0];
  std::vector<std::vector<float>> all;
  for (int64_t i = 0; i < count; ++i) {
    TALLY_ASSIGN_OR_RETURN(Batch batch, data.Read(i, 1));
    std::vector<float> values(static_cast<size_t>(TensorType{out.dtype, out.shape}.elements()));
    TALLY_RETURN_IF_ERROR(session.Run(batch.views(), {{out.name, {values.data(), out.dtype, out.shape}}}));
    all.push_back(std::move(values));
  }
  return all;
}

std::vector<std::string> PlacesOfQuantizedNodes(const Model& model, const std::string& backend,
                                                const std::string& isa) {
  const ScopedIsa forced(isa);
  SessionOptions options;
  options.backends = {backend};
  absl::StatusOr<Session> session = Session::Create(model, options);
  if (!session.ok()) return {session.status().ToString()};
  std::vector<std::string> places;
  for (const NodePlacement& p : session->placement()) {
    if (p.op != "Conv" && p.op != "Gemm" && p.op != "MatMul") continue;
    const std::string place = p.backend + "/" + p.isa;
    if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
  }
  return places;
}

void ExpectSameBitsEverywhere(const Model& model, const Dataset& data, int64_t count) {
  count = std::min(count, data.size());
  const auto oracle = Outputs(model, data, count, "histogram", "", 2);
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  const auto expect_same = [&](const std::string& backend, const std::string& isa, int threads) {
    const auto got = Outputs(model, data, count, backend, isa, threads);
    ASSERT_TRUE(got.ok()) << got.status();
    for (size_t i = 0; i < got->size(); ++i) {
      ASSERT_EQ((*got)[i].size(), (*oracle)[i].size());
      ASSERT_EQ(std::memcmp((*got)[i].data(), (*oracle)[i].data(), (*got)[i].size() * sizeof(float)), 0)
          << backend << " " << isa << " " << threads << " threads, sample " << i;
    }
  };
  for (Isa isa : kAllIsas) {
    if (!DetectCpu().Has(isa)) {
      std::printf("[   note   ] this CPU has no %s\n", IsaName(isa));
      continue;
    }
    // The scalar kernels are the slowest: once, on two threads.
    for (int threads : isa == Isa::kScalar ? std::vector<int>{2} : std::vector<int>{1, 2}) {
      expect_same("exponent", IsaName(isa), threads);
    }
  }
  const std::vector<std::string> built = AvailableBackends();
  if (std::find(built.begin(), built.end(), "onednn-codebook") != built.end()) {
    for (int threads : {1, 2}) expect_same("onednn-codebook", "", threads);
  }
}

}  // namespace tally::testing
