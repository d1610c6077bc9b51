#include "converter/calibration/dataset.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "converter/calibration/description.h"
#include "converter/calibration/list.h"
#include "converter/calibration/source.h"
#include "format/checked.h"
#include "format/error.h"
#include "format/limits.h"
#include "format/model_file.h"

#define XXH_INLINE_ALL
#include "xxhash.h"

namespace tally {
namespace {

constexpr uint64_t kMaxDescriptionBytes = uint64_t{1} << 20;

absl::Status BadFile(const std::string& path, const std::string& detail) {
  return MakeError(ErrorId::kBadDataFile, detail, {path, "", -1, ""});
}
absl::Status BadDescription(const std::string& path, const std::string& subject, const std::string& detail) {
  return MakeError(ErrorId::kBadDataDescription, detail, {path, "", -1, subject});
}

std::string ModelInputNames(const std::vector<TensorInfo>& inputs) {
  return absl::StrJoin(inputs, ", ", [](std::string* out, const TensorInfo& i) { *out += Quoted(i.name); });
}

}  // namespace

struct Dataset::Impl {
  std::string description_path;
  std::string target_path, charset_path;
  DataDescription description;
  std::vector<Source> sources;  // in the order of the model's inputs
  // One of them is filled, by the kind of target.
  std::vector<int64_t> labels;
  std::vector<std::string> texts;
  std::vector<double> scores;  // one per pair
  Charset charset;

