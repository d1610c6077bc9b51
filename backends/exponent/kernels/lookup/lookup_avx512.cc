// The look-up kernel for AVX-512 with VBMI and VNNI. Everything but the kernel object is static, and nothing of the
// standard library is used, so that no function compiled for this instruction set can replace one of the same name.
//
// Signed activation digits carry an offset of 128: vpdpbusd multiplies unsigned by signed bytes and does not saturate.
#include "backends/exponent/kernels/lookup/lookup_amx.h"
#include "backends/exponent/kernels/lookup/lookup_avx512_finish.h"
#include "runtime/core/x86_intrinsics.h"

namespace tally {
namespace {

inline __m512i Load(const void* p) { return _mm512_loadu_si512(p); }
inline void Store(void* p, __m512i v) { _mm512_storeu_si512(p, v); }
inline __m512i BroadcastGroup(const uint8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return _mm512_set1_epi32(word);
}

// Look-up of any byte value in a table of 256.
struct Bytes256 {
  __m512i t0, t1, t2, t3;
  explicit Bytes256(const uint8_t* table)
      : t0(Load(table)), t1(Load(table + 64)), t2(Load(table + 128)), t3(Load(table + 192)) {}
  __m512i operator()(__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(t0, index, t1);
    const __m512i high = _mm512_permutex2var_epi8(t2, index, t3);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index), high);
  }
};

void Translate(const uint8_t* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
  const Bytes256 look_up(table.digit);
  for (size_t y = 0; y < area.rows; ++y, codes += area.source_stride, digits += area.target_stride) {
    size_t i = 0;
    for (; i + 64 <= area.width; i += 64) Store(digits + i, look_up(Load(codes + i)));
    if (i < area.width) {
      const __mmask64 mask = (__mmask64{1} << (area.width - i)) - 1;
      _mm512_mask_storeu_epi8(digits + i, mask, look_up(_mm512_maskz_loadu_epi8(mask, codes + i)));
    }
  }
}

// The `count` bytes at p, at most 64; zeros for those that are missing.
inline __m512i LoadSome(const uint8_t* p, size_t count) {
  return count >= 64 ? Load(p) : _mm512_maskz_loadu_epi8((__mmask64{1} << count) - 1, p);
}

// 64 pixels of four codes each.
template <size_t kStep, class LookUp>
void InterleaveSteps(const LookUp& look_up, const uint8_t* const* codes, const LookupArea& area, uint8_t* digits) {
  // Quarter q gets dwords q, 4 + q, 8 + q, 12 + q, so that merging bytes within quarters gives pixels in order.
  const __m512i dwords = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  const __m512i bytes = _mm512_add_epi8(_mm512_mullo_epi32(dwords, _mm512_set1_epi32(kStep * 0x04040404)),
                                        _mm512_set1_epi32(kStep * 0x03020100));
  for (size_t y = 0; y < area.rows; ++y, digits += area.target_stride) {
    for (size_t i = 0; i < area.width; i += 64) {
      const size_t from = y * area.source_stride + i * kStep, left = area.width - i;
      const size_t size = kStep * (left - 1) + 1;  // of the codes that are left
      __m512i v[4];
      UNROLL for (int j = 0; j < 4; ++j) {
        const uint8_t* p = codes[j] + from;
        if constexpr (kStep == 1) {
          v[j] = _mm512_permutexvar_epi32(dwords, LoadSome(p, size));
        } else {
          const __m512i high = size > 64 ? LoadSome(p + 64, size - 64) : _mm512_setzero_si512();
          v[j] = _mm512_permutex2var_epi8(LoadSome(p, size), bytes, high);
        }
        v[j] = look_up(v[j]);
      }
      const __m512i low01 = _mm512_unpacklo_epi8(v[0], v[1]), high01 = _mm512_unpackhi_epi8(v[0], v[1]);
      const __m512i low23 = _mm512_unpacklo_epi8(v[2], v[3]), high23 = _mm512_unpackhi_epi8(v[2], v[3]);
      v[0] = _mm512_unpacklo_epi16(low01, low23);
      v[1] = _mm512_unpackhi_epi16(low01, low23);
      v[2] = _mm512_unpacklo_epi16(high01, high23);
      v[3] = _mm512_unpackhi_epi16(high01, high23);
      if (left >= 64) {
        UNROLL for (int j = 0; j < 4; ++j) Store(digits + 4 * i + 64 * j, v[j]);
      } else {
        const __mmask64 mask = (__mmask64{1} << left) - 1;
        UNROLL for (int j = 0; j < 4; ++j) {
          _mm512_mask_storeu_epi32(digits + 4 * i + 64 * j, static_cast<__mmask16>(mask >> (16 * j)), v[j]);
        }
      }
    }
  }
}

