#include "converter/calibration/dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "converter/calibration/description.h"
#include "converter/calibration/image.h"
#include "converter/calibration/list.h"
#include "converter/calibration/npy.h"
#include "format/checked.h"
#include "format/error.h"
#include "format/limits.h"
#include "format/model_file.h"

#define XXH_INLINE_ALL
#include "xxhash.h"

namespace tally {
namespace {

constexpr uint64_t kMaxDescriptionBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxImageBytes = uint64_t{64} << 20;

absl::Status BadFile(const std::string& path, const std::string& detail) {
  return MakeError(ErrorId::kBadDataFile, detail, {path, "", -1, ""});
}
absl::Status BadDescription(const std::string& path, const std::string& subject, const std::string& detail) {
  return MakeError(ErrorId::kBadDataDescription, detail, {path, "", -1, subject});
}

std::string Folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}
// `relative` as seen from the folder of the description.
std::string Resolve(const std::string& folder, const std::string& relative) {
  return !relative.empty() && relative[0] == '/' ? relative : folder + relative;
}

// How one sample is read: a view of height x width x channels into the source, and the order in which it is written.
// Arrays without a layout are one row of `width` values with one channel.
struct Geometry {
  int64_t height = 1, width = 1, channels = 1;
  int64_t stride_h = 0, stride_w = 0, stride_c = 0;  // elements of the source
  int64_t start = 0;                                 // of the crop
  bool reverse_channels = false;
  bool channels_first = false;

  int64_t elements() const { return height * width * channels; }
};

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

// One input of the model and where its samples come from.
struct Source {
  InputDescription description;
  TensorInfo model;  // extent 0 is the batch
  std::optional<NpyFile> npy;
  std::vector<std::string> images;
  Extent2d image_size;  // every image's; 0 = any that holds the crop
  Geometry geometry;    // of images of any size only the extents count
  Shape sample_shape;   // after reshape
  int64_t count = 0;

  int64_t sample_bytes() const { return geometry.elements() * static_cast<int64_t>(DTypeSize(model.dtype)); }
  const std::string& SourcePath(int64_t sample) const {
    return npy ? npy->path() : images[static_cast<size_t>(sample)];
  }
};

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
  const std::string folder = Folder(path);
  for (const ListLine& line : lines) source->images.push_back(Resolve(folder, line.file));
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
    return BadFile(Resolve(Folder(path), d.path),
                   absl::StrCat("input ", Quoted(source->model.name), ": expected samples of ", ShapeString(model),
                                " without its first extent, found ", ShapeString(source->sample_shape),
                                "; \"to_layout\" and \"reshape\" change it"));
  }
  return absl::OkStatus();
}

std::string ModelInputNames(const std::vector<TensorInfo>& inputs) {
  return absl::StrJoin(inputs, ", ", [](std::string* out, const TensorInfo& i) { *out += Quoted(i.name); });
}

}  // namespace

struct Dataset::Impl {
  std::string description_path;
  std::string labels_path;
  DataDescription description;
  std::vector<Source> sources;  // in the order of the model's inputs
  std::vector<int64_t> labels;

  absl::Status ReadSample(const Source& source, int64_t sample, std::vector<uint8_t>* raw, std::vector<double>* values,
                          uint8_t* out) const;
};