  absl::Status ReadTarget(int64_t samples);
};

absl::Status Dataset::Impl::ReadTarget(int64_t samples) {
  if (description.target == TargetKind::kNone) return absl::OkStatus();
  target_path = Beside(description_path, description.target_path);
  const auto check_count = [&](size_t found, int64_t expected, const char* what) {
    if (static_cast<int64_t>(found) == expected) return absl::OkStatus();
    return BadFile(target_path, absl::StrCat("expected ", expected, " ", what, ", found ", found));
  };
  switch (description.target) {
    case TargetKind::kNone: break;
    case TargetKind::kClass: {
      TALLY_ASSIGN_OR_RETURN(labels, ReadLabels(target_path, description.label_offset));
      return check_count(labels.size(), samples, "labels, one per sample");
    }
    case TargetKind::kText: {
      charset_path = Beside(description_path, description.charset_path);
      TALLY_ASSIGN_OR_RETURN(charset, Charset::Read(charset_path, description.blank));
      TALLY_ASSIGN_OR_RETURN(texts, ReadLines(target_path));
      for (std::string& text : texts) text = WithoutOuterSpaces(text);
      return check_count(texts.size(), samples, "lines, one per sample");
    }
    case TargetKind::kScore: {
      if (samples % 2 != 0) {
        return BadDescription(description_path, "inputs",
                              absl::StrCat("expected pairs of samples 2k and 2k + 1, found ", samples, " samples"));
      }
      TALLY_ASSIGN_OR_RETURN(scores, ReadScores(target_path));
      return check_count(scores.size(), samples / 2, "scores, one per pair of samples");
    }
  }
  return absl::OkStatus();
}

std::vector<NamedView> Batch::views() const {
  std::vector<NamedView> views;
  for (const BatchInput& input : inputs) views.push_back({input.name, input.view()});
  return views;
}

absl::StatusOr<Dataset> Dataset::Open(const std::string& path, const std::vector<TensorInfo>& model_inputs) {
  for (const TensorInfo& input : model_inputs) {
    if (!input.is_shape_input) continue;
    return MakeError(ErrorId::kShapeInput, "shapes follow from its value, which belongs to no sample",
                     {path, "", -1, absl::StrCat("input ", Quoted(input.name))});
  }
  try {
    TALLY_ASSIGN_OR_RETURN(const Blob text, ReadWholeFile(path, kMaxDescriptionBytes));
    auto impl = std::make_shared<Impl>();
    TALLY_ASSIGN_OR_RETURN(
        impl->description,
        ParseDescription(std::string(reinterpret_cast<const char*>(text.data()), text.size()), path));
    impl->description_path = path;
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
      TALLY_ASSIGN_OR_RETURN(by_input[k], OpenSource(d, model_inputs[k], path, subject));
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
    // An empty sample costs no byte of a file, but every sample has an index here.
    if (static_cast<uint64_t>(count) > Limits().tensor_bytes / sizeof(int64_t)) {
      return MakeError(
          ErrorId::kLimitCount,
          absl::StrCat("expected at most ", Limits().tensor_bytes / sizeof(int64_t), " samples, found ", count),
          {path, "", -1, "inputs"});
    }
    TALLY_RETURN_IF_ERROR(impl->ReadTarget(count));
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

template <typename Keeps>
std::vector<int64_t> Dataset::Kept(const Keeps& keeps) const {
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < size(); ++i) {
    if (keeps(i / unit())) kept.push_back(samples_[static_cast<size_t>(i)]);
  }
  return kept;
}

absl::Status Dataset::Slice(int64_t offset, int64_t limit) {
  if (offset < 0 || offset >= size() || limit == 0) {
    return MakeError(ErrorId::kBadDataDescription,
                     limit == 0 ? "limit: expected at least 1 sample, found 0"
                                : absl::StrCat("offset: expected 0..", size() - 1, ", found ", offset));
  }
  const int64_t end = limit < 0 || limit > size() - offset ? size() : offset + limit;
  std::vector<int64_t> kept = Kept([&](int64_t pair) { return pair * unit() >= offset && (pair + 1) * unit() <= end; });
  if (kept.empty()) {
    return MakeError(ErrorId::kBadDataDescription,
                     absl::StrCat("expected a pair of samples 2k and 2k + 1 at least, found ", end - offset,
                                  " samples from ", offset, " on"));
  }
  samples_ = std::move(kept);
  return absl::OkStatus();
}

void Dataset::Draw(int64_t count, uint64_t seed) {
  // Selection sampling: each unit is kept with the share of those still wanted among those still to come.
  double wanted = static_cast<double>(std::max<int64_t>(1, count / unit()));
  bool keep = false;
  int64_t last = -1;
  samples_ = Kept([&](int64_t i) {
    if (i == last) return keep;
    last = i;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const double uniform = std::ldexp(static_cast<double>(seed >> 11), -53);
    keep = uniform * static_cast<double>(units() - i) < wanted;
    wanted -= keep ? 1 : 0;
    return keep;
  });
}

absl::Status Dataset::Stride(int64_t first, int64_t stride) {
  if (stride < 1 || first < 0 || first >= units()) {
    return MakeError(ErrorId::kUsage, absl::StrCat("expected a first sample in 0..", units() - 1,
                                                   " and a stride of at least 1, found ", first, " and ", stride));
  }
  samples_ = Kept([&](int64_t i) { return i >= first && (i - first) % stride == 0; });
  return absl::OkStatus();
}

Dataset Dataset::HoldBack(int64_t stride) {
  Dataset held = *this;
  const auto is_held = [&](int64_t i) { return i % stride == stride - 1; };
  held.samples_ = Kept(is_held);
  samples_ = Kept([&](int64_t i) { return !is_held(i); });
  return held;
}

absl::Status Dataset::CheckClasses(int64_t classes) const {
  if (target() == TargetKind::kText) return charset().CheckClasses(classes);
  if (target() != TargetKind::kClass) return absl::OkStatus();
  for (int64_t sample : samples_) {
    const int64_t label = impl_->labels[static_cast<size_t>(sample)];
    if (label < classes) continue;
    return BadFile(impl_->target_path, absl::StrCat("sample ", sample, ": expected a class below ", classes,
                                                    ", the number of the model's scores, found ", label));
  }
  return absl::OkStatus();
}

const Charset& Dataset::charset() const { return impl_->charset; }

std::vector<std::pair<std::string, int64_t>> Dataset::Dimensions(const std::vector<std::string>& symbols) const {
  std::set<int64_t> done;
  for (const Source& source : impl_->sources) done.insert(source.model.shape[0]);  // the batch
  std::vector<std::pair<std::string, int64_t>> dimensions;
  for (const Source& source : impl_->sources) {
    for (size_t d = 1; d < source.model.shape.size(); ++d) {
      const int64_t declared = source.model.shape[d];
      const size_t symbol = static_cast<size_t>(-(declared + 1));
      if (declared >= 0 || symbol >= symbols.size() || !done.insert(declared).second) continue;
      dimensions.emplace_back(symbols[symbol], source.sample_shape[d - 1]);
    }
  }
  return dimensions;
}

std::vector<std::string> Dataset::files() const {
  std::vector<std::string> files = {impl_->description_path};
  for (const Source& source : impl_->sources) {
    files.push_back(source.path);
    files.insert(files.end(), source.images.begin(), source.images.end());
  }
  for (const std::string& path : {impl_->target_path, impl_->charset_path}) {
    if (!path.empty()) files.push_back(path);
  }
  return files;
}

absl::StatusOr<Batch> Dataset::Read(int64_t first, int64_t count) const {
  if (first < 0 || count < 0 || first > size() || count > size() - first) {
    return MakeError(ErrorId::kInternal,
                     absl::StrCat("samples ", first, " + ", count, " are outside the data's ", size()));
  }
  try {
    Batch batch;
    SampleScratch scratch;
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
        TALLY_RETURN_IF_ERROR(source.Read(samples_[static_cast<size_t>(first + i)], &scratch,
                                          input.data.data() + i * source.sample_bytes()));
      }
      batch.inputs.push_back(std::move(input));
    }
    for (int64_t i = first; i < first + count; ++i) {
      const size_t sample = static_cast<size_t>(samples_[static_cast<size_t>(i)]);
      switch (target()) {
        case TargetKind::kNone: break;
        case TargetKind::kClass: batch.labels.push_back(impl_->labels[sample]); break;
        case TargetKind::kText: batch.texts.push_back(impl_->texts[sample]); break;
        case TargetKind::kScore: batch.scores.push_back(impl_->scores[sample / 2]); break;
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
    // With its end, so that no two lists of texts are the same bytes.
    for (const std::string& text : batch.texts) XXH3_64bits_update(&state, text.c_str(), text.size() + 1);
    XXH3_64bits_update(&state, batch.scores.data(), batch.scores.size() * sizeof(double));
  }
  return absl::StrCat(absl::Hex(XXH3_64bits_digest(&state), absl::kZeroPad16));
}

}  // namespace tally
