#include "converter/calibration/source.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/calibration/image.h"
#include "converter/calibration/list.h"
#include "format/checked.h"
#include "format/error.h"
#include "format/limits.h"
#include "format/model_file.h"

namespace tally {
namespace {

constexpr uint64_t kMaxImageBytes = uint64_t{64} << 20;

absl::Status BadFile(const std::string& path, const std::string& detail) {
  return MakeError(ErrorId::kBadDataFile, detail, {path, "", -1, ""});
}
absl::Status BadDescription(const std::string& path, const std::string& subject, const std::string& detail) {
  return MakeError(ErrorId::kBadDataDescription, detail, {path, "", -1, subject});
}

// fn(output index, source index, channel after reversal), in output order.
template <typename Fn>
void ForEachElement(const Geometry& g, const Fn& fn) {
  int64_t out = 0;
  const auto element = [&](int64_t h, int64_t w, int64_t c) {
    const int64_t source_c = g.reverse_channels ? g.channels - 1 - c : c;
    fn(out++, g.start + h * g.stride_h + w * g.stride_w + source_c * g.stride_c, c);
  };
  if (g.channels_first) {
    for (int64_t c = 0; c < g.channels; ++c) {
      for (int64_t h = 0; h < g.height; ++h) {
        for (int64_t w = 0; w < g.width; ++w) element(h, w, c);
      }
    }
  } else {
    for (int64_t h = 0; h < g.height; ++h) {
      for (int64_t w = 0; w < g.width; ++w) {
        for (int64_t c = 0; c < g.channels; ++c) element(h, w, c);
      }
    }
  }
}

// Geometry of samples of height x width x channels in `from`, and the sample shape that comes out.
Geometry MakeGeometry(const InputDescription& d, int64_t height, int64_t width, int64_t channels, Shape* sample) {
  Geometry g;
  const bool first = d.from_layout == Layout::kChannelsFirst;
  g.stride_h = first ? width : width * channels;
  g.stride_w = first ? 1 : channels;
  g.stride_c = first ? height * width : 1;
  const Extent2d crop = d.crop.value_or(Extent2d{height, width});
  g.start = (height - crop.height) / 2 * g.stride_h + (width - crop.width) / 2 * g.stride_w;
  g.height = crop.height;
  g.width = crop.width;
  g.channels = channels;
  g.reverse_channels = d.reverse_channels;
  g.channels_first = d.to_layout == Layout::kChannelsFirst;
  *sample = g.channels_first ? Shape{channels, crop.height, crop.width} : Shape{crop.height, crop.width, channels};
  return g;
}

absl::Status CheckCrop(const InputDescription& d, const Extent2d& size, const std::string& path) {
  if (d.crop && (d.crop->height > size.height || d.crop->width > size.width)) {
    return BadFile(path, absl::StrCat("expected at least the crop ", d.crop->height, "x", d.crop->width, ", found ",
                                      size.height, "x", size.width));
  }
  return absl::OkStatus();
}

absl::Status OpenNpy(const std::string& path, Source* source) {
  const InputDescription& d = source->description;
  TALLY_ASSIGN_OR_RETURN(NpyFile file, NpyFile::Open(path));
  const Shape& shape = file.shape();
  if (shape.empty()) return BadFile(path, "expected samples along the first dimension, found a scalar");
  source->count = shape[0];
  const Shape sample(shape.begin() + 1, shape.end());
  if (d.from_layout == Layout::kNone) {
    source->geometry.width = 1;
    for (int64_t extent : sample) source->geometry.width *= extent;
    source->geometry.stride_w = 1;
    source->sample_shape = sample;
  } else {
    if (sample.size() != 3) {
      return BadFile(path, absl::StrCat("expected 4 dimensions, as from_layout says, found ", ShapeString(shape)));
    }
    const bool first = d.from_layout == Layout::kChannelsFirst;
    const Extent2d size = first ? Extent2d{sample[1], sample[2]} : Extent2d{sample[0], sample[1]};
    if (d.size && (d.size->height != size.height || d.size->width != size.width)) {
      return BadFile(path, absl::StrCat("expected the size ", d.size->height, "x", d.size->width, ", found ",
                                        size.height, "x", size.width));
    }
    TALLY_RETURN_IF_ERROR(CheckCrop(d, size, path));
    source->geometry = MakeGeometry(d, size.height, size.width, first ? sample[0] : sample[2], &source->sample_shape);
  }
  source->npy.emplace(std::move(file));
  return absl::OkStatus();
}

absl::StatusOr<RgbImage> ReadImage(const std::string& path, const Extent2d& size) {
  TALLY_ASSIGN_OR_RETURN(const Blob blob, ReadWholeFile(path, kMaxImageBytes));
  return DecodeJpeg(blob.data(), blob.size(), path, size.height, size.width);
}

absl::Status OpenImageList(const std::string& path, Source* source) {
  const InputDescription& d = source->description;
  TALLY_ASSIGN_OR_RETURN(const std::vector<ListLine> lines, ReadList(path));
  for (const ListLine& line : lines) source->images.push_back(Beside(path, line.file));
  source->count = static_cast<int64_t>(lines.size());
  if (d.size) source->image_size = *d.size;
  if (!d.size && !d.crop && !lines.empty()) {
    // Nothing says how large an image is: all must be like the first.
    TALLY_ASSIGN_OR_RETURN(const RgbImage image, ReadImage(source->images[0], {}));
    source->image_size = {image.height, image.width};
  }
  const Extent2d nominal = d.crop && !d.size ? *d.crop : source->image_size;
  source->geometry = MakeGeometry(d, nominal.height, nominal.width, 3, &source->sample_shape);
  return absl::OkStatus();
}

// Applies `reshape`, then compares with what the model takes.
absl::Status CheckAgainstModel(const std::string& path, const std::string& subject, Source* source) {
  const InputDescription& d = source->description;
  const int64_t channels = source->geometry.channels;
  for (const auto& [key, values] : {std::pair("mean", &d.mean), std::pair("std", &d.stddev)}) {
    if (values->size() > 1 && static_cast<int64_t>(values->size()) != channels) {
      return BadDescription(path, absl::StrCat(subject, ".", key),
                            absl::StrCat("expected 1 or ", channels, " numbers, found ", values->size()));
    }
  }
  if (d.has_arithmetic() && source->model.dtype != DType::kFloat32) {
    return BadDescription(path, subject,
                          absl::StrCat("expected no scale, mean or std, because the model's input ",
                                       Quoted(source->model.name), " is ", DTypeName(source->model.dtype)));
  }
  if (d.reshape) {
    int64_t elements = 0;
    if (!CheckedElements(*d.reshape, &elements) || elements != source->geometry.elements()) {
      return BadDescription(path, absl::StrCat(subject, ".reshape"),
                            absl::StrCat("expected the ", source->geometry.elements(), " elements of a sample ",
                                         ShapeString(source->sample_shape), ", found ", ShapeString(*d.reshape)));
    }
    source->sample_shape = *d.reshape;
  }
  if (static_cast<uint64_t>(source->sample_bytes()) > Limits().tensor_bytes) {
    return MakeError(
        ErrorId::kLimitTensor,
        absl::StrCat("a sample: expected at most ", Limits().tensor_bytes, " bytes, found ", source->sample_bytes()),
        {path, "", -1, subject});
  }
  const Shape& model = source->model.shape;
  bool fits = model.size() == source->sample_shape.size() + 1;
  for (size_t i = 1; fits && i < model.size(); ++i) fits = model[i] < 0 || model[i] == source->sample_shape[i - 1];
  if (!fits) {
    return BadFile(source->path,
                   absl::StrCat("input ", Quoted(source->model.name), ": expected samples of ", ShapeString(model),
                                " without its first extent, found ", ShapeString(source->sample_shape),
                                "; \"to_layout\" and \"reshape\" change it"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Source::Read(int64_t sample, SampleScratch* scratch, uint8_t* out) const {
  const InputDescription& d = description;
  const std::string& file = npy ? path : images[static_cast<size_t>(sample)];
  std::vector<uint8_t>& raw = scratch->raw;
  std::vector<double>& values = scratch->values;
  NpyType type{'u', 1, false};
  Geometry view = geometry;
  int64_t raw_elements = 0;
  if (npy) {
    type = npy->type();
    raw_elements = npy->elements() / count;
    raw.resize(static_cast<size_t>(raw_elements) * static_cast<size_t>(type.bytes));
    TALLY_RETURN_IF_ERROR(npy->Read(sample * raw_elements, raw_elements, raw.data()));
  } else {
    TALLY_ASSIGN_OR_RETURN(RgbImage image, ReadImage(file, image_size));
    TALLY_RETURN_IF_ERROR(CheckCrop(d, {image.height, image.width}, file));
    Shape unused;
    view = MakeGeometry(d, image.height, image.width, 3, &unused);
    raw = std::move(image.pixels);
    raw_elements = static_cast<int64_t>(raw.size());
  }
  if (model.dtype != DType::kFloat32) {
    const size_t size = DTypeSize(model.dtype);
    std::vector<uint8_t> converted(static_cast<size_t>(raw_elements) * size);
    TALLY_RETURN_IF_ERROR(ConvertNpyElements(type, raw.data(), raw_elements, model.dtype, file,
                                             npy ? sample * raw_elements : 0, converted.data()));
    ForEachElement(view, [&](int64_t to, int64_t from, int64_t) {
      std::memcpy(out + static_cast<size_t>(to) * size, converted.data() + static_cast<size_t>(from) * size, size);
    });
    return absl::OkStatus();
  }
  values.resize(static_cast<size_t>(raw_elements));
  NpyToDoubles(type, raw.data(), raw_elements, values.data());
  const auto per_channel = [&](const std::vector<double>& given, double absent) {
    return given.size() > 1
               ? given
               : std::vector<double>(static_cast<size_t>(view.channels), given.empty() ? absent : given[0]);
  };
  const std::vector<double> mean = per_channel(d.mean, 0);
  const std::vector<double> stddev = per_channel(d.stddev, 1);
  // In float64, rounded once: the result does not depend on how a compiler orders the steps.
  int64_t bad = -1;
  ForEachElement(view, [&](int64_t to, int64_t from, int64_t c) {
    const size_t channel = static_cast<size_t>(c);
    const double x = values[static_cast<size_t>(from)];
    const float y = static_cast<float>((x * d.scale - mean[channel]) / stddev[channel]);
    if (!std::isfinite(y) && bad < 0) bad = from;
    std::memcpy(out + static_cast<size_t>(to) * sizeof(float), &y, sizeof(float));
  });
  if (bad >= 0) {
    return BadFile(file, absl::StrCat("sample ", sample, ": expected finite values, found ",
                                      values[static_cast<size_t>(bad)], " at element ", bad));
  }
  return absl::OkStatus();
}

absl::StatusOr<Source> OpenSource(const InputDescription& input, const TensorInfo& model, const std::string& path,
                                  const std::string& subject) {
  Source source;
  source.description = input;
  source.model = model;
  source.path = Beside(path, input.path);
  TALLY_RETURN_IF_ERROR(input.kind == InputDescription::Kind::kNpy ? OpenNpy(source.path, &source)
                                                                   : OpenImageList(source.path, &source));
  TALLY_RETURN_IF_ERROR(CheckAgainstModel(path, subject, &source));
  return source;
}

std::string Beside(const std::string& file, const std::string& relative) {
  const size_t slash = file.rfind('/');
  if (slash == std::string::npos || (!relative.empty() && relative[0] == '/')) return relative;
  return file.substr(0, slash + 1) + relative;
}

}  // namespace tally
