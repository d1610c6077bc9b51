#include "format/model_writer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/container.h"
#include "format/error.h"
#include "format/limits.h"
#include "format/model_reader.h"
#include "model_generated.h"

namespace tally {
namespace {

template <typename T>
using Offsets = std::vector<flatbuffers::Offset<T>>;

// The builder aborts beyond 2 GiB, so its input is counted first; far more than any model needs.
constexpr uint64_t kMaxBuilderBytes = uint64_t{256} << 20;
// Generous: fields, vtable and vector entry of the largest table.
constexpr uint64_t kTableBytes = 160;

class ModelWriter {
 public:
  // Defaults are written out: eliding them would lose the sign of a negative zero.
  ModelWriter() { builder_.ForceDefaults(true); }

  absl::StatusOr<ModelParts> Write(const Graph& graph, uint64_t max_bytes) {
    const flatbuffers::Offset<fb::Model> model = WriteModel(graph);
    if (too_large_) return TooLarge("more than " + std::to_string(kMaxBuilderBytes), max_bytes);
    if (tables_ > kMaxTables) {
      return MakeError(ErrorId::kLimitCount, absl::StrCat(tables_, " tables of metadata, at most ", kMaxTables));
    }
    fb::FinishModelBuffer(builder_, model);
    ModelParts parts;
    parts.metadata.assign(builder_.GetBufferPointer(), builder_.GetBufferPointer() + builder_.GetSize());
    parts.metadata.resize((parts.metadata.size() + kAlignment - 1) / kAlignment * kAlignment);
    if (parts.metadata.size() > max_bytes) return TooLarge(std::to_string(parts.metadata.size()), max_bytes);
    parts.blobs = std::move(blobs_);
    parts.weights_bytes = end_;
    return parts;
  }

 private:
  static absl::Status TooLarge(const std::string& actual, uint64_t max_bytes) {
    return MakeError(ErrorId::kLimitMetadata, absl::StrCat("metadata of ", actual, " bytes, at most ", max_bytes));
  }

  // Whether `bytes` more fit; once something did not, nothing is built any more.
  bool Fits(uint64_t bytes) {
    too_large_ = too_large_ || bytes > room_;
    if (!too_large_) room_ -= bytes;
    return !too_large_;
  }

  // Must enclose every table that is built.
  template <typename T>
  flatbuffers::Offset<T> Count(flatbuffers::Offset<T> table) {
    ++tables_;
    Fits(kTableBytes);
    return table;
  }

  flatbuffers::Offset<flatbuffers::String> String(const std::string& s) {
    return Fits(s.size() + 16) ? builder_.CreateString(s) : 0;
  }

  // Absent when empty.
  template <typename T>
  flatbuffers::Offset<flatbuffers::Vector<T>> Vector(const std::vector<T>& v) {
    return !v.empty() && Fits(v.size() * sizeof(T) + 16) ? builder_.CreateVector(v) : 0;
  }

  template <typename F, typename T, typename WriteOne>
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<F>>> Tables(const T& items, const WriteOne& write_one) {
    Offsets<F> offsets;
    for (const auto& item : items) {
      if (too_large_) break;
      offsets.push_back(Count<F>(write_one(item)));
    }
    return Vector(offsets);
  }

  fb::BlobRef Place(const Blob& blob) {
    const uint64_t offset = (end_ + kAlignment - 1) / kAlignment * kAlignment;
    blobs_.push_back({&blob, offset});
    end_ = offset + blob.size();
    return fb::BlobRef(offset, blob.size());
  }

  flatbuffers::Offset<fb::Codebook> WriteCodebook(const Codebook& book) {
    const auto mantissas = Vector(std::vector<uint16_t>(book.mantissas.begin(), book.mantissas.end()));
    const auto thresholds = Vector(book.thresholds);
    return Count(fb::CreateCodebook(builder_, static_cast<uint8_t>(book.exponent_bits), book.is_signed ? 1 : 0,
                                    static_cast<uint8_t>(book.grid), static_cast<uint8_t>(book.encode_rule), book.base,
                                    book.alpha, book.beta, book.scale, book.inverse_scale, mantissas, thresholds));
  }

  flatbuffers::Offset<fb::CodeForm> WriteCodes(const CodeForm& form) {
    const auto codebook = WriteCodebook(form.codebook);
    const auto channel_scales = Vector(form.channel_scales);
    const auto bias = Vector(form.bias);
    const fb::BlobRef packed = Place(form.packed);
    return Count(fb::CreateCodeForm(builder_, codebook, channel_scales, &packed, bias));
  }

  flatbuffers::Offset<fb::Int8Form> WriteInt8(const Int8Form& form) {
    const auto scales = Vector(form.scales);
    const fb::BlobRef values = Place(form.values);
    return Count(fb::CreateInt8Form(builder_, scales, &values));
  }

