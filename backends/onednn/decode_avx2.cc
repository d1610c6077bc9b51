#include <immintrin.h>

#include "backends/onednn/decode.h"

namespace tally::onednn {

// vpshufb looks up 16 entries and gives 0 where the index has its top bit set. Per block of 16 entries, xor brings the
// block's codes to 0..15 and a saturating addition of 0x70 sets the top bit of all others.
void DecodeAvx2(const uint8_t* from, const uint8_t* table, size_t entries, size_t count, uint8_t* to) {
  const size_t blocks = (entries + 15) / 16;
  const __m256i saturate = _mm256_set1_epi8(0x70);
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    __m256i digits = _mm256_setzero_si256();
    for (size_t b = 0; b < blocks; ++b) {
      const __m256i part =
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * b)));
      const __m256i index = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(16 * b)));
      digits = _mm256_or_si256(digits, _mm256_shuffle_epi8(part, _mm256_adds_epu8(index, saturate)));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), digits);
  }
  for (; i < count; ++i) to[i] = table[from[i]];
}

}  // namespace tally::onednn
