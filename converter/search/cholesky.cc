#include "converter/search/cholesky.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include "converter/search/parallel.h"

namespace tally {
namespace {

constexpr Eigen::Index kBlock = 96;

}  // namespace

bool Cholesky(RowMatrix* a, ThreadPool* pool) {
  const Eigen::Index n = a->rows();
  const auto for_each = [&](Eigen::Index count, const auto& body) {
    ParallelFor(pool, static_cast<size_t>(count), 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) body(static_cast<Eigen::Index>(i));
    });
  };
  for (Eigen::Index p = 0; p < n; p += kBlock) {
    const Eigen::Index width = std::min(kBlock, n - p), below = p + width;
    auto diagonal = a->block(p, p, width, width);
    const Eigen::LLT<RowMatrix> llt(diagonal);
    if (llt.info() != Eigen::Success) return false;
    diagonal = llt.matrixL();
    if (!diagonal.allFinite()) return false;  // NaN passes for success
    const Eigen::Index blocks = (n - below + kBlock - 1) / kBlock;
    const auto rows = [&](Eigen::Index b) { return std::min(kBlock, n - below - b * kBlock); };
    for_each(blocks, [&](Eigen::Index b) {
      auto panel = a->block(below + b * kBlock, p, rows(b), width);
      // X L^T = A, that is L X^T = A^T.
      diagonal.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(panel);
    });
    for_each(blocks * blocks, [&](Eigen::Index task) {
      const Eigen::Index i = task / blocks, j = task % blocks;
      if (j > i) return;
      a->block(below + i * kBlock, below + j * kBlock, rows(i), rows(j)).noalias() -=
          a->block(below + i * kBlock, p, rows(i), width) * a->block(below + j * kBlock, p, rows(j), width).transpose();
    });
  }
  a->triangularView<Eigen::StrictlyUpper>().setZero();
  return true;
}

}  // namespace tally
