// The inner loop of float32 convolutions and matrix products: a block of rows times a panel of columns that the caller
// gathered on its stack.
//
// Every element of the product is one chain acc = acc + a * b over ascending depth, each step rounded to float32;
// lanes are independent outputs.
#ifndef TALLY_RUNTIME_OPS_PANEL_H_
#define TALLY_RUNTIME_OPS_PANEL_H_

#include <algorithm>
#include <cstddef>

#include "runtime/ops/float4.h"

namespace tally {

// A panel and a block of accumulators take 16 KiB each and stay in the first-level cache together.
inline constexpr size_t kPanelColumns = 64;
inline constexpr size_t kPanelDepth = 64;
inline constexpr size_t kPanelRows = 64;

using Panel = float[kPanelDepth * kPanelColumns];     // [depth][column]; columns beyond those in use are unspecified
using PanelSums = float[kPanelRows * kPanelColumns];  // [row][column]

// Columns that MultiplyPanel touches for `columns` in use; a gathered panel must have them initialised.
inline size_t PaddedColumns(size_t columns) { return (columns + 7) / 8 * 8; }

namespace panel_internal {

template <size_t kRows, size_t kVectors>
inline void MultiplyTile(const float* a, size_t a_stride, const float* panel, size_t depth, float* sums) {
  Float4 acc[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) acc[r][v] = Load4(sums + r * kPanelColumns + 4 * v);
  }
  for (size_t k = 0; k < depth; ++k) {
    Float4 b[kVectors];
    for (size_t v = 0; v < kVectors; ++v) b[v] = Load4(panel + k * kPanelColumns + 4 * v);
    for (size_t r = 0; r < kRows; ++r) {
      const Float4 scale = Splat4(a[r * a_stride + k]);
      for (size_t v = 0; v < kVectors; ++v) acc[r][v] += scale * b[v];
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) Store4(sums + r * kPanelColumns + 4 * v, acc[r][v]);
  }
}

}  // namespace panel_internal

// sums[r][j] += sum over k of a[r * a_stride + k] * panel[k][j], for r < rows, j < PaddedColumns(columns).
inline void MultiplyPanel(const float* a, size_t a_stride, size_t rows, const Panel& panel, size_t depth,
                          size_t columns, PanelSums& sums) {
  using panel_internal::MultiplyTile;
  const size_t padded = PaddedColumns(columns);
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    for (size_t j = 0; j < padded; j += 8) {
      MultiplyTile<4, 2>(a + r * a_stride, a_stride, panel + j, depth, sums + r * kPanelColumns + j);
    }
  }
  for (; r < rows; ++r) {
    size_t j = 0;
    for (; j + 32 <= padded; j += 32) {
      MultiplyTile<1, 8>(a + r * a_stride, a_stride, panel + j, depth, sums + r * kPanelColumns + j);
    }
    for (; j < padded; j += 8) {
      MultiplyTile<1, 2>(a + r * a_stride, a_stride, panel + j, depth, sums + r * kPanelColumns + j);
    }
  }
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_PANEL_H_
