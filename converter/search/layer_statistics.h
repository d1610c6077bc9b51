// What compensated rounding needs to know of a layer's inputs: means and covariances of the columns that its weights
// are multiplied with (im2col'd positions of a convolution, rows of a matrix product), for the float network (x) and
// for the network as quantized so far (q). Sums are accumulated in float32 over a batch, in float64 beyond it, and do
// not depend on the number of threads. Memory: 4 matrices of k x k float64 per group.
#ifndef TALLY_CONVERTER_SEARCH_LAYER_STATISTICS_H_
#define TALLY_CONVERTER_SEARCH_LAYER_STATISTICS_H_

#include <Eigen/Core>
#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/core/thread_pool.h"
#include "runtime/ops/window.h"

namespace tally {

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowMatrixF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Of one group of a layer; n positions.
struct Moments {
  double positions = 0;
  Eigen::VectorXd mean_x, mean_q;
  RowMatrix qq;  // covariance of q with itself
  RowMatrix xq;  // of x (rows) with q (columns); empty when not collected
};

// How a layer reads its input.
struct LayerGeometry {
  std::optional<Window2d> window;  // convolution, of one batch; else rows of k values
  int64_t groups = 1;
  int64_t k = 0;  // per group
  int64_t positions_per_sample(int64_t per_sample) const {
    return window ? window->out_h * window->out_w : per_sample / k;
  }
};

class LayerStatistics {
 public:
  // `samples` values of per_sample floats will come. Positions are drawn evenly from all samples, as many as k needs.
  LayerStatistics(const LayerGeometry& geometry, int64_t per_sample, int64_t samples, uint64_t seed);

  // x, q: `count` samples from number `first` on. Every fifth sample is held back.
  void Add(int64_t first, int64_t count, const float* x, const float* q, ThreadPool* pool);

  // Per group. `centered`: about the mean; else about zero (no bias can make up for a mean error).
  // Held back: empty when there are too few samples for it or k is too large.
  std::vector<Moments> Kept(bool centered) const { return Finish(sums_[0], nullptr, centered); }
  std::vector<Moments> HeldBack(bool centered) const { return Finish(sums_[1], nullptr, centered); }
  std::vector<Moments> All(bool centered) const { return Finish(sums_[0], &sums_[1], centered); }

 private:
  struct Sums {  // about shift
    double positions = 0;
    Eigen::VectorXd x, q;
    RowMatrix qq, xq;
  };
  void Gather(const float* value, int64_t group, const std::vector<int64_t>& positions, int64_t sample,
              float* rows) const;
  std::vector<Moments> Finish(const std::vector<Sums>& a, const std::vector<Sums>* b, bool centered) const;

  const LayerGeometry geometry_;
  const int64_t per_sample_, positions_, drawn_;  // positions of a sample, and how many of them are used
  const bool with_reference_, holds_back_;
  uint64_t state_;
  std::vector<Eigen::VectorXf> shift_x_, shift_q_;  // per group: means of the first batch, so that sums stay exact
  std::vector<Sums> sums_[2];                       // kept, held back
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_LAYER_STATISTICS_H_
