// The look-up kernel for AVX-512 with VBMI and VNNI. Everything but the kernel object is static, and nothing of the
// standard library is used, so that no function compiled for this instruction set can replace one of the same name.
//
// Signed activation digits carry an offset of 128: vpdpbusd multiplies unsigned by signed bytes and does not saturate.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own headers, in _mm512_undefined_epi32
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "backends/exponent/kernels/lookup/lookup.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 32")

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

void Translate(const uint8_t* codes, size_t count, const LookupTable& table, uint8_t* digits) {
  const Bytes256 look_up(table.digit);
  size_t i = 0;
  for (; i + 64 <= count; i += 64) Store(digits + i, look_up(Load(codes + i)));
  if (i < count) {
    const __mmask64 mask = (__mmask64{1} << (count - i)) - 1;
    _mm512_mask_storeu_epi8(digits + i, mask, look_up(_mm512_maskz_loadu_epi8(mask, codes + i)));
  }
}

void Interleave(const uint8_t* const* rows, size_t count, const LookupTable& table, uint8_t* digits) {
  const Bytes256 look_up(table.digit);
  // Byte 4 i + j of the result is byte i of quarter j.
  alignas(64) uint8_t order[64];
  for (int i = 0; i < 64; ++i) order[i] = static_cast<uint8_t>(i % 4 * 16 + i / 4);
  const __m512i permutation = _mm512_load_si512(order);
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const __mmask16 mask = static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1u << left) - 1);
    __m512i v = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(mask, rows[0] + i));
    v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(mask, rows[1] + i), 1);
    v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(mask, rows[2] + i), 2);
    v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(mask, rows[3] + i), 3);
    _mm512_mask_storeu_epi32(digits + 4 * i, mask, _mm512_permutexvar_epi8(permutation, look_up(v)));
  }
}

// Decodes a stream of codes of kBits, half a unit (64 codes) at a time.
template <int kBits>
struct Decoder {
  __m512i t0, t1, spread, shifts;

  explicit Decoder(const LookupTable& table) : t0(Load(table.digit)), t1(Load(table.digit + 64)) {
    // Quadword q takes the kBits bytes of its 8 codes, then each byte the 8 bits from its code's first one on.
    alignas(64) uint8_t bytes[64];
    alignas(64) uint8_t bits[64];
    for (int i = 0; i < 64; ++i) {
      bytes[i] = static_cast<uint8_t>(i / 8 * kBits + i % 8);
      bits[i] = static_cast<uint8_t>(i % 8 * kBits);
    }
    spread = _mm512_load_si512(bytes);
    shifts = _mm512_load_si512(bits);
  }

  // The table repeats itself, so bits above the code's do not matter as long as they only choose a copy.
  __m512i LookUp(__m512i index) const {
    if constexpr (kBits <= 6) return _mm512_permutexvar_epi8(index, t0);
    const __m512i digit = _mm512_permutex2var_epi8(t0, index, t1);
    if constexpr (kBits == 7) return digit;
    return _mm512_mask_sub_epi8(digit, _mm512_movepi8_mask(index), _mm512_setzero_si512(), digit);
  }

  // Codes 0..63 and 64..127 of the unit at `stream`.
  void Unit(const uint8_t* stream, __m512i* a, __m512i* b) const {
    if constexpr (kBits == 4) {
      const __m512i v = Load(stream);
      *a = LookUp(v);
      *b = LookUp(_mm512_srli_epi16(v, 4));
    } else if constexpr (kBits == 8) {
      *a = LookUp(Load(stream));
      *b = LookUp(Load(stream + 64));
    } else {
      *a = LookUp(_mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(spread, Load(stream))));
      *b = LookUp(_mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(spread, Load(stream + 8 * kBits))));
    }
  }
};

