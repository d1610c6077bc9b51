#include "backends/exponent/exponent.h"

#include "backends/exponent/histogram_node.h"
#include "backends/exponent/lookup_product.h"
#include "backends/exponent/problem.h"

namespace tally {
namespace {

class ExponentBackend : public Backend {
 public:
  std::string name() const override { return "exponent"; }

  absl::Status Supports(const NodeContext& context) const override { return MakeProblem(context).status(); }

  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    absl::StatusOr<Problem> problem = MakeProblem(context);
    if (!problem.ok()) return problem.status();
    if (problem->is_real() || problem->is_empty) return CompileHistogram(*std::move(problem), context);
    switch (problem->kind) {
      case Problem::Kind::kConv: return CompileLookupConv(*std::move(problem), context);
      case Problem::Kind::kGemm: return CompileLookupGemm(*std::move(problem), context);
      case Problem::Kind::kMatMul: break;
    }
    return CompileLookupMatMul(*std::move(problem), context);
  }
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

std::shared_ptr<const Backend> MakeExponentBackend() { return std::make_shared<ExponentBackend>(); }
std::shared_ptr<const Backend> MakeHistogramBackend() { return std::make_shared<HistogramBackend>(); }

}  // namespace tally
