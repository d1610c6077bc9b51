#include "converter/onnx/constants.h"

#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "converter/onnx/external_data.h"
#include "format/checked.h"
#include "format/error.h"

namespace tally {
namespace {

using onnx::TensorProto;

absl::Status Bad(const std::string& detail) { return MakeError(ErrorId::kBadOnnx, detail); }

// Bytes of one element in raw_data; 0: not a type of ours, nor one that we convert.
size_t RawSize(int onnx_type) {
  switch (onnx_type) {
    case TensorProto::BOOL:
    case TensorProto::INT8:
    case TensorProto::UINT8: return 1;
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16: return 2;
    case TensorProto::FLOAT:
    case TensorProto::INT32: return 4;
    case TensorProto::DOUBLE:
    case TensorProto::INT64: return 8;
    default: return 0;
  }
}

float FloatOfBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// IEEE 754 binary16, exactly.
float FloatOfHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  const uint32_t fraction = half & 0x3FFu;
  if (exponent == 31) return FloatOfBits(sign | 0x7F800000u | (fraction << 13));
  if (exponent != 0) return FloatOfBits(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// `count` elements of the raw type at `from` (little endian, unaligned) -> elements of ours at `to`.
void ConvertRaw(int onnx_type, const char* from, size_t count, uint8_t* to) {
  float* floats = reinterpret_cast<float*>(to);
  switch (onnx_type) {
    case TensorProto::DOUBLE:
      for (size_t i = 0; i < count; ++i) {
        double value;
        std::memcpy(&value, from + i * sizeof(value), sizeof(value));
        floats[i] = static_cast<float>(value);
      }
      return;
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
      for (size_t i = 0; i < count; ++i) {
        uint16_t bits;
        std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
        floats[i] = onnx_type == TensorProto::FLOAT16 ? FloatOfHalf(bits) : FloatOfBits(uint32_t{bits} << 16);
      }
      return;
    case TensorProto::BOOL:
      for (size_t i = 0; i < count; ++i) to[i] = from[i] != 0 ? 1 : 0;
      return;
    default: std::memcpy(to, from, count * RawSize(onnx_type));
  }
}

absl::Status CountMismatch(const char* field, size_t expected, uint64_t actual) {
  return Bad(std::string("expected ") + std::to_string(expected) + " elements in " + field + ", found " +
             std::to_string(actual));
}

// Elements in one of the typed fields.
template <typename Field, typename T>
absl::Status CopyField(const char* name, const Field& field, size_t count, T* to) {
  if (static_cast<size_t>(field.size()) != count) {
    return CountMismatch(name, count, static_cast<uint64_t>(field.size()));
  }
  for (size_t i = 0; i < count; ++i) to[i] = static_cast<T>(field.Get(static_cast<int>(i)));
  return absl::OkStatus();
}

// int32_data holds all narrow types; a value outside of the type's range is an error.
template <typename T>
absl::Status CopyNarrow(const TensorProto& proto, size_t count, int32_t low, int32_t high, T* to) {
  for (int32_t value : proto.int32_data()) {
    if (value < low || value > high) {
      return Bad("int32_data holds " + std::to_string(value) + ", expected " + std::to_string(low) + " to " +
                 std::to_string(high));
    }
  }
  return CopyField("int32_data", proto.int32_data(), count, to);
}

absl::Status CopyTyped(const TensorProto& proto, size_t count, uint8_t* to) {
  float* floats = reinterpret_cast<float*>(to);
  switch (proto.data_type()) {
    case TensorProto::FLOAT: return CopyField("float_data", proto.float_data(), count, floats);
    case TensorProto::DOUBLE: return CopyField("double_data", proto.double_data(), count, floats);
    case TensorProto::INT64: return CopyField("int64_data", proto.int64_data(), count, reinterpret_cast<int64_t*>(to));
    case TensorProto::INT32: return CopyField("int32_data", proto.int32_data(), count, reinterpret_cast<int32_t*>(to));
    case TensorProto::INT8: return CopyNarrow(proto, count, -128, 127, reinterpret_cast<int8_t*>(to));
    case TensorProto::UINT8: return CopyNarrow(proto, count, 0, 255, to);
    case TensorProto::BOOL: return CopyNarrow(proto, count, 0, 1, to);
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16: {
      std::vector<uint16_t> bits(count);
      TALLY_RETURN_IF_ERROR(CopyNarrow(proto, count, 0, 65535, bits.data()));
      ConvertRaw(proto.data_type(), reinterpret_cast<const char*>(bits.data()), count, to);
      return absl::OkStatus();
    }
    default: return Bad("element type has no typed field");
  }
}

absl::Status ParseNumber(const std::string& key, const std::string& text, uint64_t* value) {
  if (!text.empty() && text[0] >= '0' && text[0] <= '9' && absl::SimpleAtoi(text, value)) return absl::OkStatus();
  return MakeError(ErrorId::kBadExternalData, key + ": expected a number of bytes, found " + Quoted(text));
}

absl::StatusOr<Blob> ReadExternal(const TensorProto& proto, const std::string& folder, uint64_t bytes,
                                  std::set<std::string>* files) {
  ExternalRange range;
  uint64_t length = bytes;
  for (const onnx::StringStringEntryProto& entry : proto.external_data()) {
    if (entry.key() == "location") range.location = entry.value();
    if (entry.key() == "offset") TALLY_RETURN_IF_ERROR(ParseNumber("offset", entry.value(), &range.offset));
    if (entry.key() == "length") TALLY_RETURN_IF_ERROR(ParseNumber("length", entry.value(), &length));
  }
  if (length != bytes) {
    return MakeError(ErrorId::kBadExternalData, "length: expected " + std::to_string(bytes) +
                                                    " bytes from type and shape, found " + std::to_string(length));
  }
  files->insert(range.location);
  return ReadExternalData(folder, range, bytes);
}

}  // namespace

bool DTypeOfOnnx(int onnx_type, DType* dtype) {
  switch (onnx_type) {
    case TensorProto::FLOAT:
    case TensorProto::DOUBLE:
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16: *dtype = DType::kFloat32; return true;
    case TensorProto::INT64: *dtype = DType::kInt64; return true;
    case TensorProto::INT32: *dtype = DType::kInt32; return true;
    case TensorProto::UINT8: *dtype = DType::kUint8; return true;
    case TensorProto::INT8: *dtype = DType::kInt8; return true;
    case TensorProto::BOOL: *dtype = DType::kBool; return true;
    default: return false;
  }
}

std::string OnnxTypeName(int onnx_type) {
  return onnx::TensorProto_DataType_IsValid(onnx_type)
             ? onnx::TensorProto_DataType_Name(static_cast<onnx::TensorProto_DataType>(onnx_type))
             : std::to_string(onnx_type);
}

absl::StatusOr<Tensor> ConstantReader::Read(const TensorProto& proto, std::string* unsupported) {
  Tensor tensor;
  if (proto.dims_size() > kMaxRank) {
    return MakeError(ErrorId::kLimitCount, "rank: expected at most " + std::to_string(kMaxRank) + ", found " +
                                               std::to_string(proto.dims_size()));
  }
  tensor.shape.assign(proto.dims().begin(), proto.dims().end());
  int64_t elements = 0;
  if (!CheckedElements(tensor.shape, &elements)) {
    return MakeError(ErrorId::kBadShape, "extents are negative or too large: " + ShapeString(tensor.shape));
  }
  const size_t raw_size = RawSize(proto.data_type());
  if (raw_size == 0 || proto.has_segment()) {
    *unsupported = proto.has_segment() ? "a constant in segments"
                                       : "a constant of element type " + OnnxTypeName(proto.data_type());
    return tensor;
  }
  const bool known_type = DTypeOfOnnx(proto.data_type(), &tensor.dtype);
  static_cast<void>(known_type);  // it has a raw size

  const size_t count = static_cast<size_t>(elements);
  const size_t element_size = std::max(raw_size, DTypeSize(tensor.dtype));
  if (count > limits_.tensor_bytes / element_size) {
    return MakeError(ErrorId::kLimitTensor, "expected at most " + std::to_string(limits_.tensor_bytes) +
                                                " bytes, found " + std::to_string(count) + " elements of " +
                                                std::to_string(element_size));
  }
  // What is in the file is bounded by its size; external data that many tensors share is not.
  total_bytes_ += count * element_size;
  if (total_bytes_ > limits_.file_bytes) {
    return MakeError(ErrorId::kLimitTensor,
                     "all constants together exceed " + std::to_string(limits_.file_bytes) + " bytes");
  }

  // Sizes are compared before anything is allocated: a small file must not claim a large tensor.
  const bool external = proto.data_location() == TensorProto::EXTERNAL;
  Blob raw;
  if (external) {
    TALLY_ASSIGN_OR_RETURN(raw, ReadExternal(proto, folder_, count * raw_size, &external_files_));
  } else if (proto.has_raw_data()) {
    if (proto.raw_data().size() != count * raw_size) {
      return Bad("raw_data: expected " + std::to_string(count * raw_size) + " bytes for " + ShapeString(tensor.shape) +
                 " of " + OnnxTypeName(proto.data_type()) + ", found " + std::to_string(proto.raw_data().size()));
    }
  } else {
    const uint64_t held =
        static_cast<uint64_t>(proto.float_data_size()) + static_cast<uint64_t>(proto.int32_data_size()) +
        static_cast<uint64_t>(proto.int64_data_size()) + static_cast<uint64_t>(proto.double_data_size());
    if (held != count) return CountMismatch("the typed fields", count, held);
  }
  uint8_t* to = nullptr;
  tensor.data = Blob::Allocate(count * DTypeSize(tensor.dtype), &to);
  tensor.has_data = true;
  if (external) {
    ConvertRaw(proto.data_type(), reinterpret_cast<const char*>(raw.data()), count, to);
  } else if (proto.has_raw_data()) {
    ConvertRaw(proto.data_type(), proto.raw_data().data(), count, to);
  } else {
    TALLY_RETURN_IF_ERROR(CopyTyped(proto, count, to));
  }
  return tensor;
}

}  // namespace tally
