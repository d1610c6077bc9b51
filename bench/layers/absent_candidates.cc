// In place of the candidates of libraries that this build lacks.
#include "bench/layers/candidate.h"
#include "format/error.h"

namespace tally::bench {

#ifndef TALLY_HAVE_ONEDNN
absl::StatusOr<std::unique_ptr<Candidate>> MakeOneDnnCandidate(const Layer&, const CandidateSpec&) {
  return MakeError(ErrorId::kUnsupportedNode, "this build lacks oneDNN");
}
#endif

#ifndef TALLY_HAVE_XNNPACK
absl::StatusOr<std::unique_ptr<Candidate>> MakeXnnpackCandidate(const Layer&, const CandidateSpec&, bool) {
  return MakeError(ErrorId::kUnsupportedNode, "this build lacks XNNPACK");
}
#endif

}  // namespace tally::bench
