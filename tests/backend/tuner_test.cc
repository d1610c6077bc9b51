// The choice among variants of known cost. Time is a number that their runs add to: nothing here is timed.
#include "runtime/backend/tuner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "format/error.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Machine {
  TunerClock clock;
  int clock_reads = 0;
  int compiled = 0;
};

// What a variant does when it runs.
struct Behaviour {
  double us = 1;
  std::function<void(const RunArgs&)> extra;
  absl::Status status = {};
};

class FakeNode : public CompiledNode {
 public:
  FakeNode(Machine* machine, std::string name, Behaviour behaviour)
      : machine_(machine), name_(std::move(name)), behaviour_(std::move(behaviour)) {}
  absl::Status Run(const RunArgs& args) override {
    machine_->clock.seconds += behaviour_.us * 1e-6;
    if (behaviour_.extra) behaviour_.extra(args);
    return behaviour_.status;
  }
  Encoding input_encoding(size_t i) const override { return i == 0 ? Encoding::kCodes : Encoding::kPlain; }
  size_t scratch_bytes() const override { return 100; }
  std::string kernel() const override { return name_; }
  std::string isa() const override { return "none"; }

 private:
  Machine* machine_;
  std::string name_;
  Behaviour behaviour_;
};

class TunerTest : public ::testing::Test {
 protected:
  TunerTest() : pool_(*ThreadPool::Create(1)) {
    Tensor x, residual, y;
    x.name = "x";
    x.codebook = *MakeCodebook(3, false, Grid::kQ7, EncodeRule::kNearest, 1.5, 1, 0);
    residual.name = "residual";
    y.name = "y";
    Node node;
    node.name = "node";
    node.op = "Gemm";
    node.inputs = {graph_.AddTensor(x), -1, graph_.AddTensor(residual)};
    node.outputs = {graph_.AddTensor(y)};
    graph_.nodes.push_back(node);
  }

  NodeContext Context(int64_t size = 100) const {
    const TensorType type{DType::kFloat32, {1, size}};
    return {graph_, graph_.nodes[0], {type, {}, type}, {type}, CpuFeatures(), 1};
  }

  NodeVariant Variant(const std::string& name, const Behaviour& behaviour) {
    return {name, "", [this, name, behaviour]() -> absl::StatusOr<std::unique_ptr<CompiledNode>> {
              ++machine_.compiled;
              return std::unique_ptr<CompiledNode>(new FakeNode(&machine_, name, behaviour));
            }};
  }
  NodeVariant Variant(const std::string& name, double us) { return Variant(name, Behaviour{us, nullptr}); }
  static NodeVariant Broken(const std::string& name, ErrorId id) {
    return {name, "", [=]() -> absl::StatusOr<std::unique_ptr<CompiledNode>> { return MakeError(id, name); }};
  }

  TunerOptions Options() {
    TunerOptions options;
    options.cache = &cache_;
    options.clock = [this] {
      ++machine_.clock_reads;
      return machine_.clock;
    };
    options.warn = [this](const std::string& text) { warnings_.push_back(text); };
    return options;
  }
  Tuner Make() { return Tuner(Options(), pool_.get()); }

  Tuner::Choice Choose(Tuner& tuner, const std::vector<NodeVariant>& variants, int64_t size = 100) {
    absl::StatusOr<Tuner::Choice> choice = tuner.Choose(Context(size), variants);
    EXPECT_TRUE(choice.ok()) << choice.status();
    return *std::move(choice);
  }
  Tuner::Choice Choose(const std::vector<NodeVariant>& variants) {
    Tuner tuner = Make();
    return Choose(tuner, variants);
  }

  Graph graph_;
  Machine machine_;
  TuningCache cache_;
  std::vector<std::string> warnings_;
  std::unique_ptr<ThreadPool> pool_;
};

TEST_F(TunerTest, TakesTheFastest) {
  const Tuner::Choice choice = Choose({Variant("a", 20), Variant("b", 12.125), Variant("c", 15)});
  EXPECT_EQ(choice.node->kernel(), "b");
  EXPECT_EQ(choice.variant, 1u);
  EXPECT_EQ(choice.why, "measured 12.1 us, a 20.0 us, c 15.0 us");
}

