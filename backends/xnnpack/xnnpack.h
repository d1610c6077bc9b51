// XNNPACK behind the backend "xnnpack": Conv and Gemm in float32, on the session's own thread pool.
// The object is immutable and may be shared between threads. No bit contract: sums are rounded in XNNPACK's order.
#ifndef TALLY_BACKENDS_XNNPACK_XNNPACK_H_
#define TALLY_BACKENDS_XNNPACK_XNNPACK_H_

#include <memory>

#include "runtime/backend/backend.h"

namespace tally {

// Takes Conv and Gemm whose weight has plain float32 values.
TALLY_API std::shared_ptr<const Backend> MakeXnnpackBackend();

}  // namespace tally

#endif  // TALLY_BACKENDS_XNNPACK_XNNPACK_H_
