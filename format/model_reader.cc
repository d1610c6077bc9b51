#include "format/model_reader.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "format/checked.h"
#include "format/container.h"
#include "format/error.h"
#include "model_generated.h"

namespace tally {
namespace {

absl::Status BadMetadata(const std::string& detail) { return MakeError(ErrorId::kBadMetadata, detail); }

template <typename E>
absl::Status ReadEnum(const char* field, uint8_t value, int count, E* out) {
  if (value >= count) {
    return MakeError(ErrorId::kUnknownEnum, absl::StrCat(field, " is ", int{value}, ", expected 0..", count - 1));
  }
  *out = static_cast<E>(value);
  return absl::OkStatus();
}

// Hands out the ranges of the weights section, which must come in order, aligned, without overlap or hole.
class BlobReader {
 public:
  BlobReader(const Blob& weights, uint64_t section_offset)
      : weights_(weights), owner_(std::make_shared<Blob>(weights)), section_offset_(section_offset) {}

  absl::Status Read(const fb::BlobRef& ref, Blob* out) {
    const uint64_t offset = ref.offset();
    uint64_t expected = 0;
    if (!CheckedAlignUp(end_, kAlignment, &expected) || offset != expected) {
      return Bad(offset, absl::StrCat("a range begins at ", offset, " of the section, expected ", expected));
    }
    if (!RangeFits(offset, ref.bytes(), weights_.size())) {
      return Bad(offset,
                 absl::StrCat("a range of ", ref.bytes(), " bytes ends beyond the section's ", weights_.size()));
    }
    TALLY_RETURN_IF_ERROR(ReadPadding(offset));
    *out = Blob::Wrap(owner_, weights_.data() + offset, static_cast<size_t>(ref.bytes()));
    end_ = offset + ref.bytes();
    return absl::OkStatus();
  }

  absl::Status Finish() const {
    if (end_ == weights_.size()) return absl::OkStatus();
    return Bad(end_, absl::StrCat(weights_.size() - end_, " bytes at the end belong to nothing"));
  }

 private:
  absl::Status ReadPadding(uint64_t to) const {
    for (uint64_t i = end_; i < to; ++i) {
      if (weights_.data()[i] != 0) return Bad(i, "padding between two ranges is not zero");
    }
    return absl::OkStatus();
  }

  // An offset beyond the section would only confuse; such errors point at its start.
  absl::Status Bad(uint64_t offset, const std::string& detail) const {
    const uint64_t at = section_offset_ + (offset <= weights_.size() ? offset : 0);
    return MakeError(ErrorId::kBadSection, detail, {"", "weights", static_cast<int64_t>(at), ""});
  }

  const Blob& weights_;
  std::shared_ptr<const void> owner_;
  uint64_t section_offset_;
  uint64_t end_ = 0;  // of the range before
};

class ModelReader {
  using KeyValue = std::pair<std::string, std::string>;

 public:
  ModelReader(const fb::Model& model, uint64_t metadata_bytes, const Blob& weights, uint64_t weights_offset,
              const Limits& limits)
      : model_(model), unread_(metadata_bytes), blobs_(weights, weights_offset), limits_(limits) {}

  absl::StatusOr<Graph> Read() {
    Graph g;
    TALLY_RETURN_IF_ERROR(ReadString(model_.name(), &g.name));
    TALLY_RETURN_IF_ERROR(CheckCount("tensors", model_.tensors(), kMaxTensors));
    TALLY_RETURN_IF_ERROR(CheckCount("nodes", model_.nodes(), kMaxNodes));
    TALLY_RETURN_IF_ERROR(ReadTables(model_.symbols(), &g.symbols, &ModelReader::ReadSymbol));
    TALLY_RETURN_IF_ERROR(ReadMap(&g.metadata));
    TALLY_RETURN_IF_ERROR(ReadVector(model_.inputs(), &g.inputs));
    TALLY_RETURN_IF_ERROR(ReadVector(model_.outputs(), &g.outputs));
    TALLY_RETURN_IF_ERROR(ReadTables(model_.tensors(), &g.tensors, &ModelReader::ReadTensor));
    TALLY_RETURN_IF_ERROR(ReadTables(model_.nodes(), &g.nodes, &ModelReader::ReadNode));
    TALLY_RETURN_IF_ERROR(ReadTables(model_.golden(), &g.golden, &ModelReader::ReadGoldenCase));
    TALLY_RETURN_IF_ERROR(blobs_.Finish());
    TALLY_RETURN_IF_ERROR(ValidateGraph(g));
    return g;
  }