template <class LookUp>
void InterleaveWith(const LookUp& look_up, const uint8_t* const* codes, const LookupArea& area, uint8_t* digits) {
  area.source_step == 1 ? InterleaveSteps<1>(look_up, codes, area, digits)
                        : InterleaveSteps<2>(look_up, codes, area, digits);
}

void Interleave(const uint8_t* const* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
  if (table.bits <= 6) {
    // The table repeats itself.
    const __m512i entries = Load(table.digit);
    InterleaveWith([&](__m512i index) { return _mm512_permutexvar_epi8(index, entries); }, codes, area, digits);
  } else {
    InterleaveWith(Bytes256(table.digit), codes, area, digits);
  }
}

// Decodes units of codes of kBits.
template <int kBits>
struct Decoder {
  __m512i t0, t1;

  explicit Decoder(const LookupTable& table) : t0(Load(table.digit)), t1(Load(table.digit + 64)) {}

  // The table repeats itself, so bits above the code's do not matter as long as they only choose a copy.
  __m512i LookUp(__m512i index) const {
    if constexpr (kBits <= 6) return _mm512_permutexvar_epi8(index, t0);
    const __m512i digit = _mm512_permutex2var_epi8(t0, index, t1);
    if constexpr (kBits == 7) return digit;
    return _mm512_mask_sub_epi8(digit, _mm512_movepi8_mask(index), _mm512_setzero_si512(), digit);
  }

  // Vector kVector of the unit at `unit`.
  template <int kVector>
  __m512i Vector(const uint8_t* unit) const {
    constexpr LookupPieces kPieces = PiecesOfVector(kBits, kVector);
    __m512i code = Shifted<kPieces.piece[0].shift>(unit + 64 * kPieces.piece[0].row);
    if constexpr (kPieces.count > 1)
      code = Merge<kPieces.piece[1].row, kPieces.piece[1].shift, kPieces.piece[1].mask>(code, unit);
    if constexpr (kPieces.count > 2)
      code = Merge<kPieces.piece[2].row, kPieces.piece[2].shift, kPieces.piece[2].mask>(code, unit);
    if constexpr (kPieces.count > 3)
      code = Merge<kPieces.piece[3].row, kPieces.piece[3].shift, kPieces.piece[3].mask>(code, unit);
    if constexpr (kPieces.count > 4)
      code = Merge<kPieces.piece[4].row, kPieces.piece[4].shift, kPieces.piece[4].mask>(code, unit);
    if constexpr (kPieces.count > 5)
      code = Merge<kPieces.piece[5].row, kPieces.piece[5].shift, kPieces.piece[5].mask>(code, unit);
    if constexpr (kPieces.count > 6)
      code = Merge<kPieces.piece[6].row, kPieces.piece[6].shift, kPieces.piece[6].mask>(code, unit);
    return LookUp(code);
  }

 private:
  // Bits that come from the neighbouring byte are above the code's.
  template <int kShift>
  static __m512i Shifted(const uint8_t* row) {
    if constexpr (kShift == 0) return Load(row);
    return _mm512_srli_epi16(Load(row), kShift);
  }
  template <int kRow, int kShift, int kMask>
  static __m512i Merge(__m512i code, const uint8_t* unit) {
    // Where the mask is set the piece, else the code.
    return _mm512_ternarylogic_epi64(_mm512_set1_epi8(kMask), Shifted<kShift>(unit + 64 * kRow), code, 0xCA);
  }
};