// Reads one sample, scratch space given, and writes it in the model's type.
absl::Status Dataset::Impl::ReadSample(const Source& source, int64_t sample, std::vector<uint8_t>* raw,
                                       std::vector<double>* values, uint8_t* out) const {
  const InputDescription& d = source.description;
  const std::string& path = source.SourcePath(sample);
  NpyType type{'u', 1, false};
  Geometry geometry = source.geometry;
  int64_t raw_elements = 0;
  if (source.npy) {
    type = source.npy->type();
    raw_elements = source.npy->elements() / source.count;
    raw->resize(static_cast<size_t>(raw_elements) * static_cast<size_t>(type.bytes));
    TALLY_RETURN_IF_ERROR(source.npy->Read(sample * raw_elements, raw_elements, raw->data()));
  } else {
    TALLY_ASSIGN_OR_RETURN(RgbImage image, ReadImage(path, source.image_size));
    TALLY_RETURN_IF_ERROR(CheckCrop(d, {image.height, image.width}, path));
    Shape unused;
    geometry = MakeGeometry(d, image.height, image.width, 3, &unused);
    *raw = std::move(image.pixels);
    raw_elements = static_cast<int64_t>(raw->size());
  }
  if (source.model.dtype != DType::kFloat32) {
    const size_t size = DTypeSize(source.model.dtype);
    std::vector<uint8_t> converted(static_cast<size_t>(raw_elements) * size);
    TALLY_RETURN_IF_ERROR(ConvertNpyElements(type, raw->data(), raw_elements, source.model.dtype, path,
                                             source.npy ? sample * raw_elements : 0, converted.data()));
    ForEachElement(geometry, [&](int64_t to, int64_t from, int64_t) {
      std::memcpy(out + static_cast<size_t>(to) * size, converted.data() + static_cast<size_t>(from) * size, size);
    });
    return absl::OkStatus();
  }
  values->resize(static_cast<size_t>(raw_elements));
  NpyToDoubles(type, raw->data(), raw_elements, values->data());
  const auto per_channel = [&](const std::vector<double>& given, double absent) {
    return given.size() > 1
               ? given
               : std::vector<double>(static_cast<size_t>(geometry.channels), given.empty() ? absent : given[0]);
  };
  const std::vector<double> mean = per_channel(d.mean, 0);
  const std::vector<double> stddev = per_channel(d.stddev, 1);
  // In float64, rounded once: the result does not depend on how a compiler orders the steps.
  int64_t bad = -1;
  ForEachElement(geometry, [&](int64_t to, int64_t from, int64_t c) {
    const size_t channel = static_cast<size_t>(c);
    const double x = (*values)[static_cast<size_t>(from)];
    const float y = static_cast<float>((x * d.scale - mean[channel]) / stddev[channel]);
    if (!std::isfinite(y) && bad < 0) bad = from;
    std::memcpy(out + static_cast<size_t>(to) * sizeof(float), &y, sizeof(float));
  });
  if (bad >= 0) {
    return BadFile(path, absl::StrCat("sample ", sample, ": expected finite values, found ",
                                      (*values)[static_cast<size_t>(bad)], " at element ", bad));
  }
  return absl::OkStatus();
}

std::vector<NamedView> Batch::views() const {
  std::vector<NamedView> views;
  for (const BatchInput& input : inputs) views.push_back({input.name, input.view()});
  return views;
}