 private:
  // Every part that is read is paid for once per reference. An honest file, in which nothing is shared, always has
  // enough; a crafted one cannot make a few bytes stand for gigabytes.
  absl::Status Pay(uint64_t bytes) {
    if (bytes > unread_) return BadMetadata("parts are referenced more than once");
    unread_ -= bytes;
    return absl::OkStatus();
  }

  template <typename T>
  static absl::Status CheckCount(const char* what, const flatbuffers::Vector<T>* vector, int limit) {
    if (vector == nullptr || vector->size() <= static_cast<uint32_t>(limit)) return absl::OkStatus();
    return MakeError(ErrorId::kLimitCount, absl::StrCat(vector->size(), " ", what, ", at most ", limit));
  }

  // A string, vector or table that is absent reads as empty.
  absl::Status ReadString(const flatbuffers::String* in, std::string* out) {
    if (in == nullptr) return absl::OkStatus();
    TALLY_RETURN_IF_ERROR(Pay(sizeof(flatbuffers::uoffset_t) + uint64_t{in->size()}));
    out->assign(in->c_str(), in->size());
    return absl::OkStatus();
  }

  // memcpy, because the verifier does not check that elements of 8 bytes are aligned.
  template <typename F, typename T>
  absl::Status ReadVector(const flatbuffers::Vector<F>* in, std::vector<T>* out) {
    if (in == nullptr) return absl::OkStatus();
    TALLY_RETURN_IF_ERROR(Pay(sizeof(flatbuffers::uoffset_t) + uint64_t{in->size()} * sizeof(F)));
    out->resize(in->size());
    for (size_t i = 0; i < out->size(); ++i) {
      F value;
      std::memcpy(&value, in->Data() + i * sizeof(F), sizeof(F));
      (*out)[i] = value;
    }
    return absl::OkStatus();
  }

  template <typename F, typename T>
  absl::Status ReadTables(const flatbuffers::Vector<flatbuffers::Offset<F>>* in, std::vector<T>* out,
                          absl::Status (ModelReader::*read_one)(const F&, T*)) {
    if (in == nullptr) return absl::OkStatus();
    // A table takes four bytes and the reference to it four.
    TALLY_RETURN_IF_ERROR(Pay(uint64_t{in->size()} * 8));
    // Elements are made one by one: what a crafted file is refused for comes before memory is touched for the rest.
    out->reserve(in->size());
    for (uint32_t i = 0; i < in->size(); ++i) {
      TALLY_RETURN_IF_ERROR((this->*read_one)(*in->Get(i), &out->emplace_back()));
    }
    return absl::OkStatus();
  }

  absl::Status ReadSymbol(const fb::Symbol& in, std::string* out) { return ReadString(in.name(), out); }

  absl::Status ReadKeyValue(const fb::KeyValue& in, KeyValue* out) {
    TALLY_RETURN_IF_ERROR(ReadString(in.key(), &out->first));
    return ReadString(in.value(), &out->second);
  }

