#include "backends/all/all.h"

#include "backends/exponent/exponent.h"
#include "backends/nearmem/nearmem.h"
#include "backends/reference/reference.h"
#include "tally/tally.h"
#ifdef TALLY_HAVE_ONEDNN
#include "backends/onednn/onednn.h"
#endif
#ifdef TALLY_HAVE_XNNPACK
#include "backends/xnnpack/xnnpack.h"
#endif

namespace tally {

Registry DefaultRegistry() {
  Registry registry;
  registry.Add(MakeExponentBackend());
#ifdef TALLY_HAVE_ONEDNN
  registry.Add(MakeOneDnnCodebookBackend());
  registry.Add(MakeOneDnnBackend());
#endif
#ifdef TALLY_HAVE_XNNPACK
  registry.Add(MakeXnnpackBackend());
#endif
  registry.Add(MakeReferenceBackend());
  registry.Add(MakeHistogramBackend());
  registry.Add(MakeNearmemBackend());
  return registry;
}

std::vector<std::string> AvailableBackends() { return DefaultRegistry().names(); }

absl::StatusOr<Session> Session::Create(const Model& model, const SessionOptions& options) {
  return Create(model, options, DefaultRegistry());
}

}  // namespace tally
