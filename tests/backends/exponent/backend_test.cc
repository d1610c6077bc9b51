// What the backends take, why they refuse, and what they report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/exponent/exponent.h"
#include "tally/status.h"
#include "tests/backends/exponent/harness.h"

namespace tally::testing {
namespace {

using ::testing::HasSubstr;

NodeCase Gemm(const std::string& op = "Gemm", int64_t rows = 1) {
  Rng rng(41);
  const Codebook book = RandomCodebook(rng, 3, true, Grid::kQ7);
  NodeCase c(op);
  c.AddCodes(book, {rows, 8}, RandomCodes(rng, book, static_cast<size_t>(8 * rows)));
  c.AddWeight(book, {4, 8}, RandomCodes(rng, book, 32));
  c.SetOutput({rows, 4});
  return c;
}

std::string Refusal(const NodeCase& c) {
  const absl::Status status = MakeExponentBackend()->Supports(c.Context(DetectCpu(), 1));
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(GetErrorInfo(status).code, "TLY-E0609");
  EXPECT_EQ(MakeHistogramBackend()->Supports(c.Context(DetectCpu(), 1)), status);
  return std::string(status.message());
}

// One variant of a backend.
class OneVariant : public Backend {
 public:
  OneVariant(std::shared_ptr<const Backend> backend, size_t index) : backend_(std::move(backend)), index_(index) {}
  std::string name() const override { return backend_->name(); }
  absl::Status Supports(const NodeContext& context) const override { return backend_->Supports(context); }
  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    return backend_->Variants(context)[index_].compile();
  }