template <int kBits>
void DecodeBits(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
  const Decoder<kBits> decoder(table);
  for (size_t u = 0; u < units; ++u, stream += 64 * kBits, digits += kLookupUnit) {
    Store(digits, decoder.template Vector<0>(stream));
    Store(digits + 64, decoder.template Vector<1>(stream));
    Store(digits + 128, decoder.template Vector<2>(stream));
    Store(digits + 192, decoder.template Vector<3>(stream));
    Store(digits + 256, decoder.template Vector<4>(stream));
    Store(digits + 320, decoder.template Vector<5>(stream));
    Store(digits + 384, decoder.template Vector<6>(stream));
    Store(digits + 448, decoder.template Vector<7>(stream));
  }
}

void Decode(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
  switch (table.bits) {
    case 2: DecodeBits<2>(stream, units, table, digits); break;
    case 3: DecodeBits<3>(stream, units, table, digits); break;
    case 4: DecodeBits<4>(stream, units, table, digits); break;
    case 5: DecodeBits<5>(stream, units, table, digits); break;
    case 6: DecodeBits<6>(stream, units, table, digits); break;
    case 7: DecodeBits<7>(stream, units, table, digits); break;
    default: DecodeBits<8>(stream, units, table, digits); break;
  }
}

// GCC 12 keeps accumulators in memory unless every loop over them is unrolled.
template <int kRows, int kVectors>
__attribute__((always_inline)) inline void SetZero(__m512i (&acc)[kRows][kVectors]) {
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_setzero_si512();
  }
}

template <int kRows, int kVectors>
__attribute__((always_inline)) inline void StoreSums(const __m512i (&acc)[kRows][kVectors], const LookupTile& t) {
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < kVectors; ++v) {
      Store(t.acc + static_cast<size_t>(r) * t.acc_stride + 16 * v, acc[r][v]);
    }
  }
}

// Rows in a panel.
template <int kRows, int kVectors, bool kActsInLanes>
void PanelTile(const LookupTile& t) {
  for (size_t tile = 0; tile < t.tiles; ++tile) {
    __m512i acc[kRows][kVectors];
    SetZero(acc);
    const uint8_t* all_lanes = t.lanes + 64 * kVectors * tile;
    const size_t* offsets = t.lane_offsets;
    const uint8_t* rows = t.rows;
    for (size_t left = t.groups; left > 0;) {
      // Four groups lie side by side in a row's 16 bytes.
      const size_t inner = left < 4 ? left : 4;
      for (size_t i = 0; i < inner; ++i) {
        const uint8_t* lanes = all_lanes + *offsets++;
        __m512i lane[kVectors];
        UNROLL for (int v = 0; v < kVectors; ++v) lane[v] = Load(lanes + 64 * v);
        UNROLL for (int r = 0; r < kRows; ++r) {
          const __m512i row = BroadcastGroup(rows + 16 * r + 4 * i);
          UNROLL for (int v = 0; v < kVectors; ++v) {
            acc[r][v] = kActsInLanes ? _mm512_dpbusd_epi32(acc[r][v], lane[v], row)
                                     : _mm512_dpbusd_epi32(acc[r][v], row, lane[v]);
          }
        }
        KeepInRegisters(acc);
      }
      rows += 16 * kRows;
      left -= inner;
    }
    if (t.finish != nullptr) {
      Finish<kActsInLanes>(acc, *t.finish, 16 * kVectors * tile);
    } else {
      StoreSums(acc, t);
    }
  }
}

// The lanes of a group: digits, or codes of 4 bits and the table for them.
template <bool kCodes>
struct Lanes;
template <>
struct Lanes<false> {
  explicit Lanes(const LookupTile&) {}
  template <int kVector>
  __m512i Vector(const uint8_t* lanes) const {
    return Load(lanes + 64 * kVector);
  }
};
template <>
struct Lanes<true> {
  Decoder<4> decoder;
  explicit Lanes(const LookupTile& t) : decoder(*t.table) {}
  template <int kVector>
  __m512i Vector(const uint8_t* lanes) const {
    return decoder.template Vector<kVector>(lanes);
  }
};

