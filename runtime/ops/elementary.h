// Logarithm, power, trigonometric and hyperbolic functions without libm: the same bits on every CPU.
//
// Each is a fixed sequence of float64 additions, multiplications, divisions and square roots, rounded to float32 at the
// end, and within 1 ulp of the exact result (tests/ops/elementary_test.cc). Functions that convolutions and attention
// apply to whole activations (exp, tanh, sigmoid, erf) have faster float32 forms in math.h. NaN gives NaN; outside its
// domain a function gives what C's gives.
#ifndef TALLY_RUNTIME_OPS_ELEMENTARY_H_
#define TALLY_RUNTIME_OPS_ELEMENTARY_H_

namespace tally {

float LogF(float x);
float SinF(float x);
float CosF(float x);
float TanF(float x);
float AsinF(float x);
float AcosF(float x);
float AtanF(float x);
float SinhF(float x);
float CoshF(float x);
float AsinhF(float x);
float AcoshF(float x);
float AtanhF(float x);

// log(1 + e^x) and e^x - 1.
float SoftplusF(float x);
float ExpMinusOneF(float x);

// x^y with C's special cases. Exact for integer y as long as every partial product is exact.
double PowD(double x, double y);

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ELEMENTARY_H_
