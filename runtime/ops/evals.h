// The shared implementations behind the operator table (op.cc): one function per operator of docs/operators.md.
//
// Inference has passed for the node and the views have the inferred types, so only data-dependent errors remain.
// Nothing is allocated (attributes are read by runtime/ops/attributes.h). Safe to call from several threads on
// different outputs.
#ifndef TALLY_RUNTIME_OPS_EVALS_H_
#define TALLY_RUNTIME_OPS_EVALS_H_

#include "absl/status/status.h"
#include "runtime/ops/op.h"

namespace tally {

// Dot products and windows: conv.cc, gemm.cc, pool.cc, resize.cc, recurrent.cc.
absl::Status EvalConv(const EvalContext& context);
absl::Status EvalGemm(const EvalContext& context);
absl::Status EvalMatMul(const EvalContext& context);
absl::Status EvalRNN(const EvalContext& context);
absl::Status EvalGRU(const EvalContext& context);
absl::Status EvalLSTM(const EvalContext& context);
absl::Status EvalResize(const EvalContext& context);
absl::Status EvalMaxPool(const EvalContext& context);
absl::Status EvalAveragePool(const EvalContext& context);
absl::Status EvalGlobalAveragePool(const EvalContext& context);
absl::Status EvalGlobalMaxPool(const EvalContext& context);

// Element-wise: unary.cc (and unary.h), binary.cc.
absl::Status EvalActivation(const EvalContext& context);
absl::Status EvalAbs(const EvalContext& context);
absl::Status EvalNeg(const EvalContext& context);
absl::Status EvalSign(const EvalContext& context);
absl::Status EvalNot(const EvalContext& context);
absl::Status EvalIsNaN(const EvalContext& context);
absl::Status EvalIsInf(const EvalContext& context);
absl::Status EvalAdd(const EvalContext& context);
absl::Status EvalSub(const EvalContext& context);
absl::Status EvalMul(const EvalContext& context);
absl::Status EvalDiv(const EvalContext& context);
absl::Status EvalMod(const EvalContext& context);
absl::Status EvalPow(const EvalContext& context);
absl::Status EvalMin(const EvalContext& context);
absl::Status EvalMax(const EvalContext& context);
absl::Status EvalPRelu(const EvalContext& context);
absl::Status EvalEqual(const EvalContext& context);
absl::Status EvalLess(const EvalContext& context);
absl::Status EvalLessOrEqual(const EvalContext& context);
absl::Status EvalGreater(const EvalContext& context);
absl::Status EvalGreaterOrEqual(const EvalContext& context);
absl::Status EvalAnd(const EvalContext& context);
absl::Status EvalOr(const EvalContext& context);
absl::Status EvalXor(const EvalContext& context);
absl::Status EvalWhere(const EvalContext& context);

// Normalisation and reduction: softmax.cc, normalization.cc, reduce.cc, along_axis.cc.
absl::Status EvalSoftmax(const EvalContext& context);
absl::Status EvalLogSoftmax(const EvalContext& context);
absl::Status EvalHardmax(const EvalContext& context);
absl::Status EvalBatchNormalization(const EvalContext& context);
absl::Status EvalLayerNormalization(const EvalContext& context);
absl::Status EvalInstanceNormalization(const EvalContext& context);
absl::Status EvalGroupNormalization(const EvalContext& context);
absl::Status EvalLRN(const EvalContext& context);
absl::Status EvalReduceMean(const EvalContext& context);
absl::Status EvalReduceSum(const EvalContext& context);
absl::Status EvalReduceProd(const EvalContext& context);
absl::Status EvalReduceMax(const EvalContext& context);
absl::Status EvalReduceMin(const EvalContext& context);
absl::Status EvalArgMax(const EvalContext& context);
absl::Status EvalArgMin(const EvalContext& context);
absl::Status EvalTopK(const EvalContext& context);
absl::Status EvalCumSum(const EvalContext& context);

// Codes of uniform quantization: quantize.cc.
absl::Status EvalQuantizeLinear(const EvalContext& context);
absl::Status EvalDequantizeLinear(const EvalContext& context);

// Indices and repetition: indexed.cc, arrange.cc.
absl::Status EvalGatherElements(const EvalContext& context);
absl::Status EvalGatherND(const EvalContext& context);
absl::Status EvalScatterElements(const EvalContext& context);
absl::Status EvalScatterND(const EvalContext& context);
absl::Status EvalOneHot(const EvalContext& context);
absl::Status EvalReverseSequence(const EvalContext& context);
absl::Status EvalExpand(const EvalContext& context);
absl::Status EvalTile(const EvalContext& context);
absl::Status EvalRange(const EvalContext& context);
absl::Status EvalTrilu(const EvalContext& context);
absl::Status EvalDepthToSpace(const EvalContext& context);
absl::Status EvalSpaceToDepth(const EvalContext& context);

// Data movement and integers: concat.cc, slice.cc, pad.cc, view.cc, transpose.cc, gather.cc, cast.cc.
absl::Status EvalConcat(const EvalContext& context);
absl::Status EvalSplit(const EvalContext& context);
absl::Status EvalSlice(const EvalContext& context);
absl::Status EvalPad(const EvalContext& context);
absl::Status EvalReshape(const EvalContext& context);
absl::Status EvalFlatten(const EvalContext& context);
absl::Status EvalSqueeze(const EvalContext& context);
absl::Status EvalUnsqueeze(const EvalContext& context);
absl::Status EvalIdentity(const EvalContext& context);
absl::Status EvalTranspose(const EvalContext& context);
absl::Status EvalGather(const EvalContext& context);
absl::Status EvalShape(const EvalContext& context);
absl::Status EvalCast(const EvalContext& context);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_EVALS_H_
