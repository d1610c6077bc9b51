// Takes .tally files apart and puts them together again, valid checksums included, so that tests reach what lies behind
// the checksums. Field numbers are written out here, independent of the generated header: they are frozen. Header-only.
#ifndef TALLY_TESTS_FORMAT_FILE_SURGERY_H_
#define TALLY_TESTS_FORMAT_FILE_SURGERY_H_

#include <flatbuffers/flatbuffers.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "format/container.h"
#include "format/model_file.h"

namespace tally::testing {

using Bytes = std::vector<uint8_t>;

inline Bytes Serialized(const Graph& graph) {
  absl::StatusOr<Bytes> file = SerializeModel(graph);
  if (!file.ok()) throw std::invalid_argument(std::string(file.status().message()));
  return *std::move(file);
}

inline absl::StatusOr<Graph> Parse(const Bytes& file, const Limits& limits = {}) {
  LoadOptions options;
  options.limits = limits;
  return ParseModel(file.data(), file.size(), "test.tally", options);
}

template <typename T>
T Peek(const Bytes& file, size_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof(T));
  return value;
}
template <typename T>
void Poke(Bytes* file, size_t offset, T value) {
  std::memcpy(file->data() + offset, &value, sizeof(T));
}

// Writes all three checksums anew; sections that do not lie in the file keep theirs.
inline void Reseal(Bytes* file) {
  for (size_t entry : {64, 96}) {
    const uint64_t offset = Peek<uint64_t>(*file, entry);
    const uint64_t bytes = Peek<uint64_t>(*file, entry + 8);
    if (bytes > file->size() || offset > file->size() - bytes) continue;
    Poke(file, entry + 16, Checksum(file->data() + offset, bytes));
  }
  Poke<uint64_t>(file, 16, 0);
  Poke(file, 16, Checksum(file->data(), kHeaderBytes));
}

// A file around any two sections.
inline Bytes Assemble(Bytes metadata, const Bytes& weights) {
  metadata.resize((metadata.size() + kAlignment - 1) / kAlignment * kAlignment);
  Header header;
  header.metadata = {kHeaderBytes, metadata.size(), 0};
  header.weights = {kHeaderBytes + metadata.size(), weights.size(), 0};
  header.file_bytes = kHeaderBytes + metadata.size() + weights.size();
  Bytes file(kHeaderBytes);
  StoreHeader(header, file.data());
  file.insert(file.end(), metadata.begin(), metadata.end());
  file.insert(file.end(), weights.begin(), weights.end());
  Reseal(&file);
  return file;
}

constexpr flatbuffers::voffset_t Field(int number) { return static_cast<flatbuffers::voffset_t>(4 + 2 * number); }

// Numbers of the fields in format/model.fbs.
struct ModelField {
  enum { kName, kTensors, kNodes, kInputs, kOutputs, kSymbols, kMetadata, kGolden };
};
struct TensorField {
  enum { kName, kDType, kShape, kData, kCodes, kInt8, kCodebook, kRange, kFit };
};
struct CodebookField {
  enum {
    kExponentBits,
    kSign,
    kGrid,
    kEncodeRule,
    kBase,
    kAlpha,
    kBeta,
    kScale,
    kInverseScale,
    kMantissas,
    kThresholds
  };
};
struct CodeFormField {
  enum { kCodebook, kChannelScales, kPacked };
};
struct Int8Field {
  enum { kScales, kValues };
};
struct NodeField {
  enum { kName, kOp, kInputs, kOutputs, kAttributes };
};
struct AttributeField {
  enum { kName, kKind, kInts, kFloats, kText };
};
struct KeyValueField {
  enum { kKey, kValue };
};
struct GoldenCaseField {
  enum { kInputs, kOutputs };
};
struct GoldenValueField {
  enum { kDType, kShape, kData };
};

// A place in the metadata that can be changed in place.
class Place {
 public:
  explicit Place(flatbuffers::Table* table) : table_(table) {}

  Place Child(int field) const { return Place(table_->GetPointer<flatbuffers::Table*>(Field(field))); }
  Place Element(int field, size_t i) const {
    auto* vector = table_->GetPointer<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::Table>>*>(Field(field));
    return Place(vector->GetMutableObject(static_cast<flatbuffers::uoffset_t>(i)));
  }
  template <typename T>
  void Set(int field, T value) const {
    std::memcpy(table_->GetAddressOf(Field(field)), &value, sizeof(T));
  }
  template <typename T>
  void SetElement(int field, size_t i, T value) const {
    std::memcpy(table_->GetPointer<flatbuffers::Vector<T>*>(Field(field))->Data() + i * sizeof(T), &value, sizeof(T));
  }
  void SetLength(int field, uint32_t length) const {
    std::memcpy(table_->GetPointer<uint8_t*>(Field(field)), &length, sizeof(length));
  }
  void SetString(int field, const std::string& text) const {
    std::memcpy(table_->GetPointer<uint8_t*>(Field(field)) + 4, text.data(), text.size());
  }
  template <typename T>
  void SetStruct(int field, T value) const {
    std::memcpy(table_->GetStruct<uint8_t*>(Field(field)), &value, sizeof(T));
  }
  // Offset and bytes of a BlobRef.
  void SetRange(int field, uint64_t offset, uint64_t bytes) const {
    uint8_t* at = table_->GetStruct<uint8_t*>(Field(field));
    std::memcpy(at, &offset, 8);
    std::memcpy(at + 8, &bytes, 8);
  }
  uint64_t RangeOffset(int field) const {
    uint64_t offset;
    std::memcpy(&offset, table_->GetStruct<uint8_t*>(Field(field)), 8);
    return offset;
  }
  uint64_t RangeBytes(int field) const {
    uint64_t bytes;
    std::memcpy(&bytes, table_->GetStruct<uint8_t*>(Field(field)) + 8, 8);
    return bytes;
  }
  // Makes an optional field absent, in this table and all that share its vtable.
  void Drop(int field) const {
    const_cast<uint8_t*>(table_->GetVTable())[Field(field)] = 0;
    const_cast<uint8_t*>(table_->GetVTable())[Field(field) + 1] = 0;
  }

 private:
  flatbuffers::Table* table_;
};

inline Place Root(Bytes* file) {
  return Place(flatbuffers::GetMutableRoot<flatbuffers::Table>(file->data() + kHeaderBytes));
}
inline Place TensorAt(Bytes* file, int i) { return Root(file).Element(ModelField::kTensors, static_cast<size_t>(i)); }
inline Place NodeAt(Bytes* file, int i) { return Root(file).Element(ModelField::kNodes, static_cast<size_t>(i)); }
inline uint8_t* WeightsOf(Bytes* file) { return file->data() + Peek<uint64_t>(*file, 96); }

}  // namespace tally::testing

#endif  // TALLY_TESTS_FORMAT_FILE_SURGERY_H_
