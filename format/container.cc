#include "format/container.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/error.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files and packed codes are read in place as little-endian");

namespace tally {
namespace {

// Like PNG's: a byte with its high bit set (7-bit transfers), CR LF and LF (text-mode transfers), Ctrl-Z between.
constexpr uint8_t kMagic[8] = {0x89, 'T', 'L', 'Y', '\r', '\n', 0x1A, '\n'};
constexpr uint32_t kByteOrderMark = 0x0A0B0C0D;

constexpr size_t kMarkAt = 8;
constexpr size_t kVersionAt = 12;
constexpr size_t kChecksumAt = 16;
constexpr size_t kHeaderBytesAt = 24;
constexpr size_t kReservedAt = 28;
constexpr size_t kRequiredAt = 32;
constexpr size_t kOptionalAt = 40;
constexpr size_t kFileBytesAt = 48;
constexpr size_t kReserved2At = 56;
constexpr size_t kMetadataAt = 64;
constexpr size_t kWeightsAt = 96;
constexpr size_t kSectionReservedAt = 24;  // within an entry of the section table

// Shorter files cannot even be told from other kinds of file.
constexpr size_t kShortestNamed = 16;

template <typename T>
T Load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

template <typename T>
void Store(T value, uint8_t* p) {
  std::memcpy(p, &value, sizeof(T));
}

absl::Status Bad(ErrorId id, size_t offset, const std::string& detail) {
  return MakeError(id, detail, {"", "header", static_cast<int64_t>(offset), ""});
}

// Whether `data` is the magic with the bytes of each group of 2, 4 or 8 reversed.
bool IsSwappedMagic(const uint8_t* data) {
  for (size_t group : {2, 4, 8}) {
    uint8_t swapped[8];
    std::memcpy(swapped, data, 8);
    for (size_t i = 0; i < 8; i += group) std::reverse(swapped + i, swapped + i + group);
    if (std::memcmp(swapped, kMagic, 8) == 0) return true;
  }
  return false;
}

absl::Status VerifyMagic(const uint8_t* data) {
  if (std::memcmp(data, kMagic, 8) == 0) return absl::OkStatus();
  if (IsSwappedMagic(data)) return Bad(ErrorId::kByteSwapped, 0, "the bytes of the magic are in reverse order");
  const bool damaged = (data[0] & 0x7F) == (kMagic[0] & 0x7F) && std::memcmp(data + 1, kMagic + 1, 3) == 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), 8);
  return Bad(ErrorId::kBadMagic, 0,
             absl::StrCat("bytes ", absl::BytesToHexString(bytes), ", expected 89544c590d0a1a0a",
                          damaged ? "; a text-mode transfer changed the file" : ""));
}

uint64_t HeaderChecksum(const uint8_t* data) {
  uint8_t copy[kHeaderBytes];
  std::memcpy(copy, data, kHeaderBytes);
  Store<uint64_t>(0, copy + kChecksumAt);
  return Checksum(copy, kHeaderBytes);
}

std::string Mismatch(uint64_t actual, uint64_t expected) {
  return absl::StrCat("checksum ", absl::Hex(actual, absl::kZeroPad16), ", expected ",
                      absl::Hex(expected, absl::kZeroPad16));
}

Section LoadSection(const uint8_t* p) { return {Load<uint64_t>(p), Load<uint64_t>(p + 8), Load<uint64_t>(p + 16)}; }

void StoreSection(const Section& section, uint8_t* p) {
  Store(section.offset, p);
  Store(section.bytes, p + 8);
  Store(section.checksum, p + 16);
}

absl::Status VerifyFixedFields(const uint8_t* data) {
  const struct {
    const char* name;
    size_t at;
    uint64_t actual;
    uint64_t expected;
  } fields[] = {
      {"byte order mark", kMarkAt, Load<uint32_t>(data + kMarkAt), kByteOrderMark},
      {"version", kVersionAt, Load<uint32_t>(data + kVersionAt), kFormatVersion},
      {"header length", kHeaderBytesAt, Load<uint32_t>(data + kHeaderBytesAt), kHeaderBytes},
      {"reserved field", kReservedAt, Load<uint32_t>(data + kReservedAt), 0},
      {"reserved field", kReserved2At, Load<uint64_t>(data + kReserved2At), 0},
      {"reserved field", kMetadataAt + kSectionReservedAt, Load<uint64_t>(data + kMetadataAt + kSectionReservedAt), 0},
      {"reserved field", kWeightsAt + kSectionReservedAt, Load<uint64_t>(data + kWeightsAt + kSectionReservedAt), 0},
  };
  for (const auto& f : fields) {
    if (f.actual != f.expected) {
      return Bad(ErrorId::kBadHeader, f.at, absl::StrCat(f.name, " is ", f.actual, ", expected ", f.expected));
    }
  }
  return absl::OkStatus();
}