  absl::Status ReadMap(std::map<std::string, std::string>* out) {
    std::vector<KeyValue> entries;
    TALLY_RETURN_IF_ERROR(ReadTables(model_.metadata(), &entries, &ModelReader::ReadKeyValue));
    for (KeyValue& e : entries) {
      if (!out->empty() && out->rbegin()->first >= e.first) {
        return BadMetadata(absl::StrCat("metadata key ", Quoted(e.first), " is repeated or out of order"));
      }
      out->emplace_hint(out->end(), std::move(e));
    }
    return absl::OkStatus();
  }

  absl::Status ReadCodebook(const fb::Codebook& in, Codebook* out) {
    TALLY_RETURN_IF_ERROR(ReadEnum("codebook sign", in.sign(), 2, &out->is_signed));
    TALLY_RETURN_IF_ERROR(ReadEnum("codebook grid", in.grid(), 3, &out->grid));
    TALLY_RETURN_IF_ERROR(ReadEnum("encode rule", in.encode_rule(), 2, &out->encode_rule));
    out->exponent_bits = in.exponent_bits();
    out->base = in.base();
    out->alpha = in.alpha();
    out->beta = in.beta();
    out->scale = in.scale();
    out->inverse_scale = in.inverse_scale();
    TALLY_RETURN_IF_ERROR(ReadVector(in.mantissas(), &out->mantissas));
    return ReadVector(in.thresholds(), &out->thresholds);
  }

  absl::Status ReadCodes(const fb::CodeForm& in, CodeForm* out) {
    if (in.codebook() == nullptr) return MakeError(ErrorId::kMissingCodebook, "codes without a codebook");
    if (in.packed() == nullptr) return BadMetadata("codes without a range of the weights");
    TALLY_RETURN_IF_ERROR(ReadCodebook(*in.codebook(), &out->codebook));
    TALLY_RETURN_IF_ERROR(ReadVector(in.channel_scales(), &out->channel_scales));
    TALLY_RETURN_IF_ERROR(ReadVector(in.bias(), &out->bias));
    return blobs_.Read(*in.packed(), &out->packed);
  }

  absl::Status ReadInt8(const fb::Int8Form& in, Int8Form* out) {
    if (in.values() == nullptr) return BadMetadata("an int8 form without a range of the weights");
    TALLY_RETURN_IF_ERROR(ReadVector(in.scales(), &out->scales));
    return blobs_.Read(*in.values(), &out->values);
  }

