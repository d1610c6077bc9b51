// Gather of rows from a constant table that is stored quantized: rows are decoded as they are read, so that the table
// takes no more memory than its file. One implementation for all backends of quantized models, so that their bits
// agree.
#ifndef TALLY_RUNTIME_DOT_EMBEDDING_H_
#define TALLY_RUNTIME_DOT_EMBEDDING_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/backend/backend.h"

namespace tally {

// Whether the node gathers along axis 0 of a constant.
bool IsEmbedding(const Graph& graph, const Node& node);

// Which form of the table is read. A value is float32 of the float64 product of its row's scale with the codebook's
// value, or with the int8.
enum class TableForm : uint8_t { kCodes, kInt8 };

// A backend of quantized models: it decodes embeddings, whose tables it reads in one form, and leaves products to the
// classes that derive from it.
class QuantizedBackend : public Backend {
 public:
  explicit QuantizedBackend(TableForm form) : form_(form) {}

  // Of a Gather kMissingForm where its table is quantized, but has no int8 form.
  absl::Status Supports(const NodeContext& context) const final;
  absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeContext& context) const final;

 protected:
  // Supports and Compile of every other node.
  virtual absl::Status SupportsProduct(const NodeContext& context) const = 0;
  virtual absl::StatusOr<std::unique_ptr<CompiledNode>> CompileProduct(const NodeContext& context) const = 0;

 private:
  const TableForm form_;
};

}  // namespace tally

#endif  // TALLY_RUNTIME_DOT_EMBEDDING_H_
