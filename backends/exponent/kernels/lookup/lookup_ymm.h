// The look-up kernels for 256-bit vectors, included by one file per instruction set. Everything is static, and nothing
// of the standard library is used, so that no function compiled for an instruction set can replace one of the same
// name.
//
// The includer defines, in an unnamed namespace:
//   constexpr int kSignedOffset;
//   template <bool kSigned> __m256i Dot(__m256i acc, __m256i act, __m256i weight);
// the latter adds to each int32 the products of four activation digits, stored as kSignedOffset says, and four weight
// digits.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_YMM_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_YMM_H_

#include <immintrin.h>

#include "backends/exponent/kernels/lookup/lookup.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 32")

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void Store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline __m128i Load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i BroadcastGroup(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return _mm256_set1_epi32(word);
}

// Digits of codes of kBits. vpshufb looks up 16 entries by the low four bits; the bits above choose among the results.
template <int kBits>
struct Digits {
  static constexpr int kTables = kBits <= 4 ? 1 : kBits >= 7 ? 8 : 1 << (kBits - 4);
  __m256i tables[kTables];

  explicit Digits(const LookupTable& table) {
    UNROLL for (int i = 0; i < kTables; ++i) tables[i] = _mm256_broadcastsi128_si256(Load16(table.digit + 16 * i));
  }

  // REQUIRES: every byte of `codes` is below 2^kBits.
  __m256i operator()(__m256i codes) const {
    if constexpr (kBits == 8) {
      const __m256i index = _mm256_and_si256(codes, _mm256_set1_epi8(127));
      // Tables of 8 bits are odd: the top bit is the sign (the low one keeps the second operand from being zero).
      return _mm256_sign_epi8(Select(index), _mm256_or_si256(codes, _mm256_set1_epi8(1)));
    } else {
      return Select(codes);
    }
  }

 private:
  template <int kCount>
  static void Halve(__m256i* v, __m256i choice) {
    UNROLL for (int i = 0; i < kCount; ++i) v[i] = _mm256_blendv_epi8(v[2 * i], v[2 * i + 1], choice);
  }

  __m256i Select(__m256i index) const {
    __m256i v[kTables];
    UNROLL for (int i = 0; i < kTables; ++i) v[i] = _mm256_shuffle_epi8(tables[i], index);
    // The top bit of each byte chooses: index bit 6, 5, 4.
    __m256i choice[3];
    choice[0] = _mm256_add_epi8(index, index);
    choice[1] = _mm256_add_epi8(choice[0], choice[0]);
    choice[2] = _mm256_add_epi8(choice[1], choice[1]);
    if constexpr (kTables > 1) Halve<kTables / 2>(v, choice[2]);
    if constexpr (kTables > 2) Halve<kTables / 4>(v, choice[1]);
    if constexpr (kTables > 4) Halve<kTables / 8>(v, choice[0]);
    return v[0];
  }
};

// Calls Fn<bits>::Run(arguments...).
template <template <int> class Fn, typename... Arguments>
inline void ForBits(int bits, const Arguments&... arguments) {
  switch (bits) {
    case 2: Fn<2>::Run(arguments...); break;
    case 3: Fn<3>::Run(arguments...); break;
    case 4: Fn<4>::Run(arguments...); break;
    case 5: Fn<5>::Run(arguments...); break;
    case 6: Fn<6>::Run(arguments...); break;
    case 7: Fn<7>::Run(arguments...); break;
    default: Fn<8>::Run(arguments...); break;
  }
}

inline __m256i Mask(__m256i codes, int bits) {
  return _mm256_and_si256(codes, _mm256_set1_epi8(static_cast<char>((1 << bits) - 1)));
}

template <int kBits>
struct TranslateBits {
  static void Run(const uint8_t* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
    const Digits<kBits> look_up(table);
    for (size_t y = 0; y < area.rows; ++y, codes += area.source_stride, digits += area.target_stride) {
      size_t i = 0;
      for (; i + 32 <= area.width; i += 32) Store(digits + i, look_up(Mask(Load(codes + i), kBits)));
      if (i == area.width) continue;
      alignas(32) uint8_t last[32] = {};
      __builtin_memcpy(last, codes + i, area.width - i);
      Store(last, look_up(Mask(Load(last), kBits)));
      __builtin_memcpy(digits + i, last, area.width - i);
    }
  }
};

void Translate(const uint8_t* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
  ForBits<TranslateBits>(table.bits, codes, area, table, digits);
}

template <int kBits>
struct InterleaveBits {
  // 16 codes from p on.
  template <size_t kStep>
  static __m128i Codes16(const uint8_t* p) {
    if constexpr (kStep == 1) return Load16(p);
    const __m128i byte = _mm_set1_epi16(0xFF);
    return _mm_packus_epi16(_mm_and_si128(Load16(p), byte), _mm_and_si128(Load16(p + 16), byte));
  }

