#include "converter/search/codebook_search.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMaxMagnitudes = (1 << kMaxExponentBits) - 1;

// Spans R-to-R of the exponent, 2 R ln(base): near 0 the levels are uniform, at 14 nearly all lie at the bottom.
constexpr double kMinSpan = 0.02, kMaxSpan = 14;
constexpr double kMaxRatio = 0.75;  // of smallest to largest magnitude
// So flat that levels are even to 1e-4 of the largest; a base must be above 1.
constexpr double kUniformSpan = 1e-3;

// Magnitudes and the bounds above which each of them is chosen, both times a unit.
struct Levels {
  int count = 0;
  std::array<double, kMaxMagnitudes> values;
  std::array<double, kMaxMagnitudes> bounds;
};

double SquaredError(const Magnitudes& x, const Levels& levels, double unit) {
  size_t begin = x.BinsUpTo(levels.bounds[0] * unit);
  double error = x.prefix(begin).squares;
  for (int i = 0; i < levels.count; ++i) {
    const size_t end = i + 1 < levels.count ? x.BinsUpTo(levels.bounds[i + 1] * unit) : x.bins();
    const Magnitudes::Sums &a = x.prefix(begin), &b = x.prefix(end);
    const double m = levels.values[i] * unit;
    error += (b.squares - a.squares) - 2 * m * (b.sum - a.sum) + m * m * (b.weight - a.weight);
    begin = end;
  }
  return std::max(error, 0.0);
}

double AbsoluteError(const Magnitudes& x, const Levels& levels, double unit) {
  size_t begin = x.BinsUpTo(levels.bounds[0] * unit);
  double error = x.prefix(begin).sum;
  for (int i = 0; i < levels.count; ++i) {
    const size_t end = i + 1 < levels.count ? x.BinsUpTo(levels.bounds[i + 1] * unit) : x.bins();
    const double m = levels.values[i] * unit;
    const size_t middle = std::min(end, std::max(begin, x.BinsUpTo(m)));
    const Magnitudes::Sums &a = x.prefix(begin), &c = x.prefix(middle), &b = x.prefix(end);
    error += m * (c.weight - a.weight) - (c.sum - a.sum) + (b.sum - c.sum) - m * (b.weight - c.weight);
    begin = end;
  }
  return std::max(error, 0.0);
}

FitError Measure(const Magnitudes& x, const Levels& levels, double unit) {
  FitError error;
  if (x.bins() == 0) return error;
  error.relative_mse = SquaredError(x, levels, unit) / x.total().squares;
  error.rmae = AbsoluteError(x, levels, unit) / x.total().sum;
  return error;
}

// The bound between neighbouring mantissas, in mantissas.
double MantissaBound(int64_t below, int64_t above, EncodeRule rule, bool is_weight) {
  const bool geometric = rule == EncodeRule::kLog && below > 0;
  if (is_weight) {
    return geometric ? std::sqrt(static_cast<double>(below * above)) : 0.5 * static_cast<double>(below + above);
  }
  // The encoder moves up at the first integer v beyond the midpoint, that is where |x| / s rounds to v.
  int64_t v = (below + above) / 2;
  if (geometric) {
    v = static_cast<int64_t>(std::sqrt(static_cast<double>(below * above)));
    while (v * v > below * above) --v;
    while ((v + 1) * (v + 1) <= below * above) ++v;
  }
  return static_cast<double>(v) + 0.5;
}

double RealBound(double below, double above, EncodeRule rule) {
  return rule == EncodeRule::kLog && below > 0 ? std::sqrt(below * above) : 0.5 * (below + above);
}

// (b^i - b^-R) / (b^R - b^-R), i = -R..R: 0..1, whatever ratio and clip are.
std::vector<double> Curve(double base, int exponent_bits) {
  const int r = (1 << (exponent_bits - 1)) - 1;
  std::vector<double> curve(static_cast<size_t>(2 * r + 1));
  double power = 1;
  for (double& c : curve) {
    c = power - 1;
    power *= base;
  }
  const double top = curve.back();
  for (double& c : curve) c /= top;
  return curve;
}

