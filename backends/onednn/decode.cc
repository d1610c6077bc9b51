#include "backends/onednn/decode.h"

namespace tally::onednn {

void DecodeScalar(const uint8_t* from, const uint8_t* table, size_t, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) to[i] = table[from[i]];
}

DecodeFn ChooseDecode(const CpuFeatures& cpu) {
#if defined(TALLY_HAVE_AVX512)
  if (cpu.Has(Isa::kAvx512)) return DecodeAvx512;
#endif
#if defined(TALLY_HAVE_AVX2)
  if (cpu.Has(Isa::kAvx2)) return DecodeAvx2;
#endif
  return DecodeScalar;
}

}  // namespace tally::onednn
