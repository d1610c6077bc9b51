// Tiles by AMX: 32 rows x 32 lanes are four tile registers of 16 x 16 sums, for which one instruction multiplies 16
// rows of 64 digits by 16 groups of 16 lanes. Groups at equal distances, as in panels, are loaded where they lie,
// others are gathered first.
#include "backends/exponent/kernels/lookup/lookup_amx.h"

#include "backends/exponent/kernels/lookup/lookup_avx512_finish.h"
#include "runtime/core/x86_intrinsics.h"

namespace tally {
namespace {

constexpr size_t kSide = 16;      // rows and groups of a tile register
constexpr size_t kRowBytes = 64;  // of a tile register

// Operand of ldtilecfg: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, section 18.3.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Whether 16 offsets are at equal distances.
bool AreEven(const size_t* offsets) {
  const __m512i distance = _mm512_set1_epi64(static_cast<int64_t>(offsets[1] - offsets[0]));
  const __m512i low = _mm512_sub_epi64(_mm512_loadu_si512(offsets + 1), _mm512_loadu_si512(offsets));
  const __m512i high = _mm512_sub_epi64(_mm512_loadu_si512(offsets + 8), _mm512_loadu_si512(offsets + 7));
  return (_mm512_cmpneq_epi64_mask(low, distance) | _mm512_cmpneq_epi64_mask(high, distance)) == 0;
}

// `groups` groups of lanes one after the other, then zeros to 16.
template <int kLaneBlocks>
void Gather(const uint8_t* lanes, const size_t* offsets, size_t groups, uint8_t* to) {
  for (size_t g = 0; g < kSide; ++g, to += kLookupGroupBytes) {
    UNROLL for (int v = 0; v < kLaneBlocks; ++v) {
      _mm512_store_si512(to + kRowBytes * v,
                         g < groups ? _mm512_loadu_si512(lanes + offsets[g] + kRowBytes * v) : _mm512_setzero_si512());
    }
  }
  asm volatile("" : : : "memory");  // GCC's intrinsics do not say that tiles are loaded from memory
}

#define MULTIPLY(sum, row, lane)    \
  do {                              \
    if constexpr (kActsInLanes) {   \
      _tile_dpbsud(sum, row, lane); \
    } else {                        \
      _tile_dpbusd(sum, row, lane); \
    }                               \
  } while (false)

// The sums of up to kRowBlocks * 16 rows and kLaneBlocks * 16 lanes, in tile registers 0..3, [row block][lane block].
// Rows beyond the tile's are whatever follows them.
template <int kRowBlocks, int kLaneBlocks, bool kActsInLanes>
void SumTile(const LookupTile& t, const uint8_t* all_lanes) {
  alignas(64) uint8_t gathered[kSide * kLookupGroupBytes];
  _tile_zero(0);
  if constexpr (kLaneBlocks > 1) _tile_zero(1);
  if constexpr (kRowBlocks > 1) _tile_zero(2);
  if constexpr (kRowBlocks > 1 && kLaneBlocks > 1) _tile_zero(3);
  const uint8_t* rows = t.rows;
  for (size_t g = 0; g < t.groups; g += kSide) {
    const size_t* offsets = t.lane_offsets + g;
    const uint8_t* lanes = gathered;
    size_t lane_distance = kLookupGroupBytes, row_distance = kRowBytes;
    if (t.groups - g < kSide) {
      // Beyond these groups rows are other rows' digits, which meet zeros.
      row_distance = (t.groups - g + 3) / 4 * 16;
      Gather<kLaneBlocks>(all_lanes, offsets, t.groups - g, gathered);
    } else if (AreEven(offsets)) {
      lanes = all_lanes + offsets[0];
      lane_distance = offsets[1] - offsets[0];
    } else {
      Gather<kLaneBlocks>(all_lanes, offsets, kSide, gathered);
    }
    // A register is loaded anew when its last product is done: with all loads first, a round takes a sixth less time.
    _tile_loadd(4, rows, row_distance);
    _tile_loadd(6, lanes, lane_distance);
    if constexpr (kRowBlocks > 1) _tile_loadd(5, rows + kSide * row_distance, row_distance);
    if constexpr (kLaneBlocks > 1) _tile_loadd(7, lanes + kRowBytes, lane_distance);
    MULTIPLY(0, 4, 6);
    if constexpr (kLaneBlocks > 1) MULTIPLY(1, 4, 7);
    if constexpr (kRowBlocks > 1) MULTIPLY(2, 5, 6);
    if constexpr (kRowBlocks > 1 && kLaneBlocks > 1) MULTIPLY(3, 5, 7);
    rows += t.row_count * row_distance;
  }
}

// Rows of sums are 32 apart.
template <int kRowBlocks, int kLaneBlocks>
void StoreTile(int32_t* sums) {
  constexpr size_t kBytes = kLookupLanes * sizeof(int32_t);
  int32_t* const second = sums + kSide * kLookupLanes;
  _tile_stored(0, sums, kBytes);
  if constexpr (kLaneBlocks > 1) _tile_stored(1, sums + kSide, kBytes);
  if constexpr (kRowBlocks > 1) _tile_stored(2, second, kBytes);
  if constexpr (kRowBlocks > 1 && kLaneBlocks > 1) _tile_stored(3, second + kSide, kBytes);
}

// Sums of kRows rows, 32 lanes apart.
template <int kRows, int kVectors, bool kByRow>
void FinishRows(const int32_t* sums, const LookupFinish& f, size_t row, size_t plain_to) {
  LookupFinish of_rows = f;
  for (int run = 0; run < 2; ++run) {
    of_rows.out[run] += row * f.out_stride;
    of_rows.residual[run] += row * f.residual_stride;
  }
  if constexpr (kByRow) {
    of_rows.correction += row;
    of_rows.scale += row;
    of_rows.bias += row;
  }
  __m512i acc[kRows][kVectors];
  UNROLL for (int r = 0; r < kRows; ++r) {
    UNROLL for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = _mm512_load_si512(sums + (row + static_cast<size_t>(r)) * kLookupLanes + 16 * v);
    }
  }
  Finish<kByRow>(acc, of_rows, plain_to);
}

template <int kRowBlocks, int kLaneBlocks, bool kActsInLanes>
void TileOf(const LookupTile& t) {
  alignas(64) int32_t sums[kLookupPanelRows * kLookupLanes];
  if (t.finish == nullptr) {
    SumTile<kRowBlocks, kLaneBlocks, kActsInLanes>(t, t.lanes);
    StoreTile<kRowBlocks, kLaneBlocks>(sums);
    for (size_t r = 0; r < t.row_count; ++r) {
      UNROLL for (int v = 0; v < kLaneBlocks; ++v) {
        _mm512_storeu_si512(t.acc + r * t.acc_stride + 16 * v, _mm512_load_si512(sums + r * kLookupLanes + 16 * v));
      }
    }
    return;
  }
  for (size_t tile = 0; tile < t.tiles; ++tile) {
    SumTile<kRowBlocks, kLaneBlocks, kActsInLanes>(t, t.lanes + kLookupGroupBytes * tile);
    StoreTile<kRowBlocks, kLaneBlocks>(sums);
    const size_t to = kLookupLanes * tile;
    size_t row = 0;
    for (; row + 8 <= t.row_count; row += 8) FinishRows<8, kLaneBlocks, kActsInLanes>(sums, *t.finish, row, to);
    for (; row < t.row_count; ++row) FinishRows<1, kLaneBlocks, kActsInLanes>(sums, *t.finish, row, to);
  }
}

template <int kRowBlocks, int kLaneBlocks>
void TileBlocks(const LookupTile& t) {
  t.acts_in_lanes ? TileOf<kRowBlocks, kLaneBlocks, true>(t) : TileOf<kRowBlocks, kLaneBlocks, false>(t);
}

}  // namespace

