#include "runtime/ops/elementary.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace tally {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kHalfPi = 0x1.921fb54442d18p+0;
constexpr double kLn2High = 0x1.62e42fee00000p-1;  // 32 bits: products with exponents are exact
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

uint64_t Bits(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

double FromBits(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// 2^n for n of a normal number.
double PowerOfTwo(int n) { return FromBits(static_cast<uint64_t>(n + 1023) << 52); }

// REQUIRES: x is finite, positive and normal (every positive float32 is a normal float64).
double Log(double x) {
  int exponent = static_cast<int>(Bits(x) >> 52) - 1023;
  double m = FromBits((Bits(x) & ((uint64_t{1} << 52) - 1)) | (uint64_t{1023} << 52));
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  // log m = 2 atanh(s), |s| <= 0.1716; the series' next term is below 2^-58 of the first.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 0.0;
  for (int k = 21; k >= 3; k -= 2) p = (p + 1.0 / k) * z;
  const double n = exponent;
  return n * kLn2High + (n * kLn2Low + (2.0 * s + 2.0 * s * p));
}

// e^x. 0 below -745, inf above 709.7.
double Exp(double x) {
  if (x < -745.0) return 0.0;
  if (x > 709.7) return kInfinity;
  const double scaled = x * 1.4426950408889634;
  const int n = static_cast<int>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  // Taylor, |r| <= 0.347: the next term is below 2^-55.
  double p = 1.0;
  for (int k = 13; k >= 1; --k) p = 1.0 + p * r / k;
  // In two factors: 2^n itself may be no normal number.
  const int half = n / 2;
  return p * PowerOfTwo(half) * PowerOfTwo(n - half);
}

// e^x - 1.
double ExpMinusOne(double x) {
  // Below, the subtraction would cancel; the next term of the series is x^3 / 6.
  if (std::fabs(x) < 1e-5) return x + 0.5 * x * x;
  return Exp(x) - 1.0;
}

// 2 / pi, 32 bits per word after the binary point.
constexpr uint32_t kTwoOverPi[] = {0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB};

__extension__ typedef unsigned __int128 Uint128;

// x = r + quadrant * pi / 2 with |r| <= pi / 4 and the quadrant modulo 4. REQUIRES: x is a finite float32, |x| >= 2^20.
double ReduceLarge(double x, unsigned* quadrant) {
  const uint64_t bits = Bits(std::fabs(x));
  const int exponent = static_cast<int>(bits >> 52) - 1023 - 23;  // |x| = mantissa * 2^exponent
  const uint64_t mantissa = ((bits >> 29) & 0x7FFFFF) | 0x800000;
  // Bits of 2 / pi that make multiples of 4 are left out; of the others 96 leave an error below 2^-70.
  const int first = exponent > 2 ? exponent - 2 : 0;
  Uint128 window = 0;
  for (int at = first; at < first + 96; at += 32) {
    const uint64_t two = uint64_t{kTwoOverPi[at / 32]} << 32 | (at / 32 < 6 ? kTwoOverPi[at / 32 + 1] : 0);
    window = window << 32 | static_cast<uint32_t>(two >> (32 - at % 32));
  }
  const Uint128 product = window * mantissa;
  const int point = 96 - (exponent - first);
  const uint64_t fraction = static_cast<uint64_t>(product << (128 - point) >> 64);
  *quadrant = static_cast<unsigned>(product >> point);
  double turns = static_cast<double>(fraction) * 0x1p-64;
  if (turns > 0.5) {
    // From the bits, because 1 - turns would lose those of a small difference.
    turns = static_cast<double>(0 - fraction) * -0x1p-64;
    ++*quadrant;
  }
  if (x < 0) *quadrant = 0u - *quadrant;
  *quadrant &= 3;
  return x < 0 ? -turns * kHalfPi : turns * kHalfPi;
}

double Reduce(double x, unsigned* quadrant) {
  if (std::fabs(x) >= 1048576.0) return ReduceLarge(x, quadrant);
  const double scaled = x * 0.6366197723675814;
  const int n = static_cast<int>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  *quadrant = static_cast<unsigned>(n) & 3;
  // pi / 2 in three parts, the first two of 33 bits.
  return ((x - n * 0x1.921fb54400000p+0) - n * 0x1.0b4611a600000p-34) - n * 0x1.3198a2e037073p-69;
}

// |r| <= pi / 4 (a little more is fine).
double SinSmall(double r) {
  const double z = r * r;
  double p = 0.0;
  for (int k = 17; k >= 3; k -= 2) p = (1.0 + p) * -z / (k * (k - 1));
  return r + r * p;
}

double CosSmall(double r) {
  const double z = r * r;
  double p = 0.0;
  for (int k = 18; k >= 2; k -= 2) p = (1.0 + p) * -z / (k * (k - 1));
  return 1.0 + p;
}

double Atan(double x) {
  const double a = std::fabs(x);
  const bool inverted = a > 1.0;
  double t = inverted ? 1.0 / a : a;
  // Around 1 / sqrt(3) = tan(pi / 6) where that brings the argument below tan(pi / 12).
  constexpr double kRootThird = 0.57735026918962576;
  const bool shifted = t > 0.26794919243112270;
  if (shifted) t = (t - kRootThird) / (1.0 + t * kRootThird);
  const double z = t * t;
  double p = 0.0;
  for (int k = 27; k >= 3; k -= 2) p = (1.0 / k + p) * -z;
  double angle = t + t * p;
  if (shifted) angle += kHalfPi / 3.0;
  if (inverted) angle = kHalfPi - angle;
  return x < 0 ? -angle : angle;
}

float Round(double x) { return static_cast<float>(x); }

bool IsOddInteger(double y) {
  const double half = y * 0.5;
  return std::floor(y) == y && std::floor(half) != half && std::fabs(y) < 0x1p53;
}

}  // namespace

float LogF(float x) {
  if (!(x > 0.0f)) return x == 0.0f ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  return std::isinf(x) ? x : Round(Log(x));
}

float SinF(float x) {
  if (!std::isfinite(x)) return std::numeric_limits<float>::quiet_NaN();
  if (x == 0.0f) return x;
  unsigned quadrant = 0;
  const double r = Reduce(x, &quadrant);
  const double value = quadrant & 1 ? CosSmall(r) : SinSmall(r);
  return Round(quadrant & 2 ? -value : value);
}

float CosF(float x) {
  if (!std::isfinite(x)) return std::numeric_limits<float>::quiet_NaN();
  unsigned quadrant = 0;
  const double r = Reduce(x, &quadrant);
  const double value = quadrant & 1 ? -SinSmall(r) : CosSmall(r);
  return Round(quadrant & 2 ? -value : value);
}

float TanF(float x) {
  if (!std::isfinite(x)) return std::numeric_limits<float>::quiet_NaN();
  if (x == 0.0f) return x;
  unsigned quadrant = 0;
  const double r = Reduce(x, &quadrant);
  const double tangent = SinSmall(r) / CosSmall(r);
  return Round(quadrant & 1 ? -1.0 / tangent : tangent);
}

float AsinF(float x) {
  if (!(std::fabs(x) <= 1.0f)) return std::numeric_limits<float>::quiet_NaN();
  if (x == 0.0f) return x;
  const double a = x;
  return std::fabs(x) == 1.0f ? Round(x < 0 ? -kHalfPi : kHalfPi) : Round(Atan(a / std::sqrt((1.0 - a) * (1.0 + a))));
}

float AcosF(float x) {
  if (!(std::fabs(x) <= 1.0f)) return std::numeric_limits<float>::quiet_NaN();
  const double a = x;
  return x == -1.0f ? Round(2.0 * kHalfPi) : Round(2.0 * Atan(std::sqrt((1.0 - a) / (1.0 + a))));
}

float AtanF(float x) {
  if (std::isnan(x) || x == 0.0f) return x;
  return std::isinf(x) ? Round(x < 0 ? -kHalfPi : kHalfPi) : Round(Atan(x));
}

float SinhF(float x) {
  if (!(std::fabs(x) > 1e-4f)) return x;  // x^3 / 6 is below half an ulp
  return Round(0.5 * (Exp(x) - Exp(-static_cast<double>(x))));
}

float CoshF(float x) {
  if (std::isnan(x)) return x;
  return Round(0.5 * (Exp(x) + Exp(-static_cast<double>(x))));
}

float AsinhF(float x) {
  const double a = std::fabs(x);
  if (!(a > 1e-4) || std::isinf(x)) return x;
  const double value = Log(a + std::sqrt(a * a + 1.0));
  return Round(x < 0 ? -value : value);
}

float AcoshF(float x) {
  if (!(x >= 1.0f)) return std::numeric_limits<float>::quiet_NaN();
  if (std::isinf(x)) return x;
  const double a = x;
  return Round(Log(a + std::sqrt((a - 1.0) * (a + 1.0))));
}

float AtanhF(float x) {
  const double a = x;
  if (!(std::fabs(a) <= 1.0)) return std::numeric_limits<float>::quiet_NaN();
  if (std::fabs(a) == 1.0) return Round(a * kInfinity);
  if (std::fabs(a) < 1e-4) return x;
  return Round(0.5 * Log((1.0 + a) / (1.0 - a)));
}

float SoftplusF(float x) {
  if (std::isnan(x)) return x;
  if (x > 30.0f) return x;  // e^-x is below half an ulp
  const double e = Exp(x);
  // log(1 + e) where 1 + e would lose e.
  return Round(e < 1e-5 ? e - 0.5 * e * e : Log(1.0 + e));
}

float ExpMinusOneF(float x) {
  if (std::isnan(x) || x == 0.0f) return x;
  return Round(ExpMinusOne(x));
}

double PowD(double x, double y) {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (std::isnan(x) || std::isnan(y)) return kNan;
  const bool negative = std::signbit(x) && IsOddInteger(y);
  const double a = std::fabs(x);
  if (std::isinf(y)) return a == 1.0 ? 1.0 : (a > 1.0) == (y > 0) ? kInfinity : 0.0;
  double value;
  if (a == 0.0 || std::isinf(a)) {
    value = (a == 0.0) == (y > 0) ? 0.0 : kInfinity;
  } else if (std::fabs(y) <= 1024.0 && std::floor(y) == y) {
    double power = a;
    value = 1.0;
    for (int n = static_cast<int>(std::fabs(y)); n > 0; n >>= 1, power *= power) {
      if (n & 1) value *= power;
    }
    if (y < 0) value = 1.0 / value;
  } else if (x < 0.0 && std::floor(y) != y) {
    return kNan;
  } else if (y == 0.5) {
    value = std::sqrt(a);
  } else {
    value = Exp(y * Log(a));
  }
  return negative ? -value : value;
}

}  // namespace tally
