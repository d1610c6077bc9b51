#include "converter/search/layer_statistics.h"

#include <algorithm>
#include <utility>

#include "converter/search/parallel.h"
#include "converter/search/random.h"

namespace tally {
namespace {

// Positions that a covariance of k columns is estimated from, where the samples have so many.
constexpr int64_t kMinPositions = 8192, kPositionsPerColumn = 12;
// Beyond it the float network is not followed and nothing is held back, to bound memory.
constexpr int64_t kMaxFullK = 2304;
constexpr int64_t kHoldBack = 5;      // one sample of so many
constexpr int64_t kMinSamples = 20;   // fewer: nothing is held back
constexpr Eigen::Index kBlock = 128;  // columns per task

int64_t Drawn(int64_t positions, int64_t k, int64_t samples) {
  const int64_t wanted = std::max(kMinPositions, kPositionsPerColumn * k);
  return std::clamp<int64_t>((wanted + samples - 1) / std::max<int64_t>(1, samples), 1,
                             std::max<int64_t>(1, positions));
}

}  // namespace

LayerStatistics::LayerStatistics(const LayerGeometry& geometry, int64_t per_sample, int64_t samples, uint64_t seed)
    : geometry_(geometry),
      per_sample_(per_sample),
      positions_(geometry.positions_per_sample(per_sample)),
      drawn_(Drawn(positions_, geometry.k, samples)),
      with_reference_(geometry.k <= kMaxFullK),
      holds_back_(with_reference_ && samples >= kMinSamples),
      state_(seed) {
  const Eigen::Index k = geometry_.k;
  for (std::vector<Sums>& sums : sums_) {
    if (&sums == &sums_[1] && !holds_back_) continue;
    sums.resize(static_cast<size_t>(geometry_.groups));
    for (Sums& s : sums) {
      s.x = s.q = Eigen::VectorXd::Zero(k);
      s.qq = RowMatrix::Zero(k, k);
      if (with_reference_) s.xq = RowMatrix::Zero(k, k);
    }
  }
}

// One row per position.
void LayerStatistics::Gather(const float* value, int64_t group, const std::vector<int64_t>& positions, int64_t sample,
                             float* rows) const {
  const float* base = value + sample * per_sample_;
  if (!geometry_.window) {
    for (int64_t p : positions) {
      rows = std::copy(base + p * geometry_.k, base + (p + 1) * geometry_.k, rows);
    }
    return;
  }
  const Window2d& w = *geometry_.window;
  const float* channels = base + group * w.in_channels_per_group() * w.in_h * w.in_w;
  for (int64_t p : positions) {
    const int64_t top = p / w.out_w * w.stride_h - w.pad_top, left = p % w.out_w * w.stride_w - w.pad_left;
    for (int64_t c = 0; c < w.in_channels_per_group(); ++c) {
      const float* plane = channels + c * w.in_h * w.in_w;
      for (int64_t r = 0; r < w.kernel_h; ++r) {
        const int64_t y = top + r * w.dilation_h;
        for (int64_t s = 0; s < w.kernel_w; ++s) {
          const int64_t x = left + s * w.dilation_w;
          const bool inside = y >= 0 && y < w.in_h && x >= 0 && x < w.in_w;
          *rows++ = inside ? plane[y * w.in_w + x] : 0.0f;
        }
      }
    }
  }
}

void LayerStatistics::Add(int64_t first, int64_t count, const float* x, const float* q, ThreadPool* pool) {
  // The positions of every sample, one drawn from each of equal stretches.
  std::vector<std::vector<int64_t>> positions(static_cast<size_t>(count));
  for (std::vector<int64_t>& chosen : positions) {
    for (int64_t i = 0; i < drawn_; ++i) {
      const int64_t begin = i * positions_ / drawn_, end = (i + 1) * positions_ / drawn_;
      chosen.push_back(begin + static_cast<int64_t>(NextRandom(&state_) % static_cast<uint64_t>(end - begin)));
    }
  }
  const Eigen::Index k = geometry_.k;
  const size_t groups = static_cast<size_t>(geometry_.groups);
  const bool start = shift_q_.empty();
  if (start) {
    shift_x_.resize(groups);
    shift_q_.resize(groups);
  }
  for (int part = 0; part < 2; ++part) {
    std::vector<int64_t> samples;
    for (int64_t i = 0; i < count; ++i) {
      const bool held = holds_back_ && (first + i) % kHoldBack == kHoldBack - 1;
      if (held == (part == 1)) samples.push_back(i);
    }
    if (samples.empty()) continue;
    const Eigen::Index rows = static_cast<Eigen::Index>(samples.size()) * drawn_;
    const auto gather = [&](const float* value, size_t group, RowMatrixF* columns) {
      columns->resize(rows, k);
      for (size_t i = 0; i < samples.size(); ++i) {
        Gather(value, static_cast<int64_t>(group), positions[static_cast<size_t>(samples[i])], samples[i],
               columns->data() + static_cast<Eigen::Index>(i) * drawn_ * k);
      }
    };
    const auto shift = [&](RowMatrixF* columns, Eigen::VectorXf* by, Eigen::VectorXd* sum) {
      if (by->size() == 0) *by = columns->cast<double>().colwise().mean().transpose().cast<float>();
      columns->rowwise() -= by->transpose();
      *sum += columns->cast<double>().colwise().sum().transpose();
    };
    // A task is a group, or a block of the matrices of the only group.
    const Eigen::Index blocks = (k + kBlock - 1) / kBlock;
    const auto multiply = [&](Sums* s, const RowMatrixF& cx, const RowMatrixF& cq, Eigen::Index i, Eigen::Index j) {
      const Eigen::Index r = i * kBlock, c = j * kBlock, nr = std::min(kBlock, k - r), nc = std::min(kBlock, k - c);
      // The lower half is mirrored when all is done.
      if (i >= j) {
        const RowMatrixF product = cq.middleCols(r, nr).transpose() * cq.middleCols(c, nc);
        s->qq.block(r, c, nr, nc) += product.cast<double>();
      }
      if (with_reference_) {
        const RowMatrixF product = cx.middleCols(r, nr).transpose() * cq.middleCols(c, nc);
        s->xq.block(r, c, nr, nc) += product.cast<double>();
      }
    };
    if (groups == 1) {
      Sums* s = &sums_[part][0];
      RowMatrixF columns[2];
      ParallelFor(pool, 2, 1, [&](size_t begin, size_t end) {
        for (size_t side = begin; side < end; ++side) {
          gather(side == 0 ? x : q, 0, &columns[side]);
          shift(&columns[side], side == 0 ? &shift_x_[0] : &shift_q_[0], side == 0 ? &s->x : &s->q);
        }
      });
      ParallelFor(pool, static_cast<size_t>(blocks * blocks), 1, [&](size_t begin, size_t end) {
        for (size_t b = begin; b < end; ++b) {
          const Eigen::Index i = static_cast<Eigen::Index>(b);
          multiply(s, columns[0], columns[1], i / blocks, i % blocks);
        }
      });
      s->positions += static_cast<double>(rows);
    } else {
      ParallelFor(pool, groups, 1, [&](size_t begin, size_t end) {
        RowMatrixF cx, cq;
        for (size_t g = begin; g < end; ++g) {
          Sums* s = &sums_[part][g];
          gather(x, g, &cx);
          gather(q, g, &cq);
          shift(&cx, &shift_x_[g], &s->x);
          shift(&cq, &shift_q_[g], &s->q);
          for (Eigen::Index b = 0; b < blocks * blocks; ++b) multiply(s, cx, cq, b / blocks, b % blocks);
          s->positions += static_cast<double>(rows);
        }
      });
    }
  }
}

std::vector<Moments> LayerStatistics::Finish(const std::vector<Sums>& a, const std::vector<Sums>* b,
                                             bool centered) const {
  std::vector<Moments> moments(a.size());
  for (size_t g = 0; g < a.size(); ++g) {
    Sums s = a[g];
    if (b != nullptr && !b->empty()) {
      const Sums& other = (*b)[g];
      s.positions += other.positions;
      s.x += other.x;
      s.q += other.q;
      s.qq += other.qq;
      if (with_reference_) s.xq += other.xq;
    }
    Moments& m = moments[g];
    m.positions = s.positions;
    const double n = std::max(1.0, s.positions);
    const Eigen::VectorXd x = s.x / n, q = s.q / n;  // about the shift
    m.mean_x = x + shift_x_[g].cast<double>();
    m.mean_q = q + shift_q_[g].cast<double>();
    for (Eigen::Index i = 0; i < s.qq.rows(); ++i) {
      for (Eigen::Index j = i + 1; j < s.qq.cols(); ++j) s.qq(i, j) = s.qq(j, i);
    }
    m.qq = s.qq / n - q * q.transpose();
    if (with_reference_) m.xq = s.xq / n - x * q.transpose();
    if (!centered) {
      m.qq += m.mean_q * m.mean_q.transpose();
      if (with_reference_) m.xq += m.mean_x * m.mean_q.transpose();
    }
  }
  return moments;
}

}  // namespace tally
