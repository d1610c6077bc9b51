#include "format/model_file.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "format/container.h"
#include "format/error.h"
#include "format/file_io.h"
#include "format/model_reader.h"
#include "format/model_writer.h"

namespace tally {
namespace {

// Calls `fn`, which returns a StatusOr; running out of memory becomes an error that names `file`.
template <typename Fn>
auto Guarded(const std::string& file, const Fn& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "no memory", {file, "", -1, ""});
  } catch (const std::length_error&) {
    return MakeError(ErrorId::kOutOfMemory, "no memory for a vector of that length", {file, "", -1, ""});
  }
}

// `mapped`: another process may change the bytes meanwhile; the metadata is then verified and read in a copy.
absl::StatusOr<Graph> LoadModel(const Blob& file, bool mapped, const Limits& limits) {
  TALLY_ASSIGN_OR_RETURN(const Header header, ParseHeader(file.data(), file.size(), file.size()));
  if (header.metadata.bytes > limits.metadata_bytes) {
    return MakeError(ErrorId::kLimitMetadata,
                     absl::StrCat(header.metadata.bytes, " bytes, at most ", limits.metadata_bytes),
                     {"", "metadata", static_cast<int64_t>(header.metadata.offset), ""});
  }
  const auto section = [&](const Section& s) {
    return Blob::Wrap(std::make_shared<Blob>(file), file.data() + s.offset, static_cast<size_t>(s.bytes));
  };
  Blob metadata = section(header.metadata);
  if (mapped) metadata = Blob::Copy(metadata.data(), metadata.size());
  const Blob weights = section(header.weights);
  TALLY_RETURN_IF_ERROR(VerifySection("metadata", header.metadata, metadata.data()));
  TALLY_RETURN_IF_ERROR(VerifySection("weights", header.weights, weights.data()));
  return ReadModel(metadata, weights, header.weights.offset, limits);
}

absl::StatusOr<Graph> WithFileName(absl::StatusOr<Graph> graph, const std::string& name) {
  if (!graph.ok()) return AddWhere(graph.status(), {name, "", -1, ""});
  return graph;
}

absl::StatusOr<std::vector<uint8_t>> Serialize(const Graph& graph, const Limits& limits) {
  TALLY_RETURN_IF_ERROR(ValidateGraph(graph));
  TALLY_ASSIGN_OR_RETURN(const ModelParts parts, BuildModel(graph, limits.metadata_bytes));
  Header header;
  header.metadata.offset = kHeaderBytes;
  header.metadata.bytes = parts.metadata.size();
  header.weights.offset = header.metadata.offset + header.metadata.bytes;
  header.weights.bytes = parts.weights_bytes;
  header.file_bytes = header.weights.offset + header.weights.bytes;
  if (header.file_bytes > limits.file_bytes) {
    return MakeError(ErrorId::kLimitFile, absl::StrCat(header.file_bytes, " bytes, at most ", limits.file_bytes));
  }
  std::vector<uint8_t> file(static_cast<size_t>(header.file_bytes));
  uint8_t* metadata = file.data() + header.metadata.offset;
  uint8_t* weights = file.data() + header.weights.offset;
  std::memcpy(metadata, parts.metadata.data(), parts.metadata.size());
  for (const BlobPlacement& p : parts.blobs) {
    if (!p.blob->empty()) std::memcpy(weights + p.offset, p.blob->data(), p.blob->size());
  }
  header.metadata.checksum = Checksum(metadata, header.metadata.bytes);
  header.weights.checksum = Checksum(weights, header.weights.bytes);
  StoreHeader(header, file.data());
  // The reader has the last word on what may be written. The blob borrows `file` and dies with the result here.
  TALLY_RETURN_IF_ERROR(LoadModel(Blob::Wrap(nullptr, file.data(), file.size()), /*mapped=*/false, limits).status());
  return file;
}

}  // namespace

absl::StatusOr<Graph> ReadModelFile(const std::string& path, const LoadOptions& options) {
  return Guarded(path, [&]() -> absl::StatusOr<Graph> {
    const auto load = options.use_mmap ? MapWholeFile : LoadWholeFile;
    TALLY_ASSIGN_OR_RETURN(const Blob file, load(path, options.limits.file_bytes));
    return WithFileName(LoadModel(file, options.use_mmap, options.limits), path);
  });
}

absl::StatusOr<Graph> ParseModel(const void* data, size_t size, const std::string& name, const LoadOptions& options) {
  return Guarded(name, [&]() -> absl::StatusOr<Graph> {
    if (size > options.limits.file_bytes) {
      return MakeError(ErrorId::kLimitFile, absl::StrCat(size, " bytes, at most ", options.limits.file_bytes),
                       {name, "", -1, ""});
    }
    return WithFileName(LoadModel(Blob::Copy(data, size), /*mapped=*/false, options.limits), name);
  });
}

absl::StatusOr<std::vector<uint8_t>> SerializeModel(const Graph& graph, const Limits& limits) {
  return Guarded("", [&] { return Serialize(graph, limits); });
}

absl::StatusOr<uint64_t> WriteModelFile(const Graph& graph, const std::string& path, const Limits& limits) {
  return Guarded(path, [&]() -> absl::StatusOr<uint64_t> {
    absl::StatusOr<std::vector<uint8_t>> file = Serialize(graph, limits);
    if (!file.ok()) return AddWhere(file.status(), {path, "", -1, ""});
    TALLY_RETURN_IF_ERROR(WriteFileAtomically(path, file->data(), file->size()));
    return file->size();
  });
}

absl::StatusOr<Blob> ReadWholeFile(const std::string& path, uint64_t max_bytes) {
  return Guarded(path, [&] { return LoadWholeFile(path, max_bytes); });
}

absl::StatusOr<FileLayout> ReadFileLayout(const std::string& path) {
  return Guarded(path, [&]() -> absl::StatusOr<FileLayout> {
    TALLY_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegularFile(path, UINT64_MAX));
    uint8_t bytes[kHeaderBytes] = {};
    const size_t available = static_cast<size_t>(std::min<uint64_t>(opened.bytes, kHeaderBytes));
    TALLY_RETURN_IF_ERROR(ReadFully(opened.file, 0, bytes, available, path));
    const absl::StatusOr<Header> header = ParseHeader(bytes, available, opened.bytes);
    if (!header.ok()) return AddWhere(header.status(), {path, "", -1, ""});
    FileLayout layout;
    layout.version = header->version;
    layout.required_features = header->required_features;
    layout.file_bytes = header->file_bytes;
    layout.sections = {{"header", 0, kHeaderBytes},
                       {"metadata", header->metadata.offset, header->metadata.bytes},
                       {"weights", header->weights.offset, header->weights.bytes}};
    return layout;
  });
}

}  // namespace tally
