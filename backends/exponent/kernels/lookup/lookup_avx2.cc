// The look-up kernel for AVX2. Digits are at most 127, so that the pair sums of vpmaddubsw stay below 2^15 and it is
// exact; the sign of an activation moves over to the weight, because that instruction wants one unsigned operand.
#include <immintrin.h>

namespace tally {
namespace {

constexpr int kSignedOffset = 0;

template <bool kSigned>
inline __m256i Dot(__m256i acc, __m256i act, __m256i weight) {
  const __m256i pairs = kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(act), _mm256_sign_epi8(weight, act))
                                : _mm256_maddubs_epi16(act, weight);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

}  // namespace
}  // namespace tally

#include "backends/exponent/kernels/lookup/lookup_ymm.h"

namespace tally {

extern const LookupKernel kLookupAvx2;
const LookupKernel kLookupAvx2 = {
    kSignedOffset, {4, 4}, false, false,     kLookupRows, kLookupStreamGroups, 1,       Translate,
    Interleave,    Decode, Tile,  Transpose, Stream,      Depthwise,           nullptr, nullptr,
    nullptr,
};

}  // namespace tally
