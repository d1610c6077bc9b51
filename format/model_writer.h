// Graph -> metadata (format/model.fbs) and the order of the weights. Deterministic; pure functions.
#ifndef TALLY_FORMAT_MODEL_WRITER_H_
#define TALLY_FORMAT_MODEL_WRITER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"

namespace tally {

struct BlobPlacement {
  const Blob* blob;  // in the graph
  uint64_t offset;   // in the weights section
};

struct ModelParts {
  std::vector<uint8_t> metadata;  // a multiple of 64 bytes
  std::vector<BlobPlacement> blobs;
  uint64_t weights_bytes = 0;
};

// REQUIRES: ValidateGraph(graph) is OK. Errors: kLimitMetadata, kLimitCount (more tables than readers accept).
absl::StatusOr<ModelParts> BuildModel(const Graph& graph, uint64_t max_metadata_bytes);

}  // namespace tally

#endif  // TALLY_FORMAT_MODEL_WRITER_H_
