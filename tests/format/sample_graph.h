// Graphs for tests: small, valid, the same bytes on every machine. Header-only.
#ifndef TALLY_TESTS_FORMAT_SAMPLE_GRAPH_H_
#define TALLY_TESTS_FORMAT_SAMPLE_GRAPH_H_

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "format/bit_packing.h"
#include "format/graph.h"

namespace tally::testing {

// Like std::uniform_*_distribution, whose results differ between standard libraries.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int Int(int low, int high) { return low + static_cast<int>(engine_() % static_cast<uint32_t>(high - low + 1)); }
  bool Coin() { return Int(0, 1) == 1; }
  float Float(float low, float high) { return low + (high - low) * static_cast<float>(engine_()) * 0x1p-32f; }

 private:
  std::mt19937 engine_;
};

template <typename T>
Blob ToBlob(const std::vector<T>& values) {
  return Blob::Copy(values.data(), values.size() * sizeof(T));
}

// Magnitudes from about 0.02 to 1 on the chosen grid.
inline Codebook SampleCodebook(int exponent_bits, bool is_signed, Grid grid = Grid::kQ7,
                               EncodeRule rule = EncodeRule::kNearest) {
  const int r = (1 << (exponent_bits - 1)) - 1;
  const double base = std::pow(50.0, 1.0 / (2 * r));
  return *MakeCodebook(exponent_bits, is_signed, grid, rule, base, std::pow(base, -r), 0.001);
}

inline std::vector<uint8_t> RandomCodes(const Codebook& book, size_t count, Random& random) {
  std::vector<uint8_t> codes(count);
  for (uint8_t& code : codes) {
    do {
      code = static_cast<uint8_t>(random.Int(0, book.code_count() - 1));
    } while (!book.is_valid_code(code));
  }
  return codes;
}

inline Blob PackCodes(const Codebook& book, const std::vector<uint8_t>& codes) {
  uint8_t* packed = nullptr;
  Blob blob = Blob::Allocate(PackedBytes(codes.size(), book.stored_bits()), &packed);
  PackBits(codes.data(), codes.size(), book.stored_bits(), packed);
  return blob;
}

inline Tensor Activation(const std::string& name, DType dtype = DType::kFloat32) {
  Tensor t;
  t.name = name;
  t.dtype = dtype;
  return t;
}

template <typename T>
Tensor Constant(const std::string& name, DType dtype, Shape shape, const std::vector<T>& values) {
  Tensor t = Activation(name, dtype);
  t.shape = std::move(shape);
  t.has_data = true;
  t.data = ToBlob(values);
  return t;
}

// A weight whose plain form equals its decoded codes; with int8 form when asked for.
inline Tensor CodedWeight(const std::string& name, const Shape& shape, const Codebook& book, Random& random,
                          bool with_int8 = true) {
  Tensor t = Activation(name);
  t.shape = shape;
  const size_t count = t.elements();
  const size_t channels = shape.empty() ? 1 : static_cast<size_t>(shape[0]);
  const std::vector<uint8_t> codes = RandomCodes(book, count, random);
  t.codes.emplace();
  t.codes->codebook = book;
  for (size_t c = 0; c < channels && !shape.empty(); ++c) {
    t.codes->channel_scales.push_back(random.Float(0.5f, 2.0f));
    t.codes->bias.push_back(random.Float(-1.0f, 1.0f));
  }
  t.codes->packed = PackCodes(book, codes);
  const std::vector<double> decode = book.Values();
  std::vector<float> values(count);
  for (size_t k = 0; k < count; ++k) {
    const float scale = shape.empty() ? 1 : t.codes->channel_scales[k / (count / channels)];
    values[k] = static_cast<float>(decode[codes[k]] * static_cast<double>(scale));
  }
  t.has_data = true;
  t.data = ToBlob(values);
  if (with_int8) {
    t.int8.emplace();
    t.int8->scales = {2.0f / 127};
    std::vector<int8_t> q(count);
    for (size_t k = 0; k < count; ++k) {
      q[k] = static_cast<int8_t>(std::lrintf(std::fmax(-127.0f, std::fmin(127.0f, values[k] * (127 / 2.0f)))));
    }
    t.int8->values = ToBlob(q);
  }
  return t;
}

