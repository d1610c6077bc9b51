#include "converter/search/compensated.h"

#include <algorithm>
#include <numeric>

#include "converter/search/cholesky.h"
#include "converter/search/parallel.h"

namespace tally {
namespace {

constexpr Eigen::Index kColumns = 32;  // rounded between two matrix products
constexpr Eigen::Index kRows = 16;     // per task

double MeanVariance(const RowMatrix& covariance) { return covariance.trace() / static_cast<double>(covariance.rows()); }

template <typename Body>
void ForRows(Eigen::Index rows, ThreadPool* pool, const Body& body) {
  const size_t tasks = static_cast<size_t>((rows + kRows - 1) / kRows);
  const auto run = [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      const Eigen::Index first = static_cast<Eigen::Index>(t) * kRows;
      body(first, std::min(kRows, rows - first));
    }
  };
  ParallelFor(pool, tasks, 1, run);
}

}  // namespace

RoundingOrder::RoundingOrder(const RowMatrix& covariance, double damping, ThreadPool* pool)
    : order_(static_cast<size_t>(covariance.rows())) {
  const Eigen::Index k = covariance.rows();
  std::iota(order_.begin(), order_.end(), Eigen::Index{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [&](Eigen::Index a, Eigen::Index b) { return covariance(a, a) < covariance(b, b); });
  const double mean = MeanVariance(covariance);
  // An input that never varies, or a covariance that rounding made indefinite, takes more.
  for (double d = damping;; d = std::max(10 * d, 1e-9)) {
    factor_.resize(k, k);
    for (Eigen::Index i = 0; i < k; ++i) {
      for (Eigen::Index j = 0; j < k; ++j) factor_(i, j) = covariance(order_[i], order_[j]);
      factor_(i, i) += mean > 0 ? d * mean : 1;
    }
    if (Cholesky(&factor_, pool)) return;
    if (d > 1e6) {
      factor_.setIdentity();  // not finite: plain rounding
      return;
    }
  }
}

void RoundingOrder::Round(const RowMatrix& weights, const WeightEncoder& encoder, const std::vector<double>& values,
                          const double* scales, ThreadPool* pool, uint8_t* codes, RowMatrix* rounded) const {
  const Eigen::Index k = factor_.rows();
  rounded->resize(weights.rows(), k);
  ForRows(weights.rows(), pool, [&](Eigen::Index first, Eigen::Index rows) {
    RowMatrix errors(rows, k);  // w - r, in order
    RowMatrix moves(rows, kColumns);
    for (Eigen::Index end = k; end > 0;) {
      const Eigen::Index begin = std::max<Eigen::Index>(0, end - kColumns), columns = end - begin;
      if (end < k) {
        moves.leftCols(columns).noalias() = errors.rightCols(k - end) * factor_.block(end, begin, k - end, columns);
      } else {
        moves.setZero();
      }
      for (Eigen::Index r = 0; r < rows; ++r) {
        const double scale = scales == nullptr ? 1 : scales[first + r];
        for (Eigen::Index j = end - 1; j >= begin; --j) {
          double move = moves(r, j - begin);
          for (Eigen::Index i = j + 1; i < end; ++i) move += errors(r, i) * factor_(i, j);
          const Eigen::Index column = order_[static_cast<size_t>(j)];
          const double w = weights(first + r, column);
          const uint8_t code = encoder.Encode((w + move / factor_(j, j)) / scale);
          const double value = values[code] * scale;
          codes[(first + r) * k + column] = code;
          (*rounded)(first + r, column) = value;
          errors(r, j) = w - value;
        }
      }
      end = begin;
    }
  });
}

double OutputError(const RowMatrix& weights, const RowMatrix& rounded, const RowMatrix& covariance) {
  const RowMatrix errors = weights - rounded;
  return (errors * covariance).cwiseProduct(errors).sum();
}

double OutputErrorFromReference(const RowMatrix& weights, const RowMatrix& rounded, const Moments& moments) {
  return (rounded * moments.qq - 2 * (weights * moments.xq)).cwiseProduct(rounded).sum();
}

RowMatrix RefitWeights(const RowMatrix& weights, const Moments& moments, double ridge, ThreadPool* pool) {
  const double d = ridge * MeanVariance(moments.qq);
  if (!(d > 0)) return weights;
  RowMatrix h = moments.qq;
  h.diagonal().array() += d;
  if (!Cholesky(&h, pool)) return weights;
  RowMatrix refit = weights * moments.xq + d * weights;
  // X H = refit, H = L L^T.
  ForRows(weights.rows(), pool, [&](Eigen::Index first, Eigen::Index rows) {
    auto x = refit.middleRows(first, rows);
    h.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(x);
    h.triangularView<Eigen::Lower>().solveInPlace<Eigen::OnTheRight>(x);
  });
  return refit;
}

}  // namespace tally
