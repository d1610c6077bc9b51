#include "format/validate_forms.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/bit_packing.h"
#include "format/checked.h"
#include "format/code_check.h"
#include "format/error.h"
#include "format/limits.h"

namespace tally {
namespace {

absl::Status BadForm(const std::string& detail) { return MakeError(ErrorId::kBadForm, detail); }

// Index of the first byte above 1, or `size`.
size_t FindNonBool(const uint8_t* data, size_t size) {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    uint64_t word;
    std::memcpy(&word, data + i, 8);
    if ((word & 0xFEFEFEFEFEFEFEFEu) != 0) break;
  }
  while (i < size && data[i] <= 1) ++i;
  return i;
}

// One factor per extent of dimension 0, or, when allowed, one or none for all.
absl::Status ValidateScales(const char* what, const std::vector<float>& scales, const Shape& shape, size_t shared) {
  const bool per_channel = !shape.empty() && scales.size() == static_cast<size_t>(shape[0]);
  if (scales.size() != shared && !per_channel) {
    return BadForm(absl::StrCat(scales.size(), " ", what, "s, expected ", shared,
                                shape.empty() ? "" : absl::StrCat(" or ", shape[0])));
  }
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i]) || scales[i] <= 0) {
      return BadForm(absl::StrCat(what, " ", i, " is ", scales[i], ", expected finite and > 0"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateCodes(const CodeForm& form, const Shape& shape, uint64_t elements) {
  TALLY_RETURN_IF_ERROR(form.codebook.Validate());
  TALLY_RETURN_IF_ERROR(ValidateScales("channel scale", form.channel_scales, shape, 0));
  if (!form.bias.empty() && (shape.empty() || form.bias.size() != static_cast<size_t>(shape[0]))) {
    return BadForm(absl::StrCat(form.bias.size(), " biases, expected none or one per extent of dimension 0"));
  }
  for (size_t i = 0; i < form.bias.size(); ++i) {
    if (!std::isfinite(form.bias[i]))
      return BadForm(absl::StrCat("bias ", i, " is ", form.bias[i], ", expected finite"));
  }
  const int bits = form.codebook.stored_bits();
  // No plain size of 4 bytes per element wrapped (ValidateShape), so this product does not either.
  const uint64_t expected = PackedBytes(elements, bits);
  if (form.packed.size() != expected) {
    return BadForm(absl::StrCat("codes take ", form.packed.size(), " bytes, expected ", expected, " for ", elements,
                                " codes of ", bits, " bits"));
  }
  if (!PadBitsAreZero(form.packed.data(), elements, bits)) {
    return MakeError(ErrorId::kBadCode, "the unused bits of the last byte are not zero");
  }
  if (form.codebook.is_signed) {
    const int64_t bad = FindNegativeZero(form.packed.data(), elements, bits);
    if (bad >= 0) {
      return MakeError(ErrorId::kBadCode,
                       absl::StrCat("code ", bad, " is ", int{form.codebook.sign_bit()}, ", a zero with its sign set"));
    }
  }
  return absl::OkStatus();
}

bool IsRatio(float x) { return std::isfinite(x) && x >= 0; }

}  // namespace

absl::Status ValidateShape(const Shape& shape, bool symbols_allowed, size_t symbol_count) {
  if (shape.size() > static_cast<size_t>(kMaxRank)) {
    return MakeError(ErrorId::kLimitCount, absl::StrCat("rank ", shape.size(), ", at most ", kMaxRank));
  }
  Shape concrete = shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] > kMaxExtent) {
      return MakeError(ErrorId::kLimitCount, absl::StrCat("extent ", i, " is ", shape[i], ", at most ", kMaxExtent));
    }
    if (shape[i] >= 0) continue;
    if (!symbols_allowed) {
      return MakeError(ErrorId::kBadShape, absl::StrCat("extent ", i, " is ", shape[i], ", expected >= 0"));
    }
    if (static_cast<uint64_t>(-(shape[i] + 1)) >= symbol_count) {
      return MakeError(ErrorId::kBadIndex,
                       absl::StrCat("extent ", i, " is symbol ", -(shape[i] + 1), " of ", symbol_count));
    }
    concrete[i] = 1;
  }
  int64_t elements = 0;
  int64_t bytes = 0;
  // 8: the largest element. An extent of zero does not excuse the others.
  if (!CheckedElements(concrete, &elements) || !CheckedMul(elements, int64_t{8}, &bytes)) {
    return MakeError(ErrorId::kBadShape, absl::StrCat("the extents ", ShapeString(shape), " multiply beyond 2^63"));
  }
  return absl::OkStatus();
}

absl::Status ValidateData(DType dtype, const Shape& shape, const Blob& data) {
  uint64_t expected = DTypeSize(dtype);
  for (int64_t extent : shape) expected *= static_cast<uint64_t>(extent);
  if (data.size() != expected) {
    return BadForm(absl::StrCat("data of ", data.size(), " bytes, expected ", expected, " for ", ShapeString(shape),
                                " of ", DTypeName(dtype)));
  }
  if (dtype == DType::kBool) {
    const size_t bad = FindNonBool(data.data(), data.size());
    if (bad < data.size())
      return BadForm(absl::StrCat("bool ", bad, " is ", int{data.data()[bad]}, ", expected 0 or 1"));
  }
  return absl::OkStatus();
}

absl::Status ValidateForms(const Tensor& tensor) {
  const bool is_float = tensor.dtype == DType::kFloat32;
  if (tensor.has_data) {
    TALLY_RETURN_IF_ERROR(ValidateData(tensor.dtype, tensor.shape, tensor.data));
  } else if (!tensor.data.empty()) {
    return BadForm("data that has_data denies");
  }
  if (!is_float && (tensor.codes || tensor.int8 || tensor.codebook)) {
    return BadForm(
        absl::StrCat("element type ", DTypeName(tensor.dtype), " with codes or int8 values, expected float32"));
  }
  if (tensor.is_constant() && tensor.codebook) {
    return BadForm("a constant has an activation codebook; its own belongs to its codes");
  }
  if (tensor.codes) TALLY_RETURN_IF_ERROR(ValidateCodes(*tensor.codes, tensor.shape, tensor.elements()));
  if (tensor.int8) {
    if (tensor.int8->values.size() != tensor.elements()) {
      return BadForm(absl::StrCat(tensor.int8->values.size(), " int8 values, expected ", tensor.elements()));
    }
    TALLY_RETURN_IF_ERROR(ValidateScales("int8 scale", tensor.int8->scales, tensor.shape, 1));
  }
  if (tensor.codebook) TALLY_RETURN_IF_ERROR(tensor.codebook->Validate());
  if (tensor.range) {
    const Range& r = *tensor.range;
    if (!std::isfinite(r.min) || !std::isfinite(r.max) || r.min > r.max) {
      return MakeError(ErrorId::kBadRecord,
                       absl::StrCat("range ", r.min, " .. ", r.max, ", expected finite and not reversed"));
    }
  }
  if (tensor.fit && !(IsRatio(tensor.fit->rmae) && IsRatio(tensor.fit->rmae_uniform_max) &&
                      IsRatio(tensor.fit->rmae_uniform_clipped))) {
    return MakeError(ErrorId::kBadRecord, "a fit's RMAE is not finite or negative");
  }
  return absl::OkStatus();
}

}  // namespace tally