  // 16 positions of four rows of codes.
  template <size_t kStep>
  static void Block(const Digits<kBits>& look_up, const uint8_t* const* codes, size_t from, uint8_t* digits) {
    __m128i v[4];
    UNROLL for (int j = 0; j < 4; ++j) v[j] = Codes16<kStep>(codes[j] + from);
    const __m256i ab = look_up(Mask(_mm256_set_m128i(v[1], v[0]), kBits));
    const __m256i cd = look_up(Mask(_mm256_set_m128i(v[3], v[2]), kBits));
    const __m128i a = _mm256_castsi256_si128(ab), b = _mm256_extracti128_si256(ab, 1);
    const __m128i c = _mm256_castsi256_si128(cd), d = _mm256_extracti128_si256(cd, 1);
    const __m128i ab_low = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b);
    const __m128i cd_low = _mm_unpacklo_epi8(c, d), cd_high = _mm_unpackhi_epi8(c, d);
    __m128i* out = reinterpret_cast<__m128i*>(digits);
    _mm_storeu_si128(out, _mm_unpacklo_epi16(ab_low, cd_low));
    _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(ab_low, cd_low));
    _mm_storeu_si128(out + 2, _mm_unpacklo_epi16(ab_high, cd_high));
    _mm_storeu_si128(out + 3, _mm_unpackhi_epi16(ab_high, cd_high));
  }

  template <size_t kStep>
  static void RunSteps(const uint8_t* const* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
    const Digits<kBits> look_up(table);
    for (size_t y = 0; y < area.rows; ++y, digits += area.target_stride) {
      const size_t row = y * area.source_stride;
      size_t i = 0;
      // A block reads 16 * kStep bytes, the last of which may lie beyond the last code.
      for (; i + 15 + kStep <= area.width; i += 16) Block<kStep>(look_up, codes, row + i * kStep, digits + 4 * i);
      if (i == area.width) continue;
      uint8_t last[4][16] = {};
      const uint8_t* last_codes[4] = {last[0], last[1], last[2], last[3]};
      for (int j = 0; j < 4; ++j) {
        for (size_t k = 0; i + k < area.width; ++k) last[j][k] = codes[j][row + (i + k) * kStep];
      }
      uint8_t block[64];
      Block<1>(look_up, last_codes, 0, block);
      __builtin_memcpy(digits + 4 * i, block, 4 * (area.width - i));
    }
  }

  static void Run(const uint8_t* const* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
    area.source_step == 1 ? RunSteps<1>(codes, area, table, digits) : RunSteps<2>(codes, area, table, digits);
  }
};

void Interleave(const uint8_t* const* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
  ForBits<InterleaveBits>(table.bits, codes, area, table, digits);
}

// Half kHalf of the codes of vector kVector of the unit at `unit`, one a byte.
template <int kBits, int kVector, int kHalf>
inline __m256i Codes(const uint8_t* unit) {
  constexpr LookupPieces kPieces = PiecesOfVector(kBits, kVector);
  __m256i codes = _mm256_setzero_si256();
  UNROLL for (int i = 0; i < kPieces.count; ++i) {
    const LookupPiece p = kPieces.piece[i];
    __m256i piece = Load(unit + 64 * p.row + 32 * kHalf);
    if (p.shift != 0) piece = _mm256_srli_epi16(piece, p.shift);
    if (p.mask != 255) piece = _mm256_and_si256(piece, _mm256_set1_epi8(static_cast<char>(p.mask)));
    codes = i == 0 ? piece : _mm256_or_si256(codes, piece);
  }
  return codes;
}

template <int kBits, int kVector>
inline void DecodeVector(const Digits<kBits>& look_up, const uint8_t* unit, int8_t* digits) {
  Store(digits + 64 * kVector, look_up(Codes<kBits, kVector, 0>(unit)));
  Store(digits + 64 * kVector + 32, look_up(Codes<kBits, kVector, 1>(unit)));
  if constexpr (kVector + 1 < static_cast<int>(kLookupUnitVectors)) {
    DecodeVector<kBits, kVector + 1>(look_up, unit, digits);
  }
}

template <int kBits>
struct DecodeBits {
  static void Run(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
    const Digits<kBits> look_up(table);
    for (size_t u = 0; u < units; ++u, stream += 64 * kBits, digits += kLookupUnit) {
      DecodeVector<kBits, 0>(look_up, stream, digits);
    }
  }
};

void Decode(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
  ForBits<DecodeBits>(table.bits, stream, units, table, digits);
}