// Snapped levels of a curve, in units of s (integer grids) or of the largest magnitude (real). False: the float32
// thresholds of a real codebook would not be distinct.
bool SnapLevels(const std::vector<double>& curve, double ratio, const FitOptions& options, Levels* levels) {
  levels->count = 0;
  if (options.grid == Grid::kReal) {
    double below = 0;
    for (double c : curve) {
      const double m = ratio + (1 - ratio) * c;
      const double bound = RealBound(below, m, options.rule);
      if (levels->count > 0 && bound < levels->bounds[levels->count - 1] * (1 + 4e-7)) return false;
      levels->values[levels->count] = m;
      levels->bounds[levels->count++] = bound;
      below = m;
    }
    return true;
  }
  const int limit = options.grid == Grid::kQ7 ? 127 : 16383;
  int64_t below = 0;
  for (double c : curve) {
    const int64_t m = std::max<int64_t>(1, std::lrint(limit * (ratio + (1 - ratio) * c)));
    if (m == below) continue;
    levels->values[levels->count] = static_cast<double>(m);
    levels->bounds[levels->count++] = MantissaBound(below, m, options.rule, options.is_weight);
    below = m;
  }
  return true;
}

// Smallest top magnitude whose scale and reciprocal are normal float32 numbers.
double MinClip(Grid grid) {
  switch (grid) {
    case Grid::kQ7: return 127.0 * FLT_MIN;
    case Grid::kQ14: return 16383.0 * FLT_MIN;
    case Grid::kReal: return 1e-30;
  }
  return 1;
}

double UnitOf(double clip, Grid grid) {
  return grid == Grid::kQ7 ? clip / 127 : grid == Grid::kQ14 ? clip / 16383 : clip;
}

// One point of the search. Coordinates are logarithms: equal steps are equal relative changes.
struct Point {
  double log_clip = 0, log_span = 0, log_ratio = 0;
  double error = kInfinity;
};

double BaseOfSpan(double span, int exponent_bits) { return std::exp(span / (2 * ((1 << (exponent_bits - 1)) - 1))); }

absl::StatusOr<Codebook> MakeFromShape(const FitOptions& o, double base, double smallest, double largest) {
  const int r = (1 << (o.exponent_bits - 1)) - 1;
  const double bottom = std::pow(base, -r), top = std::pow(base, r);
  const double alpha = (largest - smallest) / (top - bottom);
  return MakeCodebook(o.exponent_bits, o.is_signed, o.grid, o.rule, base, alpha, smallest - alpha * bottom);
}

class JointSearch {
 public:
  JointSearch(const Magnitudes& x, const FitOptions& options)
      : x_(x),
        options_(options),
        // The best top level of a convex codebook lies above the mean.
        min_log_clip_(std::log(std::max(0.7 * x.mean(), MinClip(options.grid)))),
        max_log_clip_(std::log(std::max(x.max(), MinClip(options.grid)))),
        min_log_ratio_(std::log(options.grid == Grid::kQ7 ? 0.5 / 127 : 2e-4)),
        max_log_ratio_(std::log(kMaxRatio)),
        min_log_span_(std::log(kMinSpan)),
        max_log_span_(std::log(kMaxSpan)) {
    if (options.base)
      min_log_span_ = max_log_span_ =
          std::log(2 * ((1 << (options.exponent_bits - 1)) - 1)) + std::log(std::log(*options.base));
    if (options.uniform) {
      min_log_span_ = max_log_span_ = std::log(kUniformSpan);
      min_log_ratio_ = max_log_ratio_ = -std::log((1 << options.exponent_bits) - 1);
    }
  }

  Point Run() const {
    std::vector<Point> starts = Coarse();
    Point best;
    for (const Point& start : starts) {
      const Point refined = Refine(start);
      if (refined.error < best.error) best = refined;
    }
    return best;
  }

 private:
  // The best clip for every curve and ratio of a coarse grid; the most promising few of them.
  std::vector<Point> Coarse() const {
    constexpr int kSpans = 14, kRatios = 12, kStarts = 6;
    const int spans = min_log_span_ < max_log_span_ ? kSpans : 1;
    const int clips = 1 + std::min(48, static_cast<int>(std::ceil((max_log_clip_ - min_log_clip_) / kClipStep)));
    std::vector<Point> points;
    Levels levels;
    for (int i = 0; i < spans; ++i) {
      Point p;
      // Spans below 0.1 are as good as uniform; the coarse grid starts there.
      const double low = spans > 1 ? std::log(0.1) : min_log_span_;
      p.log_span = low + (max_log_span_ - low) * i / std::max(1, spans - 1);
      const std::vector<double> curve = CurveOf(p.log_span);
      for (int j = 0; j < kRatios; ++j) {
        p.log_ratio = min_log_ratio_ + (max_log_ratio_ - min_log_ratio_) * j / (kRatios - 1);
        if (!SnapLevels(curve, std::exp(p.log_ratio), options_, &levels)) continue;
        Point best;
        for (int k = 0; k < clips; ++k) {
          p.log_clip = max_log_clip_ - (max_log_clip_ - min_log_clip_) * k / std::max(1, clips - 1);
          p.error = SquaredError(x_, levels, UnitOf(std::exp(p.log_clip), options_.grid));
          if (p.error < best.error) best = p;
        }
        points.push_back(best);
      }
    }
    const size_t keep = std::min<size_t>(kStarts, points.size());
    std::partial_sort(points.begin(), points.begin() + static_cast<int64_t>(keep), points.end(),
                      [](const Point& a, const Point& b) { return a.error < b.error; });
    points.resize(keep);
    return points;
  }

