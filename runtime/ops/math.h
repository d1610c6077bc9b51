// exp, tanh, sigmoid and erf in float32, without libm: the same bits on every CPU.
//
// Each function is a fixed sequence of float32 and integer operations whose only choices are selects, so a compiler
// vectorises a loop over independent values and every lane gets the bits that the scalar function gives. Needs
// round-to-nearest and -ffp-contract=off. NaN gives NaN. Polynomials are our own weighted minimax fits.
//
// Largest error over all float32 (tests/ops/math_test.cc): exp 1, tanh 2, erf 2, sigmoid 3 ulp.
#ifndef TALLY_RUNTIME_OPS_MATH_H_
#define TALLY_RUNTIME_OPS_MATH_H_

#include <cstdint>
#include <cstring>

namespace tally {

inline uint32_t FloatBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

inline float BitsToFloat(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

inline constexpr uint32_t kSignBit = 0x80000000u;

inline float AbsF(float x) { return BitsToFloat(FloatBits(x) & ~kSignBit); }

// 1.5 * 2^23: adding it to |x| < 2^22 rounds x to the nearest integer, half to even, and leaves that integer in the low
// bits. SSE2 has no rounding instruction.
inline constexpr float kRoundMagic = 12582912.0f;
inline constexpr uint32_t kRoundMagicBits = 0x4B400000u;

// rint(x) as an integer. REQUIRES: |x| < 2^22.
inline int32_t RoundToInt(float x) { return static_cast<int32_t>(FloatBits(x + kRoundMagic) - kRoundMagicBits); }

// e^x. Gradual underflow below -87.3, 0 below -103.97, inf above 88.72.
inline float ExpF(float x) {
  // The bounds are beyond the last finite and the last non-zero result; NaN passes.
  float y = x < -105.0f ? -105.0f : x;
  y = y > 89.0f ? 89.0f : y;
  // e^x = 2^n e^r, |r| <= ln(2) / 2; n * kLn2High is exact because kLn2High has 12 significant bits.
  constexpr float kLn2High = 0x1.62e000p-1f;
  constexpr float kLn2Low = 0x1.0bfbe8p-15f;
  const float shifted = y * 1.44269502f + kRoundMagic;
  const float n = shifted - kRoundMagic;
  const int32_t exponent = static_cast<int32_t>(FloatBits(shifted) - kRoundMagicBits);
  const float r = (y - n * kLn2High) - n * kLn2Low;
  float q = 1.381313195e-03f;
  q = q * r + 8.369419724e-03f;
  q = q * r + 4.166845605e-02f;
  q = q * r + 1.666651517e-01f;
  q = q * r + 4.999999404e-01f;
  const float p = (r + (r * r) * q) + 1.0f;
  // In two factors: 2^n itself may be no normal number, and the second product rounds a denormal result once.
  const int32_t half = exponent >> 1;
  const float scale1 = BitsToFloat(static_cast<uint32_t>(half + 127) << 23);
  const float scale2 = BitsToFloat(static_cast<uint32_t>(exponent - half + 127) << 23);
  return (p * scale1) * scale2;
}

// 1 / (1 + e^-x), accurate in its denormal tail too.
inline float SigmoidF(float x) {
  const float e = ExpF(-AbsF(x));
  const float numerator = x < 0.0f ? e : 1.0f;
  return numerator / (1.0f + e);
}

inline float TanhF(float x) {
  const float a = AbsF(x);
  // Small: odd polynomial. Large: 1 - 2 / (e^2a + 1), where the subtraction loses nothing.
  const float z = a * a;
  float p = -5.704937968e-03f;
  p = p * z + 2.063903958e-02f;
  p = p * z + -5.373969674e-02f;
  p = p * z + 1.333144158e-01f;
  p = p * z + -3.333328068e-01f;
  const float small = a + (a * z) * p;
  const float large = 1.0f - 2.0f / (ExpF(a + a) + 1.0f);
  const float t = a < 0.625f ? small : large;
  return BitsToFloat(FloatBits(t) | (FloatBits(x) & kSignBit));
}

inline float ErfF(float x) {
  const float a = AbsF(x);
  // Small: odd polynomial.
  const float z = a * a;
  float p = 8.185076877e-05f;
  p = p * z + -8.097699028e-04f;
  p = p * z + 5.196951795e-03f;
  p = p * z + -2.685770579e-02f;
  p = p * z + 1.128366366e-01f;
  p = p * z + -3.761263192e-01f;
  p = p * z + 1.283791661e-01f;
  const float small = a + a * p;
  // Large: 1 - erfc(a) with a polynomial for log erfc; from 4 on the result is 1.
  const float b = a > 4.0f ? 4.0f : a;
  float q = -2.139038043e-05f;
  q = q * b + 4.378733283e-04f;
  q = q * b + -4.187576007e-03f;
  q = q * b + 2.516289242e-02f;
  q = q * b + -1.083473042e-01f;
  q = q * b + -6.332858205e-01f;
  q = q * b + -1.129545212e+00f;
  q = q * b + 1.809808746e-04f;
  const float large = 1.0f - ExpF(q);
  const float e = a < 0.95f ? small : large;
  return BitsToFloat(FloatBits(e) | (FloatBits(x) & kSignBit));
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_MATH_H_