TEST_F(TunerTest, KeepsTheRulesUnlessAnotherIsClearlyFaster) {
  EXPECT_EQ(Choose({Variant("a", 100), Variant("b", 97.5)}).why, "measured 100.0 us, b 97.5 us (within 3 %)");
  EXPECT_EQ(Choose({Variant("a", 100), Variant("c", 96.5)}).node->kernel(), "c");
  // Two challengers are compared with each other without a margin.
  EXPECT_EQ(Choose({Variant("a", 100), Variant("b", 90), Variant("c", 89)}).node->kernel(), "c");
}

TEST_F(TunerTest, ASingleVariantIsNeitherRunNorTimed) {
  EXPECT_EQ(Choose({Variant("a", 1)}).why, "only kernel");
  EXPECT_EQ(machine_.clock.seconds, 0);
  EXPECT_EQ(machine_.clock_reads, 0);
}

TEST_F(TunerTest, RulesRunNothingReadNoClockAndNoCache) {
  Choose({Variant("a", 100), Variant("b", 10)});
  machine_ = {};
  TunerOptions options = Options();
  options.measure = false;
  options.cache_dir = "/no/such/folder";
  Tuner tuner(options, pool_.get());
  const Tuner::Choice choice = Choose(tuner, {Variant("a", 100), Variant("b", 10)});
  tuner.Save();
  EXPECT_EQ(choice.node->kernel(), "a");
  EXPECT_EQ(choice.why, "rule");
  EXPECT_EQ(machine_.compiled, 1);
  EXPECT_EQ(machine_.clock.seconds, 0);
  EXPECT_EQ(machine_.clock_reads, 0);
  EXPECT_THAT(warnings_, ::testing::IsEmpty());
}

TEST_F(TunerTest, ASecondTunerRemembersAndRunsNothing) {
  const std::vector<NodeVariant> variants = {Variant("a", 20), Variant("b", 10)};
  EXPECT_EQ(Choose(variants).variant, 1u);
  machine_ = {};
  const Tuner::Choice choice = Choose(variants);
  EXPECT_EQ(choice.variant, 1u);
  EXPECT_EQ(choice.why, "cached: measured 10.0 us, a 20.0 us");
  EXPECT_EQ(machine_.compiled, 1) << "only what was chosen is compiled";
  EXPECT_EQ(machine_.clock.seconds, 0);
}

TEST_F(TunerTest, WhatIsRememberedIsOfOneNodeOnOneMachine) {
  Choose({Variant("a", 20), Variant("b", 10)});
  const auto is_known = [&](const NodeContext& context, std::vector<NodeVariant> variants) {
    Tuner tuner = Make();
    absl::StatusOr<Tuner::Choice> choice = tuner.Choose(context, variants);
    EXPECT_TRUE(choice.ok()) << choice.status();
    return choice.ok() && choice->why.rfind("cached", 0) == 0;
  };
  const std::vector<NodeVariant> same = {Variant("a", 20), Variant("b", 10)};
  EXPECT_TRUE(is_known(Context(), same));
  EXPECT_FALSE(is_known(Context(101), same));
  EXPECT_FALSE(is_known(Context(), {Variant("a", 20), Variant("c", 10)}));
  EXPECT_FALSE(is_known(Context(), {Variant("b", 10), Variant("a", 20)}));
  std::vector<NodeVariant> newer = same;
  newer[1].version = "library 2";
  EXPECT_FALSE(is_known(Context(), newer));
  NodeContext two_threads = Context();
  two_threads.num_threads = 2;
  EXPECT_FALSE(is_known(two_threads, same));
  NodeContext other_cpu = Context();
  other_cpu.cpu.Add(Isa::kAvx2);
  EXPECT_FALSE(is_known(other_cpu, same));
  graph_.nodes[0].SetInts("strides", {2, 2});
  EXPECT_FALSE(is_known(Context(), same));
  graph_.tensors[0].codebook = *MakeCodebook(3, true, Grid::kQ7, EncodeRule::kNearest, 1.5, 1, 0);
  EXPECT_FALSE(is_known(Context(), same));
  // Names of a file are data.
  graph_.nodes[0].SetString("evil\t\n\x1b", "a|b\tc");
  EXPECT_FALSE(is_known(Context(), same));
  EXPECT_TRUE(is_known(Context(), same));
}