// Adds groups begin .. end - 1 to rows kFirst .. kEnd - 1.
template <int kFirst, int kEnd, bool kCodes, int kRows, int kVectors>
__attribute__((always_inline)) inline void AddPixels(const LookupTile& t, const Lanes<kCodes>& lanes, size_t begin,
                                                     size_t end, __m512i (&acc)[kRows][kVectors]) {
  for (size_t g = begin; g < end; ++g) {
    const uint8_t* of_group = t.lanes + t.lane_offsets[g];
    const uint8_t* pixels = t.rows + t.row_offsets[g];
    __m512i lane[kVectors];
    lane[0] = lanes.template Vector<0>(of_group);
    if constexpr (kVectors > 1) lane[1] = lanes.template Vector<1>(of_group);
    UNROLL for (int r = kFirst; r < kEnd; ++r) {
      const __m512i row = BroadcastGroup(pixels + 4 * r);
      UNROLL for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], row, lane[v]);
    }
    KeepInRegisters(acc);
  }
}

// Rows of pixels; weights are in lanes.
template <int kRows, int kVectors, bool kCodes>
void PixelTile(const LookupTile& t) {
  const Lanes<kCodes> lanes(t);
  __m512i acc[kRows][kVectors];
  SetZero(acc);
  const size_t end = t.groups - t.last_row_zeros;
  AddPixels<1, kRows>(t, lanes, 0, t.first_row_zeros, acc);
  AddPixels<0, kRows>(t, lanes, t.first_row_zeros, end, acc);
  AddPixels<0, kRows - 1>(t, lanes, end, t.groups, acc);
  if (t.finish != nullptr) {
    Finish<false>(acc, *t.finish);
  } else {
    StoreSums(acc, t);
  }
}

enum class Operands { kActsInLanes, kWeightsInLanes, kWeightsInLanesPixels, kCodesInLanesPixels };

template <int kRows, int kVectors, Operands kOperands>
void TileOf(const LookupTile& t) {
  if constexpr (kOperands == Operands::kWeightsInLanesPixels || kOperands == Operands::kCodesInLanesPixels) {
    PixelTile<kRows, kVectors, kOperands == Operands::kCodesInLanesPixels>(t);
  } else {
    PanelTile<kRows, kVectors, kOperands == Operands::kActsInLanes>(t);
  }
}

template <int kVectors, Operands kOperands>
void TileRows(const LookupTile& t) {
  switch (t.row_count) {
    case 1: TileOf<1, kVectors, kOperands>(t); break;
    case 2: TileOf<2, kVectors, kOperands>(t); break;
    case 3: TileOf<3, kVectors, kOperands>(t); break;
    case 4: TileOf<4, kVectors, kOperands>(t); break;
    case 5: TileOf<5, kVectors, kOperands>(t); break;
    case 6: TileOf<6, kVectors, kOperands>(t); break;
    case 7: TileOf<7, kVectors, kOperands>(t); break;
    case 8: TileOf<8, kVectors, kOperands>(t); break;
    case 9: TileOf<9, kVectors, kOperands>(t); break;
    case 10: TileOf<10, kVectors, kOperands>(t); break;
    case 11: TileOf<11, kVectors, kOperands>(t); break;
    case 12: TileOf<12, kVectors, kOperands>(t); break;
    case 13: TileOf<13, kVectors, kOperands>(t); break;
    default: TileOf<14, kVectors, kOperands>(t); break;
  }
}

template <Operands kOperands>
void TileLanes(const LookupTile& t) {
  t.lane_count > 16 ? TileRows<2, kOperands>(t) : TileRows<1, kOperands>(t);
}

void Tile(const LookupTile& t) {
  if (t.table != nullptr) {
    TileLanes<Operands::kCodesInLanesPixels>(t);
  } else if (t.row_offsets != nullptr) {
    TileLanes<Operands::kWeightsInLanesPixels>(t);
  } else {
    t.acts_in_lanes ? TileLanes<Operands::kActsInLanes>(t) : TileLanes<Operands::kWeightsInLanes>(t);
  }
}