absl::StatusOr<Dataset> Dataset::Open(const std::string& path, const std::vector<TensorInfo>& model_inputs) {
  try {
    TALLY_ASSIGN_OR_RETURN(const Blob text, ReadWholeFile(path, kMaxDescriptionBytes));
    auto impl = std::make_shared<Impl>();
    TALLY_ASSIGN_OR_RETURN(
        impl->description,
        ParseDescription(std::string(reinterpret_cast<const char*>(text.data()), text.size()), path));
    impl->description_path = path;
    const std::string folder = Folder(path);

    std::vector<std::optional<Source>> by_input(model_inputs.size());
    for (size_t i = 0; i < impl->description.inputs.size(); ++i) {
      const InputDescription& d = impl->description.inputs[i];
      const std::string subject = absl::StrCat("inputs[", i, "]");
      size_t k = 0;
      if (d.name == "*") {
        if (model_inputs.size() != 1) {
          return BadDescription(
              path, subject,
              absl::StrCat("name \"*\": expected a model with one input, found ", ModelInputNames(model_inputs)));
        }
      } else {
        while (k < model_inputs.size() && model_inputs[k].name != d.name) ++k;
        if (k == model_inputs.size()) {
          return BadDescription(path, subject,
                                absl::StrCat("name: expected one of the model's inputs ", ModelInputNames(model_inputs),
                                             ", found ", Quoted(d.name)));
        }
      }
      if (by_input[k]) {
        return BadDescription(path, subject, absl::StrCat("input ", Quoted(model_inputs[k].name), " is given twice"));
      }
      Source source;
      source.description = d;
      source.model = model_inputs[k];
      const std::string file = Resolve(folder, d.path);
      TALLY_RETURN_IF_ERROR(d.kind == InputDescription::Kind::kNpy ? OpenNpy(file, &source)
                                                                   : OpenImageList(file, &source));
      TALLY_RETURN_IF_ERROR(CheckAgainstModel(path, subject, &source));
      by_input[k].emplace(std::move(source));
    }
    for (size_t k = 0; k < by_input.size(); ++k) {
      if (!by_input[k]) {
        return BadDescription(
            path, "inputs", absl::StrCat("expected the model's input ", Quoted(model_inputs[k].name), ", found none"));
      }
      impl->sources.push_back(std::move(*by_input[k]));
    }
    const int64_t count = impl->sources.empty() ? 0 : impl->sources[0].count;
    for (const Source& source : impl->sources) {
      if (source.count != count) {
        return BadDescription(
            path, "inputs",
            absl::StrCat("expected ", count, " samples in ", Quoted(source.description.path), ", as in ",
                         Quoted(impl->sources[0].description.path), ", found ", source.count));
      }
    }
    if (count == 0) return BadDescription(path, "inputs", "expected at least one sample, found none");
    if (impl->description.target == TargetKind::kClass) {
      const std::string file = impl->labels_path = Resolve(folder, impl->description.target_path);
      TALLY_ASSIGN_OR_RETURN(impl->labels, ReadLabels(file, impl->description.label_offset));
      if (static_cast<int64_t>(impl->labels.size()) != count) {
        return BadFile(file, absl::StrCat("expected ", count, " labels, one per sample, found ", impl->labels.size()));
      }
    }
    Dataset dataset;
    for (int64_t i = 0; i < count; ++i) dataset.samples_.push_back(i);
    dataset.impl_ = std::move(impl);
    TALLY_RETURN_IF_ERROR(AddWhere(dataset.Slice(dataset.impl_->description.offset, dataset.impl_->description.limit),
                                   {path, "", -1, ""}));
    return dataset;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "no memory to open the data", {path, "", -1, ""});
  }
}

const std::string& Dataset::name() const { return impl_->description.name; }
const std::string& Dataset::metric() const { return impl_->description.metric; }
TargetKind Dataset::target() const { return impl_->description.target; }
int64_t Dataset::size() const { return static_cast<int64_t>(samples_.size()); }

absl::Status Dataset::Slice(int64_t offset, int64_t limit) {
  if (offset < 0 || offset >= size() || limit == 0) {
    return MakeError(ErrorId::kBadDataDescription,
                     limit == 0 ? "limit: expected at least 1 sample, found 0"
                                : absl::StrCat("offset: expected 0..", size() - 1, ", found ", offset));
  }
  samples_.erase(samples_.begin(), samples_.begin() + offset);
  if (limit > 0 && limit < size()) samples_.resize(static_cast<size_t>(limit));
  return absl::OkStatus();
}

void Dataset::Draw(int64_t count, uint64_t seed) {
  // Selection sampling: each sample is kept with the share of those still wanted among those still to come.
  std::vector<int64_t> kept;
  for (size_t i = 0; i < samples_.size(); ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const double uniform = std::ldexp(static_cast<double>(seed >> 11), -53);
    const double wanted = static_cast<double>(count) - static_cast<double>(kept.size());
    if (uniform * static_cast<double>(samples_.size() - i) < wanted) kept.push_back(samples_[i]);
  }
  samples_ = std::move(kept);
}

absl::Status Dataset::Stride(int64_t first, int64_t stride) {
  if (stride < 1 || first < 0 || first >= size()) {
    return MakeError(ErrorId::kUsage, absl::StrCat("expected a first sample in 0..", size() - 1,
                                                   " and a stride of at least 1, found ", first, " and ", stride));
  }
  std::vector<int64_t> kept;
  for (int64_t i = first; i < size(); i += std::min(stride, size() - i)) {
    kept.push_back(samples_[static_cast<size_t>(i)]);
  }
  samples_ = std::move(kept);
  return absl::OkStatus();
}

