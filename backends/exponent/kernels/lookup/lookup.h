// The look-up kernels: codes are decoded to integer digits by table, digits are multiplied and summed in int32. This is
// the contract that every instruction set implements, bit for bit; lookup_scalar.cc is its portable form.
//
// A digit is 7 bits and a sign: the mantissa of a q7 codebook is one digit, that of q14 two (high * 128 + low). A
// *weight* digit is an int8 in -127..127. An *activation* digit is stored in one of three ways: unsigned, a uint8 in
// 0..127; signed, either a uint8 that is the digit + 128 (kernels with signed_offset 128: they multiply it as a uint8,
// and the caller subtracts 128 * sum of the weight digits, modulo 2^32), or an int8 (signed_offset 0).
//
// k is walked in groups of 4 (kGroup), the shape of the CPUs' byte dot products. Accumulators are int32; the caller
// bounds k so that the true sums fit.
//
// Layouts:
//   lanes        [lane][4] at an offset per group  one operand of a tile, the one that lies in vector lanes: a lane
//                panel, [groups][32 lanes][4], or an image of pixels of 4 bytes
//   row panel    [blocks of groups][rows][4 * groups of the block]   the other operand; rows >= 1. A block has
//                row_groups of the kernel, for streams 4; the last one what is left, in multiples of 4.
//                kLookupPanelSlack readable bytes follow it.
//   stream       codes at their stored width, in the order in which they are consumed, in units of 512 codes: a row of
//                64 bytes per bit (LookupPieces below, PackStream of lookup_table.h). 64 readable bytes follow it.
//
// A unit holds eight vectors of 64 codes. Code j of a vector lies in byte j of its rows: whole codes first, 8 / bits to
// a byte, and the bits above them make up the vectors that are left. So a vector of whole codes is a row shifted, and
// no byte ever moves to another place; tables that repeat themselves make masks needless. 5 bits, byte j of the rows:
//
//   bit      7 6 5 4 3 2 1 0
//   row 0   |5 5 5|0 0 0 0 0|     the digits name the vector that the bit belongs to
//   row 1   |5 5|7|1 1 1 1 1|
//   row 2   |6 6 6|2 2 2 2 2|
//   row 3   |6 6|7|3 3 3 3 3|
//   row 4   |7 7 7|4 4 4 4 4|
//
// This header is included by files compiled for one instruction set, so it must stay free of anything that could emit
// code: no std or absl.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_H_

#include <stddef.h>
#include <stdint.h>

