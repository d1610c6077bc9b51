#include "converter/search/codebook_refit.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>

#include "converter/search/parallel.h"

namespace tally {
namespace {

constexpr int kMaxMagnitudes = 15;

}  // namespace

std::optional<Codebook> RefitCodebook(const Codebook& codebook, const std::vector<uint8_t>& codes,
                                      const std::vector<float>& scales, const std::vector<RowMatrix>& targets,
                                      const std::vector<Moments>& moments, ThreadPool* pool) {
  const int magnitudes = codebook.magnitudes();
  if (codebook.grid == Grid::kReal || magnitudes > kMaxMagnitudes) return std::nullopt;
  const size_t count = static_cast<size_t>(magnitudes), groups = targets.size();
  // Rows of the normal equations are tasks; each sums over groups in order.
  RowMatrix normal = RowMatrix::Zero(magnitudes, magnitudes);
  Eigen::VectorXd right = Eigen::VectorXd::Zero(magnitudes);
  // Where magnitude j stands in a group: sign and scale, else zero.
  const auto pattern = [&](size_t g, Eigen::Index j) {
    const Eigen::Index rows = targets[g].rows(), k = targets[g].cols();
    RowMatrix where = RowMatrix::Zero(rows, k);
    const Eigen::Index first = static_cast<Eigen::Index>(g) * rows;
    for (Eigen::Index r = 0; r < rows; ++r) {
      const double scale = scales.empty() ? 1 : static_cast<double>(scales[static_cast<size_t>(first + r)]);
      for (Eigen::Index c = 0; c < k; ++c) {
        const uint8_t code = codes[static_cast<size_t>((first + r) * k + c)];
        const uint8_t index = code & static_cast<uint8_t>((1u << codebook.exponent_bits) - 1);
        if (index == j + 1) where(r, c) = (code & codebook.sign_bit()) != 0 ? -scale : scale;
      }
    }
    return where;
  };
  ParallelFor(pool, count, 1, [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const Eigen::Index j = static_cast<Eigen::Index>(task);
      for (size_t g = 0; g < groups; ++g) {
        const RowMatrix product = pattern(g, j) * moments[g].qq;
        right[j] += product.cwiseProduct(targets[g]).sum();
        for (Eigen::Index i = 0; i < magnitudes; ++i) normal(j, i) += product.cwiseProduct(pattern(g, i)).sum();
      }
    }
  });
  // Magnitudes that no weight has stay where they are, and a little of that holds the others, too.
  const std::vector<double> values = codebook.Values();
  const double hold = 1e-6 * normal.trace() / magnitudes;
  if (!(hold > 0) || !std::isfinite(hold)) return std::nullopt;
  for (Eigen::Index j = 0; j < magnitudes; ++j) {
    normal(j, j) += hold;
    right[j] += hold * values[static_cast<size_t>(j + 1)];
  }
  const Eigen::VectorXd fitted = normal.ldlt().solve(right);
  const double largest = fitted.maxCoeff();
  if (!fitted.allFinite() || !(largest > 0)) return std::nullopt;
  Codebook refitted = codebook;
  refitted.scale = static_cast<float>(largest / codebook.max_mantissa());
  refitted.inverse_scale = static_cast<float>(1 / static_cast<double>(refitted.scale));
  int32_t below = 1;
  for (size_t j = 0; j < count; ++j) {
    const double mantissa = std::nearbyint(fitted[static_cast<Eigen::Index>(j)] / static_cast<double>(refitted.scale));
    below = static_cast<int32_t>(std::clamp<double>(mantissa, below, codebook.max_mantissa()));
    refitted.mantissas[j] = below;
  }
  if (!refitted.Validate().ok()) return std::nullopt;
  return refitted;
}

}  // namespace tally
