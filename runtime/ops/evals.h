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

// Dot products and windows: conv.cc, gemm.cc, pool.cc.
absl::Status EvalConv(const EvalContext& context);
absl::Status EvalGemm(const EvalContext& context);
absl::Status EvalMatMul(const EvalContext& context);
absl::Status EvalMaxPool(const EvalContext& context);
absl::Status EvalAveragePool(const EvalContext& context);
absl::Status EvalGlobalAveragePool(const EvalContext& context);
absl::Status EvalGlobalMaxPool(const EvalContext& context);

// Activation functions and arithmetic: elementwise.cc.
absl::Status EvalRelu(const EvalContext& context);
absl::Status EvalClip(const EvalContext& context);
absl::Status EvalLeakyRelu(const EvalContext& context);
absl::Status EvalSigmoid(const EvalContext& context);
absl::Status EvalTanh(const EvalContext& context);
absl::Status EvalHardSigmoid(const EvalContext& context);
absl::Status EvalHardSwish(const EvalContext& context);
absl::Status EvalAdd(const EvalContext& context);
absl::Status EvalSub(const EvalContext& context);
absl::Status EvalMul(const EvalContext& context);
absl::Status EvalDiv(const EvalContext& context);

// Normalisation and reduction: softmax.cc, reduce.cc.
absl::Status EvalSoftmax(const EvalContext& context);
absl::Status EvalBatchNormalization(const EvalContext& context);
absl::Status EvalReduceMean(const EvalContext& context);

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