  flatbuffers::Offset<fb::FitRecord> WriteFit(const FitRecord& fit) {
    return Count(fb::CreateFitRecord(builder_, fit.rmae, fit.rmae_uniform_max, fit.rmae_uniform_clipped));
  }

  flatbuffers::Offset<fb::Tensor> WriteTensor(const Tensor& t) {
    const auto name = String(t.name);
    const auto shape = Vector(t.shape);
    // The order of the three forms is the order of their bytes in the weights section.
    const fb::BlobRef data = t.has_data ? Place(t.data) : fb::BlobRef();
    const flatbuffers::Offset<fb::CodeForm> codes = t.codes ? WriteCodes(*t.codes) : 0;
    const flatbuffers::Offset<fb::Int8Form> int8 = t.int8 ? WriteInt8(*t.int8) : 0;
    const flatbuffers::Offset<fb::Codebook> codebook = t.codebook ? WriteCodebook(*t.codebook) : 0;
    const flatbuffers::Offset<fb::FitRecord> fit = t.fit ? WriteFit(*t.fit) : 0;
    const fb::Range range = t.range ? fb::Range(t.range->min, t.range->max) : fb::Range();
    return fb::CreateTensor(builder_, name, static_cast<uint8_t>(t.dtype), shape, t.has_data ? &data : nullptr, codes,
                            int8, codebook, t.range ? &range : nullptr, fit);
  }

  flatbuffers::Offset<fb::Attribute> WriteAttribute(const Attribute& a) {
    const auto name = String(a.name);
    const auto ints = Vector(a.ints);
    const auto floats = Vector(a.floats);
    const auto text = String(a.string);
    return fb::CreateAttribute(builder_, name, static_cast<uint8_t>(a.kind), ints, floats, text);
  }

  flatbuffers::Offset<fb::Node> WriteNode(const Node& n) {
    const auto name = String(n.name);
    const auto op = String(n.op);
    const auto inputs = Vector(n.inputs);
    const auto outputs = Vector(n.outputs);
    const auto attributes = Tables<fb::Attribute>(n.attributes, [&](const Attribute& a) { return WriteAttribute(a); });
    return fb::CreateNode(builder_, name, op, inputs, outputs, attributes);
  }

  flatbuffers::Offset<fb::GoldenValue> WriteGoldenValue(const GoldenCase::Value& value) {
    const auto shape = Vector(value.shape);
    const fb::BlobRef data = Place(value.data);
    return fb::CreateGoldenValue(builder_, static_cast<uint8_t>(value.dtype), shape, &data);
  }

  flatbuffers::Offset<fb::GoldenCase> WriteGolden(const GoldenCase& golden) {
    const auto write = [&](const GoldenCase::Value& value) { return WriteGoldenValue(value); };
    const auto inputs = Tables<fb::GoldenValue>(golden.inputs, write);
    const auto outputs = Tables<fb::GoldenValue>(golden.outputs, write);
    return fb::CreateGoldenCase(builder_, inputs, outputs);
  }

  flatbuffers::Offset<fb::Model> WriteModel(const Graph& g) {
    const auto name = String(g.name);
    const auto tensors = Tables<fb::Tensor>(g.tensors, [&](const Tensor& t) { return WriteTensor(t); });
    const auto nodes = Tables<fb::Node>(g.nodes, [&](const Node& n) { return WriteNode(n); });
    const auto inputs = Vector(g.inputs);
    const auto outputs = Vector(g.outputs);
    const auto symbols = Tables<fb::Symbol>(
        g.symbols, [&](const std::string& symbol) { return fb::CreateSymbol(builder_, String(symbol)); });
    const auto metadata = Tables<fb::KeyValue>(g.metadata, [&](const auto& entry) {
      const auto key = String(entry.first);
      const auto value = String(entry.second);
      return fb::CreateKeyValue(builder_, key, value);
    });
    const auto golden = Tables<fb::GoldenCase>(g.golden, [&](const GoldenCase& c) { return WriteGolden(c); });
    return Count(fb::CreateModel(builder_, name, tensors, nodes, inputs, outputs, symbols, metadata, golden));
  }

  flatbuffers::FlatBufferBuilder builder_;
  uint64_t room_ = kMaxBuilderBytes;
  bool too_large_ = false;
  uint64_t tables_ = 0;
  std::vector<BlobPlacement> blobs_;
  uint64_t end_ = 0;  // of the last blob in the weights section
};

}  // namespace

absl::StatusOr<ModelParts> BuildModel(const Graph& graph, uint64_t max_metadata_bytes) {
  return ModelWriter().Write(graph, max_metadata_bytes);
}

}  // namespace tally
