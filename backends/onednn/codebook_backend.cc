#include <string>

#include "backends/onednn/codebook_nodes.h"
#include "backends/onednn/library.h"
#include "backends/onednn/onednn.h"
#include "runtime/dot/embedding.h"

namespace tally {
namespace {

class CodebookBackend : public Backend {
 public:
  std::string name() const override { return "onednn-codebook"; }
  std::string version() const override { return onednn::LibraryVersion(); }
  bool may_stand_in() const override { return true; }

  absl::Status Supports(const NodeContext& context) const override {
    if (context.node.op == "Gather") return SupportsEmbedding(context, TableForm::kCodes);
    return context.node.op == "MatMul" ? onednn::SupportsCodebookMatMul(context) : onednn::SupportsCodebookDot(context);
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const override {
    if (context.node.op == "Gather") return CompileEmbedding(context, TableForm::kCodes);
    return onednn::Guarded([&]() -> absl::StatusOr<std::unique_ptr<CompiledNode>> {
      const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
      return context.node.op == "MatMul" ? onednn::CompileCodebookMatMul(context, engine)
                                         : onednn::CompileCodebookDot(context, engine);
    });
  }
};

}  // namespace

std::shared_ptr<const Backend> MakeOneDnnCodebookBackend() { return std::make_shared<CodebookBackend>(); }

}  // namespace tally