// Version 1 leaves no choice: the sections follow the header and each other and fill the file.
absl::Status VerifySections(const Header& h) {
  if (h.metadata.offset != kHeaderBytes) {
    return Bad(ErrorId::kBadSection, kMetadataAt,
               absl::StrCat("metadata begins at ", h.metadata.offset, ", expected ", kHeaderBytes));
  }
  if (h.metadata.bytes == 0 || h.metadata.bytes % kAlignment != 0 ||
      !RangeFits(h.metadata.offset, h.metadata.bytes, h.file_bytes)) {
    return Bad(ErrorId::kBadSection, kMetadataAt + 8,
               absl::StrCat("metadata of ", h.metadata.bytes, " bytes in a file of ", h.file_bytes,
                            ", expected a positive multiple of ", kAlignment));
  }
  const uint64_t end = h.metadata.offset + h.metadata.bytes;
  if (h.weights.offset != end) {
    return Bad(ErrorId::kBadSection, kWeightsAt,
               absl::StrCat("weights begin at ", h.weights.offset, ", expected ", end));
  }
  if (h.weights.bytes != h.file_bytes - end) {
    return Bad(ErrorId::kBadSection, kWeightsAt + 8,
               absl::StrCat("weights of ", h.weights.bytes, " bytes, expected ", h.file_bytes - end));
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t Checksum(const uint8_t* data, uint64_t bytes) { return XXH3_64bits(data, static_cast<size_t>(bytes)); }

absl::StatusOr<Header> ParseHeader(const uint8_t* data, size_t available, uint64_t file_bytes) {
  const auto too_short = [&] {
    return MakeError(ErrorId::kTooShort,
                     absl::StrCat("the file has ", file_bytes, " bytes, expected at least ", kHeaderBytes));
  };
  if (available < kShortestNamed) return too_short();
  TALLY_RETURN_IF_ERROR(VerifyMagic(data));
  if (Load<uint32_t>(data + kMarkAt) == __builtin_bswap32(kByteOrderMark)) {
    return Bad(ErrorId::kByteSwapped, kMarkAt, "the byte order mark is reversed");
  }
  if (available < kHeaderBytes) return too_short();
  const uint64_t actual = HeaderChecksum(data);
  const uint64_t expected = Load<uint64_t>(data + kChecksumAt);
  if (actual != expected) return Bad(ErrorId::kChecksum, kChecksumAt, Mismatch(actual, expected));
  Header h;
  h.version = Load<uint32_t>(data + kVersionAt);
  if (h.version > kFormatVersion) {
    return Bad(ErrorId::kNewerVersion, kVersionAt,
               absl::StrCat("version ", h.version, ", this Tally reads up to ", kFormatVersion));
  }
  h.required_features = Load<uint64_t>(data + kRequiredAt);
  if ((h.required_features & ~kKnownRequiredFeatures) != 0) {
    return Bad(ErrorId::kUnknownFeature, kRequiredAt,
               absl::StrCat("required features 0x", absl::Hex(h.required_features), ", known are 0x",
                            absl::Hex(kKnownRequiredFeatures)));
  }
  h.optional_features = Load<uint64_t>(data + kOptionalAt);
  h.file_bytes = Load<uint64_t>(data + kFileBytesAt);
  h.metadata = LoadSection(data + kMetadataAt);
  h.weights = LoadSection(data + kWeightsAt);
  TALLY_RETURN_IF_ERROR(VerifyFixedFields(data));
  if (h.file_bytes != file_bytes) {
    return Bad(ErrorId::kTruncated, kFileBytesAt,
               absl::StrCat("the file has ", file_bytes, " bytes, expected ", h.file_bytes));
  }
  TALLY_RETURN_IF_ERROR(VerifySections(h));
  return h;
}

void StoreHeader(const Header& header, uint8_t* out) {
  std::memset(out, 0, kHeaderBytes);
  std::memcpy(out, kMagic, sizeof(kMagic));
  Store(kByteOrderMark, out + kMarkAt);
  Store(header.version, out + kVersionAt);
  Store(static_cast<uint32_t>(kHeaderBytes), out + kHeaderBytesAt);
  Store(header.required_features, out + kRequiredAt);
  Store(header.optional_features, out + kOptionalAt);
  Store(header.file_bytes, out + kFileBytesAt);
  StoreSection(header.metadata, out + kMetadataAt);
  StoreSection(header.weights, out + kWeightsAt);
  Store(HeaderChecksum(out), out + kChecksumAt);
}

absl::Status VerifySection(const char* name, const Section& section, const uint8_t* data) {
  const uint64_t actual = Checksum(data, section.bytes);
  if (actual == section.checksum) return absl::OkStatus();
  return MakeError(ErrorId::kChecksum, Mismatch(actual, section.checksum),
                   {"", name, static_cast<int64_t>(section.offset), ""});
}

}  // namespace tally