// Rows and columns of 16 x 16 elements, `from` rows 32 apart, of which `rows` and `lanes` are wanted.
void Transpose16(const int32_t* from, size_t rows, size_t lanes, int32_t* to, size_t to_stride) {
  __m512i r[16], t[16];
  UNROLL for (int i = 0; i < 16; ++i) r[i] = Load(from + kLookupLanes * i);
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  // r[4 i + j]: in each quarter q, rows 4 i .. 4 i + 3 of column 4 q + j.
  UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (size_t j = 0; j < 4; ++j) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), odd0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD);
    const __m512i even1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i odd1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
    t[j] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(even0, even1, 0xDD);
    t[12 + j] = _mm512_shuffle_i32x4(odd0, odd1, 0xDD);
  }
  if (rows >= 16 && lanes >= 16) {
    UNROLL for (size_t l = 0; l < 16; ++l) Store(to + l * to_stride, t[l]);
    return;
  }
  const __mmask16 wanted = rows >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << rows) - 1);
  UNROLL for (size_t l = 0; l < 16; ++l) {
    if (l < lanes) _mm512_mask_storeu_epi32(to + l * to_stride, wanted, t[l]);
  }
}

void Transpose(const void* from, size_t rows, size_t lanes, void* to, size_t to_stride) {
  for (size_t r = 0; r < rows; r += 16) {
    for (size_t l = 0; l < lanes; l += 16) {
      Transpose16(static_cast<const int32_t*>(from) + r * kLookupLanes + l, rows - r, lanes - l,
                  static_cast<int32_t*>(to) + l * to_stride + r, to_stride);
    }
  }
}

// Prefetching past the end of a stream is harmless.
template <int kBytes>
inline void Prefetch(const uint8_t* p) {
  UNROLL for (int i = 0; i < kBytes; i += 64) _mm_prefetch(p + i, _MM_HINT_T0);
}

// Group kGroup of a unit. Several accumulators per output keep the multipliers busy while one addition waits for the
// last.
template <int kGroup, int kRows, int kSteps, int kBits>
__attribute__((always_inline)) inline void StreamGroup(const Decoder<kBits>& decoder, const uint8_t* stream,
                                                       const uint8_t* rows, __m512i (&acc)[kRows * kSteps][2]) {
  const __m512i a = decoder.template Vector<2 * kGroup>(stream), b = decoder.template Vector<2 * kGroup + 1>(stream);
  UNROLL for (int r = 0; r < kRows; ++r) {
    const __m512i act = BroadcastGroup(rows + 16 * r + 4 * kGroup);
    __m512i* sums = acc[r * kSteps + kGroup % kSteps];
    sums[0] = _mm512_dpbusd_epi32(sums[0], act, a);
    sums[1] = _mm512_dpbusd_epi32(sums[1], act, b);
  }
}

// The sums of kStreams blocks of outputs whose streams are `apart` bytes from each other.
template <int kStreams, int kBits, int kRows>
__attribute__((always_inline)) inline void SumStreams(const LookupStream& g, const Decoder<kBits>& decoder,
                                                      const uint8_t* stream, size_t apart,
                                                      __m512i (&sum)[kStreams][kRows][2]) {
  constexpr int kSteps = kRows == 1 ? 4 / kStreams : kRows == 2 ? 2 : 1;
  __m512i acc[kStreams][kRows * kSteps][2];
  UNROLL for (int s = 0; s < kStreams; ++s) SetZero(acc[s]);
  const uint8_t* rows = g.rows;
  for (size_t u = 0; u < g.units; ++u, stream += 64 * kBits, rows += 16 * kRows) {
    UNROLL for (int s = 0; s < kStreams; ++s) {
      const uint8_t* unit = stream + s * apart;
      if (g.ahead != 0) Prefetch<64 * kBits>(unit + g.ahead);
      StreamGroup<0, kRows, kSteps>(decoder, unit, rows, acc[s]);
      StreamGroup<1, kRows, kSteps>(decoder, unit, rows, acc[s]);
      StreamGroup<2, kRows, kSteps>(decoder, unit, rows, acc[s]);
      StreamGroup<3, kRows, kSteps>(decoder, unit, rows, acc[s]);
    }
    UNROLL for (int s = 0; s < kStreams; ++s) KeepInRegisters(acc[s]);
  }
  UNROLL for (int s = 0; s < kStreams; ++s) {
    UNROLL for (int r = 0; r < kRows; ++r) {
      UNROLL for (int v = 0; v < 2; ++v) {
        sum[s][r][v] = acc[s][r * kSteps][v];
        UNROLL for (int i = 1; i < kSteps; ++i) sum[s][r][v] =
            _mm512_add_epi32(sum[s][r][v], acc[s][r * kSteps + i][v]);
      }
    }
  }
}

