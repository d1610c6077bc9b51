// Text files that may be compressed.
#ifndef TALLY_TOOLS_GZIP_H_
#define TALLY_TOOLS_GZIP_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "format/error.h"

namespace tally::tools {

// The whole file, decompressed when it begins like a gzip file, whatever it is called. Errors: those of ReadWholeFile;
// kLimitFile when the file or its contents exceed `max_bytes`; `damaged` when the compressed data is.
absl::StatusOr<std::string> ReadMaybeGzip(const std::string& path, uint64_t max_bytes, ErrorId damaged);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_GZIP_H_
