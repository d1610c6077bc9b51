// Metadata (format/model.fbs) and weights -> Graph. Untrusted bytes in, a verified graph out. Pure functions.
#ifndef TALLY_FORMAT_MODEL_READER_H_
#define TALLY_FORMAT_MODEL_READER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "format/graph.h"
#include "format/limits.h"

namespace tally {

// Bounds for the FlatBuffers verifier, whose work they limit; the writer keeps within them.
inline constexpr uint32_t kMaxTableDepth = 8;
inline constexpr uint32_t kMaxTables = 200000;

// Structure, by the FlatBuffers verifier. `metadata` must be aligned to 8 bytes. Error: kBadMetadata.
absl::Status VerifyMetadata(const uint8_t* metadata, size_t size);

// Verifies and decodes. `metadata` must not change meanwhile. The graph's blobs lie within `weights` and keep it alive;
// `weights_offset` is the section's place in the file, for errors. The result has passed ValidateGraph.
absl::StatusOr<Graph> ReadModel(const Blob& metadata, const Blob& weights, uint64_t weights_offset,
                                const Limits& limits);

}  // namespace tally

#endif  // TALLY_FORMAT_MODEL_READER_H_
