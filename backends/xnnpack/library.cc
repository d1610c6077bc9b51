#include "backends/xnnpack/library.h"

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally::xnnpack {
namespace {

const char* Describe(xnn_status status) {
  switch (status) {
    case xnn_status_success: return "success";
    case xnn_status_uninitialized: return "not initialised";
    case xnn_status_invalid_parameter: return "invalid parameter";
    case xnn_status_invalid_state: return "invalid state";
    case xnn_status_unsupported_parameter: return "unsupported parameter";
    case xnn_status_unsupported_hardware: return "unsupported hardware";
    case xnn_status_out_of_memory: return "out of memory";
  }
  return "unknown status";
}

}  // namespace

absl::Status StatusOf(xnn_status status, const char* what) {
  if (status == xnn_status_success) return absl::OkStatus();
  const ErrorId id = status == xnn_status_out_of_memory ? ErrorId::kOutOfMemory : ErrorId::kBackendFailed;
  return MakeError(id, absl::StrCat("XNNPACK: ", what, ": ", Describe(status)));
}

}  // namespace tally::xnnpack