 private:
  std::shared_ptr<const Backend> backend_;
  size_t index_;
};

std::vector<std::string> VariantNames(const Backend& backend, const NodeContext& context) {
  std::vector<std::string> names;
  for (const NodeVariant& v : backend.Variants(context)) names.push_back(v.name);
  return names;
}

TEST(ExponentBackend, EveryVariantGivesTheSameBits) {
  const std::shared_ptr<const Backend> backend = MakeExponentBackend();
  for (const int64_t rows : {1, 3}) {
    const NodeCase c = Gemm("Gemm", rows);
    const NodeCase::Result expected = c.Run(*MakeHistogramBackend(), CpuFeatures(), 1);
    ASSERT_TRUE(expected.status.ok()) << expected.status;
    for (const CpuFeatures& cpu : RunnableCpus()) {
      const size_t count = backend->Variants(c.Context(cpu, 1)).size();
      for (size_t v = 0; v < count; ++v) {
        const NodeCase::Result actual = c.Run(OneVariant(backend, v), cpu, 1);
        ASSERT_TRUE(actual.status.ok()) << actual.status;
        EXPECT_EQ(actual.output, expected.output) << actual.kernel << " on " << CpuName(cpu);
      }
    }
  }
}

TEST(ExponentBackend, OffersCountingWhereItMayBeTheFaster) {
  using ::testing::ElementsAre;
  const CpuFeatures scalar;
  const auto names = [](const NodeCase& c, const CpuFeatures& cpu) {
    return VariantNames(*MakeExponentBackend(), c.Context(cpu, 1));
  };
  EXPECT_THAT(names(Gemm(), scalar), ElementsAre("lookup", "bitsliced"));
  EXPECT_THAT(names(Gemm("Gemm", 3), scalar), ElementsAre("lookup", "bitsliced"));
  CpuFeatures avx2;
  avx2.Add(Isa::kAvx2);
  if (DetectCpu().Has(Isa::kAvx2)) {
    EXPECT_THAT(names(Gemm(), avx2), ElementsAre("lookup", "bitsliced"));
    EXPECT_THAT(names(Gemm("Gemm", 3), avx2), ElementsAre("lookup"));
  }
  // A kernel that was asked for has no alternative.
  for (const std::string name : {"lookup", "bitsliced", "histogram"}) {
    ExponentOptions options;
    options.kernel = *ParseExponentKernel(name);
    EXPECT_THAT(VariantNames(*MakeExponentBackend(options), Gemm().Context(scalar, 1)), ElementsAre(name));
  }
  EXPECT_FALSE(MakeHistogramBackend()->may_stand_in());
}

TEST(ExponentBackend, HasItsNames) {
  EXPECT_EQ(MakeExponentBackend()->name(), "exponent");
  EXPECT_EQ(MakeHistogramBackend()->name(), "histogram");
}

TEST(ExponentBackend, RefusesAWeightWithoutCodes) {
  NodeCase c = Gemm();
  c.graph().tensors[1].codes.reset();
  c.graph().tensors[1].has_data = true;
  EXPECT_THAT(Refusal(c), HasSubstr("weight \"weight\" has no codes"));
}

TEST(ExponentBackend, RefusesAnActivationAsWeight) {
  NodeCase c = Gemm();
  c.graph().tensors[1].codes.reset();
  EXPECT_THAT(Refusal(c), HasSubstr("weight \"weight\" is not a constant"));
}

TEST(ExponentBackend, RefusesAnInputWithoutCodebook) {
  NodeCase c = Gemm();
  c.graph().tensors[0].codebook.reset();
  EXPECT_THAT(Refusal(c), HasSubstr("input \"input0\" has no codebook"));
}

TEST(ExponentBackend, RefusesAMatMulWithOneCodebook) {
  Rng rng(42);
  const Codebook book = RandomCodebook(rng, 3, true, Grid::kQ7);
  NodeCase c("MatMul");
  c.AddCodes(book, {2, 8}, RandomCodes(rng, book, 16));
  c.AddFloat({8, 4}, std::vector<float>(32));
  c.SetOutput({2, 4});
  EXPECT_THAT(Refusal(c), HasSubstr("input \"float1\" has no codebook"));
}

TEST(ExponentBackend, RefusesOtherOperators) { EXPECT_THAT(Refusal(Gemm("Softmax")), HasSubstr("\"Softmax\"")); }

TEST(ExponentBackend, RefusesABiasWithoutPlainForm) {
  NodeCase c = Gemm();
  c.AddWeight(*c.graph().tensors[0].codebook, {4}, std::vector<uint8_t>(4));
  EXPECT_THAT(Refusal(c), HasSubstr("bias \"weight\" is not plain float32"));
}

TEST(ExponentBackend, ReportsAPaddedImageBeyondMeasure) {
  Rng rng(43);
  const Codebook book = RandomCodebook(rng, 3, true, Grid::kQ7);
  for (int64_t group : {1, 2}) {
    NodeCase c("Conv");
    c.AddCodes(book, {1, 2, 1, 1}, RandomCodes(rng, book, 2));
    c.AddWeight(book, {2, 2 / group, 1, 1}, std::vector<uint8_t>(static_cast<size_t>(4 / group)));
    c.node().SetInts("pads", {1 << 29, 1 << 29, 1 << 29, 1 << 29});
    c.node().SetInts("strides", {1 << 29, 1 << 29});
    c.node().SetInts("group", {group});
    c.SetOutput({1, 2, 3, 3});
    const NodeCase::Result result = c.Run(*MakeExponentBackend(), DetectCpu(), 1);
    EXPECT_EQ(GetErrorInfo(result.status).code, "TLY-E0504") << result.status.message();
  }
}

TEST(ExponentBackend, NamesTheKernelAndTheIsaThatRan) {
  const auto backend = MakeExponentBackend();
  for (const CpuFeatures& cpu : RunnableCpus()) {
    EXPECT_EQ(Gemm().Run(*backend, cpu, 1).isa, CpuName(cpu));
  }
  EXPECT_EQ(Gemm().Run(*backend, DetectCpu(), 1).kernel, "lookup_gemv_b4");
  EXPECT_EQ(Gemm("Gemm", 9).Run(*backend, DetectCpu(), 1).kernel, "lookup_gemm_b4");
  EXPECT_EQ(Gemm().Run(*MakeHistogramBackend(), DetectCpu(), 1).kernel, "histogram");
}

TEST(ExponentBackend, KeepsWeightsAtTheirStoredWidth) {
  Rng rng(44);
  const Codebook a = RandomCodebook(rng, 3, false, Grid::kQ7), w = RandomCodebook(rng, 3, true, Grid::kQ7);
  NodeCase c("Gemm");
  c.AddCodes(a, {1, 1024}, RandomCodes(rng, a, 1024));
  c.AddWeight(w, {512, 1024}, RandomCodes(rng, w, 512 * 1024));
  c.SetOutput({1, 512});
  const auto node = MakeExponentBackend()->Compile(c.Context(DetectCpu(), 1));
  ASSERT_TRUE(node.ok());
  EXPECT_EQ((*node)->resident_weight_bytes(), 512u * 1024u / 2u);
}

}  // namespace
}  // namespace tally::testing