void LookupEnterAmx() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kRowBytes;
    config.rows[i] = kSide;
  }
  // GCC's intrinsic names only the first bytes as its operand.
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

void LookupLeaveAmx() { _tile_release(); }

void LookupPackAmx(const LookupPack& p) {
  // Runs as vectors, each of which overwrites what the one before wrote beyond its run.
  size_t from[kLookupPackLanes], to[kLookupPackLanes];
  size_t vectors = 0, x = p.first % p.run;
  const uint8_t* row = p.image + p.first / p.run * p.pitch * kLookupGroup;
  size_t base = 0;
  for (size_t done = 0; done < p.count; x = 0, base += p.pitch) {
    const size_t size = p.run - x < p.count - done ? p.run - x : p.count - done;
    for (size_t i = 0; i < size; i += kSide, ++vectors) {
      from[vectors] = (base + x + i) * kLookupGroup;
      to[vectors] = (done + i) * kLookupGroup;
    }
    done += size;
  }
  uint8_t* lanes = p.to;
  for (size_t g = 0; g < p.groups; ++g, lanes += p.to_stride) {
    const uint8_t* pixels = row + p.offsets[g];
    for (size_t v = 0; v < vectors; ++v) _mm512_storeu_si512(lanes + to[v], _mm512_loadu_si512(pixels + from[v]));
  }
}

void LookupTileAmx(const LookupTile& t) {
  if (t.row_count > kSide) {
    t.lane_count > kSide ? TileBlocks<2, 2>(t) : TileBlocks<2, 1>(t);
  } else {
    t.lane_count > kSide ? TileBlocks<1, 2>(t) : TileBlocks<1, 1>(t);
  }
}

}  // namespace tally
