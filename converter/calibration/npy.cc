#include "converter/calibration/npy.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "converter/calibration/dataset.h"
#include "format/checked.h"
#include "format/error.h"
#include "format/file_io.h"
#include "format/limits.h"
#include "format/model_file.h"

namespace tally {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kMagicBytes = 6;
// numpy itself refuses headers above 10,000 bytes unless told otherwise.
constexpr uint32_t kMaxHeaderBytes = 65536;

absl::Status BadFile(const std::string& path, const std::string& detail) {
  return MakeError(ErrorId::kBadDataFile, detail, {path, "", -1, ""});
}

// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : text_(text) {}

  bool Parse(std::string* descr, bool* fortran_order, Shape* shape) {
    int seen = 0;
    if (!Take('{')) return false;
    while (!Take('}')) {
      std::string key;
      if (!String(&key) || !Take(':')) return false;
      if (key == "descr" && String(descr)) {
        seen |= 1;
      } else if (key == "fortran_order" && Bool(fortran_order)) {
        seen |= 2;
      } else if (key == "shape" && Tuple(shape)) {
        seen |= 4;
      } else {
        return false;
      }
      if (!Take(',') && !Peek('}')) return false;
    }
    Spaces();
    return seen == 7 && text_.empty();
  }

 private:
  void Spaces() { text_ = absl::StripLeadingAsciiWhitespace(text_); }
  bool Peek(char c) {
    Spaces();
    return !text_.empty() && text_[0] == c;
  }
  bool Take(char c) {
    if (!Peek(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool String(std::string* out) {
    if (!Peek('\'') && !Peek('"')) return false;
    const char quote = text_[0];
    const size_t end = text_.find(quote, 1);
    if (end == absl::string_view::npos) return false;
    *out = std::string(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return true;
  }
  bool Bool(bool* out) {
    Spaces();
    *out = absl::ConsumePrefix(&text_, "True");
    return *out || absl::ConsumePrefix(&text_, "False");
  }
  bool Tuple(Shape* out) {
    out->clear();
    if (!Take('(')) return false;
    while (!Take(')')) {
      Spaces();
      size_t digits = 0;
      while (digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9') ++digits;
      int64_t extent = 0;
      if (!absl::SimpleAtoi(text_.substr(0, digits), &extent)) return false;
      out->push_back(extent);
      text_.remove_prefix(digits);
      absl::ConsumePrefix(&text_, "L");  // written by Python 2
      if (!Take(',') && !Peek(')')) return false;
    }
    return true;
  }

  absl::string_view text_;
};

// IEEE half to double, exactly.
double HalfToDouble(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  double magnitude;
  if (exponent == 31) {
    magnitude = fraction == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(fraction, -24);
  } else {
    magnitude = std::ldexp(fraction + 1024, exponent - 25);
  }
  return half & 0x8000 ? -magnitude : magnitude;
}

template <typename T>
T LoadAs(const uint8_t* p, bool swapped) {
  uint8_t bytes[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) bytes[i] = p[swapped ? sizeof(T) - 1 - i : i];
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

struct Half {
  uint16_t bits;
};

// Calls fn(i, value) for each element in its own type; halves arrive as double.
template <typename T, typename Fn>
bool ForEach(bool swapped, const uint8_t* data, int64_t count, const Fn& fn) {
  for (int64_t i = 0; i < count; ++i) {
    const T raw = LoadAs<T>(data + static_cast<size_t>(i) * sizeof(T), swapped);
    if constexpr (std::is_same_v<T, Half>) {
      if (!fn(i, HalfToDouble(raw.bits))) return false;
    } else {
      if (!fn(i, raw)) return false;
    }
  }
  return true;
}

template <typename Fn>
bool Visit(const NpyType& type, const uint8_t* data, int64_t count, const Fn& fn) {
  const bool s = type.swapped;
  if (type.kind == 'f') {
    if (type.bytes == 2) return ForEach<Half>(s, data, count, fn);
    return type.bytes == 4 ? ForEach<float>(s, data, count, fn) : ForEach<double>(s, data, count, fn);
  }
  if (type.kind == 'i') {
    switch (type.bytes) {
      case 1: return ForEach<int8_t>(s, data, count, fn);
      case 2: return ForEach<int16_t>(s, data, count, fn);
      case 4: return ForEach<int32_t>(s, data, count, fn);
      default: return ForEach<int64_t>(s, data, count, fn);
    }
  }
  switch (type.bytes) {
    case 1: return ForEach<uint8_t>(s, data, count, fn);
    case 2: return ForEach<uint16_t>(s, data, count, fn);
    case 4: return ForEach<uint32_t>(s, data, count, fn);
    default: return ForEach<uint64_t>(s, data, count, fn);
  }
}

// Whether `value` is exactly representable in the integer type To.
template <typename To, typename From>
bool FitsInteger(From value) {
  if constexpr (std::is_floating_point_v<From>) {
    // Both bounds are exact in From or one beyond: -2^63 <= v < 2^63 for int64.
    return value == std::trunc(value) && value >= static_cast<From>(std::numeric_limits<To>::min()) &&
           value < static_cast<From>(std::numeric_limits<To>::max()) + From{1};
  } else if constexpr (std::is_unsigned_v<From>) {
    return value <= static_cast<uint64_t>(std::numeric_limits<To>::max());
  } else if constexpr (std::is_unsigned_v<To>) {
    return value >= 0 && static_cast<uint64_t>(value) <= std::numeric_limits<To>::max();
  } else {
    return value >= std::numeric_limits<To>::min() && value <= std::numeric_limits<To>::max();
  }
}

template <typename To, typename From>
bool ConvertOne(From value, DType dtype, To* out) {
  if constexpr (std::is_same_v<To, float>) {
    *out = static_cast<float>(value);
    return !std::isinf(*out) || !std::isfinite(static_cast<double>(value));
  } else {
    if (!FitsInteger<To>(value)) return false;
    *out = static_cast<To>(value);
    return dtype != DType::kBool || *out <= 1;
  }
}

template <typename To>
absl::Status ConvertAll(const NpyType& type, const uint8_t* data, int64_t count, DType dtype, const std::string& path,
                        int64_t first_index, uint8_t* out) {
  absl::Status status;
  Visit(type, data, count, [&](int64_t i, auto value) {
    To converted;
    if (!ConvertOne<To>(value, dtype, &converted)) {
      status = BadFile(path, absl::StrCat("element ", first_index + i, ": expected a value of ", DTypeName(dtype),
                                          ", found ", +value));
      return false;
    }
    std::memcpy(out + static_cast<size_t>(i) * sizeof(To), &converted, sizeof(To));
    return true;
  });
  return status;
}

const char* DescrOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "<f4";
    case DType::kInt64: return "<i8";
    case DType::kInt32: return "<i4";
    case DType::kUint8: return "|u1";
    case DType::kInt8: return "|i1";
    case DType::kBool: return "|b1";
  }
  return "";
}

}  // namespace

absl::StatusOr<NpyType> ParseNpyType(const std::string& descr, const std::string& path) {
  NpyType type;
  bool valid =
      descr.size() == 3 && std::strchr("<>|=", descr[0]) != nullptr && std::strchr("fiub", descr[1]) != nullptr;
  if (valid) {
    type.kind = descr[1];
    type.bytes = descr[2] - '0';
    type.swapped = descr[0] == '>' && type.bytes > 1;
    const char* sizes = type.kind == 'f' ? "248" : type.kind == 'b' ? "1" : "1248";
    valid = std::strchr(sizes, descr[2]) != nullptr;
  }
  if (!valid) {
    return BadFile(path,
                   absl::StrCat("expected an element type b1, i1..i8, u1..u8, f2, f4 or f8, found ", Quoted(descr)));
  }
  return type;
}

absl::StatusOr<NpyFile> NpyFile::Open(const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(OpenedFile opened, OpenRegularFile(path, std::numeric_limits<uint64_t>::max()));
  NpyFile file(std::move(opened.file));
  file.path_ = path;
  TALLY_RETURN_IF_ERROR(file.ReadHeader(opened.bytes));
  return file;
}

absl::Status NpyFile::ReadHeader(uint64_t file_bytes) {
  uint8_t prefix[12] = {};
  if (file_bytes < 10) return BadFile(path_, absl::StrCat("expected an .npy file, found ", file_bytes, " bytes"));
  TALLY_RETURN_IF_ERROR(ReadFully(file_, 0, prefix, file_bytes < 12 ? 10 : 12, path_));
  if (std::memcmp(prefix, kMagic, kMagicBytes) != 0) {
    return BadFile(path_, "expected an .npy file, found another magic number");
  }
  const int version = prefix[6];
  if (version < 1 || version > 3) {
    return BadFile(path_, absl::StrCat("expected .npy version 1..3, found ", version));
  }
  const uint32_t header_at = version == 1 ? 10 : 12;
  uint32_t header_bytes = prefix[8] | prefix[9] << 8;
  if (version > 1) header_bytes |= static_cast<uint32_t>(prefix[10]) << 16 | static_cast<uint32_t>(prefix[11]) << 24;
  if (header_bytes > kMaxHeaderBytes || !RangeFits(header_at, header_bytes, file_bytes)) {
    return BadFile(path_, absl::StrCat("header of ", header_bytes, " bytes: expected at most ", kMaxHeaderBytes,
                                       " and within the file's ", file_bytes));
  }
  std::string header(header_bytes, '\0');
  TALLY_RETURN_IF_ERROR(ReadFully(file_, header_at, reinterpret_cast<uint8_t*>(header.data()), header_bytes, path_));
  bool fortran_order = false;
  if (!HeaderParser(header).Parse(&descr_, &fortran_order, &shape_)) {
    return BadFile(path_, "expected a header with descr (a simple type), fortran_order and shape, found another form");
  }
  TALLY_ASSIGN_OR_RETURN(type_, ParseNpyType(descr_, path_));
  if (fortran_order && shape_.size() > 1) return BadFile(path_, "expected C order, found Fortran order");
  if (shape_.size() > kMaxRank) {
    return BadFile(path_, absl::StrCat("expected at most ", kMaxRank, " dimensions, found ", shape_.size()));
  }
  int64_t bytes = 0;
  if (!CheckedElements(shape_, &elements_) || !CheckedMul(elements_, static_cast<int64_t>(type_.bytes), &bytes)) {
    return BadFile(path_, absl::StrCat("shape ", ShapeString(shape_), " has more elements than 64 bits count"));
  }
  data_offset_ = header_at + header_bytes;
  if (static_cast<uint64_t>(bytes) != file_bytes - data_offset_) {
    return BadFile(path_, absl::StrCat("shape ", ShapeString(shape_), " of ", descr_, ": expected ", bytes,
                                       " bytes of data, found ", file_bytes - data_offset_));
  }
  return absl::OkStatus();
}

absl::Status NpyFile::Read(int64_t first, int64_t count, uint8_t* out) const {
  const uint64_t size = static_cast<uint64_t>(type_.bytes);
  return ReadFully(file_, data_offset_ + static_cast<uint64_t>(first) * size, out, static_cast<uint64_t>(count) * size,
                   path_);
}

void NpyToDoubles(const NpyType& type, const uint8_t* data, int64_t count, double* out) {
  Visit(type, data, count, [&](int64_t i, auto value) {
    out[i] = static_cast<double>(value);
    return true;
  });
}

absl::Status ConvertNpyElements(const NpyType& type, const uint8_t* data, int64_t count, DType dtype,
                                const std::string& path, int64_t first_index, uint8_t* out) {
  switch (dtype) {
    case DType::kFloat32: return ConvertAll<float>(type, data, count, dtype, path, first_index, out);
    case DType::kInt64: return ConvertAll<int64_t>(type, data, count, dtype, path, first_index, out);
    case DType::kInt32: return ConvertAll<int32_t>(type, data, count, dtype, path, first_index, out);
    case DType::kInt8: return ConvertAll<int8_t>(type, data, count, dtype, path, first_index, out);
    case DType::kUint8:
    case DType::kBool: return ConvertAll<uint8_t>(type, data, count, dtype, path, first_index, out);
  }
  return MakeError(ErrorId::kInternal, "unknown element type");
}

absl::StatusOr<NpyArray> ReadNpy(const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(NpyFile file, NpyFile::Open(path));
  const uint64_t bytes = static_cast<uint64_t>(file.elements()) * static_cast<uint64_t>(file.type().bytes);
  if (bytes > Limits().tensor_bytes) {
    return MakeError(ErrorId::kLimitTensor,
                     absl::StrCat("expected at most ", Limits().tensor_bytes, " bytes, found ", bytes),
                     {path, "", -1, ""});
  }
  try {
    NpyArray array;
    array.descr = file.descr();
    array.shape = file.shape();
    array.data.resize(bytes);
    TALLY_RETURN_IF_ERROR(file.Read(0, file.elements(), array.data.data()));
    return array;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, absl::StrCat("no memory for ", bytes, " bytes"), {path, "", -1, ""});
  }
}

absl::StatusOr<std::vector<uint8_t>> ConvertNpy(const NpyArray& array, DType dtype, const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(const NpyType type, ParseNpyType(array.descr, path));
  const int64_t count = static_cast<int64_t>(array.data.size()) / type.bytes;
  try {
    std::vector<uint8_t> out(static_cast<size_t>(count) * DTypeSize(dtype));
    TALLY_RETURN_IF_ERROR(ConvertNpyElements(type, array.data.data(), count, dtype, path, 0, out.data()));
    return out;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "no memory for the converted array", {path, "", -1, ""});
  }
}

absl::Status WriteNpy(const std::string& path, const TensorView& view) {
  std::string header = absl::StrCat("{'descr': '", DescrOf(view.dtype), "', 'fortran_order': False, 'shape': (");
  for (int64_t d : view.shape) absl::StrAppend(&header, d, ",", view.shape.size() > 1 ? " " : "");
  absl::StrAppend(&header, "), }");
  // numpy aligns the data to 64 bytes; magic, version and length take 10, the line feed 1.
  header.append((64 - (10 + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  const TensorType type{view.dtype, view.shape};
  std::string bytes(kMagic, kMagicBytes);
  bytes += {'\x01', '\x00', static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  bytes += header;
  if (type.bytes() > 0) bytes.append(static_cast<const char*>(view.data), type.bytes());
  return WriteFileAtomically(path, bytes.data(), bytes.size());
}

}  // namespace tally
