// Fits a codebook's magnitudes anew once codes are chosen: what is rounded by what the output loses sits elsewhere
// between its neighbours than what is rounded to the nearest.
#ifndef TALLY_CONVERTER_SEARCH_CODEBOOK_REFIT_H_
#define TALLY_CONVERTER_SEARCH_CODEBOOK_REFIT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "converter/search/layer_statistics.h"
#include "format/codebook.h"

namespace tally {

// The mantissas that with these codes (channels x k, groups one after the other) and scales (one per channel, or none)
// bring the layer's outputs closest to those of `targets` (per group, rows x k), by least squares, on the codebook's
// integer grid. Base, alpha and beta stay: they describe the fit that the codes came from. Nothing on the real grid,
// with more than 15 magnitudes (too close to each other to gain) or when the fit gives no valid codebook.
std::optional<Codebook> RefitCodebook(const Codebook& codebook, const std::vector<uint8_t>& codes,
                                      const std::vector<float>& scales, const std::vector<RowMatrix>& targets,
                                      const std::vector<Moments>& moments, ThreadPool* pool);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_CODEBOOK_REFIT_H_