template <int kRows>
__attribute__((always_inline)) inline void FinishBlock(__m512i (&sum)[kRows][2], const LookupFinish& f, size_t block) {
  LookupFinish finish = f;
  finish.correction += block * f.correction_step;
  finish.scale += block * kLookupLanes;
  finish.bias += block * f.bias_step;
  finish.out[0] += block * kLookupLanes;
  finish.residual[0] += block * f.residual_step;
  Finish<false>(sum, finish);
}

template <int kBits, int kRows>
void StreamOf(const LookupStream& g) {
  const Decoder<kBits> decoder(*g.table);
  const size_t block_bytes = g.units * 64 * kBits;
  if (g.finish == nullptr) {
    __m512i sum[1][kRows][2];
    SumStreams(g, decoder, g.stream, 0, sum);
    UNROLL for (int r = 0; r < kRows; ++r) {
      UNROLL for (int v = 0; v < 2; ++v) Store(g.acc + static_cast<size_t>(r) * g.acc_stride + 16 * v, sum[0][r][v]);
    }
    return;
  }
  // Memory gives more to two streams than to one.
  constexpr int kStreams = kRows <= 2 ? 2 : 1;
  const size_t apart = (g.blocks + kStreams - 1) / kStreams;
  for (size_t b = 0; b < apart; ++b) {
    if (b + (kStreams - 1) * apart < g.blocks) {
      __m512i sum[kStreams][kRows][2];
      SumStreams(g, decoder, g.stream + b * block_bytes, apart * block_bytes, sum);
      UNROLL for (int s = 0; s < kStreams; ++s) FinishBlock(sum[s], *g.finish, b + s * apart);
    } else {
      __m512i sum[1][kRows][2];
      SumStreams(g, decoder, g.stream + b * block_bytes, 0, sum);
      FinishBlock(sum[0], *g.finish, b);
    }
  }
}

template <int kBits>
void StreamRows(const LookupStream& g) {
  switch (g.row_count) {
    case 1: StreamOf<kBits, 1>(g); break;
    case 2: StreamOf<kBits, 2>(g); break;
    case 3: StreamOf<kBits, 3>(g); break;
    case 4: StreamOf<kBits, 4>(g); break;
    case 5: StreamOf<kBits, 5>(g); break;
    case 6: StreamOf<kBits, 6>(g); break;
    case 7: StreamOf<kBits, 7>(g); break;
    case 8: StreamOf<kBits, 8>(g); break;
    case 9: StreamOf<kBits, 9>(g); break;
    case 10: StreamOf<kBits, 10>(g); break;
    case 11: StreamOf<kBits, 11>(g); break;
    default: StreamOf<kBits, 12>(g); break;
  }
}

void Stream(const LookupStream& g) {
  switch (g.table->bits) {
    case 2: StreamRows<2>(g); break;
    case 3: StreamRows<3>(g); break;
    case 4: StreamRows<4>(g); break;
    case 5: StreamRows<5>(g); break;
    case 6: StreamRows<6>(g); break;
    case 7: StreamRows<7>(g); break;
    default: StreamRows<8>(g); break;
  }
}

