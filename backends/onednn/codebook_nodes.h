// The nodes of the backend onednn-codebook.
//
// Codes -> planes of u8 digits -> one u8 x s8 -> s32 product per segment of the dot product and pair of planes -> sum
// of the products in integers -> shared epilogue. All source planes of a Conv or Gemm go through one product as a
// larger batch, so that the weights are read once.
#ifndef TALLY_BACKENDS_ONEDNN_CODEBOOK_NODES_H_
#define TALLY_BACKENDS_ONEDNN_CODEBOOK_NODES_H_

#include <memory>

#include "absl/status/statusor.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "runtime/backend/backend.h"

namespace tally::onednn {

// Conv and Gemm.
absl::Status SupportsCodebookDot(const NodeContext& context);
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileCodebookDot(const NodeContext& context,
                                                                 const dnnl::engine& engine);

// MatMul of two activations.
absl::Status SupportsCodebookMatMul(const NodeContext& context);
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileCodebookMatMul(const NodeContext& context,
                                                                    const dnnl::engine& engine);

// Whether `tensor` is an activation with a codebook on an integer grid.
absl::Status CheckEncodable(const Tensor* tensor);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_CODEBOOK_NODES_H_
