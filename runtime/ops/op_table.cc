// The operator table. Columns: name; inputs min, max; outputs min, max; attributes; element types of input 0;
// inference; evaluation; what docs/operators.md says of it; whether it is a view; what its shape follows from (marked
// *).
#include <cmath>

#include "runtime/ops/element_types.h"
#include "runtime/ops/elementary.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/infer.h"
#include "runtime/ops/math.h"
#include "runtime/ops/op.h"
#include "runtime/ops/unary.h"

namespace tally {
namespace {

// Attributes that several operators share.
#define TALLY_WINDOW_ATTRIBUTES "strides:ints pads:ints auto_pad:string"
#define TALLY_FUSED_ATTRIBUTES "activation:string activation_params:floats"

constexpr int kMany = -1;
constexpr bool kView = true;
constexpr bool kCopy = false;
constexpr unsigned By(int first, int last) { return (2u << last) - (1u << first); }  // inputs first .. last
constexpr unsigned kCodes = TypeBit(DType::kUint8) | TypeBit(DType::kInt8) | TypeBit(DType::kInt32);

float ReciprocalF(float x) { return 1.0f / x; }
float SqrtF(float x) { return std::sqrt(x); }
float FloorF(float x) { return std::floor(x); }
float CeilF(float x) { return std::ceil(x); }
float RoundF(float x) { return std::rint(x); }

// Sorted by name.
constexpr OpDef kOps[] = {
    {"Abs", 1, 1, 1, 1, "", kNumbers, InferSame, EvalAbs, "x"},
    {"Acos", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<AcosF>, "x"},
    {"Acosh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<AcoshF>, "x"},
    {"Add", 2, 2, 1, 1, "", kNumbers, InferArithmetic, EvalAdd, "a, b of one type; broadcast; integers wrap"},
    {"And", 2, 2, 1, 1, "", kBoolType, InferComparison, EvalAnd, "a, b; broadcast"},
    {"ArgMax", 1, 1, 1, 1, "axis:int keepdims:flag select_last_index:flag", kNumbers, InferArg, EvalArgMax,
     "x; NaN counts as the largest"},
    {"ArgMin", 1, 1, 1, 1, "axis:int keepdims:flag select_last_index:flag", kNumbers, InferArg, EvalArgMin,
     "x; NaN counts as the largest"},
    {"Asin", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<AsinF>, "x"},
    {"Asinh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<AsinhF>, "x"},
    {"Atan", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<AtanF>, "x"},
    {"Atanh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<AtanhF>, "x"},
    {"AveragePool", 1, 1, 1, 1, TALLY_WINDOW_ATTRIBUTES " kernel_shape:ints ceil_mode:flag count_include_pad:flag",
     kFloatType, InferPool, EvalAveragePool, "x `[N,C,H,W]` or `[N,C,W]`"},
    {"BatchNormalization", 5, 5, 1, 1, "epsilon:float", kFloatType, InferBatchNormalization, EvalBatchNormalization,
     "x, scale, bias, mean, variance; folded by the converter where the parameters are constant"},
    {"Cast", 1, 1, 1, 1, "to:string precision:string", kAnyType, InferCast, EvalCast,
     "x; `to` is an element type's name; float to integer truncates and saturates, NaN gives 0; `precision` float16 "
     "rounds to what such a number holds"},
    {"Ceil", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<CeilF>, "x"},
    {"Celu", 1, 1, 1, 1, "alpha:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Clip", 1, 1, 1, 1, "min:float max:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Concat", 1, kMany, 1, 1, "axis:int", kAnyType, InferConcat, EvalConcat, "x... of one type"},
    {"Conv", 2, 4, 1, 1, TALLY_WINDOW_ATTRIBUTES " dilations:ints group:int " TALLY_FUSED_ATTRIBUTES, kFloatType,
     InferConv, EvalConv,
     "x `[N,C,H,W]` or `[N,C,W]`, weight `[O,C/group,kh,kw]`, [bias `[O]`], [residual, the output's shape]"},
    {"Cos", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<CosF>, "x"},
    {"Cosh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<CoshF>, "x"},
    {"CumSum", 2, 2, 1, 1, "exclusive:flag reverse:flag", kWideNumbers, InferCumSum, EvalCumSum,
     "x, axis (one element)"},
    {"DepthToSpace", 1, 1, 1, 1, "blocksize:int mode:string", kAnyType, InferBlocks, EvalDepthToSpace, "x `[N,C,H,W]`"},
    {"DequantizeLinear", 2, 3, 1, 1, "axis:int", kCodes, InferQuantization, EvalDequantizeLinear,
     "x, scale, [zero_point]; one scale, or one per index of the axis"},
    {"Div", 2, 2, 1, 1, "", kNumbers, InferArithmetic, EvalDiv,
     "a, b of one type; broadcast; integer division truncates, by zero is an error"},
    {"Elu", 1, 1, 1, 1, "alpha:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Equal", 2, 2, 1, 1, "", kAnyType, InferComparison, EvalEqual, "a, b of one type; broadcast"},
    {"Erf", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<ErfF>, "x"},
    {"Exp", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<ExpF>, "x"},
    {"Expand", 2, 2, 1, 1, "", kAnyType, InferExpand, EvalExpand, "x, shape *", kCopy, By(1, 1)},
    {"Flatten", 1, 1, 1, 1, "axis:int", kAnyType, InferFlatten, EvalFlatten, "x", kView},
    {"Floor", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<FloorF>, "x"},
    {"GRU", 2, 5, 2, 2, "linear_before_reset:flag reverse:flag", kFloatType, InferRecurrent, EvalGRU,
     "gates `[T,B,3H]` (a Gemm of the inputs), recurrent weight `[3H,H]`, [sequence_lens int32], [initial h], [bias of "
     "the candidate's product]; y `[T,B,H]`, last h"},
    {"Gather", 2, 2, 1, 1, "axis:int", kAnyType, InferGather, EvalGather,
     "x, indices (int64, int32); a constant that is gathered along axis 0 may be stored as codes or int8"},
    {"GatherElements", 2, 2, 1, 1, "axis:int", kAnyType, InferGatherElements, EvalGatherElements,
     "x, indices (int64, int32)"},
    {"GatherND", 2, 2, 1, 1, "batch_dims:int", kAnyType, InferGatherND, EvalGatherND, "x, indices (int64)"},
    {"Gelu", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x; x / 2 (1 + erf(x / sqrt 2))"},
    {"GeluTanh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation,
     "x; ONNX's Gelu with approximate \"tanh\": x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))"},
    {"Gemm", 2, 4, 1, 1, TALLY_FUSED_ATTRIBUTES, kFloatType, InferGemm, EvalGemm,
     "x `[...,K]`, weight `[N,K]`, [bias `[N]`], [residual]; y = x W^T + bias, `[...,N]`; ONNX's Gemm and MatMul with "
     "a "
     "constant matrix"},
    {"GlobalAveragePool", 1, 1, 1, 1, "", kFloatType, InferGlobalPool, EvalGlobalAveragePool, "x `[N,C,...]`"},
    {"GlobalMaxPool", 1, 1, 1, 1, "", kFloatType, InferGlobalPool, EvalGlobalMaxPool, "x `[N,C,...]`"},
    {"Greater", 2, 2, 1, 1, "", kNumbers, InferComparison, EvalGreater, "a, b of one type; broadcast"},
    {"GreaterOrEqual", 2, 2, 1, 1, "", kNumbers, InferComparison, EvalGreaterOrEqual, "a, b of one type; broadcast"},
    {"GroupNormalization", 3, 3, 1, 1, "epsilon:float num_groups:int", kFloatType, InferChannelNormalization,
     EvalGroupNormalization, "x `[N,C,...]`, scale `[C]`, bias `[C]`"},
    {"HardSigmoid", 1, 1, 1, 1, "alpha:float beta:float", kFloatType, InferSame, EvalActivation, "x"},
    {"HardSwish", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x"},
    {"Hardmax", 1, 1, 1, 1, "axis:int flatten:flag", kFloatType, InferSoftmax, EvalHardmax, "x; flatten as of Softmax"},
    {"Identity", 1, 1, 1, 1, "", kAnyType, InferSame, EvalIdentity, "x", kView},
    {"InstanceNormalization", 3, 3, 1, 1, "epsilon:float", kFloatType, InferChannelNormalization,
     EvalInstanceNormalization, "x `[N,C,...]`, scale `[C]`, bias `[C]`"},
    {"IsInf", 1, 1, 1, 1, "detect_negative:flag detect_positive:flag", kFloatType, InferPredicate, EvalIsInf, "x"},
    {"IsNaN", 1, 1, 1, 1, "", kFloatType, InferPredicate, EvalIsNaN, "x"},
    {"LRN", 1, 1, 1, 1, "alpha:float beta:float bias:float size:int", kFloatType, InferLRN, EvalLRN, "x `[N,C,...]`"},
    {"LSTM", 2, 6, 3, 3, "reverse:flag", kFloatType, InferRecurrent, EvalLSTM,
     "gates `[T,B,4H]` (a Gemm of the inputs), recurrent weight `[4H,H]`, [sequence_lens int32], [initial h], [initial "
     "c], [peephole `[3H]`]; y `[T,B,H]`, last h, last c"},
    {"LayerNormalization", 2, 3, 1, 3, "axis:int epsilon:float", kFloatType, InferLayerNormalization,
     EvalLayerNormalization, "x, scale, [bias]; outputs y, [mean], [1 / standard deviation]"},
    {"LeakyRelu", 1, 1, 1, 1, "alpha:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Less", 2, 2, 1, 1, "", kNumbers, InferComparison, EvalLess, "a, b of one type; broadcast"},
    {"LessOrEqual", 2, 2, 1, 1, "", kNumbers, InferComparison, EvalLessOrEqual, "a, b of one type; broadcast"},
    {"Log", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<LogF>, "x"},
    {"LogSoftmax", 1, 1, 1, 1, "axis:int flatten:flag", kFloatType, InferSoftmax, EvalLogSoftmax,
     "x; flatten as of Softmax"},
    {"MatMul", 2, 2, 1, 1, "", kFloatType, InferMatMul, EvalMatMul, "a, b; ONNX broadcasting, rank >= 1"},
    {"Max", 2, 2, 1, 1, "", kNumbers, InferArithmetic, EvalMax, "a, b of one type; broadcast; NaN where one is"},
    {"MaxPool", 1, 1, 1, 1, TALLY_WINDOW_ATTRIBUTES " kernel_shape:ints dilations:ints ceil_mode:flag", kFloatType,
     InferPool, EvalMaxPool, "x `[N,C,H,W]` or `[N,C,W]`"},
    {"Min", 2, 2, 1, 1, "", kNumbers, InferArithmetic, EvalMin, "a, b of one type; broadcast; NaN where one is"},
    {"Mod", 2, 2, 1, 1, "fmod:flag", kNumbers, InferMod, EvalMod,
     "a, b of one type; broadcast; floats need fmod 1; by an integer zero is an error"},
    {"Mul", 2, 2, 1, 1, "", kNumbers, InferArithmetic, EvalMul, "a, b of one type; broadcast; integers wrap"},
    {"Neg", 1, 1, 1, 1, "", kNumbers, InferSame, EvalNeg, "x"},
    {"Not", 1, 1, 1, 1, "", kBoolType, InferSame, EvalNot, "x"},
    {"OneHot", 3, 3, 1, 1, "axis:int", kWideNumbers, InferOneHot, EvalOneHot, "indices, depth *, values (off, on)",
     kCopy, By(1, 1)},
    {"Or", 2, 2, 1, 1, "", kBoolType, InferComparison, EvalOr, "a, b; broadcast"},
    {"PRelu", 2, 2, 1, 1, "", kFloatType, InferPRelu, EvalPRelu, "x, slope that broadcasts to x"},
    {"Pad", 2, 3, 1, 1, "mode:string", kAnyType, InferPad, EvalPad,
     "x, pads *, [value]; modes constant, reflect, edge; negative pads remove", kCopy, By(1, 1)},
    {"Pow", 2, 2, 1, 1, "", kWideNumbers, InferPow, EvalPow,
     "base, exponent (float32, int64, int32); broadcast; the result has the base's type"},
    {"QuantizeLinear", 2, 3, 1, 1, "axis:int", kFloatType, InferQuantization, EvalQuantizeLinear,
     "x, scale, [zero_point uint8 or int8]; one scale, or one per index of the axis"},
    {"RNN", 2, 4, 2, 2, "reverse:flag", kFloatType, InferRecurrent, EvalRNN,
     "inputs `[T,B,H]` (after a Gemm), recurrent weight `[H,H]`, [sequence_lens int32], [initial h]; tanh; y "
     "`[T,B,H]`, "
     "last h"},
    {"Range", 3, 3, 1, 1, "", kWideNumbers, InferRange, EvalRange, "start *, limit *, delta *", kCopy, By(0, 2)},
    {"Reciprocal", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<ReciprocalF>, "x"},
    {"ReduceMax", 1, 2, 1, 1, "keepdims:flag noop_with_empty_axes:flag", kNumbers, InferReduce, EvalReduceMax,
     "x, [axes *]", kCopy, By(1, 1)},
    {"ReduceMean", 1, 2, 1, 1, "keepdims:flag noop_with_empty_axes:flag", kFloatType, InferReduce, EvalReduceMean,
     "x, [axes *]", kCopy, By(1, 1)},
    {"ReduceMin", 1, 2, 1, 1, "keepdims:flag noop_with_empty_axes:flag", kNumbers, InferReduce, EvalReduceMin,
     "x, [axes *]", kCopy, By(1, 1)},
    {"ReduceProd", 1, 2, 1, 1, "keepdims:flag noop_with_empty_axes:flag", kNumbers, InferReduce, EvalReduceProd,
     "x, [axes *]; integers wrap", kCopy, By(1, 1)},
    {"ReduceSum", 1, 2, 1, 1, "keepdims:flag noop_with_empty_axes:flag", kNumbers, InferReduce, EvalReduceSum,
     "x, [axes *]; integers wrap", kCopy, By(1, 1)},
    {"Relu", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x"},
    {"Reshape", 2, 2, 1, 1, "allowzero:flag", kAnyType, InferReshape, EvalReshape, "x, shape *", kView, By(1, 1)},
    {"Resize", 1, 3, 1, 1,
     "mode:string coordinate_transformation_mode:string nearest_mode:string cubic_coeff_a:float exclude_outside:flag",
     kFloatType, InferResize, EvalResize, "x, [scales *], [sizes *]", kCopy, By(1, 2)},
    {"ReverseSequence", 2, 2, 1, 1, "batch_axis:int time_axis:int", kAnyType, InferReverseSequence, EvalReverseSequence,
     "x, sequence_lens (int64)"},
    {"Round", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<RoundF>, "x; halves to even"},
    {"ScatterElements", 3, 3, 1, 1, "axis:int reduction:string", kAnyType, InferScatterElements, EvalScatterElements,
     "x, indices (int64, int32), updates; in the order of the updates"},
    {"ScatterND", 3, 3, 1, 1, "reduction:string", kAnyType, InferScatterND, EvalScatterND,
     "x, indices (int64), updates; in the order of the updates"},
    {"Selu", 1, 1, 1, 1, "alpha:float gamma:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Shape", 1, 1, 1, 1, "start:int end:int", kAnyType, InferShape, EvalShape, "x; int64"},
    {"Shrink", 1, 1, 1, 1, "lambd:float bias:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Sigmoid", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x"},
    {"Sign", 1, 1, 1, 1, "", kNumbers, InferSame, EvalSign, "x"},
    {"Sin", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<SinF>, "x"},
    {"Sinh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<SinhF>, "x"},
    {"Slice", 3, 5, 1, 1, "", kAnyType, InferSlice, EvalSlice, "x, starts *, ends *, [axes *], [steps *]", kCopy,
     By(1, 4)},
    {"Softmax", 1, 1, 1, 1, "axis:int flatten:flag", kFloatType, InferSoftmax, EvalSoftmax,
     "x; flatten 1: over all of axis..last (opset < 13)"},
    {"Softplus", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x"},
    {"Softsign", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x"},
    {"SpaceToDepth", 1, 1, 1, 1, "blocksize:int", kAnyType, InferBlocks, EvalSpaceToDepth, "x `[N,C,H,W]`"},
    {"Split", 1, 2, 1, kMany, "axis:int split:ints", kAnyType, InferSplit, EvalSplit,
     "x, [sizes * where there is no attribute split]; one output per size", kCopy, By(1, 1)},
    {"Sqrt", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<SqrtF>, "x"},
    {"Squeeze", 1, 2, 1, 1, "", kAnyType, InferSqueeze, EvalSqueeze, "x, [axes *]", kView, By(1, 1)},
    {"Sub", 2, 2, 1, 1, "", kNumbers, InferArithmetic, EvalSub, "a, b of one type; broadcast; integers wrap"},
    {"Tan", 1, 1, 1, 1, "", kFloatType, InferSame, EvalMap<TanF>, "x"},
    {"Tanh", 1, 1, 1, 1, "", kFloatType, InferSame, EvalActivation, "x"},
    {"ThresholdedRelu", 1, 1, 1, 1, "alpha:float", kFloatType, InferSame, EvalActivation, "x"},
    {"Tile", 2, 2, 1, 1, "", kAnyType, InferTile, EvalTile, "x, repeats *", kCopy, By(1, 1)},
    {"TopK", 2, 2, 2, 2, "axis:int largest:flag", kNumbers, InferTopK, EvalTopK,
     "x, k *; values and int64 indices, always sorted; equal values in the order of their indices", kCopy, By(1, 1)},
    {"Transpose", 1, 1, 1, 1, "perm:ints", kAnyType, InferTranspose, EvalTranspose, "x"},
    {"Trilu", 1, 2, 1, 1, "upper:flag", kAnyType, InferTrilu, EvalTrilu, "x, [k]"},
    {"Unsqueeze", 2, 2, 1, 1, "", kAnyType, InferUnsqueeze, EvalUnsqueeze, "x, axes *", kView, By(1, 1)},
    {"Where", 3, 3, 1, 1, "", kBoolType, InferWhere, EvalWhere, "condition, x, y of one type; broadcast"},
    {"Xor", 2, 2, 1, 1, "", kBoolType, InferComparison, EvalXor, "a, b; broadcast"},
};

#undef TALLY_WINDOW_ATTRIBUTES
#undef TALLY_FUSED_ATTRIBUTES

}  // namespace

const OpDef* FindOp(const std::string& name) {
  for (const OpDef& def : kOps) {
    if (name == def.name) return &def;
  }
  return nullptr;
}

std::vector<const OpDef*> AllOps() {
  std::vector<const OpDef*> ops;
  for (const OpDef& def : kOps) ops.push_back(&def);
  return ops;
}

}  // namespace tally
