#include <string>

#include "backends/onednn/codebook_nodes.h"
#include "backends/onednn/library.h"
#include "backends/onednn/onednn.h"
#include "runtime/dot/embedding.h"

namespace tally {
namespace {

class CodebookBackend : public QuantizedBackend {
 public:
  CodebookBackend() : QuantizedBackend(TableForm::kCodes) {}
  std::string name() const override { return "onednn-codebook"; }
  std::string version() const override { return onednn::LibraryVersion(); }
  bool may_stand_in() const override { return true; }

 protected:
  absl::Status SupportsProduct(const NodeContext& context) const override {
    return context.node.op == "MatMul" ? onednn::SupportsCodebookMatMul(context) : onednn::SupportsCodebookDot(context);
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> CompileProduct(const NodeContext& context) const override {
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
