// The look-up kernels of this build and the streams that they read.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_TABLE_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_TABLE_H_

#include <vector>

#include "backends/exponent/kernels/lookup/lookup.h"
#include "format/codebook.h"
#include "runtime/core/isa_table.h"

namespace tally {

const IsaTable<LookupKernel>& LookupKernels();

// Digits of a codebook: 1 on q7, 2 on q14.
int DigitCount(const Codebook& book);

// Table of digit `digit` (0: low) of a codebook, `signed_offset` added to the digits of a signed one. Weights: offset
// 0.
LookupTable MakeLookupTable(const Codebook& book, int digit, int signed_offset);

// Packs codes[units * 512] at `bits` a code, as lookup.h describes.
void PackStream(const uint8_t* codes, size_t units, int bits, uint8_t* stream);

inline size_t StreamBytes(size_t units, int bits) { return units * kLookupUnit / 8 * static_cast<size_t>(bits); }

// A thread's tiles of row panels lie within one.
class LookupScope {
 public:
  // Null: there will be no such tiles.
  explicit LookupScope(const LookupKernel* kernel) : kernel_(kernel) {
    if (kernel_ != nullptr && kernel_->enter != nullptr) kernel_->enter();
  }
  ~LookupScope() {
    if (kernel_ != nullptr && kernel_->leave != nullptr) kernel_->leave();
  }
  LookupScope(const LookupScope&) = delete;
  LookupScope& operator=(const LookupScope&) = delete;

 private:
  const LookupKernel* kernel_;
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_TABLE_H_
