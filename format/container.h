// The shell of a .tally file: a 128-byte header, the metadata section, the weights section. Plain values, pure
// functions. docs/format.md draws the header to the byte. Every byte of a file is covered by exactly one of three
// checksums.
#ifndef TALLY_FORMAT_CONTAINER_H_
#define TALLY_FORMAT_CONTAINER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tally {

inline constexpr size_t kHeaderBytes = 128;  // in every version
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kKnownRequiredFeatures = 0;
// Of sections in the file and of blobs in the weights section: a cache line, the widest vector.
inline constexpr uint64_t kAlignment = 64;

struct Section {
  uint64_t offset = 0;  // from the start of the file
  uint64_t bytes = 0;
  uint64_t checksum = 0;  // XXH3, 64 bits, seed 0
};

struct Header {
  uint32_t version = kFormatVersion;
  uint64_t required_features = 0;  // a reader refuses bits that it does not know
  uint64_t optional_features = 0;  // a reader ignores bits that it does not know
  uint64_t file_bytes = 0;
  Section metadata;
  Section weights;
};

// Reads the header of a file of `file_bytes` bytes whose first `available` are given (at least min(128, file_bytes)).
// In this order: kTooShort, kBadMagic or kByteSwapped, kChecksum of the header, kNewerVersion, kUnknownFeature,
// kBadHeader, kTruncated, kBadSection.
absl::StatusOr<Header> ParseHeader(const uint8_t* data, size_t available, uint64_t file_bytes);

// Writes kHeaderBytes bytes, the header's own checksum included.
void StoreHeader(const Header& header, uint8_t* out);

uint64_t Checksum(const uint8_t* data, uint64_t bytes);

// kChecksum unless `data`, the bytes of `section`, have its checksum.
absl::Status VerifySection(const char* name, const Section& section, const uint8_t* data);

}  // namespace tally

#endif  // TALLY_FORMAT_CONTAINER_H_
