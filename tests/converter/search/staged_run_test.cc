// What layers see does not depend on how much of it was kept in memory.
#include "converter/search/staged_run.h"

#include <gtest/gtest.h>

#include "backends/all/all.h"
#include "runtime/exec/infer.h"
#include "tests/converter/search/toy.h"

namespace tally {
namespace {

constexpr int64_t kBatch = 8, kSamples = 20;  // the last run is short

using Values = std::vector<std::vector<float>>;  // by visit, reference and quantized in turn

Values VisitAll(const Graph& reference, const Graph& quantized, const Dataset& data, int64_t budget) {
  const auto types = InferTensorTypes(reference, {kBatch});
  EXPECT_TRUE(types.ok()) << types.status();
  std::vector<int> tensors = {reference.inputs[0]};
  for (const char* name : {"c1", "pool", "flat"}) tensors.push_back(reference.FindTensor(name));
  const SessionMaker make = [](const Graph& graph) -> absl::StatusOr<Session> {
    auto model = Model::FromGraph(graph);
    if (!model.ok()) return model.status();
    SessionOptions options;
    options.backends = {"reference"};
    return Session::Create(*model, options, DefaultRegistry());
  };
  StagedRun run(data, kBatch, *types, tensors, make, make, budget);
  Values all;
  for (int tensor : tensors) {
    std::vector<float> sides[2];
    const absl::Status status =
        run.Visit(reference, quantized, tensor, [&](int64_t first, int64_t count, const float* x, const float* q) {
          const auto floats = count * run.per_sample(tensor);
          EXPECT_EQ(static_cast<int64_t>(sides[0].size()), first * run.per_sample(tensor));
          sides[0].insert(sides[0].end(), x, x + floats);
          sides[1].insert(sides[1].end(), q, q + floats);
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(static_cast<int64_t>(sides[0].size()), kSamples * run.per_sample(tensor));
    for (std::vector<float>& side : sides) all.push_back(std::move(side));
  }
  return all;
}

TEST(StagedRun, GivesTheSameWithAndWithoutMemory) {
  const Graph reference = testing::ToyNetwork(1);
  // The second convolution differs: what comes before it does not.
  Graph quantized = reference;
  const size_t w2 = static_cast<size_t>(reference.FindTensor("w2"));
  std::vector<float> other(72, 0.25f);
  quantized.tensors[w2].data = Blob::Copy(other.data(), other.size() * sizeof(float));
  const auto data = testing::ToyData(reference, kSamples, /*labelled=*/false, 2);
  ASSERT_TRUE(data.ok()) << data.status();
  const Values kept = VisitAll(reference, quantized, *data, int64_t{1} << 30);
  const Values some = VisitAll(reference, quantized, *data, 2 * kSamples * 8 * 8 * 8 * 4);  // c1 alone
  const Values none = VisitAll(reference, quantized, *data, 0);
  EXPECT_EQ(kept, some);
  EXPECT_EQ(kept, none);
  EXPECT_EQ(kept[2], kept[3]);  // c1
  EXPECT_NE(kept[4], kept[5]);  // pool
}

}  // namespace
}  // namespace tally
