// The look-up kernel for AArch64 with Advanced SIMD and its dot product of signed bytes. Activation digits are at most
// 127 in magnitude, so signed and unsigned ones are the same bytes to it, and nothing has an offset.
//
// Everything is static, and nothing of the standard library is used, so that no function compiled for an instruction
// set can replace one of the same name.
#include <arm_neon.h>

#include "backends/exponent/kernels/lookup/lookup.h"

namespace tally {
namespace {

#define UNROLL _Pragma("GCC unroll 32")
// What names a lane of a vector must be inlined whatever the compiler thinks of its size.
#define INLINE [[gnu::always_inline]] inline
// Loads stay on their side: GCC would otherwise gather those of several groups and run out of registers.
#define FENCE asm volatile("" ::: "memory")

inline int8x16_t LoadDigits(const void* p) { return vld1q_s8(static_cast<const int8_t*>(p)); }

// acc + lanes . the four digits of group kGroup of `row`, per lane.
template <int kGroup>
INLINE int32x4_t Dot(int32x4_t acc, int8x16_t lanes, int8x16_t row) {
  return vdotq_laneq_s32(acc, lanes, row, kGroup);
}

// Digits of codes of kBits, each of which is below 2^kBits. Tables are kept as the registers in a row that tbl wants:
// the compiler would put them together again for every use.
template <int kBits>
struct Digits {
  uint8x16_t table;
  explicit Digits(const LookupTable& t) : table(vld1q_u8(t.digit)) {}
  uint8x16_t operator()(uint8x16_t codes) const { return vqtbl1q_u8(table, codes); }
};

template <>
struct Digits<5> {
  uint8x16x2_t table;
  explicit Digits(const LookupTable& t) : table(vld1q_u8_x2(t.digit)) {}
  uint8x16_t operator()(uint8x16_t codes) const { return vqtbl2q_u8(table, codes); }
};

template <>
struct Digits<6> {
  uint8x16x4_t table;
  explicit Digits(const LookupTable& t) : table(vld1q_u8_x4(t.digit)) {}
  uint8x16_t operator()(uint8x16_t codes) const { return vqtbl4q_u8(table, codes); }
};

template <>
struct Digits<7> {
  uint8x16x4_t low, high;
  explicit Digits(const LookupTable& t) : low(vld1q_u8_x4(t.digit)), high(vld1q_u8_x4(t.digit + 64)) {}
  uint8x16_t operator()(uint8x16_t codes) const {
    // tbl makes 0 of codes that its table does not reach, tbx leaves what is there.
    return vqtbx4q_u8(vqtbl4q_u8(low, codes), high, vsubq_u8(codes, vdupq_n_u8(64)));
  }
};

template <>
struct Digits<8> {
  Digits<7> of_128;
  explicit Digits(const LookupTable& t) : of_128(t) {}
  uint8x16_t operator()(uint8x16_t codes) const {
    // Tables of 8 bits are odd: the top bit is the sign.
    const uint8x16_t digits = of_128(vandq_u8(codes, vdupq_n_u8(127)));
    const uint8x16_t negative = vcltzq_s8(vreinterpretq_s8_u8(codes));
    return vsubq_u8(veorq_u8(digits, negative), negative);
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

inline uint8x16_t Mask(uint8x16_t codes, int bits) {
  return vandq_u8(codes, vdupq_n_u8(static_cast<uint8_t>((1 << bits) - 1)));
}

template <int kBits>
struct TranslateBits {
  static void Run(const uint8_t* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
    const Digits<kBits> look_up(table);
    for (size_t y = 0; y < area.rows; ++y, codes += area.source_stride, digits += area.target_stride) {
      size_t i = 0;
      for (; i + 16 <= area.width; i += 16) vst1q_u8(digits + i, look_up(Mask(vld1q_u8(codes + i), kBits)));
      if (i == area.width) continue;
      uint8_t last[16] = {};
      __builtin_memcpy(last, codes + i, area.width - i);
      vst1q_u8(last, look_up(Mask(vld1q_u8(last), kBits)));
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
  static uint8x16_t Codes16(const uint8_t* p) {
    if constexpr (kStep == 1) return vld1q_u8(p);
    return vld2q_u8(p).val[0];
  }

  // 16 positions of four rows of codes.
  template <size_t kStep>
  static void Block(const Digits<kBits>& look_up, const uint8_t* const* codes, size_t from, uint8_t* digits) {
    uint8x16x4_t rows;
    UNROLL for (int j = 0; j < 4; ++j) rows.val[j] = look_up(Mask(Codes16<kStep>(codes[j] + from), kBits));
    vst4q_u8(digits, rows);
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

// A quarter, from byte `unit` of the rows on, of the codes of vector kVector of a unit, one a byte.
template <int kBits, int kVector, int kPiece = 0>
INLINE uint8x16_t Codes(const uint8_t* unit) {
  constexpr LookupPieces kPieces = PiecesOfVector(kBits, kVector);
  constexpr LookupPiece kThis = kPieces.piece[kPiece];
  uint8x16_t codes = vld1q_u8(unit + 64 * kThis.row);
  if constexpr (kThis.shift != 0) codes = vshrq_n_u8(codes, kThis.shift);
  if constexpr (kThis.mask != 255 >> kThis.shift) codes = vandq_u8(codes, vdupq_n_u8(kThis.mask));
  if constexpr (kPiece + 1 < kPieces.count) codes = vorrq_u8(codes, Codes<kBits, kVector, kPiece + 1>(unit));
  return codes;
}

template <int kBits, int kVector = 0>
INLINE void DecodeVector(const Digits<kBits>& look_up, const uint8_t* unit, int8_t* digits) {
  UNROLL for (int i = 0; i < 4; ++i) {
    vst1q_s8(digits + 64 * kVector + 16 * i, vreinterpretq_s8_u8(look_up(Codes<kBits, kVector>(unit + 16 * i))));
  }
  if constexpr (kVector + 1 < static_cast<int>(kLookupUnitVectors)) {
    DecodeVector<kBits, kVector + 1>(look_up, unit, digits);
  }
}

template <int kBits>
struct DecodeBits {
  static void Run(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
    const Digits<kBits> look_up(table);
    for (size_t u = 0; u < units; ++u, stream += 64 * kBits, digits += kLookupUnit) {
      DecodeVector<kBits>(look_up, stream, digits);
    }
  }
};

void Decode(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
  ForBits<DecodeBits>(table.bits, stream, units, table, digits);
}

// Sums of kRows rows and 16 lanes. Six rows take 24 of the 32 registers, which leaves one for each row and two for
// lanes.
constexpr size_t kTileRows = 6;

template <int kRows>
struct Sums {
  int32x4_t acc[kRows][4];

  Sums() {
    UNROLL for (int r = 0; r < kRows; ++r) { UNROLL for (int i = 0; i < 4; ++i) acc[r][i] = vdupq_n_s32(0); }
  }

  // Row r is group kGroup of rows[r].
  template <int kGroup>
  INLINE void AddGroup(const uint8_t* lanes, const int8x16_t* rows) {
    UNROLL for (int i = 0; i < 4; ++i) {
      const int8x16_t lane = LoadDigits(lanes + 16 * i);
      UNROLL for (int r = 0; r < kRows; ++r) acc[r][i] = Dot<kGroup>(acc[r][i], lane, rows[r]);
    }
    FENCE;
  }

  // Row r is group r % 4 of rows[r / 4].
  template <int kRow = 0>
  INLINE void AddPixels(const int8x16_t* lanes, const int8x16_t* rows) {
    UNROLL for (int i = 0; i < 4; ++i) acc[kRow][i] = Dot<kRow % 4>(acc[kRow][i], lanes[i], rows[kRow / 4]);
    if constexpr (kRow + 1 < kRows) AddPixels<kRow + 1>(lanes, rows);
  }

  void Store(int32_t* to, size_t stride) const {
    UNROLL for (int r = 0; r < kRows; ++r, to += stride) {
      UNROLL for (int i = 0; i < 4; ++i) vst1q_s32(to + 4 * i, acc[r][i]);
    }
  }
};

// 4 * kPixels bytes, and no more.
template <int kPixels>
inline int8x16_t LoadPixels(const uint8_t* p) {
  if constexpr (kPixels >= 4) {
    return LoadDigits(p);
  } else {
    int32x4_t v = vdupq_n_s32(0);
    __builtin_memcpy(&v, p, 4 * kPixels);
    return vreinterpretq_s8_s32(v);
  }
}

// Rows first_row .. first_row + kRows - 1 and 16 lanes from first_lane on.
template <int kRows>
struct PanelTile {
  static void Run(const LookupTile& t, size_t first_row, size_t first_lane) {
    Sums<kRows> sums;
    const uint8_t* first = t.lanes + first_lane * kLookupGroup;
    const size_t* offsets = t.lane_offsets;
    const uint8_t* panel = t.rows + first_row * 16;
    int8x16_t rows[kRows];
    size_t left = t.groups;
    for (; left >= 4; left -= 4, offsets += 4, panel += 16 * t.row_count) {
      UNROLL for (int r = 0; r < kRows; ++r) rows[r] = LoadDigits(panel + 16 * r);
      sums.template AddGroup<0>(first + offsets[0], rows);
      sums.template AddGroup<1>(first + offsets[1], rows);
      sums.template AddGroup<2>(first + offsets[2], rows);
      sums.template AddGroup<3>(first + offsets[3], rows);
    }
    if (left > 0) {
      UNROLL for (int r = 0; r < kRows; ++r) rows[r] = LoadDigits(panel + 16 * r);
      sums.template AddGroup<0>(first + offsets[0], rows);
      if (left > 1) sums.template AddGroup<1>(first + offsets[1], rows);
      if (left > 2) sums.template AddGroup<2>(first + offsets[2], rows);
    }
    sums.Store(t.acc + first_row * t.acc_stride + first_lane, t.acc_stride);
  }
};

template <int kRows>
struct PixelTile {
  static void Run(const LookupTile& t, size_t first_row, size_t first_lane) {
    Sums<kRows> sums;
    for (size_t g = 0; g < t.groups; ++g) {
      const uint8_t* pixels = t.rows + t.row_offsets[g] + kLookupGroup * first_row;
      const uint8_t* from = t.lanes + t.lane_offsets[g] + kLookupGroup * first_lane;
      int8x16_t lanes[4], rows[2];
      UNROLL for (int i = 0; i < 4; ++i) lanes[i] = LoadDigits(from + 16 * i);
      rows[0] = LoadPixels<kRows>(pixels);
      if constexpr (kRows > 4) rows[1] = LoadPixels<kRows - 4>(pixels + 16);
      sums.AddPixels(lanes, rows);
    }
    sums.Store(t.acc + first_row * t.acc_stride + first_lane, t.acc_stride);
  }
};

template <template <int> class TileOf>
void TileRows(const LookupTile& t) {
  for (size_t lane = 0; lane < t.lane_count; lane += 16) {
    // In parts that are as equal as can be.
    for (size_t row = 0, parts = (t.row_count + kTileRows - 1) / kTileRows; parts > 0; --parts) {
      const size_t rows = (t.row_count - row + parts - 1) / parts;
      switch (rows) {
        case 1: TileOf<1>::Run(t, row, lane); break;
        case 2: TileOf<2>::Run(t, row, lane); break;
        case 3: TileOf<3>::Run(t, row, lane); break;
        case 4: TileOf<4>::Run(t, row, lane); break;
        case 5: TileOf<5>::Run(t, row, lane); break;
        default: TileOf<kTileRows>::Run(t, row, lane); break;
      }
      row += rows;
    }
  }
}

void Tile(const LookupTile& t) { t.row_offsets != nullptr ? TileRows<PixelTile>(t) : TileRows<PanelTile>(t); }

// Rows and columns of 4 x 4 elements, `from` rows 32 apart.
inline void Transpose4(const int32_t* from, int32_t* to, size_t to_stride) {
  int32x4_t r[4];
  UNROLL for (int i = 0; i < 4; ++i) r[i] = vld1q_s32(from + static_cast<size_t>(i) * kLookupLanes);
  // Rows 0 and 1 (2 and 3) of columns 0 and 2, and of columns 1 and 3.
  const int64x2_t even01 = vreinterpretq_s64_s32(vtrn1q_s32(r[0], r[1]));
  const int64x2_t odd01 = vreinterpretq_s64_s32(vtrn2q_s32(r[0], r[1]));
  const int64x2_t even23 = vreinterpretq_s64_s32(vtrn1q_s32(r[2], r[3]));
  const int64x2_t odd23 = vreinterpretq_s64_s32(vtrn2q_s32(r[2], r[3]));
  vst1q_s32(to, vreinterpretq_s32_s64(vtrn1q_s64(even01, even23)));
  vst1q_s32(to + to_stride, vreinterpretq_s32_s64(vtrn1q_s64(odd01, odd23)));
  vst1q_s32(to + 2 * to_stride, vreinterpretq_s32_s64(vtrn2q_s64(even01, even23)));
  vst1q_s32(to + 3 * to_stride, vreinterpretq_s32_s64(vtrn2q_s64(odd01, odd23)));
}

void Transpose(const void* from, size_t rows, size_t lanes, void* to, size_t to_stride) {
  TransposeBlocks<4>(from, rows, lanes, to, to_stride, Transpose4);
}

template <int kBits, int kRows>
struct StreamRows {
  const Digits<kBits> look_up;
  int32x4_t acc[kRows][8];

  explicit StreamRows(const LookupTable& table) : look_up(table) {
    UNROLL for (int r = 0; r < kRows; ++r) { UNROLL for (int i = 0; i < 8; ++i) acc[r][i] = vdupq_n_s32(0); }
  }

  template <int kGroup>
  INLINE void AddGroup(const uint8_t* unit, const int8x16_t* act) {
    UNROLL for (int i = 0; i < 4; ++i) {
      const int8x16_t low = vreinterpretq_s8_u8(look_up(Codes<kBits, 2 * kGroup>(unit + 16 * i)));
      const int8x16_t high = vreinterpretq_s8_u8(look_up(Codes<kBits, 2 * kGroup + 1>(unit + 16 * i)));
      UNROLL for (int r = 0; r < kRows; ++r) {
        acc[r][i] = Dot<kGroup>(acc[r][i], low, act[r]);
        acc[r][4 + i] = Dot<kGroup>(acc[r][4 + i], high, act[r]);
      }
      FENCE;
    }
  }

  void Run(const LookupStream& g, size_t first_row) {
    const uint8_t* stream = g.stream;
    const uint8_t* panel = g.rows + first_row * 16;
    int8x16_t act[kRows];
    for (size_t u = 0; u < g.units; ++u, stream += 64 * kBits, panel += 16 * g.row_count) {
      if (g.ahead != 0) {
        // Past the end of the stream this is harmless.
        UNROLL for (int i = 0; i < 64 * kBits; i += 64) __builtin_prefetch(stream + g.ahead + i);
      }
      UNROLL for (int r = 0; r < kRows; ++r) act[r] = LoadDigits(panel + 16 * r);
      AddGroup<0>(stream, act);
      AddGroup<1>(stream, act);
      AddGroup<2>(stream, act);
      AddGroup<3>(stream, act);
    }
    UNROLL for (int r = 0; r < kRows; ++r) {
      int32_t* to = g.acc + (first_row + static_cast<size_t>(r)) * g.acc_stride;
      UNROLL for (int i = 0; i < 8; ++i) vst1q_s32(to + 4 * i, acc[r][i]);
    }
  }
};

template <int kBits>
struct StreamBits {
  static void Run(const LookupStream& g) {
    size_t row = 0;
    for (; row + 2 <= g.row_count; row += 2) StreamRows<kBits, 2>(*g.table).Run(g, row);
    if (row < g.row_count) StreamRows<kBits, 1>(*g.table).Run(g, row);
  }
};

void Stream(const LookupStream& g) { ForBits<StreamBits>(g.table->bits, g); }

// Where four outputs of a row reach too far for two vectors of image bytes.
void DepthwiseFar(const LookupDepthwise& d) {
  const size_t padded_w = (d.kernel_w + 3) / 4 * 4;
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; ++x) {
      int32_t sum = 0;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        const uint8_t* image = d.image + y * d.image_stride + r * d.row_step + x * d.stride;
        for (size_t s = 0; s < d.kernel_w; ++s) {
          sum += static_cast<int8_t>(image[s * d.dilation]) * d.weights[r * padded_w + s];
        }
      }
      d.acc[y * d.width + x] = sum;
    }
  }
}

// The bytes of a table of kVectors at `image`, by index.
template <int kVectors>
inline int8x16_t Gather(const uint8_t* image, uint8x16_t index) {
  if constexpr (kVectors == 1) {
    return vreinterpretq_s8_u8(vqtbl1q_u8(vld1q_u8(image), index));
  } else {
    return vreinterpretq_s8_u8(vqtbl2q_u8({{vld1q_u8(image), vld1q_u8(image + 16)}}, index));
  }
}

template <int kVectors>
void DepthwiseNear(const LookupDepthwise& d) {
  // Lane x takes the image bytes of four taps of output x.
  uint8_t order[16];
  for (size_t i = 0; i < 16; ++i) order[i] = static_cast<uint8_t>(i / 4 * d.stride + i % 4 * d.dilation);
  const uint8x16_t index = vld1q_u8(order);
  const size_t quads = (d.kernel_w + 3) / 4;
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; x += 8) {
      int32x4_t acc0 = vdupq_n_s32(0), acc1 = acc0;
      const int8_t* weights = d.weights;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        const uint8_t* image = d.image + y * d.image_stride + r * d.row_step + x * d.stride;
        for (size_t q = 0; q < quads; ++q, weights += 4, image += 4 * d.dilation) {
          int32_t taps;
          __builtin_memcpy(&taps, weights, sizeof(taps));
          const int8x16_t weight = vreinterpretq_s8_s32(vdupq_n_s32(taps));
          acc0 = vdotq_s32(acc0, Gather<kVectors>(image, index), weight);
          acc1 = vdotq_s32(acc1, Gather<kVectors>(image + 4 * d.stride, index), weight);
        }
      }
      vst1q_s32(d.acc + y * d.width + x, acc0);
      vst1q_s32(d.acc + y * d.width + x + 4, acc1);
    }
  }
}

void Depthwise(const LookupDepthwise& d) {
  const size_t reach = 3 * d.stride + 3 * d.dilation;
  if (reach > 31) {
    DepthwiseFar(d);
  } else if (reach > 15) {
    DepthwiseNear<2>(d);
  } else {
    DepthwiseNear<1>(d);
  }
}

#undef UNROLL
#undef INLINE
#undef FENCE

}  // namespace

extern const LookupKernel kLookupNeon;
const LookupKernel kLookupNeon = {0,      {4, 4},    false,      false,   kLookupRows, kLookupStreamGroups,
                                  1,      Translate, Interleave, Decode,  Tile,        Transpose,
                                  Stream, Depthwise, nullptr,    nullptr, nullptr};

}  // namespace tally