enum class Operands { kActsInLanes, kWeightsInLanes, kWeightsInLanesPixels };

// Rows first_row .. first_row + kRows - 1 and 16 lanes from first_lane on: as much as 16 registers hold.
template <int kRows, Operands kOperands, bool kSigned>
void TileOf(const LookupTile& t, size_t first_row, size_t first_lane) {
  constexpr bool kActsInLanes = kOperands == Operands::kActsInLanes;
  __m256i acc[kRows][2];
  UNROLL for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  const uint8_t* first = t.lanes + first_lane * kLookupGroup;
  const size_t* offsets = t.lane_offsets;
  const size_t* row_offsets = t.row_offsets;
  const uint8_t* rows = t.rows + first_row * 16;
  for (size_t left = t.groups; left > 0;) {
    // Four groups lie side by side in a row's 16 bytes.
    const size_t inner = left < 4 ? left : 4;
    for (size_t i = 0; i < inner; ++i) {
      const uint8_t* lanes = first + *offsets++;
      const uint8_t* pixels =
          kOperands == Operands::kWeightsInLanesPixels ? t.rows + *row_offsets++ + 4 * first_row : nullptr;
      const __m256i lane0 = Load(lanes), lane1 = Load(lanes + 32);
      UNROLL for (int r = 0; r < kRows; ++r) {
        const __m256i row =
            BroadcastGroup(kOperands == Operands::kWeightsInLanesPixels ? pixels + 4 * r : rows + 16 * r + 4 * i);
        acc[r][0] = kActsInLanes ? Dot<kSigned>(acc[r][0], lane0, row) : Dot<kSigned>(acc[r][0], row, lane0);
        acc[r][1] = kActsInLanes ? Dot<kSigned>(acc[r][1], lane1, row) : Dot<kSigned>(acc[r][1], row, lane1);
      }
    }
    rows += 16 * t.row_count;
    left -= inner;
  }
  UNROLL for (int r = 0; r < kRows; ++r) {
    int32_t* to = t.acc + (first_row + static_cast<size_t>(r)) * t.acc_stride + first_lane;
    Store(to, acc[r][0]);
    Store(to + 8, acc[r][1]);
  }
}

template <Operands kOperands, bool kSigned>
void TileRows(const LookupTile& t) {
  for (size_t lane = 0; lane < t.lane_count; lane += 16) {
    size_t row = 0;
    for (; row + 4 <= t.row_count; row += 4) TileOf<4, kOperands, kSigned>(t, row, lane);
    switch (t.row_count - row) {
      case 1: TileOf<1, kOperands, kSigned>(t, row, lane); break;
      case 2: TileOf<2, kOperands, kSigned>(t, row, lane); break;
      case 3: TileOf<3, kOperands, kSigned>(t, row, lane); break;
      default: break;
    }
  }
}

template <Operands kOperands>
void TileSigns(const LookupTile& t) {
  t.act_signed ? TileRows<kOperands, true>(t) : TileRows<kOperands, false>(t);
}

void Tile(const LookupTile& t) {
  if (t.row_offsets != nullptr) {
    TileSigns<Operands::kWeightsInLanesPixels>(t);
  } else {
    t.acts_in_lanes ? TileSigns<Operands::kActsInLanes>(t) : TileSigns<Operands::kWeightsInLanes>(t);
  }
}

// Rows and columns of 8 x 8 elements, `from` rows 32 apart.
void Transpose8(const int32_t* from, int32_t* to, size_t to_stride) {
  __m256i r[8], t[8];
  UNROLL for (int i = 0; i < 8; ++i) r[i] = Load(from + static_cast<size_t>(i) * kLookupLanes);
  UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  // r[4 i + j]: in each half h, rows 4 i .. 4 i + 3 of column 4 h + j.
  UNROLL for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (size_t j = 0; j < 4; ++j) {
    Store(to + j * to_stride, _mm256_permute2x128_si256(r[j], r[4 + j], 0x20));
    Store(to + (4 + j) * to_stride, _mm256_permute2x128_si256(r[j], r[4 + j], 0x31));
  }
}

void Transpose(const void* from, size_t rows, size_t lanes, void* to, size_t to_stride) {
  TransposeBlocks<8>(from, rows, lanes, to, to_stride, Transpose8);
}