  // Pattern search: tries a step both ways in every direction, moves to the best, halves the steps when none is better.
  Point Refine(Point p) const {
    // Clip, span and ratio, alone and where two of them trade against each other.
    static constexpr double kDirections[][3] = {{1, 0, 0},  {0, 1, 0},  {0, 0, 1}, {1, 1, 0},
                                                {1, 0, -1}, {0, 1, -1}, {0, 1, 1}};
    double clip_step = 0.5 * kClipStep, span_step = 0.18, ratio_step = 0.25;
    for (int halvings = 0; halvings < 6;) {
      Point best = p;
      for (const auto& d : kDirections) {
        for (double sign : {1.0, -1.0}) {
          const Point q = At(p.log_clip + sign * d[0] * clip_step, p.log_span + sign * d[1] * span_step,
                             p.log_ratio + sign * d[2] * ratio_step);
          if (q.error < best.error) best = q;
        }
      }
      if (best.error < p.error) {
        p = best;
      } else {
        clip_step /= 2, span_step /= 2, ratio_step /= 2;
        ++halvings;
      }
    }
    return p;
  }

  std::vector<double> CurveOf(double log_span) const {
    return Curve(options_.base ? *options_.base : BaseOfSpan(std::exp(log_span), options_.exponent_bits),
                 options_.exponent_bits);
  }

  Point At(double log_clip, double log_span, double log_ratio) const {
    Point p;
    p.log_clip = std::clamp(log_clip, min_log_clip_, max_log_clip_);
    p.log_span = std::clamp(log_span, min_log_span_, max_log_span_);
    p.log_ratio = std::clamp(log_ratio, min_log_ratio_, max_log_ratio_);
    Levels levels;
    if (!SnapLevels(CurveOf(p.log_span), std::exp(p.log_ratio), options_, &levels)) return p;
    p.error = SquaredError(x_, levels, UnitOf(std::exp(p.log_clip), options_.grid));
    return p;
  }

  static constexpr double kClipStep = 0.12;
  const Magnitudes& x_;
  const FitOptions& options_;
  double min_log_clip_, max_log_clip_, min_log_ratio_, max_log_ratio_, min_log_span_, max_log_span_;
};

Levels LevelsOf(const Codebook& book, bool is_weight) {
  Levels levels;
  const std::vector<double> values = book.Values();
  const std::vector<double> bounds = CodeBounds(book, is_weight);
  for (size_t i = 0; i < bounds.size(); ++i) {
    levels.values[i] = values[i + 1];
    levels.bounds[i] = bounds[i];
  }
  levels.count = book.magnitudes();
  return levels;
}

absl::StatusOr<CodebookFit> Finish(const Magnitudes& x, const FitOptions& options, Codebook book) {
  CodebookFit fit;
  fit.error = MeasureFit(x, book, options.is_weight);
  fit.codebook = std::move(book);
  return fit;
}

Levels MakeUniform(int count) {
  Levels levels;
  levels.count = count;
  for (int k = 1; k <= count; ++k) {
    levels.values[static_cast<size_t>(k - 1)] = static_cast<double>(k) / count;
    levels.bounds[static_cast<size_t>(k - 1)] = (k - 0.5) / count;
  }
  return levels;
}

