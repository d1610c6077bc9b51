// Encoding of activations: float32 -> codes, float32 -> uniform uint8. Once per tensor, shared by every consumer.
//
// In memory a code takes one byte: the unsigned field of format/codebook.h (sign in bit n of a signed codebook).
#ifndef TALLY_RUNTIME_OPS_ENCODE_H_
#define TALLY_RUNTIME_OPS_ENCODE_H_

#include <cstddef>
#include <cstdint>

#include "format/codebook.h"
#include "format/graph.h"
#include "runtime/core/thread_pool.h"
#include "runtime/ops/row_kernels.h"

namespace tally {

// Values that had no proper code; both encode as zero.
struct EncodeCounters {
  uint64_t nan = 0;
  uint64_t negative = 0;  // below zero in a non-negative tensor
};

// Same bytes as encoder.Encode on every element, whatever `rows`, at any thread count.
void EncodeCodes(const Encoder& encoder, const float* x, size_t count, uint8_t* codes, ThreadPool* pool,
                 EncodeCounters* counters, const RowKernels& rows);

// Uniform uint8 for the INT8 baseline: q = clamp(rint(x * inverse_scale) + zero_point, 0, max_value), half to even; NaN
// encodes as a zero.
struct UniformQuantizer {
  float scale = 1;
  float inverse_scale = 1;
  int32_t zero_point = 0;
  int32_t max_value = 255;  // 127 where the CPU's u8 x s8 products would saturate
};
// Covers [min(range.min, 0), max(range.max, 0)]; zero is exact. A range of nothing gives scale 1.
UniformQuantizer MakeUniformQuantizer(const Range& range, int max_value);
void EncodeUniform(const UniformQuantizer& quantizer, const float* x, size_t count, uint8_t* q, ThreadPool* pool,
                   const RowKernels& rows);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ENCODE_H_
