// ONNX operators that are imported, and how. One row per operator; the importers rewrite every opset's form into the
// one of docs/operators.md.
#ifndef TALLY_CONVERTER_ONNX_OPERATORS_H_
#define TALLY_CONVERTER_ONNX_OPERATORS_H_

#include <string>
#include <vector>

#include "converter/onnx/node_import.h"

namespace tally {

inline constexpr int64_t kMinOpset = 6;   // the last in which broadcasting was an attribute; OperatorImport::since
inline constexpr int64_t kMaxOpset = 21;  // libonnx 1.12 describes 17; what changed since is known to the importers

struct OperatorImport {
  const char* name;
  int min_inputs;  // these must be present
  int max_inputs;  // -1: any number
  void (*import)(NodeImport& node);
  const char* refuses = "";   // forms that are refused, for docs/operators.md
  int64_t since = kMinOpset;  // the oldest opset that is imported: 1 where nothing but types has changed since
};

// Null: not supported.
const OperatorImport* FindOperatorImport(const std::string& name);
// All of them, sorted by name.
std::vector<const OperatorImport*> AllOperatorImports();

// Same name, inputs and meaning as our operator, whose attributes are ONNX's.
void ImportSame(NodeImport& node);

// operators_windows.cc
void ImportConv(NodeImport& node);
void ImportConvTranspose(NodeImport& node);
void ImportAveragePool(NodeImport& node);
void ImportMaxPool(NodeImport& node);
void ImportResize(NodeImport& node);  // and Upsample

// operators_layers.cc
void ImportGemm(NodeImport& node);
void ImportBatchNormalization(NodeImport& node);
void ImportGroupNormalization(NodeImport& node);
void ImportLayerNormalization(NodeImport& node);
void ImportDropout(NodeImport& node);

// operators_math.cc
void ImportClip(NodeImport& node);
void ImportChain(NodeImport& node);
void ImportMean(NodeImport& node);
void ImportPRelu(NodeImport& node);
void ImportSoftmax(NodeImport& node);
void ImportReduce(NodeImport& node);
void ImportReduceFunction(NodeImport& node);
void ImportCast(NodeImport& node);
void ImportCastLike(NodeImport& node);
void ImportGelu(NodeImport& node);
void ImportMish(NodeImport& node);
void ImportMeanVarianceNormalization(NodeImport& node);
void ImportLpNormalization(NodeImport& node);
void ImportDynamicQuantizeLinear(NodeImport& node);

void ImportEinsum(NodeImport& node);     // operators_einsum.cc
void ImportRecurrent(NodeImport& node);  // LSTM, GRU, RNN: operators_recurrent.cc

// operators_data.cc
void ImportConcat(NodeImport& node);
void ImportSplit(NodeImport& node);
void ImportSlice(NodeImport& node);
void ImportPad(NodeImport& node);
void ImportReshape(NodeImport& node);
void ImportSqueeze(NodeImport& node);
void ImportSize(NodeImport& node);
void ImportConstantOfShape(NodeImport& node);
void ImportEyeLike(NodeImport& node);
void ImportScatter(NodeImport& node);
void ImportTopK(NodeImport& node);

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_OPERATORS_H_
