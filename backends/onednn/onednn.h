// oneDNN behind two backends:
//
//   onednn           the uniform INT8 baseline: u8 activations with a zero point, s8 weights with per-channel scales.
//   onednn-codebook  the exponent model itself: the integer mantissas of weights and activations go through oneDNN's
//                    u8 x s8 products, and the results equal those of the exponent backend bit for bit.
//
// oneDNN runs on the threads of the session: its own OpenMP threads stay unused (slices.h). The objects are
// immutable and may be shared between threads.
#ifndef TALLY_BACKENDS_ONEDNN_ONEDNN_H_
#define TALLY_BACKENDS_ONEDNN_ONEDNN_H_

#include <memory>

#include "runtime/backend/backend.h"

namespace tally {

// Takes Conv and Gemm whose weight has an int8 form and whose input has a calibrated range. No bit contract: oneDNN
// applies scales, bias and Relu or Clip.
TALLY_API std::shared_ptr<const Backend> MakeOneDnnBackend();

// Takes Conv, Gemm and MatMul with codebooks on the grids q7 and q14.
TALLY_API std::shared_ptr<const Backend> MakeOneDnnCodebookBackend();

}  // namespace tally

#endif  // TALLY_BACKENDS_ONEDNN_ONEDNN_H_