TEST_F(TunerTest, WhenTimeIsUsedUpTheRuleDecides) {
  TunerOptions options = Options();
  options.seconds = 0.02;
  Tuner tuner(options, pool_.get());
  EXPECT_EQ(Choose(tuner, {Variant("a", 10000), Variant("b", 100)}, 1).why, "rule: too slow to try");
  EXPECT_EQ(Choose(tuner, {Variant("a", 1500), Variant("b", 1400)}, 2).node->kernel(), "b");
  const Tuner::Choice late = Choose(tuner, {Variant("a", 200), Variant("b", 100)}, 3);
  EXPECT_EQ(late.node->kernel(), "b") << "a share was left";
  EXPECT_EQ(Choose(tuner, {Variant("a", 50), Variant("b", 100000)}, 4).why, "rule: too slow to try");
  machine_.compiled = 0;
  EXPECT_EQ(Choose(tuner, {Variant("a", 3), Variant("b", 1)}, 5).why, "rule: no time left to measure");
  EXPECT_EQ(machine_.compiled, 1);
  EXPECT_EQ(Choose(tuner, {Variant("a", 1500), Variant("b", 1400)}, 2).node->kernel(), "b") << "known";
  // What was not decided is not remembered.
  Tuner next = Make();
  EXPECT_THAT(Choose(next, {Variant("a", 3), Variant("b", 1)}, 5).why, StartsWith("measured"));
}

TEST_F(TunerTest, OneNodeLeavesTimeToOthers) {
  TunerOptions options = Options();
  options.seconds = 0.1;
  Tuner tuner(options, pool_.get());
  for (int64_t size = 1; size < 6; ++size) {
    EXPECT_EQ(Choose(tuner, {Variant("a", 1000), Variant("b", 900)}, size).node->kernel(), "b") << size;
  }
  EXPECT_LT(machine_.clock.seconds, 0.1);
}

TEST_F(TunerTest, RunsThatLostTheirCpuDoNotCount) {
  int run = 0;
  const auto preempt_every_third = [&](const RunArgs&) {
    if (++run % 3 != 0) return;
    ++machine_.clock.preemptions;
    machine_.clock.seconds += 0.004;
  };
  Behaviour slow{20, preempt_every_third}, fast{10, preempt_every_third};
  EXPECT_EQ(Choose({Variant("a", slow), Variant("b", 5), Variant("c", fast)}).why,
            "measured 5.0 us, a 20.0 us, c 10.0 us");
  const auto preempt = [&](const RunArgs&) { ++machine_.clock.preemptions; };
  EXPECT_EQ(Choose({Variant("a", Behaviour{20, preempt}), Variant("d", Behaviour{5, preempt})}).why,
            "rule: too busy to measure");
}

TEST_F(TunerTest, WhatFailsIsOutOfTheRace) {
  const auto throw_bad_alloc = [](const RunArgs&) { throw std::bad_alloc(); };
  const auto throw_error = [](const RunArgs&) { throw std::runtime_error("boom"); };
  EXPECT_EQ(Choose({Variant("a", 20), Broken("b", ErrorId::kOutOfMemory), Variant("c", 10)}).why,
            "measured 10.0 us, a 20.0 us, b failed");
  EXPECT_EQ(Choose({Broken("a", ErrorId::kOutOfMemory), Variant("b", 20)}).why, "only kernel that compiled");
  EXPECT_EQ(Choose({Variant("a", 20), Variant("b", Behaviour{1, throw_bad_alloc})}).why, "measured 20.0 us, b failed");
  EXPECT_EQ(Choose({Variant("a", Behaviour{1, throw_error}), Variant("b", 20)}).node->kernel(), "b");
  EXPECT_EQ(Choose({Variant("a", Behaviour{1, nullptr, absl::UnknownError("no")}),
                    Variant("b", Behaviour{1, throw_bad_alloc})})
                .why,
            "rule: none ran");
  EXPECT_THAT(Choose({Variant("a", 20), Broken("b", ErrorId::kOutOfMemory), Variant("c", 10)}).why,
              StartsWith("measured"))
      << "a failure is not remembered";
  const NodeVariant thrower{"t", "", []() -> absl::StatusOr<std::unique_ptr<CompiledNode>> { throw std::bad_alloc(); }};
  EXPECT_EQ(Choose({thrower, Variant("b", 20)}).node->kernel(), "b");
}

