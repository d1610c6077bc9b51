// What this folder needs of XNNPACK: operators that free themselves, and its status codes as absl::Status.
#ifndef TALLY_BACKENDS_XNNPACK_LIBRARY_H_
#define TALLY_BACKENDS_XNNPACK_LIBRARY_H_

#include <xnnpack.h>

#include <memory>
#include <type_traits>

#include "absl/status/status.h"

namespace tally::xnnpack {

// `what`: what failed, "cannot create a convolution".
absl::Status StatusOf(xnn_status status, const char* what);

struct DeleteOperator {
  void operator()(xnn_operator_t op) const { xnn_delete_operator(op); }
};
using Operator = std::unique_ptr<std::remove_pointer_t<xnn_operator_t>, DeleteOperator>;

}  // namespace tally::xnnpack

#endif  // TALLY_BACKENDS_XNNPACK_LIBRARY_H_
