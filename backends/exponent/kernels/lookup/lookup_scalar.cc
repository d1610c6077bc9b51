// The portable look-up kernel: the contract of lookup.h, literally.
#include "backends/exponent/kernels/lookup/lookup.h"

namespace tally {
namespace {

void Translate(const uint8_t* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
  for (size_t y = 0; y < area.rows; ++y, codes += area.source_stride, digits += area.target_stride) {
    for (size_t i = 0; i < area.width; ++i) digits[i] = table.digit[codes[i]];
  }
}

void Interleave(const uint8_t* const* codes, const LookupArea& area, const LookupTable& table, uint8_t* digits) {
  for (size_t y = 0; y < area.rows; ++y, digits += area.target_stride) {
    for (size_t i = 0; i < area.width; ++i) {
      for (size_t j = 0; j < kLookupGroup; ++j) {
        digits[kLookupGroup * i + j] = table.digit[codes[j][y * area.source_stride + i * area.source_step]];
      }
    }
  }
}

void Decode(const uint8_t* stream, size_t units, const LookupTable& table, int8_t* digits) {
  constexpr size_t kVector = kLookupUnit / kLookupUnitVectors;
  for (size_t u = 0; u < units; ++u, stream += kVector * static_cast<size_t>(table.bits)) {
    for (size_t v = 0; v < kLookupUnitVectors; ++v, digits += kVector) {
      const LookupPieces pieces = PiecesOfVector(table.bits, static_cast<int>(v));
      for (size_t j = 0; j < kVector; ++j) {
        uint32_t code = 0;
        for (int i = 0; i < pieces.count; ++i) {
          const LookupPiece& p = pieces.piece[i];
          code |= (uint32_t{stream[kVector * p.row + j]} >> p.shift) & p.mask;
        }
        digits[j] = static_cast<int8_t>(table.digit[code]);
      }
    }
  }
}

int32_t Value(uint8_t digit, bool is_signed) { return is_signed ? static_cast<int8_t>(digit) : digit; }

// Dot product of one group.
int32_t Dot(const uint8_t* acts, bool act_signed, const uint8_t* weights) {
  int32_t sum = 0;
  for (size_t i = 0; i < kLookupGroup; ++i) sum += Value(acts[i], act_signed) * Value(weights[i], true);
  return sum;
}

void Tile(const LookupTile& t) {
  for (size_t r = 0; r < t.row_count; ++r) {
    int32_t* acc = t.acc + r * t.acc_stride;
    for (size_t l = 0; l < t.lane_count; ++l) acc[l] = 0;
    for (size_t g = 0; g < t.groups; ++g) {
      const uint8_t* row = t.row_offsets != nullptr ? t.rows + t.row_offsets[g] + r * kLookupGroup
                                                    : t.rows + (g / 4 * t.row_count + r) * 16 + g % 4 * kLookupGroup;
      const uint8_t* lanes = t.lanes + t.lane_offsets[g];
      for (size_t l = 0; l < t.lane_count; ++l) {
        const uint8_t* lane = lanes + l * kLookupGroup;
        const int32_t dot = t.acts_in_lanes ? Dot(lane, t.act_signed, row) : Dot(row, t.act_signed, lane);
        // Lanes that hold nothing may be anything, so their sums may wrap.
        acc[l] = static_cast<int32_t>(static_cast<uint32_t>(acc[l]) + static_cast<uint32_t>(dot));
      }
    }
  }
}

void Transpose(const void* from, size_t rows, size_t lanes, void* to, size_t to_stride) {
  TransposeEach(from, 0, rows, 0, lanes, to, to_stride);
}

void Stream(const LookupStream& v) {
  for (size_t r = 0; r < v.row_count; ++r) {
    for (size_t l = 0; l < kLookupLanes; ++l) v.acc[r * v.acc_stride + l] = 0;
  }
  int8_t digits[kLookupUnit];
  for (size_t u = 0; u < v.units; ++u) {
    Decode(v.stream + u * kLookupUnit / 8 * static_cast<size_t>(v.table->bits), 1, *v.table, digits);
    for (size_t r = 0; r < v.row_count; ++r) {
      const uint8_t* row = v.rows + (u * v.row_count + r) * 16;
      for (size_t i = 0; i < kLookupUnit / kLookupGroup; ++i) {
        v.acc[r * v.acc_stride + i % kLookupLanes] += Dot(row + i / kLookupLanes * kLookupGroup, v.act_signed,
                                                          reinterpret_cast<const uint8_t*>(digits) + i * kLookupGroup);
      }
    }
  }
}

void Depthwise(const LookupDepthwise& d) {
  const size_t padded_w = (d.kernel_w + kLookupGroup - 1) / kLookupGroup * kLookupGroup;
  for (size_t y = 0; y < d.height; ++y) {
    for (size_t x = 0; x < d.width; ++x) {
      int32_t sum = 0;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        const uint8_t* image = d.image + y * d.image_stride + r * d.row_step + x * d.stride;
        for (size_t s = 0; s < d.kernel_w; ++s) {
          sum += Value(image[s * d.dilation], d.act_signed) * d.weights[r * padded_w + s];
        }
      }
      d.acc[y * d.width + x] = sum;
    }
  }
}

}  // namespace

extern const LookupKernel kLookupScalar;
const LookupKernel kLookupScalar = {0,      {4, 4},    false,      false,   kLookupRows, kLookupStreamGroups,
                                    1,      Translate, Interleave, Decode,  Tile,        Transpose,
                                    Stream, Depthwise, nullptr,    nullptr, nullptr};

}  // namespace tally