Dataset Dataset::HoldBack(int64_t stride) {
  Dataset held = *this;
  held.samples_.clear();
  std::vector<int64_t> kept;
  for (size_t i = 0; i < samples_.size(); ++i) {
    const bool last = static_cast<int64_t>(i) % stride == stride - 1;
    (last ? held.samples_ : kept).push_back(samples_[i]);
  }
  samples_ = std::move(kept);
  return held;
}

absl::Status Dataset::CheckLabels(int64_t classes) const {
  for (int64_t sample : samples_) {
    if (impl_->labels.empty() || impl_->labels[static_cast<size_t>(sample)] < classes) continue;
    return BadFile(impl_->labels_path, absl::StrCat("sample ", sample, ": expected a class below ", classes,
                                                    ", the number of the model's scores, found ",
                                                    impl_->labels[static_cast<size_t>(sample)]));
  }
  return absl::OkStatus();
}

std::vector<std::string> Dataset::files() const {
  std::vector<std::string> files = {impl_->description_path};
  for (const Source& source : impl_->sources) {
    if (source.npy) {
      files.push_back(source.npy->path());
    } else {
      files.push_back(Resolve(Folder(impl_->description_path), source.description.path));
      files.insert(files.end(), source.images.begin(), source.images.end());
    }
  }
  if (!impl_->labels_path.empty()) files.push_back(impl_->labels_path);
  return files;
}

absl::StatusOr<Batch> Dataset::Read(int64_t first, int64_t count) const {
  if (first < 0 || count < 0 || first > size() || count > size() - first) {
    return MakeError(ErrorId::kInternal,
                     absl::StrCat("samples ", first, " + ", count, " are outside the data's ", size()));
  }
  try {
    Batch batch;
    std::vector<uint8_t> raw;
    std::vector<double> values;
    for (const Source& source : impl_->sources) {
      BatchInput input;
      input.name = source.model.name;
      input.type.dtype = source.model.dtype;
      input.type.shape = source.sample_shape;
      input.type.shape.insert(input.type.shape.begin(), count);
      int64_t bytes = 0;
      if (!CheckedMul(count, source.sample_bytes(), &bytes) || static_cast<uint64_t>(bytes) > Limits().tensor_bytes) {
        return MakeError(ErrorId::kLimitTensor,
                         absl::StrCat("a batch of ", count, " samples of ", source.sample_bytes(),
                                      " bytes: expected at most ", Limits().tensor_bytes, " bytes"));
      }
      input.data.resize(static_cast<size_t>(bytes));
      for (int64_t i = 0; i < count; ++i) {
        TALLY_RETURN_IF_ERROR(impl_->ReadSample(source, samples_[static_cast<size_t>(first + i)], &raw, &values,
                                                input.data.data() + i * source.sample_bytes()));
      }
      batch.inputs.push_back(std::move(input));
    }
    if (!impl_->labels.empty()) {
      for (int64_t i = first; i < first + count; ++i) {
        batch.labels.push_back(impl_->labels[static_cast<size_t>(samples_[static_cast<size_t>(i)])]);
      }
    }
    return batch;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, absl::StrCat("no memory for a batch of ", count, " samples"));
  }
}

absl::StatusOr<std::string> Dataset::Hash() const {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (int64_t i = 0; i < size(); ++i) {
    TALLY_ASSIGN_OR_RETURN(const Batch batch, Read(i, 1));
    for (const BatchInput& input : batch.inputs) XXH3_64bits_update(&state, input.data.data(), input.data.size());
    XXH3_64bits_update(&state, batch.labels.data(), batch.labels.size() * sizeof(int64_t));
  }
  return absl::StrCat(absl::Hex(XXH3_64bits_digest(&state), absl::kZeroPad16));
}

}  // namespace tally
