// The one place that lists backends and knows which were built. It also defines those functions of tally/tally.h that
// need the list (Session::Create without a registry, AvailableBackends), so that runtime/exec knows no backend.
#ifndef TALLY_BACKENDS_ALL_ALL_H_
#define TALLY_BACKENDS_ALL_ALL_H_

#include "runtime/backend/registry.h"

namespace tally {

// Every backend of this build, in this order: exponent, onednn-codebook, onednn, xnnpack, reference, histogram,
// nearmem.
TALLY_API Registry DefaultRegistry();

}  // namespace tally

#endif  // TALLY_BACKENDS_ALL_ALL_H_
