// What follows a dot product: scale, bias, residual, activation function. One implementation for all exact backends.
//
// t = float32(acc) * scale_o;  t = t + bias_o;  t = t + residual;  t = activation(t); each step rounded to float32, so
// a residual Add or an activation gives the same bits fused as it does as a node of its own.
#ifndef TALLY_RUNTIME_OPS_EPILOGUE_H_
#define TALLY_RUNTIME_OPS_EPILOGUE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "runtime/ops/row_kernels.h"

namespace tally {

enum class ActivationKind : uint8_t {
  kNone,
  kRelu,
  kClip,
  kLeakyRelu,
  kSigmoid,
  kTanh,
  kHardSigmoid,
  kHardSwish,
  kElu,
  kSelu,
  kCelu,
  kThresholdedRelu,
  kShrink,
  kSoftplus,
  kSoftsign,
  kGelu,
  kGeluTanh,
};

// The activation function fused into a Conv or Gemm: attribute "activation" (the operator's name) with
// "activation_params", its attributes in the order of docs/operators.md as floats (Clip min, max; LeakyRelu alpha;
// ...).
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float a = 0;
  float b = 0;

  // Whether the function is a clamp; then *low and *high are narrowed to its range.
  bool ClampedRange(float* low, float* high) const;
};
// Errors: kBadAttribute.
absl::StatusOr<Activation> FusedActivation(const Node& node);

// The same of an activation operator that stands alone, from its own attributes; kNone for any other operator.
Activation StandaloneActivation(const Node& node);
// Its parameters as "activation_params" lists them: how many of a and b count.
size_t NumActivationParams(ActivationKind kind);

// In place, over `count` contiguous values; the same function that the stand-alone operators use. NaN stays NaN, as in
// ONNX Runtime; Relu is Clip from 0 on, and -0 stays -0.
void ApplyActivation(const Activation& activation, float* values, size_t count);

// One row of `count` outputs. Per-output arrays have one entry per output when their step is 1, a single one when it is
// 0: a convolution in NCHW finishes a row of positions of one channel with step 0, a fully connected layer a row of
// outputs with step 1.
struct EpilogueRow {
  const float* scale = nullptr;     // required for integer accumulators
  const float* bias = nullptr;      // null: no bias
  size_t channel_step = 1;          // of scale and bias
  const float* residual = nullptr;  // null, or `count` contiguous values
  Activation activation;
};
// Rows of outputs, each so many elements after the one before it.
struct EpilogueBlock {
  EpilogueRow row;  // the first
  size_t rows = 1;
  size_t acc_stride = 0;
  size_t out_stride = 0;      // of out and residual
  size_t channel_stride = 0;  // of scale and bias
};

// out may not alias acc; out == residual is allowed.
void FinishRow(const int32_t* acc, size_t count, const EpilogueRow& row, float* out);
// By the kernels of an instruction set; the same bits.
void FinishRow(const int32_t* acc, size_t count, const EpilogueRow& row, float* out, const RowKernels& kernels);
void FinishBlock(const int32_t* acc, size_t count, const EpilogueBlock& block, float* out, const RowKernels& kernels);
void FinishRow(const int64_t* acc, size_t count, const EpilogueRow& row, float* out);
void FinishBlock(const int64_t* acc, size_t count, const EpilogueBlock& block, float* out);
// Real grid: the accumulator is already a float64 value; it is rounded to float32, then scaled by channel factors
// alone.
void FinishRow(const double* acc, size_t count, const EpilogueRow& row, float* out);
// float32 weights: without a scale.
void FinishRow(const float* acc, size_t count, const EpilogueRow& row, float* out);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_EPILOGUE_H_
