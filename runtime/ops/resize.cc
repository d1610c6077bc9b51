// Resize: each axis maps an output coordinate to a place in the input, which one (nearest), two (linear) or four
// (cubic) input elements surround. Sums run over the elements in ascending order, in float64, the last axis innermost.
#include "runtime/ops/resize.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

enum class Mode { kNearest, kLinear, kCubic };
enum class Transform { kHalfPixel, kSymmetric, kPytorch, kAlignCorners, kAsymmetric, kTfNearest };
enum class Rounding { kPreferFloor, kPreferCeil, kFloor, kCeil };

struct Method {
  Mode mode = Mode::kNearest;
  Transform transform = Transform::kHalfPixel;
  Rounding rounding = Rounding::kPreferFloor;
  double a = -0.75;  // the cubic's coefficient
  bool exclude_outside = false;
};

Method MethodOf(const Node& node) {
  Method method;
  const std::string_view mode = StringAttribute(node, "mode", "nearest");
  method.mode = mode == "linear" ? Mode::kLinear : mode == "cubic" ? Mode::kCubic : Mode::kNearest;
  const std::string_view transform = StringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  method.transform = transform == "half_pixel_symmetric"   ? Transform::kSymmetric
                     : transform == "pytorch_half_pixel"   ? Transform::kPytorch
                     : transform == "align_corners"        ? Transform::kAlignCorners
                     : transform == "asymmetric"           ? Transform::kAsymmetric
                     : transform == "tf_half_pixel_for_nn" ? Transform::kTfNearest
                                                           : Transform::kHalfPixel;
  const std::string_view rounding = StringAttribute(node, "nearest_mode", "round_prefer_floor");
  method.rounding = rounding == "round_prefer_ceil" ? Rounding::kPreferCeil
                    : rounding == "floor"           ? Rounding::kFloor
                    : rounding == "ceil"            ? Rounding::kCeil
                                                    : Rounding::kPreferFloor;
  method.a = FloatAttribute(node, "cubic_coeff_a", -0.75f);
  method.exclude_outside = IntAttribute(node, "exclude_outside", 0) != 0;
  return method;
}

double Place(Transform transform, const ResizeAxis& axis, int64_t index) {
  const double i = static_cast<double>(index);
  const double in = static_cast<double>(axis.in), out = static_cast<double>(axis.out);
  switch (transform) {
    case Transform::kHalfPixel: return (i + 0.5) / axis.scale - 0.5;
    case Transform::kSymmetric: {
      // The centre stays in the centre where the extent is not the scale's.
      const double adjustment = out / (axis.scale * in);
      return in / 2 * (1 - adjustment) + (i + 0.5) / axis.scale - 0.5;
    }
    case Transform::kPytorch: return axis.out > 1 ? (i + 0.5) / axis.scale - 0.5 : 0;
    case Transform::kAlignCorners: return axis.out > 1 ? i * (in - 1) / (in * axis.scale - 1) : 0;
    case Transform::kAsymmetric: return i / axis.scale;
    case Transform::kTfNearest: return (i + 0.5) / axis.scale;
  }
  return i;
}

// Input elements and their weights.
struct Taps {
  int count = 0;
  int64_t index[4];
  double weight[4];
};

void AddTap(const Method& method, const ResizeAxis& axis, double index, double weight, Taps* taps) {
  const double last = static_cast<double>(axis.in - 1);
  if (method.exclude_outside && (index < 0 || index > last)) return;
  taps->index[taps->count] = static_cast<int64_t>(std::clamp(index, 0.0, last));
  taps->weight[taps->count++] = weight;
}

Taps TapsAt(const Method& method, const ResizeAxis& axis, int64_t index) {
  Taps taps;
  if (axis.is_same()) {
    taps = {1, {index}, {1}};
    return taps;
  }
  // Any finite scale is legal, so that a place may be far outside, or nowhere.
  constexpr double kFar = 0x1p52;
  const double exact = Place(method.transform, axis, index);
  const double place = exact != exact ? 0 : std::clamp(exact, -kFar, kFar);
  const double below = std::floor(place);
  const double t = place - below;
  if (method.mode == Mode::kNearest) {
    double nearest = below;
    if (method.rounding == Rounding::kCeil) nearest = std::ceil(place);
    if (method.rounding == Rounding::kPreferFloor && t > 0.5) nearest = below + 1;
    if (method.rounding == Rounding::kPreferCeil && t >= 0.5) nearest = below + 1;
    taps = {1, {static_cast<int64_t>(std::clamp(nearest, 0.0, static_cast<double>(axis.in - 1)))}, {1}};
  } else if (method.mode == Mode::kLinear) {
    AddTap(method, axis, below, 1 - t, &taps);
    AddTap(method, axis, below + 1, t, &taps);
  } else {
    const double a = method.a;
    const double s = 1 - t;
    AddTap(method, axis, below - 1, ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a, &taps);
    AddTap(method, axis, below, ((a + 2) * t - (a + 3)) * t * t + 1, &taps);
    AddTap(method, axis, below + 1, ((a + 2) * s - (a + 3)) * s * s + 1, &taps);
    AddTap(method, axis, below + 2, ((a * (s + 1) - 5 * a) * (s + 1) + 8 * a) * (s + 1) - 4 * a, &taps);
  }
  if (method.exclude_outside && method.mode != Mode::kNearest) {
    double sum = 0;
    for (int k = 0; k < taps.count; ++k) sum += taps.weight[k];
    for (int k = 0; k < taps.count; ++k) taps.weight[k] /= sum;
  }
  return taps;
}

