#include "backends/exponent/exponent.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/exponent/bitsliced_gemm.h"
#include "backends/exponent/histogram_node.h"
#include "backends/exponent/kernels/lookup/lookup_table.h"
#include "backends/exponent/lookup_product.h"
#include "format/error.h"
#include "runtime/dot/embedding.h"
#include "runtime/dot/problem.h"

namespace tally {
namespace {

// Whether counting may be the faster way, so that it is tried. It takes time in proportion to the levels of the
// activations, once per row. Where look-up multiplies many bytes at once, one row and few levels are left to it; where
// it multiplies them one by one, counting may be ten times as fast.
bool IsWorthCounting(const Problem& problem, const CpuFeatures& cpu) {
  if (!SupportsBitsliced(problem).ok()) return false;
  if (ChooseKernel(LookupKernels(), cpu).isa == Isa::kScalar) return true;
  return problem.rows == 1 && problem.a.code_count() <= 16;
}

// Whether a stream of weights may be faster when it is asked for ahead: it comes from beyond the second-level cache,
// and reading it takes longer than multiplying.
constexpr size_t kLongStream = size_t{1} << 20;  // bytes
constexpr size_t kStreamAhead = 4096;
bool IsWorthAskingAhead(const Problem& problem) {
  return problem.kind == Problem::Kind::kGemm && problem.rows <= 4 && problem.weights->packed.size() >= kLongStream;
}

class ExponentBackend : public QuantizedBackend {
 public:
  explicit ExponentBackend(const ExponentOptions& options) : QuantizedBackend(TableForm::kCodes), options_(options) {}

  std::string name() const override { return "exponent"; }
  bool may_stand_in() const override { return true; }

  std::vector<NodeVariant> Variants(const NodeContext& context) const override {
    const auto variant = [&](ExponentKernel kernel, size_t ahead = 0) {
      ExponentOptions options = options_;
      options.kernel = kernel;
      std::string name = ExponentKernelNames()[static_cast<size_t>(kernel)];
      if (ahead != 0) {
        options.stream_ahead = ahead;
        name += "-ahead";
      }
      return NodeVariant{name, "", [options, &context] { return CompileWith(options, context); }};
    };
    if (context.node.op == "Gather") return Backend::Variants(context);
    const absl::StatusOr<Problem> problem = MakeProblem(context);
    if (options_.kernel != ExponentKernel::kAuto || !problem.ok()) return {variant(options_.kernel)};
    if (TakesHistogram(*problem)) return {variant(ExponentKernel::kHistogram)};
    std::vector<NodeVariant> variants = {variant(ExponentKernel::kLookup)};
    if (IsWorthAskingAhead(*problem)) variants.push_back(variant(ExponentKernel::kLookup, kStreamAhead));
    if (IsWorthCounting(*problem, context.cpu)) variants.push_back(variant(ExponentKernel::kBitsliced));
    return variants;
  }

 protected:
  absl::Status SupportsProduct(const NodeContext& context) const override {
    const absl::StatusOr<Problem> problem = MakeProblem(context);
    if (!problem.ok() || options_.kernel != ExponentKernel::kBitsliced) return problem.status();
    return SupportsBitsliced(*problem);
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> CompileProduct(const NodeContext& context) const override {
    return CompileWith(options_, context);
  }

 private:
  static bool TakesHistogram(const Problem& problem) { return problem.is_real() || problem.is_empty; }

  static absl::StatusOr<std::unique_ptr<CompiledNode>> CompileWith(const ExponentOptions& options,
                                                                   const NodeContext& context) {
    absl::StatusOr<Problem> problem = MakeProblem(context);
    if (!problem.ok()) return problem.status();
    if (TakesHistogram(*problem) || options.kernel == ExponentKernel::kHistogram) {
      return CompileHistogram(*std::move(problem), context);
    }
    if (options.kernel == ExponentKernel::kBitsliced) {
      return CompileBitslicedGemm(*std::move(problem), context, options);
    }
    switch (problem->kind) {
      case Problem::Kind::kConv: return CompileLookupConv(*std::move(problem), context, options);
      case Problem::Kind::kGemm: return CompileLookupGemm(*std::move(problem), context, options);
      case Problem::Kind::kMatMul: break;
    }
    return CompileLookupMatMul(*std::move(problem), context, options);
  }

  ExponentOptions options_;
};

class HistogramBackend : public QuantizedBackend {
 public:
  HistogramBackend() : QuantizedBackend(TableForm::kCodes) {}
  std::string name() const override { return "histogram"; }

 protected:
  absl::Status SupportsProduct(const NodeContext& context) const override { return MakeProblem(context).status(); }

  absl::StatusOr<std::unique_ptr<CompiledNode>> CompileProduct(const NodeContext& context) const override {
    absl::StatusOr<Problem> problem = MakeProblem(context);
    if (!problem.ok()) return problem.status();
    return CompileHistogram(*std::move(problem), context);
  }
};

}  // namespace

std::vector<std::string> ExponentKernelNames() { return {"auto", "lookup", "bitsliced", "histogram"}; }

absl::StatusOr<ExponentKernel> ParseExponentKernel(const std::string& name) {
  const std::vector<std::string> names = ExponentKernelNames();
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<ExponentKernel>(i);
  }
  return MakeError(ErrorId::kUsage, absl::StrCat("kernel ", Quoted(name), "; there are ", absl::StrJoin(names, ", ")));
}

std::shared_ptr<const Backend> MakeExponentBackend(const ExponentOptions& options) {
  return std::make_shared<ExponentBackend>(options);
}
std::shared_ptr<const Backend> MakeHistogramBackend() { return std::make_shared<HistogramBackend>(); }

}  // namespace tally
