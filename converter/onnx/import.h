// ONNX file -> Graph in Tally's operators. protobuf and libonnx end here.
#ifndef TALLY_CONVERTER_ONNX_IMPORT_H_
#define TALLY_CONVERTER_ONNX_IMPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "format/limits.h"

namespace tally {

struct ImportOptions {
  Limits limits;
};

// Imports and canonicalises (docs/operators.md): dynamic extents become symbols; opset differences (attributes that
// became inputs and back) are resolved; Gemm and MatMul with a constant matrix become Gemm with weight [N, K]. All
// unsupported operators, opsets and forms are listed in one kUnsupportedOnnx. Other errors: kBadOnnx, kBadExternalData,
// kNonFiniteWeight, limits. External data must lie inside the model's folder (no "..", no absolute path, no symlink).
// `files` (may be null) gets the paths of the external data that was read appended.
absl::StatusOr<Graph> ImportOnnx(const std::string& path, const ImportOptions& options = {},
                                 std::vector<std::string>* files = nullptr);

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_IMPORT_H_
