// Gather of rows from a constant table that is stored quantized: rows are decoded as they are read, so that the table
// takes no more memory than its file. One implementation for all backends, so that their bits agree.
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

// An embedding whose table has that form, or why not. Error: kUnsupportedNode; kMissingForm where the table is
// quantized, but has no int8 form.
absl::Status SupportsEmbedding(const NodeContext& context, TableForm form);

// REQUIRES: SupportsEmbedding is OK.
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileEmbedding(const NodeContext& context, TableForm form);

}  // namespace tally

#endif  // TALLY_RUNTIME_DOT_EMBEDDING_H_
