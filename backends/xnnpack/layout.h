// Between the session's layout (images of planes, one per channel) and XNNPACK's (pixels of channels).
#ifndef TALLY_BACKENDS_XNNPACK_LAYOUT_H_
#define TALLY_BACKENDS_XNNPACK_LAYOUT_H_

#include <cstdint>

#include "runtime/core/thread_pool.h"
#include "runtime/ops/epilogue.h"

namespace tally::xnnpack {

// `batch` images of `positions` pixels and `channels` channels.
struct Images {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t positions = 0;
};

// [batch][channels][positions] -> [batch][positions][channels].
void ToPixels(const float* from, const Images& images, float* to, ThreadPool* pool);

// The way back, which also adds `residual` (in the outputs' layout, or null) and applies the activation function.
// out == residual is allowed, from == out is not.
void FromPixels(const float* from, const Images& images, const float* residual, const Activation& activation,
                float* out, ThreadPool* pool);

}  // namespace tally::xnnpack

#endif  // TALLY_BACKENDS_XNNPACK_LAYOUT_H_
