// Conv and Gemm seen as one thing: a convolution whose outputs are dot products. A Gemm is a 1x1 convolution over
// single-pixel images, one per row.
#ifndef TALLY_BACKENDS_ONEDNN_DOT_NODE_H_
#define TALLY_BACKENDS_ONEDNN_DOT_NODE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "runtime/backend/backend.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/window.h"

namespace tally::onednn {

struct DotNode {
  bool is_conv = false;
  Window2d window;
  Activation activation;
  bool has_bias = false;
  bool has_residual = false;

  int64_t in_positions() const { return window.in_h * window.in_w; }
  int64_t out_positions() const { return window.out_h * window.out_w; }
  int64_t outputs() const { return window.batch * window.out_channels * out_positions(); }
};

// The geometry of a Conv or Gemm, or why oneDNN cannot take it. Checks everything but the forms of the operands.
absl::StatusOr<DotNode> ResolveDotNode(const NodeContext& context);

// kUnsupportedNode.
absl::Status Unsupported(const std::string& reason);

// "input \"x\"", "weight \"w\"", for messages.
std::string Subject(const char* role, const Tensor& tensor);

// Layouts of the product over `channels` input channels per group: u8 source and `output_type` destination with
// channels last, s8 weights.
struct DotLayouts {
  dnnl::memory::desc source;
  dnnl::memory::desc plain_weights;
  dnnl::memory::desc any_weights;
  dnnl::memory::desc bias;  // float32, one per output channel
  dnnl::memory::desc destination;
};
DotLayouts MakeDotLayouts(const DotNode& node, int64_t channels, dnnl::memory::data_type output_type);

// The primitive itself. `with_bias`: takes DNNL_ARG_BIAS. Throws dnnl::error.
struct DotPrimitive {
  dnnl::primitive primitive;
  dnnl::primitive_desc_base description;
  dnnl::memory::desc weights;  // the layout that the primitive asks for
};
DotPrimitive MakeDotPrimitive(const DotNode& node, const DotLayouts& layouts, bool with_bias,
                              const dnnl::primitive_attr& attributes, const dnnl::engine& engine);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_DOT_NODE_H_