// input [N,3,8,8] -> Conv 3x3 with ReLU -> GlobalAveragePool -> Flatten -> Gemm -> logits [N,5]. Both weights and both
// activations are quantized (W4/A5), so that every backend can run it; all three weight forms are there.
inline Graph SmallConvNet(Grid grid = Grid::kQ7, uint32_t seed = 1) {
  Random random(seed);
  Graph g;
  g.name = "small_conv_net";
  g.symbols = {"N"};
  g.metadata = {{"producer", "tests"}, {"source", "none"}};

  Tensor input = Activation("input");
  input.shape = {-1, 3, 8, 8};
  input.codebook = SampleCodebook(4, true, grid);
  input.range = Range{-1, 1};
  const int x = g.AddTensor(std::move(input));
  const int w1 = g.AddTensor(CodedWeight("conv.weight", {4, 3, 3, 3}, SampleCodebook(3, true, grid), random));
  const int b1 = g.AddTensor(Constant<float>("conv.bias", DType::kFloat32, {4}, {0.1f, -0.2f, 0.3f, 0}));
  const int y1 = g.AddTensor(Activation("conv"));
  Tensor pooled = Activation("pooled");
  const int y2 = g.AddTensor(std::move(pooled));
  Tensor flat = Activation("flat");
  flat.codebook = SampleCodebook(5, false, grid);
  flat.range = Range{0, 2};
  const int y3 = g.AddTensor(std::move(flat));
  const int w2 = g.AddTensor(CodedWeight("fc.weight", {5, 4}, SampleCodebook(3, true, grid), random));
  const int b2 = g.AddTensor(Constant<float>("fc.bias", DType::kFloat32, {5}, {0, 1, -1, 0.5f, 2}));
  const int y4 = g.AddTensor(Activation("logits"));

  Node conv{"conv", "Conv", {x, w1, b1}, {y1}, {}};
  conv.SetInts("pads", {1, 1, 1, 1});
  conv.SetInts("strides", {2, 2});
  conv.SetString("activation", "Relu");
  g.nodes.push_back(conv);
  g.nodes.push_back({"pool", "GlobalAveragePool", {y1}, {y2}, {}});
  g.nodes.push_back({"flatten", "Flatten", {y2}, {y3}, {}});
  g.nodes.push_back({"fc", "Gemm", {y3, w2, b2}, {y4}, {}});
  g.inputs = {x};
  g.outputs = {y4};
  return g;
}

