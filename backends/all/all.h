// The one place that lists backends and knows which were built.
#ifndef TALLY_BACKENDS_ALL_ALL_H_
#define TALLY_BACKENDS_ALL_ALL_H_

#include "runtime/backend/registry.h"

namespace tally {

// Every backend of this build: exponent, onednn-codebook, onednn, xnnpack, reference.
TALLY_API Registry DefaultRegistry();

}  // namespace tally

#endif  // TALLY_BACKENDS_ALL_ALL_H_
