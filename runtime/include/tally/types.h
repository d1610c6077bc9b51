// The vocabulary of the public API: element types and non-owning tensor views.
// Plain values; every layer of the project may include this header.
#ifndef TALLY_TYPES_H_
#define TALLY_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#if defined(_WIN32)
#define TALLY_API
#else
#define TALLY_API __attribute__((visibility("default")))
#endif

namespace tally {

// Element types that a tensor may hold in memory. The values are part of the file format.
enum class DType : uint8_t {
  kFloat32 = 0,
  kInt64 = 1,
  kInt32 = 2,
  kUint8 = 3,
  kInt8 = 4,
  kBool = 5,  // one byte, 0 or 1
};
inline constexpr int kNumDTypes = 6;

// Bytes of one element.
TALLY_API size_t DTypeSize(DType dtype);
// "float32", "int64", ...
TALLY_API const char* DTypeName(DType dtype);

// Extents, outermost first. In a graph (never in a view) a negative extent -(k+1) stands for symbol k.
using Shape = std::vector<int64_t>;

// "1x3x32x32"; a scalar is "scalar", a symbol is "?".
TALLY_API std::string ShapeString(const Shape& shape);

// A dense, row-major tensor that somebody else owns.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  Shape shape;

  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

struct MutableTensorView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Shape shape;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// A tensor's element type and extents.
struct TensorType {
  DType dtype = DType::kFloat32;
  Shape shape;

  // Number of elements. REQUIRES: no symbols, and a product that fits (checked when the type was made).
  int64_t elements() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(elements()) * DTypeSize(dtype); }
  bool operator==(const TensorType& other) const { return dtype == other.dtype && shape == other.shape; }
};

}  // namespace tally

#endif  // TALLY_TYPES_H_
