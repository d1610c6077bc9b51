// The oracle's own operators. Each reads its inputs as the shared implementations do (runtime/ops/evals.h): inference
// has passed, so only data-dependent errors remain. Stateless.
#ifndef TALLY_BACKENDS_REFERENCE_ORACLE_H_
#define TALLY_BACKENDS_REFERENCE_ORACLE_H_

#include <string>

#include "runtime/ops/epilogue.h"
#include "runtime/ops/op.h"

namespace tally::reference {

// dot_products.cc. Products are summed in float64; the epilogue (bias, residual, activation) follows in float64.
absl::Status Conv(const EvalContext& context);
absl::Status Gemm(const EvalContext& context);
absl::Status MatMul(const EvalContext& context);

// pointwise.cc
absl::Status Activate(const EvalContext& context);    // every activation operator
absl::Status Arithmetic(const EvalContext& context);  // Add, Sub, Mul, Div
absl::Status BatchNormalization(const EvalContext& context);

// reductions.cc
absl::Status Pool(const EvalContext& context);        // MaxPool, AveragePool
absl::Status GlobalPool(const EvalContext& context);  // GlobalMaxPool, GlobalAveragePool
absl::Status Softmax(const EvalContext& context);
absl::Status ReduceMean(const EvalContext& context);

// The oracle's implementation of an operator; for data movement the shared one. Null when there is no such operator.
EvalFn FindOracle(const std::string& op);

// The activation function of one value (pointwise.cc).
double Activated(const Activation& activation, double x);

inline int64_t Elements(const Shape& shape) { return TensorType{DType::kFloat32, shape}.elements(); }

}  // namespace tally::reference

#endif  // TALLY_BACKENDS_REFERENCE_ORACLE_H_
