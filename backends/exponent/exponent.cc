#include "backends/exponent/exponent.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/exponent/bitsliced_gemm.h"
#include "backends/exponent/histogram_node.h"
#include "backends/exponent/lookup_product.h"
#include "backends/exponent/problem.h"
#include "format/error.h"

namespace tally {
namespace {

class ExponentBackend : public Backend {
 public:
  explicit ExponentBackend(const ExponentOptions& options) : options_(options) {}

  std::string name() const override { return "exponent"; }

  absl::Status Supports(const NodeContext& context) const override {
    const absl::StatusOr<Problem> problem = MakeProblem(context);
    if (!problem.ok() || options_.kernel != ExponentKernel::kBitsliced) return problem.status();
    return SupportsBitsliced(*problem);
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    absl::StatusOr<Problem> problem = MakeProblem(context);
    if (!problem.ok()) return problem.status();
    if (problem->is_real() || problem->is_empty || options_.kernel == ExponentKernel::kHistogram) {
      return CompileHistogram(*std::move(problem), context);
    }
    if (options_.kernel == ExponentKernel::kBitsliced) {
      return CompileBitslicedGemm(*std::move(problem), context, options_);
    }
    switch (problem->kind) {
      case Problem::Kind::kConv: return CompileLookupConv(*std::move(problem), context, options_);
      case Problem::Kind::kGemm: return CompileLookupGemm(*std::move(problem), context, options_);
      case Problem::Kind::kMatMul: break;
    }
    return CompileLookupMatMul(*std::move(problem), context, options_);
  }

 private:
  ExponentOptions options_;
};

class HistogramBackend : public Backend {
 public:
  std::string name() const override { return "histogram"; }

  absl::Status Supports(const NodeContext& context) const override { return MakeProblem(context).status(); }

  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
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