template <int kBits>
void DecodeBits(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
  const Decoder<kBits> decoder(table);
  for (size_t u = 0; u < units; ++u, stream += 16 * kBits, digits += kLookupUnit) {
    __m512i a, b;
    decoder.Unit(stream, &a, &b);
    Store(digits, a);
    Store(digits + 64, b);
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

void Gather(const LookupGather& g) {
  // Runs are copied in whole vectors: what one writes too much, the next run, group or the slack takes.
  for (size_t group = 0; group < g.groups; ++group) {
    const uint8_t* image = g.image + g.group_offsets[group];
    uint8_t* panel = g.panel + group * kLookupGroupBytes;
    for (size_t r = 0; r < g.run_count; ++r) {
      const uint8_t* from = image + g.runs[r].source;
      uint8_t* to = panel + g.runs[r].lane * kLookupGroup;
      Store(to, Load(from));
      if (g.runs[r].length > 16) Store(to + 64, Load(from + 64));
    }
  }
}

// GCC 12 keeps accumulators in memory unless every loop over them is unrolled.
template <int kRows, int kVectors, bool kActsInLanes>
void TileOf(const LookupTile& t) {
  __m512i acc[kRows][kVectors];
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_setzero_si512();
  }
  const uint8_t* lanes = t.lanes;
  const uint8_t* rows = t.rows;
  for (size_t left = t.groups; left > 0;) {
    // Four groups lie side by side in a row's 16 bytes.
    const size_t inner = left < 4 ? left : 4;
    for (size_t i = 0; i < inner; ++i, lanes += kLookupGroupBytes) {
      __m512i lane[kVectors];
      UNROLL for (int v = 0; v < kVectors; ++v) lane[v] = Load(lanes + 64 * v);
      UNROLL for (int r = 0; r < kRows; ++r) {
        const __m512i row = BroadcastGroup(rows + 16 * r + 4 * i);
        UNROLL for (int v = 0; v < kVectors; ++v) {
          acc[r][v] = kActsInLanes ? _mm512_dpbusd_epi32(acc[r][v], lane[v], row)
                                   : _mm512_dpbusd_epi32(acc[r][v], row, lane[v]);
        }
      }
    }
    rows += 16 * kRows;
    left -= inner;
  }
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < kVectors; ++v) {
      Store(t.acc + static_cast<size_t>(r) * t.acc_stride + 16 * v, acc[r][v]);
    }
  }
}

template <int kVectors, bool kActsInLanes>
void TileRows(const LookupTile& t) {
  switch (t.row_count) {
    case 1: TileOf<1, kVectors, kActsInLanes>(t); break;
    case 2: TileOf<2, kVectors, kActsInLanes>(t); break;
    case 3: TileOf<3, kVectors, kActsInLanes>(t); break;
    case 4: TileOf<4, kVectors, kActsInLanes>(t); break;
    case 5: TileOf<5, kVectors, kActsInLanes>(t); break;
    case 6: TileOf<6, kVectors, kActsInLanes>(t); break;
    case 7: TileOf<7, kVectors, kActsInLanes>(t); break;
    case 8: TileOf<8, kVectors, kActsInLanes>(t); break;
    case 9: TileOf<9, kVectors, kActsInLanes>(t); break;
    case 10: TileOf<10, kVectors, kActsInLanes>(t); break;
    case 11: TileOf<11, kVectors, kActsInLanes>(t); break;
    default: TileOf<12, kVectors, kActsInLanes>(t); break;
  }
}

void Tile(const LookupTile& t) {
  if (t.acts_in_lanes) {
    t.lane_count > 16 ? TileRows<2, true>(t) : TileRows<1, true>(t);
  } else {
    t.lane_count > 16 ? TileRows<2, false>(t) : TileRows<1, false>(t);
  }
}

