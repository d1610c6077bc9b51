// float32 matrix products. Each output is one chain over ascending k, starting from 0, then the epilogue.
#include <cstring>

#include "format/error.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/panel.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

// Four rows of b, `stride` apart, as four columns: column i holds element i of each row.
inline void LoadColumns(const float* b, size_t stride, Float4 (&columns)[4]) {
  const Float4 r0 = Load4(b);
  const Float4 r1 = Load4(b + stride);
  const Float4 r2 = Load4(b + 2 * stride);
  const Float4 r3 = Load4(b + 3 * stride);
  const Float4 low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
  const Float4 low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
  const Float4 high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
  const Float4 high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
  columns[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  columns[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  columns[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  columns[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

// panel[k][j] = b[j * stride + k].
void GatherTransposed(const float* b, size_t stride, size_t depth, size_t columns, Panel& panel) {
  const size_t padded = PaddedColumns(columns);
  for (size_t j = 0; j < padded; j += 4) {
    size_t k = 0;
    if (j + 4 <= columns) {
      for (; k + 4 <= depth; k += 4) {
        Float4 block[4];
        LoadColumns(b + j * stride + k, stride, block);
        for (size_t i = 0; i < 4; ++i) Store4(panel + (k + i) * kPanelColumns + j, block[i]);
      }
    }
    for (; k < depth; ++k) {
      for (size_t i = j; i < j + 4; ++i) panel[k * kPanelColumns + i] = i < columns ? b[i * stride + k] : 0.0f;
    }
  }
}

// sums[j] = a . row j of b, the same chains as through a panel. For few rows of a: reads each row of b in one run,
// which is what memory is fast at, and which a panel of 64 rows is not.
void MultiplyVector(const float* a, const float* b, size_t depth, size_t columns, float* sums) {
  size_t j = 0;
  for (; j + 8 <= columns; j += 8) {
    const float* rows = b + j * depth;
    Float4 sum[2] = {};
    size_t k = 0;
    for (; k + 4 <= depth; k += 4) {
      Float4 left[4], right[4];
      LoadColumns(rows + k, depth, left);
      LoadColumns(rows + 4 * depth + k, depth, right);
      for (size_t i = 0; i < 4; ++i) {
        const Float4 factor = Splat4(a[k + i]);
        sum[0] += factor * left[i];
        sum[1] += factor * right[i];
      }
    }
    std::memcpy(sums + j, sum, sizeof(sum));
    for (; k < depth; ++k) {
      for (size_t i = 0; i < 8; ++i) sums[j + i] += a[k] * rows[i * depth + k];
    }
  }
  for (; j < columns; ++j) {
    float sum = 0.0f;
    for (size_t k = 0; k < depth; ++k) sum += a[k] * b[j * depth + k];
    sums[j] = sum;
  }
}

// panel[k][j] = b[k * stride + j].
void GatherRows(const float* b, size_t stride, size_t depth, size_t columns, Panel& panel) {
  const size_t padded = PaddedColumns(columns);
  for (size_t k = 0; k < depth; ++k) {
    float* to = panel + k * kPanelColumns;
    std::memcpy(to, b + k * stride, columns * sizeof(float));
    std::fill(to + columns, to + padded, 0.0f);
  }
}

struct Product {
  size_t rows, columns, depth;
  const float* a;  // [rows, depth]
  const float* b;  // [columns, depth] when transposed, else [depth, columns]
  bool b_transposed;
};

size_t Blocks(size_t count, size_t block) { return (count + block - 1) / block; }

// The block of p that begins at (first_row, first_column), into sums.
void MultiplyBlock(const Product& p, size_t first_row, size_t rows, size_t first_column, size_t columns,
                   PanelSums& sums) {
  if (p.b_transposed && rows < 4) {
    for (size_t r = 0; r < rows; ++r) {
      MultiplyVector(p.a + (first_row + r) * p.depth, p.b + first_column * p.depth, p.depth, columns,
                     sums + r * kPanelColumns);
    }
    return;
  }
  alignas(64) Panel panel;
  std::fill(sums, sums + rows * kPanelColumns, 0.0f);
  for (size_t k0 = 0; k0 < p.depth; k0 += kPanelDepth) {
    const size_t depth = std::min(kPanelDepth, p.depth - k0);
    if (p.b_transposed) {
      GatherTransposed(p.b + first_column * p.depth + k0, p.depth, depth, columns, panel);
    } else {
      GatherRows(p.b + k0 * p.columns + first_column, p.columns, depth, columns, panel);
    }
    MultiplyPanel(p.a + first_row * p.depth + k0, p.depth, rows, panel, depth, columns, sums);
  }
}

// Calls finish(sums, row, column, columns) for every row of every block; blocks run in parallel.
template <typename ProductOf, typename FinishFn>
void ForEachBlock(ThreadPool* pool, size_t batch, size_t rows, size_t columns, const ProductOf& product_of,
                  const FinishFn& finish) {
  const size_t row_blocks = Blocks(rows, kPanelRows);
  const size_t column_blocks = Blocks(columns, kPanelColumns);
  ParallelFor(pool, batch * row_blocks * column_blocks, 1, [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t row = task % row_blocks * kPanelRows;
      const size_t column = task / row_blocks % column_blocks * kPanelColumns;
      const size_t index = task / row_blocks / column_blocks;
      const size_t row_count = std::min(kPanelRows, rows - row);
      const size_t column_count = std::min(kPanelColumns, columns - column);
      alignas(64) PanelSums sums;
      MultiplyBlock(product_of(index), row, row_count, column, column_count, sums);
      for (size_t r = 0; r < row_count; ++r) {
        finish(sums + r * kPanelColumns, index, row + r, column, column_count);
      }
    }
  });
}

size_t Extent(const Shape& shape, size_t i) { return static_cast<size_t>(shape[i]); }

}  // namespace

absl::Status EvalGemm(const EvalContext& context) {
  const TensorView& x = context.inputs[0];
  const TensorView& weight = context.inputs[1];
  TALLY_ASSIGN_OR_RETURN(const Activation activation, FusedActivation(context.node));
  const size_t columns = Extent(weight.shape, 0);
  const size_t depth = Extent(weight.shape, 1);
  size_t rows = 1;
  for (size_t i = 0; i + 1 < x.shape.size(); ++i) rows *= Extent(x.shape, i);
  if (rows == 0 || columns == 0) return absl::OkStatus();
  if (weight.data == nullptr && depth > 0) {
    return MakeError(ErrorId::kMissingForm, "the weight has no float32 form; convert with --keep float");
  }
  const float* bias = context.inputs.size() > 2 ? context.inputs[2].as<float>() : nullptr;
  const float* residual = context.inputs.size() > 3 ? context.inputs[3].as<float>() : nullptr;
  float* y = context.outputs[0].as<float>();
  const Product product{rows, columns, depth, x.as<float>(), weight.as<float>(), /*b_transposed=*/true};
  ForEachBlock(
      context.pool, 1, rows, columns, [&](size_t) { return product; },
      [&](const float* sums, size_t, size_t row, size_t column, size_t count) {
        EpilogueRow finish;
        finish.bias = bias == nullptr ? nullptr : bias + column;
        finish.residual = residual == nullptr ? nullptr : residual + row * columns + column;
        finish.activation = activation;
        FinishRow(sums, count, finish, y + row * columns + column);
      });
  return absl::OkStatus();
}

absl::Status EvalMatMul(const EvalContext& context) {
  const TensorView& a = context.inputs[0];
  const TensorView& b = context.inputs[1];
  const size_t a_rank = a.shape.size();
  const size_t b_rank = b.shape.size();
  // A vector on the left is one row, on the right one column.
  const size_t rows = a_rank == 1 ? 1 : Extent(a.shape, a_rank - 2);
  const size_t depth = Extent(a.shape, a_rank - 1);
  const size_t columns = b_rank == 1 ? 1 : Extent(b.shape, b_rank - 1);
  const size_t a_batch_rank = a_rank > 2 ? a_rank - 2 : 0;
  const size_t b_batch_rank = b_rank > 2 ? b_rank - 2 : 0;
  const size_t batch_rank = std::max(a_batch_rank, b_batch_rank);
  // Batch extents right-aligned; a stride of 0 repeats an operand.
  size_t extents[kMaxRank] = {};
  size_t a_strides[kMaxRank] = {};
  size_t b_strides[kMaxRank] = {};
  size_t batch = 1;
  size_t a_stride = rows * depth;
  size_t b_stride = depth * columns;
  for (size_t i = 0; i < batch_rank; ++i) {
    const size_t d = batch_rank - 1 - i;
    const size_t a_extent = i < a_batch_rank ? Extent(a.shape, a_batch_rank - 1 - i) : 1;
    const size_t b_extent = i < b_batch_rank ? Extent(b.shape, b_batch_rank - 1 - i) : 1;
    extents[d] = a_extent == 1 ? b_extent : a_extent;
    a_strides[d] = a_extent == 1 ? 0 : a_stride;
    b_strides[d] = b_extent == 1 ? 0 : b_stride;
    a_stride *= a_extent;
    b_stride *= b_extent;
    batch *= extents[d];
  }
  if (batch == 0 || rows == 0 || columns == 0) return absl::OkStatus();
  float* y = context.outputs[0].as<float>();
  const auto product_of = [&](size_t index) {
    size_t a_offset = 0;
    size_t b_offset = 0;
    for (size_t d = batch_rank; d-- > 0; index /= extents[d]) {
      a_offset += index % extents[d] * a_strides[d];
      b_offset += index % extents[d] * b_strides[d];
    }
    return Product{rows, columns, depth, a.as<float>() + a_offset, b.as<float>() + b_offset, /*b_transposed=*/false};
  };
  ForEachBlock(context.pool, batch, rows, columns, product_of,
               [&](const float* sums, size_t index, size_t row, size_t column, size_t count) {
                 std::memcpy(y + (index * rows + row) * columns + column, sums, count * sizeof(float));
               });
  return absl::OkStatus();
}

}  // namespace tally