struct Image {
  size_t rank;
  int64_t strides[kMaxRank];
  const float* x;
};

// The weighted sum over the taps of dimensions d and up.
double Interpolate(const Image& image, const Taps* taps, size_t d, int64_t offset) {
  if (d == image.rank) return image.x[offset];
  const Taps& t = taps[d];
  if (t.count == 1) {
    const double value = Interpolate(image, taps, d + 1, offset + t.index[0] * image.strides[d]);
    return t.weight[0] == 1 ? value : value * t.weight[0];
  }
  double sum = 0;
  for (int k = 0; k < t.count; ++k) {
    sum += t.weight[k] * Interpolate(image, taps, d + 1, offset + t.index[k] * image.strides[d]);
  }
  return sum;
}

}  // namespace

absl::Status ResolveResize(const Shape& shape, absl::Span<const float> scales, absl::Span<const int64_t> sizes,
                           ResizeAxes* axes) {
  const auto bad = [](const std::string& detail) {
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat("Resize: ", detail));
  };
  const size_t given = sizes.empty() ? scales.size() : sizes.size();
  if (given != shape.size()) {
    return bad(absl::StrCat(given, " scales or sizes, expected ", shape.size(), ", one per dimension"));
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    ResizeAxis& axis = (*axes)[i];
    axis.in = shape[i];
    if (!sizes.empty()) {
      if (sizes[i] < 0 || sizes[i] > kMaxExtent) return bad(absl::StrCat("size ", sizes[i], ", expected an extent"));
      axis.out = sizes[i];
      axis.scale = axis.in == 0 ? 1 : static_cast<double>(axis.out) / static_cast<double>(axis.in);
    } else {
      axis.scale = scales[i];
      const double extent = std::floor(static_cast<double>(axis.in) * axis.scale);
      if (!(axis.scale > 0 && extent <= static_cast<double>(kMaxExtent))) {
        return bad(absl::StrCat("scale ", scales[i], " of extent ", axis.in, ", expected one that gives an extent"));
      }
      axis.out = static_cast<int64_t>(extent);
    }
    if (axis.in == 0 && axis.out > 0) return bad("an extent of 0 that is to grow");
  }
  return absl::OkStatus();
}

absl::Status EvalResize(const EvalContext& context) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 1));
  const TensorView& x = context.inputs[0];
  const Shape& out = context.outputs[0].shape;
  absl::Span<const float> scales;
  if (context.inputs.size() > 1 && context.inputs[1].data != nullptr) {
    scales = {context.inputs[1].as<float>(), static_cast<size_t>(ElementsOf(context.inputs[1].shape))};
  }
  ResizeAxes axes;
  TALLY_RETURN_IF_ERROR(ResolveResize(x.shape, scales, IntsOf(context, 2), &axes));
  for (size_t i = 0; i < out.size(); ++i) TALLY_RETURN_IF_ERROR(CheckPlanned(context, i, axes[i].out));
  const int64_t elements = ElementsOf(out);
  if (elements == 0) return absl::OkStatus();
  float* y = context.outputs[0].as<float>();
  if (out.empty()) {
    y[0] = x.as<float>()[0];
    return absl::OkStatus();
  }
  const Method method = MethodOf(context.node);
  Image image{out.size(), {}, x.as<float>()};
  int64_t stride = 1;
  for (size_t i = out.size(); i-- > 0; stride *= x.shape[i]) image.strides[i] = stride;
  const int64_t row = out.back();
  ParallelFor(context.pool, static_cast<size_t>(elements / row), TileFor(8 * static_cast<size_t>(row)),
              [&](size_t begin, size_t end) {
                Taps taps[kMaxRank];
                for (size_t i = begin; i < end; ++i) {
                  int64_t rest = static_cast<int64_t>(i);
                  for (size_t d = out.size() - 1; d-- > 0; rest /= out[d]) {
                    taps[d] = TapsAt(method, axes[d], rest % out[d]);
                  }
                  float* line = y + static_cast<int64_t>(i) * row;
                  for (int64_t j = 0; j < row; ++j) {
                    taps[out.size() - 1] = TapsAt(method, axes[out.size() - 1], j);
                    line[j] = static_cast<float>(Interpolate(image, taps, 0, 0));
                  }
                }
              });
  return absl::OkStatus();
}

}  // namespace tally