template <int kBits, int kRows>
void GemvOf(const LookupGemv& g) {
  // Several accumulators per output keep the multipliers busy while one addition waits for the last.
  constexpr int kSteps = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  const Decoder<kBits> decoder(*g.table);
  __m512i acc[kRows][kSteps][2];
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int s = 0; s < kSteps; ++s) acc[r][s][0] = acc[r][s][1] = _mm512_setzero_si512();
  }
  const uint8_t* acts[kRows];
  UNROLL for (int r = 0; r < kRows; ++r) acts[r] = g.acts[r];
  const uint8_t* stream = g.stream;
  size_t group = 0;
  for (; group + kSteps <= g.groups; group += kSteps) {
    UNROLL for (int s = 0; s < kSteps; ++s) {
      __m512i a, b;
      decoder.Unit(stream, &a, &b);
      stream += 16 * kBits;
      UNROLL for (int r = 0; r < kRows; ++r) {
        const __m512i act = BroadcastGroup(acts[r] + kLookupGroup * (group + s));
        acc[r][s][0] = _mm512_dpbusd_epi32(acc[r][s][0], act, a);
        acc[r][s][1] = _mm512_dpbusd_epi32(acc[r][s][1], act, b);
      }
    }
  }
  for (; group < g.groups; ++group, stream += 16 * kBits) {
    __m512i a, b;
    decoder.Unit(stream, &a, &b);
    UNROLL for (int r = 0; r < kRows; ++r) {
      const __m512i act = BroadcastGroup(acts[r] + kLookupGroup * group);
      acc[r][0][0] = _mm512_dpbusd_epi32(acc[r][0][0], act, a);
      acc[r][0][1] = _mm512_dpbusd_epi32(acc[r][0][1], act, b);
    }
  }
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < 2; ++v) {
      UNROLL for (int s = 1; s < kSteps; ++s) acc[r][0][v] = _mm512_add_epi32(acc[r][0][v], acc[r][s][v]);
      Store(g.acc + static_cast<size_t>(r) * g.acc_stride + 16 * v, acc[r][0][v]);
    }
  }
}

template <int kBits>
void GemvRows(const LookupGemv& g) {
  switch (g.row_count) {
    case 1: GemvOf<kBits, 1>(g); break;
    case 2: GemvOf<kBits, 2>(g); break;
    case 3: GemvOf<kBits, 3>(g); break;
    default: GemvOf<kBits, 4>(g); break;
  }
}

void Gemv(const LookupGemv& g) {
  switch (g.table->bits) {
    case 2: GemvRows<2>(g); break;
    case 3: GemvRows<3>(g); break;
    case 4: GemvRows<4>(g); break;
    case 5: GemvRows<5>(g); break;
    case 6: GemvRows<6>(g); break;
    case 7: GemvRows<7>(g); break;
    default: GemvRows<8>(g); break;
  }
}

// Where 16 outputs of a row reach too far for one vector of image bytes.
void DepthwiseFar(const LookupDepthwise& d) {
  const size_t padded_w = (d.kernel_w + 3) / 4 * 4;
  for (size_t x = 0; x < d.count; ++x) {
    int32_t sum = 0;
    for (size_t r = 0; r < d.kernel_h; ++r) {
      const uint8_t* image = d.image + r * d.row_step + x * d.stride;
      for (size_t s = 0; s < d.kernel_w; ++s) sum += image[s * d.dilation] * d.weights[r * padded_w + s];
    }
    d.acc[x] = sum;
  }
}

void Depthwise(const LookupDepthwise& d) {
  if (15 * d.stride + 3 * d.dilation > 63) {
    DepthwiseFar(d);
    return;
  }
  // Lane x takes the image bytes of four taps of output x.
  alignas(64) uint8_t order[64];
  for (size_t i = 0; i < 64; ++i) order[i] = static_cast<uint8_t>(i / 4 * d.stride + i % 4 * d.dilation);
  const __m512i permutation = _mm512_load_si512(order);
  const size_t quads = (d.kernel_w + 3) / 4;
  for (size_t x = 0; x < d.count; x += 16) {
    __m512i acc = _mm512_setzero_si512();
    const int8_t* weights = d.weights;
    for (size_t r = 0; r < d.kernel_h; ++r) {
      const uint8_t* image = d.image + r * d.row_step + x * d.stride;
      for (size_t q = 0; q < quads; ++q, weights += 4, image += 4 * d.dilation) {
        const __m512i taps = _mm512_permutexvar_epi8(permutation, Load(image));
        acc = _mm512_dpbusd_epi32(acc, taps, BroadcastGroup(reinterpret_cast<const uint8_t*>(weights)));
      }
    }
    Store(d.acc + x, acc);
  }
}

}  // namespace

extern const LookupKernel kLookupAvx512;
const LookupKernel kLookupAvx512 = {128, Translate, Interleave, Decode, Gather, Tile, Gemv, Depthwise};

}  // namespace tally
