// Where exceptions end: vendors' and the allocator's become statuses.
#ifndef TALLY_RUNTIME_CORE_GUARDED_H_
#define TALLY_RUNTIME_CORE_GUARDED_H_

#include <exception>
#include <new>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {

// Calls `body`, which returns a status or a StatusOr, and turns every exception into one.
template <typename Body>
auto Guarded(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    return MakeError(ErrorId::kBackendFailed, absl::StrCat("exception: ", e.what()));
  } catch (...) {
    return MakeError(ErrorId::kBackendFailed, "exception of unknown type");
  }
}

}  // namespace tally

#endif  // TALLY_RUNTIME_CORE_GUARDED_H_
