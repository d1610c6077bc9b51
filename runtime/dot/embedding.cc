#include "runtime/dot/embedding.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/bit_packing.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

class EmbeddingNode : public CompiledNode {
 public:
  EmbeddingNode(const NodeContext& context, TableForm form) : indices_{nullptr, DType::kInt64, {}} {
    const Tensor& table = *context.input(0);
    rows_ = table.shape[0];
    for (size_t d = 1; d < table.shape.size(); ++d) width_ *= static_cast<size_t>(table.shape[d]);
    indices_.dtype = context.inputs[1].dtype;
    indices_.shape = context.inputs[1].shape;
    if (form == TableForm::kCodes) {
      table_ = table.codes->packed;
      bits_ = table.codes->codebook.stored_bits();
      values_ = table.codes->codebook.Values();
      scales_ = table.codes->channel_scales;
    } else {
      table_ = table.int8->values;
      for (int code = 0; code < 256; ++code) values_.push_back(static_cast<int8_t>(code));
      scales_ = table.int8->scales;
    }
  }

  absl::Status Run(const RunArgs& args) override {
    TensorView indices = indices_;
    indices.data = args.inputs[1];
    TALLY_RETURN_IF_ERROR(CheckGatherIndices(indices, rows_));
    float* out = static_cast<float*>(args.outputs[0]);
    ParallelFor(args.pool, static_cast<size_t>(ElementsOf(indices.shape)), TileFor(width_ + values_.size()),
                [&](size_t begin, size_t end) {
                  for (size_t i = begin; i < end; ++i) {
                    const int64_t index =
                        indices.dtype == DType::kInt64 ? indices.as<int64_t>()[i] : indices.as<int32_t>()[i];
                    DecodeRow(static_cast<size_t>(index < 0 ? index + rows_ : index), out + i * width_);
                  }
                });
    return absl::OkStatus();
  }

  // The table is the graph's.
  size_t resident_weight_bytes() const override { return scales_.size() * sizeof(float); }
  std::string kernel() const override { return "embedding"; }
  std::string isa() const override { return "baseline"; }

 private:
  void DecodeRow(size_t row, float* out) const {
    float value[256];
    const double scale = scales_.empty() ? 1 : static_cast<double>(scales_[scales_.size() == 1 ? 0 : row]);
    for (size_t code = 0; code < values_.size(); ++code) value[code] = static_cast<float>(values_[code] * scale);
    uint8_t codes[256];
    for (size_t first = 0; first < width_; first += sizeof(codes)) {
      const size_t count = std::min(sizeof(codes), width_ - first);
      UnpackBits(table_.data(), bits_, row * width_ + first, count, codes);
      for (size_t i = 0; i < count; ++i) out[first + i] = value[codes[i]];
    }
  }

  TensorView indices_;  // without data
  int64_t rows_ = 0;
  size_t width_ = 1;  // elements of a row
  Blob table_;        // shared with the graph
  int bits_ = 8;
  std::vector<double> values_;  // by code
  std::vector<float> scales_;   // of all rows, of each, or none
};

}  // namespace

bool IsEmbedding(const Graph& graph, const Node& node) {
  if (node.op != "Gather" || node.inputs.empty() || node.inputs[0] < 0) return false;
  const Tensor& table = graph.tensors[static_cast<size_t>(node.inputs[0])];
  size_t axis = 0;
  return table.is_constant() && NormalizeAxis(IntAttribute(node, "axis", 0), table.shape.size(), &axis) && axis == 0;
}

absl::Status QuantizedBackend::Supports(const NodeContext& context) const {
  if (context.node.op != "Gather") return SupportsProduct(context);
  const auto refuse = [](const std::string& reason) { return MakeError(ErrorId::kUnsupportedNode, reason); };
  if (!IsEmbedding(context.graph, context.node)) return refuse("gathers no rows of a constant");
  const Tensor* table = context.input(0);
  if (form_ == TableForm::kCodes && !table->codes) return refuse(absl::StrCat(Quoted(table->name), " has no codes"));
  if (form_ == TableForm::kInt8 && !table->int8) {
    if (!table->codes) return refuse(absl::StrCat(Quoted(table->name), " has no int8 form"));
    return MakeError(ErrorId::kMissingForm,
                     absl::StrCat("table ", Quoted(table->name), " has no int8 form; convert with --keep int8"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CompiledNode>> QuantizedBackend::Compile(const NodeContext& context) const {
  if (context.node.op != "Gather") return CompileProduct(context);
  return std::unique_ptr<CompiledNode>(new EmbeddingNode(context, form_));
}

}  // namespace tally
