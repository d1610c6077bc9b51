// Compensated rounding: codes for a layer's weights such that the layer's *outputs*, not its weights, err little.
//
// With H the covariance of the layer's inputs, a row w rounded to r costs (w - r) H (w - r)^T. Columns are rounded one
// after the other, those of the largest variance first, and each is first moved by what makes up best for the errors
// made so far, as in OBQ and GPTQ (Frantar et al., 2022). With the columns in that order reversed and H = L L^T, the
// cost is |(w - r) L|^2, and the move of column j follows from column j of L alone: no inverse is needed.
#ifndef TALLY_CONVERTER_SEARCH_COMPENSATED_H_
#define TALLY_CONVERTER_SEARCH_COMPENSATED_H_

#include <cstdint>
#include <vector>

#include "converter/search/layer_statistics.h"
#include "converter/search/weight_fit.h"
#include "runtime/core/thread_pool.h"

namespace tally {

// A covariance made ready for rounding.
class RoundingOrder {
 public:
  // `damping` times the mean variance is added to the diagonal: covariances come from few samples.
  RoundingOrder(const RowMatrix& covariance, double damping, ThreadPool* pool);

  // Rounds rows of `weights` (rows x k) to multiples of the codebook by `scales` (one per row, or empty). Writes
  // codes and the values that they stand for (rows x k each). Rows are independent: the same for any pool (or none).
  void Round(const RowMatrix& weights, const WeightEncoder& encoder, const std::vector<double>& values,
             const double* scales, ThreadPool* pool, uint8_t* codes, RowMatrix* rounded) const;

 private:
  std::vector<Eigen::Index> order_;  // column of the weight by position; the last is rounded first
  RowMatrix factor_;                 // L of the ordered covariance
};

// Sum over rows of (w - r) H (w - r)^T.
double OutputError(const RowMatrix& weights, const RowMatrix& rounded, const RowMatrix& covariance);

// Sum over rows of the squared error against the float network's outputs, short of a constant: r H r^T - 2 w G r^T.
double OutputErrorFromReference(const RowMatrix& weights, const RowMatrix& rounded, const Moments& moments);

// The weights that with the quantized inputs come closest to what the float ones make of the float inputs:
// W (G + d I) (H + d I)^-1, d = `ridge` times the mean variance.
RowMatrix RefitWeights(const RowMatrix& weights, const Moments& moments, double ridge, ThreadPool* pool);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_COMPENSATED_H_