absl::Status CheckOptions(const FitOptions& options) {
  if (options.exponent_bits < kMinExponentBits || options.exponent_bits > kMaxExponentBits) {
    return MakeError(ErrorId::kInternal, absl::StrCat("codebook search for ", options.exponent_bits, " exponent bits"));
  }
  if (options.base && !(*options.base > 1 && *options.base < 1e6)) {
    return MakeError(ErrorId::kInternal, absl::StrCat("codebook search for base ", *options.base));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<double> CodeBounds(const Codebook& codebook, bool is_weight) {
  if (codebook.grid == Grid::kReal) return {codebook.thresholds.begin(), codebook.thresholds.end()};
  const double unit = is_weight ? static_cast<double>(codebook.scale) : 1 / static_cast<double>(codebook.inverse_scale);
  const size_t count = codebook.mantissas.size();
  std::vector<double> bounds(count);
  for (size_t i = count; i-- > 0;) {
    const int32_t below = i == 0 ? 0 : codebook.mantissas[i - 1];
    if (codebook.mantissas[i] == below) {
      bounds[i] = i + 1 < count ? bounds[i + 1] : kInfinity;
    } else {
      bounds[i] = unit * MantissaBound(below, codebook.mantissas[i], codebook.encode_rule, is_weight);
    }
  }
  return bounds;
}

FitError MeasureFit(const Magnitudes& magnitudes, const Codebook& codebook, bool is_weight) {
  return Measure(magnitudes, LevelsOf(codebook, is_weight), 1);
}

absl::StatusOr<CodebookFit> FitJoint(const Magnitudes& magnitudes, const FitOptions& options) {
  TALLY_RETURN_IF_ERROR(CheckOptions(options));
  // Zeros alone: any codebook will do.
  const Magnitudes one(std::vector<float>{1});
  const Magnitudes& x = magnitudes.bins() > 0 ? magnitudes : one;
  const Point p = JointSearch(x, options).Run();
  if (!std::isfinite(p.error)) return MakeError(ErrorId::kInternal, "codebook search found no valid point");
  const double base = options.base ? *options.base : BaseOfSpan(std::exp(p.log_span), options.exponent_bits);
  const double clip = std::exp(p.log_clip);
  TALLY_ASSIGN_OR_RETURN(Codebook book, MakeFromShape(options, base, clip * std::exp(p.log_ratio), clip));
  return Finish(magnitudes, options, std::move(book));
}

absl::StatusOr<CodebookFit> FitDnateq(const Magnitudes& x, const FitOptions& options) {
  TALLY_RETURN_IF_ERROR(CheckOptions(options));
  // The paper's fit needs a range: a constant tensor, or one too small for the grid, is fitted jointly.
  if (x.bins() < 2 || x.max() < MinClip(options.grid)) return FitJoint(x, options);
  const int r = (1 << (options.exponent_bits - 1)) - 1;
  const double ratio = x.min() / x.max();
  FitOptions real = options;
  real.grid = Grid::kReal;
  const auto rmae = [&](double base) {
    Levels levels;
    if (!SnapLevels(Curve(base, options.exponent_bits), ratio, real, &levels)) return kInfinity;
    return AbsoluteError(x, levels, x.max());
  };
  double base = options.base ? *options.base : std::max(1.01, std::pow(1 / ratio, 1.0 / (2 * r)));
  double error = rmae(base);
  if (!options.base) {
    constexpr double kStep = 0.01;
    // A greedy walk; the bound on its length only matters for bases in the thousands.
    for (double step : {kStep, -kStep}) {
      for (int steps = 0; steps < 100000; ++steps) {
        const double next_base = base + step;
        if (next_base <= 1.0001) break;
        const double next = rmae(next_base);
        if (!(next < error)) break;
        base = next_base;
        error = next;
      }
    }
  }
  if (!std::isfinite(error)) return FitJoint(x, options);
  absl::StatusOr<Codebook> book = MakeFromShape(options, base, x.min(), x.max());
  // Magnitudes so close to each other that they do not survive rounding.
  if (!book.ok()) return FitJoint(x, options);
  return Finish(x, options, *std::move(book));
}

int UniformLevels(int stored_bits, bool is_signed) { return (1 << (stored_bits - (is_signed ? 1 : 0))) - 1; }

UniformFit FitUniformMax(const Magnitudes& magnitudes, int levels) {
  UniformFit fit;
  fit.clip = magnitudes.max();
  fit.error = Measure(magnitudes, MakeUniform(levels), fit.clip);
  return fit;
}

FitError MeasureUniform(const Magnitudes& magnitudes, int levels, double clip) {
  return Measure(magnitudes, MakeUniform(levels), clip);
}

UniformFit FitUniformClipped(const Magnitudes& magnitudes, int levels) {
  const Levels uniform = MakeUniform(levels);
  UniformFit fit;
  fit.clip = magnitudes.max();
  double best = kInfinity;
  // From the largest value down to the mean in steps of 3 %, then in ever finer steps around the best.
  const double first = magnitudes.max(), last = 0.7 * magnitudes.mean();
  double clip = first;
  while (clip >= last && clip > 0) {
    const double error = SquaredError(magnitudes, uniform, clip);
    if (error < best) best = error, fit.clip = clip;
    clip *= 0.97;
  }
  double step = 0.015;
  for (int halvings = 0; halvings < 5; ++halvings, step /= 2) {
    for (double factor : {1 + step, 1 - step}) {
      clip = std::min(first, fit.clip * factor);
      const double error = SquaredError(magnitudes, uniform, clip);
      if (error < best) best = error, fit.clip = clip;
    }
  }
  fit.error = Measure(magnitudes, uniform, fit.clip);
  return fit;
}

}  // namespace tally
