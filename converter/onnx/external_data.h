// Weights that an ONNX file keeps in files beside it. Untrusted: the location is relative, goes down only, and no part
// of it is a symbolic link (the installed ONNX library checks none of this).
#ifndef TALLY_CONVERTER_ONNX_EXTERNAL_DATA_H_
#define TALLY_CONVERTER_ONNX_EXTERNAL_DATA_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "format/graph.h"

namespace tally {

struct ExternalRange {
  std::string location;  // relative to the model's folder
  uint64_t offset = 0;
};

// Reads exactly `bytes` bytes. `folder` is the model's own, as the user gave it ("" = the current one).
// Errors: kBadExternalData, kReadFailed, kPermission.
absl::StatusOr<Blob> ReadExternalData(const std::string& folder, const ExternalRange& range, uint64_t bytes);

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_EXTERNAL_DATA_H_
