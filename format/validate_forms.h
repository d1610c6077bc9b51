// Checks of one tensor's stored values: plain data, int8 and code forms, codebook, records. Pure functions; errors
// carry no location, the caller adds the tensor's name.
#ifndef TALLY_FORMAT_VALIDATE_FORMS_H_
#define TALLY_FORMAT_VALIDATE_FORMS_H_

#include "absl/status/status.h"
#include "format/graph.h"

namespace tally {

// Rank, extents (negative ones only when `symbols_allowed`) and that the product of the extents does not wrap.
absl::Status ValidateShape(const Shape& shape, bool symbols_allowed, size_t symbol_count);

// Size and, for booleans, values of plain data. REQUIRES: a valid dtype; a shape that ValidateShape took, no symbols.
absl::Status ValidateData(DType dtype, const Shape& shape, const Blob& data);

// All that a tensor holds. REQUIRES: as above, but symbols where the tensor is no constant.
absl::Status ValidateForms(const Tensor& tensor);

}  // namespace tally

#endif  // TALLY_FORMAT_VALIDATE_FORMS_H_