  // Plain size against the limit; whether the shape makes sense is for ValidateGraph to say.
  absl::Status CheckTensorSize(DType dtype, const Shape& shape) const {
    int64_t elements = 0;
    if (!CheckedElements(shape, &elements)) return absl::OkStatus();
    if (static_cast<uint64_t>(elements) > limits_.tensor_bytes / DTypeSize(dtype)) {
      return MakeError(ErrorId::kLimitTensor, absl::StrCat(DTypeName(dtype), " ", ShapeString(shape), ", at most ",
                                                           limits_.tensor_bytes, " bytes"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadTensor(const fb::Tensor& in, Tensor* out) {
    TALLY_RETURN_IF_ERROR(ReadString(in.name(), &out->name));
    return AddWhere(ReadTensorValue(in, out), {"", "", -1, absl::StrCat("tensor ", Quoted(out->name))});
  }

  absl::Status ReadTensorValue(const fb::Tensor& in, Tensor* out) {
    TALLY_RETURN_IF_ERROR(ReadEnum("element type", in.dtype(), kNumDTypes, &out->dtype));
    TALLY_RETURN_IF_ERROR(ReadVector(in.shape(), &out->shape));
    if (in.data() != nullptr) {
      out->has_data = true;
      TALLY_RETURN_IF_ERROR(blobs_.Read(*in.data(), &out->data));
    }
    if (in.codes() != nullptr) TALLY_RETURN_IF_ERROR(ReadCodes(*in.codes(), &out->codes.emplace()));
    if (in.int8() != nullptr) TALLY_RETURN_IF_ERROR(ReadInt8(*in.int8(), &out->int8.emplace()));
    if (in.codebook() != nullptr) TALLY_RETURN_IF_ERROR(ReadCodebook(*in.codebook(), &out->codebook.emplace()));
    if (in.range() != nullptr) out->range = Range{in.range()->min(), in.range()->max()};
    if (in.fit() != nullptr) {
      out->fit = FitRecord{in.fit()->rmae(), in.fit()->rmae_uniform_max(), in.fit()->rmae_uniform_clipped()};
    }
    return out->is_constant() ? CheckTensorSize(out->dtype, out->shape) : absl::OkStatus();
  }

  absl::Status ReadAttribute(const fb::Attribute& in, Attribute* out) {
    TALLY_RETURN_IF_ERROR(ReadString(in.name(), &out->name));
    TALLY_RETURN_IF_ERROR(ReadEnum("attribute kind", in.kind(), 3, &out->kind));
    TALLY_RETURN_IF_ERROR(ReadVector(in.ints(), &out->ints));
    TALLY_RETURN_IF_ERROR(ReadVector(in.floats(), &out->floats));
    return ReadString(in.text(), &out->string);
  }

  absl::Status ReadNode(const fb::Node& in, Node* out) {
    TALLY_RETURN_IF_ERROR(ReadString(in.name(), &out->name));
    TALLY_RETURN_IF_ERROR(ReadString(in.op(), &out->op));
    TALLY_RETURN_IF_ERROR(ReadVector(in.inputs(), &out->inputs));
    TALLY_RETURN_IF_ERROR(ReadVector(in.outputs(), &out->outputs));
    return AddWhere(ReadTables(in.attributes(), &out->attributes, &ModelReader::ReadAttribute),
                    {"", "", -1, absl::StrCat("node ", Quoted(out->name))});
  }

  absl::Status ReadGoldenValue(const fb::GoldenValue& in, GoldenCase::Value* out) {
    if (in.data() == nullptr) return BadMetadata("a golden value without a range of the weights");
    TALLY_RETURN_IF_ERROR(ReadEnum("element type", in.dtype(), kNumDTypes, &out->dtype));
    TALLY_RETURN_IF_ERROR(ReadVector(in.shape(), &out->shape));
    TALLY_RETURN_IF_ERROR(blobs_.Read(*in.data(), &out->data));
    return CheckTensorSize(out->dtype, out->shape);
  }

  absl::Status ReadGoldenCase(const fb::GoldenCase& in, GoldenCase* out) {
    TALLY_RETURN_IF_ERROR(ReadTables(in.inputs(), &out->inputs, &ModelReader::ReadGoldenValue));
    return ReadTables(in.outputs(), &out->outputs, &ModelReader::ReadGoldenValue);
  }

  const fb::Model& model_;
  uint64_t unread_;
  BlobReader blobs_;
  const Limits& limits_;
};

}  // namespace

absl::Status VerifyMetadata(const uint8_t* metadata, size_t size) {
  if (size >= FLATBUFFERS_MAX_BUFFER_SIZE) return BadMetadata(absl::StrCat(size, " bytes, expected below 2^31"));
  flatbuffers::Verifier verifier(metadata, size, kMaxTableDepth, kMaxTables);
  if (!fb::VerifyModelBuffer(verifier)) return BadMetadata("not a FlatBuffer of the schema \"TLYM\"");
  return absl::OkStatus();
}

absl::StatusOr<Graph> ReadModel(const Blob& metadata, const Blob& weights, uint64_t weights_offset,
                                const Limits& limits) {
  const Where where = {"", "metadata", -1, ""};
  TALLY_RETURN_IF_ERROR(AddWhere(VerifyMetadata(metadata.data(), metadata.size()), where));
  absl::StatusOr<Graph> graph =
      ModelReader(*fb::GetModel(metadata.data()), metadata.size(), weights, weights_offset, limits).Read();
  if (!graph.ok()) return AddWhere(graph.status(), where);
  return graph;
}

}  // namespace tally