// Group kGroup of a unit.
template <int kGroup, bool kSigned, int kRows, int kBits>
__attribute__((always_inline)) inline void StreamGroup(const Digits<kBits>& look_up, const uint8_t* stream,
                                                       const uint8_t* rows, __m256i (&acc)[kRows][4]) {
  const __m256i weights[4] = {
      look_up(Codes<kBits, 2 * kGroup, 0>(stream)),
      look_up(Codes<kBits, 2 * kGroup, 1>(stream)),
      look_up(Codes<kBits, 2 * kGroup + 1, 0>(stream)),
      look_up(Codes<kBits, 2 * kGroup + 1, 1>(stream)),
  };
  UNROLL for (int r = 0; r < kRows; ++r) {
    const __m256i act = BroadcastGroup(rows + 16 * r + kLookupGroup * kGroup);
    UNROLL for (int i = 0; i < 4; ++i) acc[r][i] = Dot<kSigned>(acc[r][i], act, weights[i]);
  }
}

template <int kBits, int kRows, bool kSigned>
void StreamOf(const LookupStream& g, size_t first_row) {
  const Digits<kBits> look_up(*g.table);
  __m256i acc[kRows][4];
  UNROLL for (int r = 0; r < kRows; ++r) { UNROLL for (int i = 0; i < 4; ++i) acc[r][i] = _mm256_setzero_si256(); }
  const uint8_t* stream = g.stream;
  const uint8_t* rows = g.rows + first_row * 16;
  for (size_t u = 0; u < g.units; ++u, stream += 64 * kBits, rows += 16 * g.row_count) {
    if (g.ahead != 0) {
      // Past the end of the stream this is harmless.
      UNROLL for (int i = 0; i < 64 * kBits; i += 64) _mm_prefetch(stream + g.ahead + i, _MM_HINT_T0);
    }
    StreamGroup<0, kSigned>(look_up, stream, rows, acc);
    StreamGroup<1, kSigned>(look_up, stream, rows, acc);
    StreamGroup<2, kSigned>(look_up, stream, rows, acc);
    StreamGroup<3, kSigned>(look_up, stream, rows, acc);
  }
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int i = 0; i < 4; ++i) {
      Store(g.acc + (first_row + static_cast<size_t>(r)) * g.acc_stride + 8 * i, acc[r][i]);
    }
  }
}

template <int kBits>
struct StreamBits {
  template <bool kSigned>
  static void Rows(const LookupStream& g) {
    size_t row = 0;
    for (; row + 2 <= g.row_count; row += 2) StreamOf<kBits, 2, kSigned>(g, row);
    if (row < g.row_count) StreamOf<kBits, 1, kSigned>(g, row);
  }
  static void Run(const LookupStream& g) { g.act_signed ? Rows<true>(g) : Rows<false>(g); }
};

void Stream(const LookupStream& g) { ForBits<StreamBits>(g.table->bits, g); }

// Where 8 outputs of a row reach too far for two vectors of 16 image bytes.
void DepthwiseFar(const LookupDepthwise& d) {
  const bool as_int8 = d.act_signed && kSignedOffset == 0;
  const size_t padded_w = (d.kernel_w + 3) / 4 * 4;
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; ++x) {
      int32_t sum = 0;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        const uint8_t* image = d.image + y * d.image_stride + r * d.row_step + x * d.stride;
        for (size_t s = 0; s < d.kernel_w; ++s) {
          const uint8_t act = image[s * d.dilation];
          sum += (as_int8 ? static_cast<int8_t>(act) : act) * d.weights[r * padded_w + s];
        }
      }
      d.acc[y * d.width + x] = sum;
    }
  }
}

template <bool kSigned>
void DepthwiseNear(const LookupDepthwise& d) {
  // Lane x takes the image bytes of four taps of output x; the upper four lanes have a load of their own.
  alignas(16) uint8_t order[16];
  for (size_t i = 0; i < 16; ++i) order[i] = static_cast<uint8_t>(i / 4 * d.stride + i % 4 * d.dilation);
  const __m256i shuffle = _mm256_broadcastsi128_si256(Load16(order));
  const size_t quads = (d.kernel_w + 3) / 4;
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; x += 8) {
      __m256i acc = _mm256_setzero_si256();
      const int8_t* weights = d.weights;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        const uint8_t* image = d.image + y * d.image_stride + r * d.row_step + x * d.stride;
        for (size_t q = 0; q < quads; ++q, weights += 4, image += 4 * d.dilation) {
          const __m256i bytes = _mm256_set_m128i(Load16(image + 4 * d.stride), Load16(image));
          acc = Dot<kSigned>(acc, _mm256_shuffle_epi8(bytes, shuffle), BroadcastGroup(weights));
        }
      }
      Store(d.acc + y * d.width + x, acc);
    }
  }
}

void Depthwise(const LookupDepthwise& d) {
  if (3 * d.stride + 3 * d.dilation > 15) {
    DepthwiseFar(d);
  } else if (d.act_signed) {
    DepthwiseNear<true>(d);
  } else {
    DepthwiseNear<false>(d);
  }
}

#undef UNROLL

}  // namespace
}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_YMM_H_
