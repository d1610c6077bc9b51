// The look-up kernel for AVX2 with AVX-VNNI. Signed activation digits carry an offset of 128: vpdpbusd multiplies
// unsigned by signed bytes and does not saturate.
#include <immintrin.h>

namespace tally {
namespace {

constexpr int kSignedOffset = 128;

template <bool kSigned>
inline __m256i Dot(__m256i acc, __m256i act, __m256i weight) {
  return _mm256_dpbusd_avx_epi32(acc, act, weight);
}

}  // namespace
}  // namespace tally

#include "backends/exponent/kernels/lookup/lookup_ymm.h"

namespace tally {

extern const LookupKernel kLookupAvxVnni;
const LookupKernel kLookupAvxVnni = {
    kSignedOffset, {4, 4}, false, false,     kLookupRows, kLookupStreamGroups, 1,       Translate,
    Interleave,    Decode, Tile,  Transpose, Stream,      Depthwise,           nullptr, nullptr,
    nullptr,
};

}  // namespace tally
