// Cholesky factorisation on a thread pool.
#ifndef TALLY_CONVERTER_SEARCH_CHOLESKY_H_
#define TALLY_CONVERTER_SEARCH_CHOLESKY_H_

#include "converter/search/layer_statistics.h"

namespace tally {

// Replaces the lower half of the symmetric matrix by L, a = L L^T, and the strictly upper half by zeros. Right-looking,
// in blocks; the result does not depend on the number of threads. `pool` may be null. False: not positive definite.
bool Cholesky(RowMatrix* a, ThreadPool* pool);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_CHOLESKY_H_
