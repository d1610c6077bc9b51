// From an element type to the C++ type that holds it.
#ifndef TALLY_RUNTIME_OPS_ELEMENT_TYPES_H_
#define TALLY_RUNTIME_OPS_ELEMENT_TYPES_H_

#include <cstdint>

#include "tally/types.h"

namespace tally {

// Sets of element types, one bit each.
constexpr unsigned TypeBit(DType dtype) { return 1u << static_cast<unsigned>(dtype); }
inline constexpr unsigned kFloatType = TypeBit(DType::kFloat32);
inline constexpr unsigned kBoolType = TypeBit(DType::kBool);
inline constexpr unsigned kWideNumbers = kFloatType | TypeBit(DType::kInt64) | TypeBit(DType::kInt32);
inline constexpr unsigned kNumbers = kWideNumbers | TypeBit(DType::kUint8) | TypeBit(DType::kInt8);
inline constexpr unsigned kAnyType = kNumbers | kBoolType;

// Calls fn with a zero of the type: float, int64_t, int32_t, uint8_t (also for bool) or int8_t.
template <typename Fn>
auto WithType(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kInt64: return fn(int64_t{});
    case DType::kInt32: return fn(int32_t{});
    case DType::kUint8:
    case DType::kBool: return fn(uint8_t{});
    case DType::kInt8: return fn(int8_t{});
    case DType::kFloat32: break;
  }
  return fn(float{});
}

// The same for operators that take float, int64_t and int32_t alone.
template <typename Fn>
auto WithWideType(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kInt64: return fn(int64_t{});
    case DType::kInt32: return fn(int32_t{});
    default: return fn(float{});
  }
}

// An element as bytes, for operators that move it: calls fn with a zero of an unsigned type of that size.
template <typename Fn>
auto WithSize(DType dtype, const Fn& fn) {
  switch (DTypeSize(dtype)) {
    case 1: return fn(uint8_t{});
    case 4: return fn(uint32_t{});
    default: return fn(uint64_t{});
  }
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ELEMENT_TYPES_H_
