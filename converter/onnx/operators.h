// ONNX operators that are imported, and how. One row per operator; the importers rewrite every opset's form into the
// one of docs/operators.md.
#ifndef TALLY_CONVERTER_ONNX_OPERATORS_H_
#define TALLY_CONVERTER_ONNX_OPERATORS_H_

#include <string>

#include "converter/onnx/node_import.h"

namespace tally {

inline constexpr int64_t kMinOpset = 7;   // before it, broadcasting was an attribute
inline constexpr int64_t kMaxOpset = 17;  // the newest that libonnx 1.12 describes

struct OperatorImport {
  const char* name;
  int min_inputs;  // these must be present
  int max_inputs;  // -1: any number
  void (*import)(NodeImport& node);
};

// Null: not supported.
const OperatorImport* FindOperatorImport(const std::string& name);

// operators_layers.cc
void ImportConv(NodeImport& node);
void ImportGemm(NodeImport& node);
void ImportAveragePool(NodeImport& node);
void ImportMaxPool(NodeImport& node);
void ImportBatchNormalization(NodeImport& node);
void ImportDropout(NodeImport& node);

// operators_math.cc
void ImportSame(NodeImport& node);  // same name, inputs and meaning in every opset, no attributes
void ImportClip(NodeImport& node);
void ImportHardSigmoid(NodeImport& node);
void ImportLeakyRelu(NodeImport& node);
void ImportMaxMin(NodeImport& node);
void ImportSum(NodeImport& node);
void ImportSoftmax(NodeImport& node);
void ImportReduceMean(NodeImport& node);
void ImportCast(NodeImport& node);

// operators_data.cc
void ImportConcat(NodeImport& node);
void ImportSplit(NodeImport& node);
void ImportSlice(NodeImport& node);
void ImportPad(NodeImport& node);
void ImportReshape(NodeImport& node);
void ImportFlatten(NodeImport& node);
void ImportSqueeze(NodeImport& node);
void ImportTranspose(NodeImport& node);
void ImportGather(NodeImport& node);
void ImportShape(NodeImport& node);

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_OPERATORS_H_