namespace tally {

inline constexpr size_t kLookupGroup = 4;
inline constexpr size_t kLookupLanes = 32;
inline constexpr size_t kLookupRows = 14;          // of a tile of pixels, at most
inline constexpr size_t kLookupPanelRows = 32;     // of a row panel, at most; kernels may take fewer
inline constexpr size_t kLookupPanelSlack = 1024;  // bytes: tiles may read rows beyond the last
inline constexpr size_t kLookupStreamRows = 12;    // of a product with a stream
inline constexpr size_t kLookupStreamGroups = 4;   // of a block of its row panel
inline constexpr size_t kLookupPackLanes = 256;
inline constexpr size_t kLookupUnit = 512;      // codes
inline constexpr size_t kLookupUnitGroups = 4;  // of 32 lanes, two vectors each
inline constexpr size_t kLookupUnitVectors = 8;
inline constexpr size_t kLookupGroupBytes = kLookupLanes * kLookupGroup;  // of a lane panel

// Where the bits of a code lie: the sum over its pieces of (byte of `row` >> shift) & mask.
struct LookupPiece {
  uint8_t row, shift, mask;
};
struct LookupPieces {
  int count = 0;
  LookupPiece piece[7] = {};
};

// Of the codes of vector v of a unit.
constexpr LookupPieces PiecesOfVector(int bits, int v) {
  const int per_byte = 8 / bits, mask = (1 << bits) - 1;
  LookupPieces p;
  if (v < per_byte * bits) {
    p.count = 1;
    p.piece[0] = {static_cast<uint8_t>(v / per_byte), static_cast<uint8_t>(v % per_byte * bits),
                  static_cast<uint8_t>(mask)};
    return p;
  }
  const bool last = v == 7;
  switch (bits) {
    case 3: return last ? LookupPieces{2, {{2, 6, 3}, {1, 5, 4}}} : LookupPieces{2, {{0, 6, 3}, {1, 4, 4}}};
    case 5:
      if (v == 5) return {2, {{1, 6, 3}, {0, 3, 28}}};
      if (v == 6) return {2, {{3, 6, 3}, {2, 3, 28}}};
      return {3, {{4, 5, 7}, {1, 2, 8}, {3, 1, 16}}};
    case 6:
      return last ? LookupPieces{3, {{3, 6, 3}, {4, 4, 12}, {5, 2, 48}}}
                  : LookupPieces{3, {{0, 6, 3}, {1, 4, 12}, {2, 2, 48}}};
    default:  // 7
      return {7, {{0, 7, 1}, {1, 6, 2}, {2, 5, 4}, {3, 4, 8}, {4, 3, 16}, {5, 2, 32}, {6, 1, 64}}};
  }
}

// The digit of every code; entry c of 256 is that of code c mod 2^bits. Tables of 8 bits are odd: entry c + 128 is
// minus entry c, modulo 256.
struct LookupTable {
  int bits = 0;  // stored bits of a code, 2..8
  alignas(64) uint8_t digit[256] = {};
};

// What becomes of the sums of a block of rows and 32 lanes, within the kernel, so that no sum goes through memory:
// t = float32(acc + correction) * scale; t += bias; t += residual; t is clamped, all as in FinishLoop of
// runtime/ops/row_kernels.h. Results of a row lie in up to two runs of memory: element (r, lane) of run i is
// out[i][r * out_stride + lane], its residual residual[i][r * residual_stride + lane]; other lanes are not touched.
//
// Nothing may be left out: zeros stand for what is missing, -0 for floats, which changes nothing when it is added.
struct LookupFinish {
  // One per row where activations are in lanes, else one per lane of lanes[0].
  const int32_t* correction = nullptr;  // added modulo 2^32
  const float* scale = nullptr;
  const float* bias = nullptr;
  float low = 0, high = 0;
  uint32_t lanes[2] = {};  // of each run
  float* out[2] = {};
  size_t out_stride = 0;
  const float* residual[2] = {};  // may be the output
  size_t residual_stride = 0;
  bool is_plain = false;  // neither correction nor residual
  // From a block of 32 lanes to the next, in elements: 32, or 0 where all share what stands for missing values.
  size_t correction_step = 0, bias_step = 0, residual_step = 0;
};

// acc[r][lane] = sum over k of rows[r] * lanes[lane].
struct LookupTile {
  const uint8_t* lanes = nullptr;
  const size_t* lane_offsets = nullptr;  // bytes from `lanes`, one per group
  const uint8_t* rows = nullptr;         // row panel; or, with row_offsets, pixels:
  const size_t* row_offsets = nullptr;   // row r of group g is at rows + row_offsets[g] + 4 r; lanes hold the weights
  // With row_offsets, kernels that decode tiles: the lanes of a group are 64 bytes of a stream of 4-bit codes, which
  // hold one group, and this is their table. Null: they are digits.
  const LookupTable* table = nullptr;
  size_t groups = 0;
  // With row_offsets: in so many of the first groups row 0 is zeros, in so many of the last ones the last row. They may
  // be left out.
  size_t first_row_zeros = 0, last_row_zeros = 0;
  size_t row_count = 0;        // 1..kLookupRows; of a row panel: up to the kernel's panel_rows
  size_t lane_count = 0;       // 16 or 32; all are written
  bool acts_in_lanes = false;  // which operand holds the activations
  bool act_signed = false;
  const LookupFinish* finish = nullptr;  // kernels that finish. Null: the sums go to acc.
  // Tiles of 32 lanes beside each other, and so are their results; more than one only with activations in lanes and a
  // plain finish of all lanes.
  size_t tiles = 1;
  int32_t* acc = nullptr;
  size_t acc_stride = 0;
};

// acc[r][lane] = sum over k of rows[r] * the 32 outputs whose codes are in the stream, [units][4 groups][32][4]; with
// `finish` the same for several blocks of outputs.
struct LookupStream {
  const uint8_t* stream = nullptr;
  const LookupTable* table = nullptr;
  const uint8_t* rows = nullptr;  // row panel of activations
  size_t row_count = 0;           // 1..kLookupStreamRows
  bool act_signed = false;
  size_t units = 0;
  size_t blocks = 1;  // of 32 outputs, whose streams follow each other; more than one only with `finish`
  // Bytes between what is read and what is asked of the memory meanwhile; 0: the hardware guesses.
  size_t ahead = 0;
  const LookupFinish* finish = nullptr;
  int32_t* acc = nullptr;
  size_t acc_stride = 0;
};

// Rows of bytes within larger ones.
struct LookupArea {
  size_t width = 0;
  size_t rows = 1;
  size_t source_stride = 0;  // bytes from one row of codes to the next
  size_t target_stride = 0;  // bytes from one row of digits to the next
  size_t source_step = 1;    // bytes from one code to the next, 1 or 2
};

// Rows of outputs of a depthwise convolution: acc[y * width + x] = sum over r, s of
// image[y * image_stride + r * row_step + x * stride + s * dilation] * weights[r][s]. Readable to 128 bytes past the
// last one used; rows are written in order, each up to a multiple of 16 outputs.
struct LookupDepthwise {
  const uint8_t* image = nullptr;
  size_t image_stride = 0;
  size_t row_step = 0;
  size_t kernel_h = 0, kernel_w = 0;
  size_t stride = 1, dilation = 1;
  const int8_t* weights = nullptr;  // [kernel_h][ceil(kernel_w / 4)][4], padded with zeros
  bool act_signed = false;
  size_t width = 0, height = 0;
  int32_t* acc = nullptr;
};

// The elements of LookupKernel::transpose one by one, from a row and a lane on.
static inline void TransposeEach(const void* from, size_t first_row, size_t rows, size_t first_lane, size_t lanes,
                                 void* to, size_t to_stride) {
  for (size_t r = first_row; r < rows; ++r) {
    for (size_t l = first_lane; l < lanes; ++l) {
      __builtin_memcpy(static_cast<char*>(to) + 4 * (l * to_stride + r),
                       static_cast<const char*>(from) + 4 * (r * kLookupLanes + l), 4);
    }
  }
}

// LookupKernel::transpose by `block`, which transposes kBlock x kBlock int32 elements. Internal linkage, as of all
// here: each instruction set has its own.
template <size_t kBlock, typename Block>
static inline void TransposeBlocks(const void* from, size_t rows, size_t lanes, void* to, size_t to_stride,
                                   const Block& block) {
  const size_t whole_rows = rows / kBlock * kBlock, whole_lanes = lanes / kBlock * kBlock;
  for (size_t r = 0; r < whole_rows; r += kBlock) {
    for (size_t l = 0; l < whole_lanes; l += kBlock) {
      block(static_cast<const int32_t*>(from) + r * kLookupLanes + l, static_cast<int32_t*>(to) + l * to_stride + r,
            to_stride);
    }
  }
  TransposeEach(from, whole_rows, rows, 0, lanes, to, to_stride);
  TransposeEach(from, 0, whole_rows, whole_lanes, lanes, to, to_stride);
}

// Pixels of successive outputs, as lanes without gaps: to[g * to_stride + 4 i + j] = byte j of the pixel of position
// first + i, i < count, in group g. Position p is pixel p / run * pitch + p % run at image + offsets[g]. Reads and
// writes 60 bytes more.
struct LookupPack {
  const uint8_t* image = nullptr;
  const size_t* offsets = nullptr;
  size_t groups = 0;
  size_t run = 1, pitch = 1;
  size_t first = 0, count = 0;  // at most kLookupPackLanes
  uint8_t* to = nullptr;
  size_t to_stride = 0;  // at least 4 * count
};

struct LookupKernel {
  int signed_offset;  // 128 or 0, see above
  // With more rows in all it is faster to decode a block of outputs once, and to use tiles. The first is for codes of 4
  // and 8 bits, which lie whole in their bytes, the second for all others.
  size_t max_stream_rows[2];
  size_t stream_rows(int bits) const { return max_stream_rows[bits == 4 || bits == 8 ? 0 : 1]; }
  bool finishes;       // tile and stream take a `finish`
  bool decodes_tiles;  // tile takes a `table`
  // Of row panels of tiles: rows at most, up to kLookupPanelRows, and groups of a block, a multiple of 4.
  size_t panel_rows, row_groups;
  double panel_speed;  // of tiles of row panels, where tiles of pixels have 1; about

  // In each row of the area, digits[i] = digit of codes[i]; codes are next to each other.
  void (*translate)(const uint8_t* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits);
  // In each row of the area, digits[4 i + j] = digit of codes[j][i * source_step], i < width.
  void (*interleave)(const uint8_t* const* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits);
  // The same for a stream of `units` units.
  void (*decode)(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits);
  void (*tile)(const LookupTile& tile);
  // Of elements of 4 bytes: to[lane * to_stride + row] = from[row * 32 + lane], row < rows, lane < lanes <= 32. Reads
  // whole multiples of 16 rows.
  void (*transpose)(const void* from, size_t rows, size_t lanes, void* to, size_t to_stride);
  void (*stream)(const LookupStream& stream);
  void (*depthwise)(const LookupDepthwise& depthwise);
  // Null where tiles of row panels read images as fast where they lie.
  void (*pack)(const LookupPack& pack);
  // What a thread calls before its tiles of row panels and after them (LookupScope of lookup_table.h); null: nothing.
  void (*enter)();
  void (*leave)();
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_LOOKUP_LOOKUP_H_