// Holds some of everything that a file can hold, in shapes and numbers that `seed` chooses. Valid, but not executable:
// its operators are made up.
inline Graph RandomGraph(uint32_t seed) {
  Random random(seed);
  const auto name = [&](const char* stem, int i) { return std::string(stem) + "\xC3\xA9/" + std::to_string(i); };
  const auto shape = [&](int max_rank) {
    Shape s(static_cast<size_t>(random.Int(0, max_rank)));
    for (int64_t& d : s) d = random.Int(1, 5);
    return s;
  };
  const auto codebook = [&] {
    return SampleCodebook(random.Int(2, 7), random.Coin(), static_cast<Grid>(random.Int(0, 2)),
                          static_cast<EncodeRule>(random.Int(0, 1)));
  };
  const auto fill = [&](DType dtype, const Shape& s) {
    Tensor t;
    t.shape = s;
    std::vector<uint8_t> bytes(t.elements() * DTypeSize(dtype));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.Int(0, dtype == DType::kBool ? 1 : 255));
    return ToBlob(bytes);
  };
  Graph g;
  g.name = random.Coin() ? "" : name("graph", 0);
  g.symbols = {"N", "time"};
  for (int i = random.Int(0, 3); i > 0; --i) g.metadata[name("key", i)] = std::string(static_cast<size_t>(i - 1), 'v');

  std::vector<int> ready;
  for (int i = random.Int(1, 3); i > 0; --i) {
    Tensor t = Activation(name("input", i), static_cast<DType>(random.Int(0, kNumDTypes - 1)));
    t.shape = shape(6);
    for (int64_t& d : t.shape) d = random.Coin() ? d : random.Int(-2, -1);
    ready.push_back(g.AddTensor(std::move(t)));
    g.inputs.push_back(ready.back());
  }
  for (int i = random.Int(1, 6); i > 0; --i) {
    const bool weight = random.Coin();
    const DType dtype = weight ? DType::kFloat32 : static_cast<DType>(random.Int(0, kNumDTypes - 1));
    const Shape s = shape(4);
    Tensor t = weight ? CodedWeight("w", s, codebook(), random, random.Coin()) : Activation("c", dtype);
    t.name = name("constant", i);
    t.shape = s;
    if (weight) {
      t.has_data = random.Coin();
      if (!t.has_data) t.data = Blob();
      if (random.Coin()) t.codes->channel_scales.clear();
      if (random.Coin()) t.codes->bias.clear();
      if (t.int8 && !s.empty() && random.Coin()) t.int8->scales.assign(static_cast<size_t>(s[0]), 0.25f);
      if (random.Coin()) t.fit = FitRecord{0.125f, 0.5f, 0.25f};
    } else {
      // Zero extents are legal: an empty tensor.
      if (random.Int(0, 4) == 0) t.shape.push_back(0);
      t.has_data = true;
      t.data = fill(dtype, t.shape);
    }
    ready.push_back(g.AddTensor(std::move(t)));
  }
  const int nodes = random.Int(1, 6);
  for (int i = 0; i < nodes; ++i) {
    Node n;
    n.name = name("node", i);
    n.op = "Op" + std::to_string(random.Int(0, 3));
    for (int k = random.Int(0, 4); k > 0; --k) {
      n.inputs.push_back(
          random.Int(0, 5) == 0 ? -1 : ready[static_cast<size_t>(random.Int(0, static_cast<int>(ready.size()) - 1))]);
    }
    for (int k = random.Int(1, 2); k > 0; --k) {
      Tensor t = Activation(name(("t" + std::to_string(k)).c_str(), i));
      if (random.Coin()) t.codebook = codebook();
      if (random.Coin()) t.range = Range{-0.0f, random.Float(0, 9)};
      n.outputs.push_back(g.AddTensor(std::move(t)));
    }
    if (random.Coin()) n.SetInts("ints", {INT64_MIN, 0, INT64_MAX});
    if (random.Coin()) n.SetFloats("floats", {-INFINITY, -0.0f, 1e-45f});
    if (random.Coin()) n.SetString("text", i % 2 == 0 ? "" : "\xE2\x82\xAC");
    if (random.Coin()) n.SetInts("none", {});
    ready.insert(ready.end(), n.outputs.begin(), n.outputs.end());
    g.nodes.push_back(std::move(n));
  }
  g.outputs = g.nodes.back().outputs;
  for (int c = random.Int(0, 2); c > 0; --c) {
    GoldenCase golden;
    for (int i : g.inputs) {
      const Tensor& t = g.tensors[static_cast<size_t>(i)];
      Shape s = t.shape;
      for (int64_t& d : s) d = d < 0 ? c - d : d;
      golden.inputs.push_back({t.dtype, s, fill(t.dtype, s)});
    }
    for (size_t i = 0; i < g.outputs.size(); ++i) {
      const Shape s = shape(6);
      golden.outputs.push_back({DType::kFloat32, s, fill(DType::kFloat32, s)});
    }
    g.golden.push_back(std::move(golden));
  }
  return g;
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_FORMAT_SAMPLE_GRAPH_H_
