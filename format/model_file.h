// Reads and writes .tally files (docs/format.md). One load path, always verified:
// fstat -> limits -> header -> checksums -> metadata copied to the heap -> FlatBuffers verifier -> ValidateGraph.
#ifndef TALLY_FORMAT_MODEL_FILE_H_
#define TALLY_FORMAT_MODEL_FILE_H_

#include <memory>
#include <string>
#include <vector>

#include "format/graph.h"
#include "format/limits.h"

namespace tally {

struct LoadOptions {
  Limits limits;
  // Map the file instead of reading it. Saves memory, but truncating the file while it is mapped kills the process
  // (SIGBUS); the default owned read is safe from that.
  bool use_mmap = false;
};

// Loads and verifies a file. Weight blobs point into one buffer that the graph's blobs keep alive.
absl::StatusOr<Graph> ReadModelFile(const std::string& path, const LoadOptions& options = {});

// The same for bytes in memory, which are copied. `name` stands for the path in errors.
absl::StatusOr<Graph> ParseModel(const void* data, size_t size, const std::string& name,
                                 const LoadOptions& options = {});

// Validates and serialises: the same graph gives the same bytes. What `limits` would refuse to read is not written.
absl::StatusOr<std::vector<uint8_t>> SerializeModel(const Graph& graph, const Limits& limits = {});

// SerializeModel, then WriteFileAtomically. Returns bytes written.
absl::StatusOr<uint64_t> WriteModelFile(const Graph& graph, const std::string& path, const Limits& limits = {});

// Writes a temporary file in the same directory (O_EXCL) in full, syncs it, reads it back and compares, renames it,
// syncs the directory. A file that is replaced hands its permissions on; a symbolic link is replaced, not followed.
// On any error the old file stays as it was, but for the last step, whose message says that the new file is in place.
// Errors: kNotFound (directory), kPermission, kNotRegular (the path is a directory, pipe or device), kWriteFailed,
// kOutOfMemory (disk full, quota or size limit reached).
absl::Status WriteFileAtomically(const std::string& path, const void* data, size_t size);

// Reads a whole regular file. Errors: kNotFound, kPermission, kNotRegular, kLimitFile, kReadFailed.
absl::StatusOr<Blob> ReadWholeFile(const std::string& path, uint64_t max_bytes);

// What a file holds, for `tally inspect`; needs only a readable header and metadata.
struct FileLayout {
  struct Section {
    std::string name;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  uint32_t version = 0;
  uint64_t required_features = 0;
  uint64_t file_bytes = 0;
  std::vector<Section> sections;
};
absl::StatusOr<FileLayout> ReadFileLayout(const std::string& path);

}  // namespace tally

#endif  // TALLY_FORMAT_MODEL_FILE_H_
