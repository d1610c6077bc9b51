// The simulated network computes what the quantized one does, short of the rounding of sums.
#include "converter/search/simulation.h"

#include <gtest/gtest.h>

#include "backends/all/all.h"
#include "converter/calibration/evaluate.h"
#include "converter/search/candidates.h"
#include "converter/search/fitted_graph.h"
#include "tests/converter/search/toy.h"

namespace tally {
namespace {

class SimulationTest : public ::testing::TestWithParam<bool> {};

TEST_P(SimulationTest, AgreesWithTheQuantizedNetwork) {
  const bool compensates = GetParam();
  const Graph graph = testing::ToyNetwork(3);
  auto data = testing::ToyData(graph, 40, /*labelled=*/false, 4);
  ASSERT_TRUE(data.ok()) << data.status();
  auto pool = ThreadPool::Create(1);
  ASSERT_TRUE(pool.ok()) << pool.status();
  const std::shared_ptr<ThreadPool> shared = *std::move(pool);
  const Registry registry = DefaultRegistry();
  Runner runner(graph, *data, *data, registry, "reference", shared, nullptr);
  const auto fitted = FitGraph(graph, {}, SearchOptions(), 1, &runner, shared.get(), nullptr);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  const Targets& targets = (*fitted)->targets;
  const Memo memo;
  CandidateOptions options;
  options.compensates = compensates;
  options.memo = &memo;
  Candidates candidates(graph, targets, *(*fitted)->search, (*fitted)->samples(), *data, &runner, shared.get(),
                        options);
  ASSERT_TRUE(candidates.Prepare(std::vector<int64_t>(graph.symbols.size(), 1)).ok());
  candidates.set_correct_bias(!compensates);
  Choices choices;
  for (size_t i = 0; i < targets.weights.size(); ++i) choices.weights.push_back({3, Grid::kQ7, ""});
  for (size_t i = 0; i < targets.activations.size(); ++i) {
    choices.activations.push_back({4, i % 2 == 0 ? Grid::kQ7 : Grid::kQ14, ""});
  }
  auto network = candidates.Quantize(choices);
  ASSERT_TRUE(network.ok()) << network.status();
  auto quantized = candidates.Build(choices);
  ASSERT_TRUE(quantized.ok()) << quantized.status();

  std::vector<const QuantizedWeight*> weights;
  std::vector<const Codebook*> activations;
  for (const QuantizedWeight& w : (*network)->weights) weights.push_back(&w);
  for (const CodebookFit& a : (*network)->activations) activations.push_back(&a.codebook);
  const auto logits = [&](const Graph& of, std::vector<std::string> backends) {
    Registry with_round_trip = registry;
    with_round_trip.Add(MakeRoundTripBackend());
    SessionOptions session_options;
    session_options.backends = std::move(backends);
    auto model = Model::FromGraph(of);
    EXPECT_TRUE(model.ok()) << model.status();
    auto session = Session::Create(*model, session_options, with_round_trip);
    EXPECT_TRUE(session.ok()) << session.status();
    EvalOptions eval;
    eval.keep_logits = true;
    auto result = Evaluate(*session, *data, eval);
    EXPECT_TRUE(result.ok()) << result.status();
    return result->logits;
  };
  const std::vector<float> exact = logits(*quantized, {"exponent"});
  const std::vector<float> simulated =
      logits(SimulateQuantization(graph, targets, weights, activations), {kRoundTripBackend, "reference"});
  ASSERT_EQ(exact.size(), simulated.size());
  // A sum that is rounded the other way may change a code now and then: a few outputs, by a step.
  EXPECT_GT(SqnrDb(exact.data(), simulated.data(), exact.size()), 40);
  // With nothing quantized it is the float network.
  const std::vector<float> plain = logits(graph, {"reference"});
  const std::vector<float> nothing =
      logits(SimulateQuantization(graph, targets, std::vector<const QuantizedWeight*>(weights.size()),
                                  std::vector<const Codebook*>(activations.size())),
             {kRoundTripBackend, "reference"});
  EXPECT_EQ(plain, nothing);
  // And quantized it is not.
  EXPECT_LT(SqnrDb(plain.data(), simulated.data(), plain.size()), 40);
}

INSTANTIATE_TEST_SUITE_P(Roundings, SimulationTest, ::testing::Bool(),
                         [](const auto& tested) { return tested.param ? "compensated" : "nearest"; });

}  // namespace
}  // namespace tally