TEST_F(TunerTest, TheFirstErrorIsReturnedWhenAllFail) {
  Tuner tuner = Make();
  for (const std::vector<NodeVariant>& variants :
       {std::vector<NodeVariant>{Broken("a", ErrorId::kBackendFailed)},
        std::vector<NodeVariant>{Broken("a", ErrorId::kBackendFailed), Broken("b", ErrorId::kOutOfMemory)}}) {
    const absl::Status status = tuner.Choose(Context(), variants).status();
    EXPECT_EQ(GetErrorInfo(status).code, "TLY-E7002");
    EXPECT_THAT(std::string(status.message()), HasSubstr("a"));
  }
}

TEST_F(TunerTest, AKnownChoiceThatFailsIsMeasuredAnew) {
  Choose({Variant("a", 20), Variant("b", 10)});
  const Tuner::Choice choice = Choose({Variant("a", 20), Broken("b", ErrorId::kOutOfMemory)});
  EXPECT_EQ(choice.node->kernel(), "a");
}

TEST_F(TunerTest, OperandsAreValid) {
  const Codebook& book = *graph_.tensors[0].codebook;
  int zeros = 0;
  const auto look = [&](const RunArgs& args) {
    zeros = 0;
    for (int i = 0; i < 1000; ++i) {
      const uint8_t code = static_cast<const uint8_t*>(args.inputs[0])[i];
      EXPECT_TRUE(book.is_valid_code(code));
      zeros += code == 0 ? 1 : 0;
      EXPECT_LE(std::abs(static_cast<const float*>(args.inputs[2])[i]), 1);
    }
    EXPECT_EQ(args.inputs[1], nullptr);
    std::memset(args.outputs[0], 1, 1000 * sizeof(float));
    std::memset(args.scratch, 1, 100);
  };
  for (const bool is_signed : {false, true}) {
    graph_.tensors[0].codebook = *MakeCodebook(3, is_signed, Grid::kQ7, EncodeRule::kNearest, 1.5, 1, 0);
    Tuner tuner = Make();
    Choose(tuner, {Variant("a", Behaviour{1, look}), Variant("b", 1)}, 1000);
    EXPECT_NEAR(zeros, is_signed ? 67 : 533, 60) << "as after Relu, or like any other code";
  }
}

TEST_F(TunerTest, ANodeBeyondBoundsIsNotTried) {
  Tuner tuner = Make();
  EXPECT_EQ(Choose(tuner, {Variant("a", 2), Variant("b", 1)}, int64_t{1} << 27).why, "rule: too large to try");
}

TEST_F(TunerTest, DecisionsOutliveTheProcessInAFile) {
  const std::string directory = testing::TempDir() + "/made/on/demand";
  const std::vector<NodeVariant> variants = {Variant("a", 20), Variant("b", 10)};
  TunerOptions options = Options();
  options.cache_dir = directory;
  Tuner first(options, pool_.get());
  Choose(first, variants);
  first.Save();
  TuningCache empty;
  options.cache = &empty;
  machine_ = {};
  Tuner second(options, pool_.get());
  EXPECT_EQ(Choose(second, variants).why, "cached: measured 10.0 us, a 20.0 us");
  EXPECT_EQ(machine_.clock.seconds, 0);
  EXPECT_THAT(warnings_, ::testing::IsEmpty());
}

TEST_F(TunerTest, AFileThatCannotBeIsAWarning) {
  TunerOptions options = Options();
  options.cache_dir = "/proc/no/such/folder";
  Tuner tuner(options, pool_.get());
  EXPECT_EQ(Choose(tuner, {Variant("a", 20), Variant("b", 10)}).node->kernel(), "b");
  tuner.Save();
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("/proc/no/such/folder"));
}

}  // namespace
}  // namespace tally
