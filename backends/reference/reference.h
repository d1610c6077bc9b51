// The float oracle: every operator in its most readable form, in float64 with libm, rounded to float32 once per output.
// Other backends and the shared operators are tested against it; it is parallel over outputs but otherwise not
// optimised.
//
// It may differ from the shared operators in the last bits. Pure data movement (Concat, Transpose, ...) has one truth,
// the shared operators, and is run by them.
#ifndef TALLY_BACKENDS_REFERENCE_REFERENCE_H_
#define TALLY_BACKENDS_REFERENCE_REFERENCE_H_

#include <memory>

#include "runtime/backend/backend.h"

namespace tally {

// Named "reference". Takes every operator; needs the float32 form of every weight.
std::shared_ptr<const Backend> MakeReferenceBackend();

}  // namespace tally

#endif  // TALLY_BACKENDS_REFERENCE_REFERENCE_H_
