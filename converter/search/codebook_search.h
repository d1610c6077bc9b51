// Fits a codebook to the magnitudes of a tensor. Pure functions of their arguments; safe from many threads.
//
// The joint search looks for (base, m_-R / m_R, m_R) that give the smallest squared error of the *snapped* codebook
// under the rule that will choose its codes, so that what is measured is what runs. The baselines are what a reader
// compares with: uniform levels at equal stored bits.
#ifndef TALLY_CONVERTER_SEARCH_CODEBOOK_SEARCH_H_
#define TALLY_CONVERTER_SEARCH_CODEBOOK_SEARCH_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/search/magnitudes.h"
#include "format/codebook.h"

namespace tally {

struct FitOptions {
  int exponent_bits = 4;
  bool is_signed = true;
  Grid grid = Grid::kQ7;
  EncodeRule rule = EncodeRule::kNearest;
  // Weights: codes are chosen in float64 by the rule's midpoints between magnitudes. Activations: by the run-time
  // encoder, which rounds |x| to the grid first.
  bool is_weight = false;
  std::optional<double> base;  // given: only ratio and clip are searched
  // Evenly spaced levels k m_R / (2^n - 1), for comparison: only the clip is searched. On q7 they are rounded to the
  // grid like all others.
  bool uniform = false;
};

// Errors of a codebook over the nonzero values.
struct FitError {
  double relative_mse = 0;  // sum (x - x^)^2 / sum x^2
  double rmae = 0;          // sum |x - x^| / sum |x|
};

struct CodebookFit {
  Codebook codebook;
  FitError error;
};

// Coarse-to-fine global search. Any magnitudes give a valid codebook: of nothing but zeros one with largest
// magnitude 1. Errors: kInternal only.
absl::StatusOr<CodebookFit> FitJoint(const Magnitudes& magnitudes, const FitOptions& options);

// DNA-TEQ as far as it is published: the base starts where b^(2R) spans min..max of |x|, alpha and beta follow from min
// and max, b moves by +-0.01 while RMAE falls. Fits real magnitudes, then snaps to the grid.
absl::StatusOr<CodebookFit> FitDnateq(const Magnitudes& magnitudes, const FitOptions& options);

FitError MeasureFit(const Magnitudes& magnitudes, const Codebook& codebook, bool is_weight);

// Uniform levels k * clip / levels, k = 0..levels: max-scaled (clip = max) or at the clip of least squared error.
// At `stored_bits` bits a signed tensor has 2^(bits-1) - 1 levels, a non-negative one 2^bits - 1.
int UniformLevels(int stored_bits, bool is_signed);
struct UniformFit {
  double clip = 0;
  FitError error;
};
UniformFit FitUniformMax(const Magnitudes& magnitudes, int levels);
UniformFit FitUniformClipped(const Magnitudes& magnitudes, int levels);
FitError MeasureUniform(const Magnitudes& magnitudes, int levels, double clip);

// The float64 bounds between codes: code c for magnitudes in (bounds[c - 1], bounds[c]], bounds[-1] = -infinity. One
// per magnitude, non-decreasing; equal mantissas leave the later code empty. `is_weight` as in FitOptions.
std::vector<double> CodeBounds(const Codebook& codebook, bool is_weight);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_CODEBOOK_SEARCH_H_
