// Shape inference of every operator, and what its parts share. Stateless; safe to call from many threads.
//
// InferNode (op.cc) has checked the counts of inputs and outputs, the names and kinds of attributes, and that the
// shapes of inputs lie within the limits, so products over parts of an input's shape cannot wrap here. It checks the
// limits of the outputs afterwards.
#ifndef TALLY_RUNTIME_OPS_INFER_H_
#define TALLY_RUNTIME_OPS_INFER_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/ops/op.h"

namespace tally {

// One function may serve several operators. Dot products, windows, reductions: infer_compute.cc.
absl::Status InferConv(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferGemm(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferMatMul(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferRecurrent(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferResize(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferPool(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferGlobalPool(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferSoftmax(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferBatchNormalization(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferLayerNormalization(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferChannelNormalization(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferLRN(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferReduce(const InferContext& context, std::vector<TensorType>* outputs);

// Element-wise: infer_elementwise.cc.
absl::Status InferSame(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferPredicate(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferArithmetic(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferComparison(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferPow(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferMod(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferPRelu(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferWhere(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferQuantization(const InferContext& context, std::vector<TensorType>* outputs);

// Indices, searches and repetition: infer_indexed.cc.
absl::Status InferGatherElements(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferScatterElements(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferGatherND(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferScatterND(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferOneHot(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferReverseSequence(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferArg(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferTopK(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferCumSum(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferExpand(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferTile(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferRange(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferTrilu(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferBlocks(const InferContext& context, std::vector<TensorType>* outputs);

// Data movement and integers: infer_movement.cc.
absl::Status InferConcat(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferSplit(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferSlice(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferPad(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferReshape(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferFlatten(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferSqueeze(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferUnsqueeze(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferTranspose(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferGather(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferShape(const InferContext& context, std::vector<TensorType>* outputs);
absl::Status InferCast(const InferContext& context, std::vector<TensorType>* outputs);

// kBadNodeInputs: "Conv: input 2 (bias) has shape 3, expected 8".
absl::Status BadInput(const InferContext& context, size_t i, const char* name, const std::string& expected);
// kBadAttribute: "Softmax: attribute axis is 4, expected -2 .. 1".
absl::Status BadAttribute(const InferContext& context, const char* name, const std::string& problem);

// The element type of input i is one of `allowed`.
absl::Status CheckType(const InferContext& context, size_t i, const char* name, std::initializer_list<DType> allowed);
// Input i is absent, or float32 of this shape.
absl::Status CheckOptionalFloats(const InferContext& context, size_t i, const char* name, const Shape& shape);
// Attribute `name` as an axis of a tensor of this rank.
absl::StatusOr<size_t> AxisAttribute(const InferContext& context, const char* name, int64_t absent, size_t rank);
// The int64 (or float32) vector in input i, which must be known before the run. REQUIRES: context.has(i).
absl::StatusOr<absl::Span<const int64_t>> KnownInts(const InferContext& context, size_t i, const char* name);
absl::StatusOr<absl::Span<const float>> KnownFloats(const InferContext& context, size_t i, const char* name);
// The axes in input i as one bool per dimension; kBadNodeInputs when one is out of range or repeated.
absl::StatusOr<std::vector<bool>> KnownAxes(const InferContext& context, size_t i, size_t rank);

// Product of extents begin .. end - 1.
int64_t Product(const Shape& shape, size_t begin, size_t end);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_INFER_H_
