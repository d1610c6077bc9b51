#include "converter/onnx/operators.h"

namespace tally {
namespace {

constexpr OperatorImport kOperators[] = {
    {"Add", 2, 2, ImportSame},
    {"AveragePool", 1, 1, ImportAveragePool},
    {"BatchNormalization", 5, 5, ImportBatchNormalization},
    {"Cast", 1, 1, ImportCast},
    {"Clip", 1, 3, ImportClip},
    {"Concat", 1, -1, ImportConcat},
    {"Conv", 2, 3, ImportConv},
    {"Div", 2, 2, ImportSame},
    {"Dropout", 1, 3, ImportDropout},
    {"Flatten", 1, 1, ImportFlatten},
    {"Gather", 2, 2, ImportGather},
    {"Gemm", 2, 3, ImportGemm},
    {"GlobalAveragePool", 1, 1, ImportSame},
    {"GlobalMaxPool", 1, 1, ImportSame},
    {"HardSigmoid", 1, 1, ImportHardSigmoid},
    {"HardSwish", 1, 1, ImportSame},
    {"Identity", 1, 1, ImportSame},
    {"LeakyRelu", 1, 1, ImportLeakyRelu},
    {"MatMul", 2, 2, ImportSame},
    {"Max", 1, -1, ImportMaxMin},
    {"MaxPool", 1, 1, ImportMaxPool},
    {"Min", 1, -1, ImportMaxMin},
    {"Mul", 2, 2, ImportSame},
    {"Pad", 1, 3, ImportPad},
    {"ReduceMean", 1, 1, ImportReduceMean},
    {"Relu", 1, 1, ImportSame},
    {"Reshape", 2, 2, ImportReshape},
    {"Shape", 1, 1, ImportShape},
    {"Sigmoid", 1, 1, ImportSame},
    {"Slice", 1, 5, ImportSlice},
    {"Softmax", 1, 1, ImportSoftmax},
    {"Split", 1, 2, ImportSplit},
    {"Squeeze", 1, 2, ImportSqueeze},
    {"Sub", 2, 2, ImportSame},
    {"Sum", 1, -1, ImportSum},
    {"Tanh", 1, 1, ImportSame},
    {"Transpose", 1, 1, ImportTranspose},
    {"Unsqueeze", 1, 2, ImportSqueeze},
};

}  // namespace

const OperatorImport* FindOperatorImport(const std::string& name) {
  for (const OperatorImport& row : kOperators) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

}  // namespace tally
