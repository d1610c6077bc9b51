// The one in-memory form of a model: tensors, nodes and the forms of every weight.
// The converter edits it, the writer serialises it, the loader returns it, sessions read it (then it is const and may
// be shared between threads).
//
// Shapes of activations are not stored: they follow from the graph's inputs by inference (runtime/ops), so a file
// cannot lie about them.
#ifndef TALLY_FORMAT_GRAPH_H_
#define TALLY_FORMAT_GRAPH_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/codebook.h"
#include "tally/types.h"

namespace tally {

// Bytes with shared ownership; cheap to copy. Aligned to 64 bytes when made by this class or a loaded file.
class TALLY_API Blob {
 public:
  Blob() = default;
  static Blob Copy(const void* data, size_t size);
  // `size` zero bytes, written through *data before the blob is shared.
  static Blob Allocate(size_t size, uint8_t** data);
  // Bytes within a buffer that `owner` keeps alive.
  static Blob Wrap(std::shared_ptr<const void> owner, const uint8_t* data, size_t size);

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::shared_ptr<const void> owner_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// A weight as codes, packed in element order (row-major) at codebook.stored_bits().
struct CodeForm {
  Codebook codebook;
  std::vector<float> channel_scales;  // empty, or one positive finite factor per extent of dimension 0
  Blob packed;
  // Empty, or one finite value per extent of dimension 0: the bias of the node that multiplies by these codes, in place
  // of its own, which stays right for the baseline forms. It makes up for the mean error of the rounded weights.
  std::vector<float> bias = {};
};

// A weight as symmetric int8: value = scales[c] * q, c the index along dimension 0 (or one scale for all).
struct Int8Form {
  std::vector<float> scales;
  Blob values;
};

// What an activation was seen to hold on the calibration data; the uniform INT8 baseline derives its scale from it.
struct Range {
  float min = 0;
  float max = 0;
};

// How well a codebook fits the tensor that it was made for; written by the converter, dropped by `tally strip`.
// RMAE = sum |x - x^| / sum |x|.
struct FitRecord {
  float rmae = 0;                  // of the deployed codebook
  float rmae_uniform_max = 0;      // uniform levels, max-scaled, at equal stored bits
  float rmae_uniform_clipped = 0;  // uniform levels, best clipping range, at equal stored bits
};

struct Tensor {
  std::string name;  // unique, stable
  DType dtype = DType::kFloat32;
  Shape shape;  // of graph inputs and constants; negative extents are symbols (graph inputs only)

  // A constant has at least one form; an activation has none. `has_data` tells a plain constant of zero elements apart.
  bool has_data = false;
  Blob data;                      // plain, dtype elements
  std::optional<CodeForm> codes;  // dtype is float32
  std::optional<Int8Form> int8;   // dtype is float32

  // Activations that quantized nodes read: how they are encoded, once, after their producer.
  std::optional<Codebook> codebook;
  std::optional<Range> range;
  std::optional<FitRecord> fit;

  bool is_constant() const { return has_data || codes.has_value() || int8.has_value(); }
  size_t elements() const;  // REQUIRES: no symbols
};

// A named value of a node. Exactly one kind is meaningful.
struct Attribute {
  enum class Kind : uint8_t { kInts = 0, kFloats = 1, kString = 2 };
  std::string name;
  Kind kind = Kind::kInts;
  std::vector<int64_t> ints;
  std::vector<float> floats;
  std::string string;
};

struct Node {
  std::string name;          // unique, stable
  std::string op;            // an operator of runtime/ops
  std::vector<int> inputs;   // tensor indices; -1 = absent optional input
  std::vector<int> outputs;  // tensor indices
  std::vector<Attribute> attributes;

  const Attribute* Find(const std::string& attribute) const;
  int64_t GetInt(const std::string& attribute, int64_t absent) const;
  float GetFloat(const std::string& attribute, float absent) const;
  std::vector<int64_t> GetInts(const std::string& attribute) const;  // empty when absent
  std::string GetString(const std::string& attribute, const std::string& absent = "") const;
  void SetInts(const std::string& attribute, std::vector<int64_t> values);  // replaces
  void SetFloats(const std::string& attribute, std::vector<float> values);
  void SetString(const std::string& attribute, const std::string& value);
  void Remove(const std::string& attribute);
};

// Inputs and the outputs that the exact backends must reproduce, in the order of Graph::inputs and Graph::outputs.
struct GoldenCase {
  struct Value {
    DType dtype = DType::kFloat32;
    Shape shape;
    Blob data;
  };
  std::vector<Value> inputs;
  std::vector<Value> outputs;
};

struct Graph {
  std::string name;
  std::vector<Tensor> tensors;
  std::vector<Node> nodes;  // in an order in which every tensor is produced before it is used
  std::vector<int> inputs;
  std::vector<int> outputs;
  std::vector<std::string> symbols;             // names of symbolic extents, e.g. "N"
  std::map<std::string, std::string> metadata;  // producer, source model, search options, ...
  std::vector<GoldenCase> golden;

  int FindTensor(const std::string& tensor) const;  // index or -1; linear
  int AddTensor(Tensor tensor);                     // index of the new tensor
};

// Structure only, no knowledge of operators: names, indices, topology, shapes, forms against shapes, codebooks, codes
// and padding bits. The loader runs it on every file, the writer before it writes.
absl::Status ValidateGraph(const Graph& graph);

}  // namespace tally

#endif  // TALLY_FORMAT_GRAPH_H_
