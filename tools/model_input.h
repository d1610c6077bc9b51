// Opens what the subcommands take as a model: a .tally file or an ONNX file, which then runs in float32.
#ifndef TALLY_TOOLS_MODEL_INPUT_H_
#define TALLY_TOOLS_MODEL_INPUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tally/tally.h"
#include "tools/common.h"

namespace tally::tools {

struct ModelInput {
  std::string path;
  Model model;
  bool is_onnx = false;
  uint64_t file_bytes = 0;
  std::vector<std::string> files = {};  // that were read: path and an ONNX file's external data
};

// By the file's first bytes, then by its extension: ".onnx" is imported and canonicalised, all else must be a .tally
// file.
absl::StatusOr<ModelInput> OpenModel(const std::string& path);

// ParseBackends for this model: of an ONNX file only `reference` and `xnnpack` make sense, others are kMissingForm. No
// argument: exponent, or the float backend for ONNX.
absl::StatusOr<std::vector<SessionSpec>> ParseBackendsFor(const ModelInput& input,
                                                          const std::vector<std::string>& arguments);

// The session options' backend for float32 reference runs of this model: xnnpack where it is built, else reference.
// kMissingForm when the file does not hold the original weights.
absl::StatusOr<SessionSpec> FloatSpec(const ModelInput& input, const Dimensions& dimensions = {});

}  // namespace tally::tools

#endif  // TALLY_TOOLS_MODEL_INPUT_H_