// Where 16 outputs of a row reach too far for one vector of image bytes.
void DepthwiseFar(const LookupDepthwise& d) {
  const size_t padded_w = (d.kernel_w + 3) / 4 * 4;
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; ++x) {
      int32_t sum = 0;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        const uint8_t* image = d.image + y * d.image_stride + r * d.row_step + x * d.stride;
        for (size_t s = 0; s < d.kernel_w; ++s) sum += image[s * d.dilation] * d.weights[r * padded_w + s];
      }
      d.acc[y * d.width + x] = sum;
    }
  }
}

// kRows x kQuads is the kernel's height and groups of four taps, known in advance so that the weights stay in
// registers; 0: any.
template <int kRows, int kQuads>
void DepthwiseOf(const LookupDepthwise& d, __m512i permutation) {
  constexpr int kTaps = kRows * kQuads;
  const size_t quads = (d.kernel_w + 3) / 4;
  __m512i weights[kTaps + 1];
  const uint8_t* weight_bytes = reinterpret_cast<const uint8_t*>(d.weights);
  UNROLL for (int t = 0; t < kTaps; ++t) weights[t] = BroadcastGroup(weight_bytes + 4 * t);
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; x += 16) {
      __m512i acc = _mm512_setzero_si512();
      const uint8_t* image = d.image + y * d.image_stride + x * d.stride;
      if constexpr (kTaps > 0) {
        UNROLL for (int r = 0; r < kRows; ++r, image += d.row_step) {
          UNROLL for (int q = 0; q < kQuads; ++q) {
            const __m512i bytes = _mm512_permutexvar_epi8(permutation, Load(image + 4 * d.dilation * q));
            acc = _mm512_dpbusd_epi32(acc, bytes, weights[r * kQuads + q]);
          }
        }
      } else {
        const uint8_t* weight = weight_bytes;
        for (size_t r = 0; r < d.kernel_h; ++r, image += d.row_step) {
          for (size_t q = 0; q < quads; ++q, weight += 4) {
            const __m512i bytes = _mm512_permutexvar_epi8(permutation, Load(image + 4 * d.dilation * q));
            acc = _mm512_dpbusd_epi32(acc, bytes, BroadcastGroup(weight));
          }
        }
      }
      Store(d.acc + y * d.width + x, acc);
    }
  }
}

void Depthwise(const LookupDepthwise& d) {
  if (15 * d.stride + 3 * d.dilation > 63) {
    DepthwiseFar(d);
    return;
  }
  // Lane x takes the image bytes of four taps of output x.
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const int32_t stride = static_cast<int32_t>(d.stride * 0x01010101u);
  const int32_t taps = static_cast<int32_t>(d.dilation * 0x03020100u);
  const __m512i permutation =
      _mm512_add_epi8(_mm512_mullo_epi32(lane, _mm512_set1_epi32(stride)), _mm512_set1_epi32(taps));
  if (d.kernel_h == 3 && d.kernel_w <= 4) {
    DepthwiseOf<3, 1>(d, permutation);
  } else if (d.kernel_h == 5 && d.kernel_w > 4 && d.kernel_w <= 8) {
    DepthwiseOf<5, 2>(d, permutation);
  } else {
    DepthwiseOf<0, 0>(d, permutation);
  }
}

}  // namespace

extern const LookupKernel kLookupAvx512;
const LookupKernel kLookupAvx512 = {
    128,    {SIZE_MAX, 16}, true,       true,    kLookupRows, kLookupStreamGroups,
    1,      Translate,      Interleave, Decode,  Tile,        Transpose,
    Stream, Depthwise,      nullptr,    nullptr, nullptr,
};

#ifdef TALLY_HAVE_AMX
void TileOrAmx(const LookupTile& t) { t.row_offsets != nullptr ? Tile(t) : LookupTileAmx(t); }

extern const LookupKernel kLookupAmx;
const LookupKernel kLookupAmx = {
    128,    {8, 4},    true,          true,           kLookupPanelRows, 16,
    4,      Translate, Interleave,    Decode,         TileOrAmx,        Transpose,
    Stream, Depthwise, LookupPackAmx, LookupEnterAmx, LookupLeaveAmx,
};
#endif

}  // namespace tally
