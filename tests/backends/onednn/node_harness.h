// Builds one node by hand, compiles it with a backend and runs it, without a session.
//
// Every buffer has exactly the size that it is entitled to, so that a sanitizer build sees a read or write outside:
// inputs as an application binds them (no slack) when plain, with the session's slack when encoded.
#ifndef TALLY_TESTS_BACKENDS_ONEDNN_NODE_HARNESS_H_
#define TALLY_TESTS_BACKENDS_ONEDNN_NODE_HARNESS_H_

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "format/bit_packing.h"
#include "format/graph.h"
#include "runtime/backend/backend.h"
#include "runtime/core/aligned_buffer.h"
#include "runtime/core/thread_pool.h"

namespace tally::testing {

// A graph of one node. Inputs are added in the node's order; Absent() skips an optional one.
class NodeModel {
 public:
  explicit NodeModel(const std::string& op) {
    node.name = "node";
    node.op = op;
  }

  // An input of the node with plain float32 values.
  Tensor& AddActivation(const std::string& name, const Shape& shape, std::vector<float> values) {
    Tensor& t = Add(name, shape);
    plain_.back() = std::move(values);
    return t;
  }
  // An input of the node whose bytes are already encoded.
  Tensor& AddEncoded(const std::string& name, const Shape& shape, std::vector<uint8_t> bytes) {
    Tensor& t = Add(name, shape);
    encoded_.back() = std::move(bytes);
    return t;
  }
  // A constant without any form yet.
  Tensor& AddConstant(const std::string& name, const Shape& shape) { return Add(name, shape); }
  Tensor& AddFloats(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    Tensor& t = Add(name, shape);
    t.has_data = true;
    t.data = Blob::Copy(values.data(), values.size() * sizeof(float));
    return t;
  }
  void Absent() {
    node.inputs.push_back(-1);
    types_.push_back({});
    plain_.emplace_back();
    encoded_.emplace_back();
  }
  void SetOutput(const Shape& shape) { output_ = {DType::kFloat32, shape}; }

  NodeContext Context(int num_threads) const {
    return NodeContext{graph, node, types_, {output_}, DetectCpu(), num_threads};
  }

  void SetEncoded(size_t input, std::vector<uint8_t> bytes) { encoded_[input] = std::move(bytes); }

  // Supports, Compile, Run twice (scratch holds garbage before each; the second output counts).
  absl::StatusOr<std::vector<float>> Run(const Backend& backend, int num_threads) {
    const NodeContext context = Context(num_threads);
    if (absl::Status s = backend.Supports(context); !s.ok()) return s;
    absl::StatusOr<std::unique_ptr<CompiledNode>> compiled = backend.Compile(context);
    if (!compiled.ok()) return compiled.status();
    kernel = (*compiled)->kernel();
    isa = (*compiled)->isa();
    int8_max_value = (*compiled)->int8_max_value();

    std::vector<const void*> inputs;
    std::vector<std::unique_ptr<AlignedBuffer>> encoded;
    input_encodings.clear();
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Encoding encoding = (*compiled)->input_encoding(i);
      input_encodings.push_back(encoding);
      const Tensor* tensor = context.input(i);
      if (tensor == nullptr) {
        inputs.push_back(nullptr);
      } else if (tensor->is_constant()) {
        inputs.push_back(tensor->has_data ? tensor->data.data() : nullptr);
      } else if (encoding == Encoding::kPlain) {
        inputs.push_back(plain_[i].data());
      } else {
        encoded.push_back(std::make_unique<AlignedBuffer>(encoded_[i].size()));
        if (!encoded_[i].empty()) std::memcpy(encoded.back()->data(), encoded_[i].data(), encoded_[i].size());
        inputs.push_back(encoded.back()->data());
      }
    }
    std::vector<float> out(static_cast<size_t>(output_.elements()));
    void* outputs[] = {out.data()};
    AlignedBuffer scratch((*compiled)->scratch_bytes());
    absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(num_threads);
    if (!pool.ok()) return pool.status();
    for (int run = 0; run < 2; ++run) {
      std::memset(scratch.data(), 0xA5 + run, scratch.size());
      out.assign(out.size(), -12345.0f);
      if (absl::Status s = (*compiled)->Run({inputs.data(), outputs, scratch.data(), pool->get()}); !s.ok()) return s;
    }
    return out;
  }

  Graph graph;
  Node node;
  // Of the last run.
  std::string kernel;
  std::string isa;
  int int8_max_value = 0;
  std::vector<Encoding> input_encodings;

 private:
  Tensor& Add(const std::string& name, const Shape& shape) {
    Tensor tensor;
    tensor.name = name;
    tensor.shape = shape;
    node.inputs.push_back(graph.AddTensor(std::move(tensor)));
    types_.push_back({DType::kFloat32, shape});
    plain_.emplace_back();
    encoded_.emplace_back();
    return graph.tensors.back();
  }

  std::vector<TensorType> types_;
  TensorType output_;
  std::vector<std::vector<float>> plain_;
  std::vector<std::vector<uint8_t>> encoded_;
};

// Packs one code per byte as a weight's form.
inline CodeForm MakeCodeForm(const Codebook& codebook, const std::vector<uint8_t>& codes,
                             std::vector<float> channel_scales) {
  CodeForm form{codebook, std::move(channel_scales), {}};
  uint8_t* packed = nullptr;
  form.packed = Blob::Allocate(PackedBytes(codes.size(), codebook.stored_bits()), &packed);
  PackBits(codes.data(), codes.size(), codebook.stored_bits(), packed);
  return form;
}

// A 2-D (or, with in_h == 0, 1-D) convolution for tests, from which shapes and attributes follow.
struct ConvCase {
  int64_t batch = 1, group = 1, in_per_group = 1, out_per_group = 1;
  int64_t in_h = 1, in_w = 1, kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t top = 0, left = 0, bottom = 0, right = 0;

  bool is_1d() const { return in_h == 0; }
  int64_t h() const { return is_1d() ? 1 : in_h; }
  int64_t in_channels() const { return group * in_per_group; }
  int64_t out_channels() const { return group * out_per_group; }
  int64_t out_h() const { return (h() + top + bottom - (kernel_h - 1) * dilation_h - 1) / stride_h + 1; }
  int64_t out_w() const { return (in_w + left + right - (kernel_w - 1) * dilation_w - 1) / stride_w + 1; }
  Shape input() const { return is_1d() ? Shape{batch, in_channels(), in_w} : Shape{batch, in_channels(), in_h, in_w}; }
  Shape weight() const {
    return is_1d() ? Shape{out_channels(), in_per_group, kernel_w}
                   : Shape{out_channels(), in_per_group, kernel_h, kernel_w};
  }
  Shape output() const {
    return is_1d() ? Shape{batch, out_channels(), out_w()} : Shape{batch, out_channels(), out_h(), out_w()};
  }
  size_t inputs() const { return static_cast<size_t>(batch * in_channels() * h() * in_w); }
  size_t weights() const { return static_cast<size_t>(out_channels() * in_per_group * kernel_h * kernel_w); }
  size_t outputs() const { return static_cast<size_t>(batch * out_channels() * out_h() * out_w()); }

  void SetAttributes(Node* node) const {
    if (is_1d()) {
      node->SetInts("strides", {stride_w});
      node->SetInts("dilations", {dilation_w});
      node->SetInts("pads", {left, right});
    } else {
      node->SetInts("strides", {stride_h, stride_w});
      node->SetInts("dilations", {dilation_h, dilation_w});
      node->SetInts("pads", {top, left, bottom, right});
    }
    node->SetInts("group", {group});
  }

  // sum[output] = sum of multiply(input element, weight element) over the window, in plain loops; padding is skipped.
  template <typename Acc, typename Multiply>
  std::vector<Acc> Sum(const Multiply& multiply) const {
    std::vector<Acc> sums;
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t o = 0; o < out_channels(); ++o)
        for (int64_t y = 0; y < out_h(); ++y)
          for (int64_t x = 0; x < out_w(); ++x) {
            Acc sum = 0;
            for (int64_t c = 0; c < in_per_group; ++c)
              for (int64_t i = 0; i < kernel_h; ++i)
                for (int64_t j = 0; j < kernel_w; ++j) {
                  const int64_t yy = y * stride_h - top + i * dilation_h;
                  const int64_t xx = x * stride_w - left + j * dilation_w;
                  if (yy < 0 || xx < 0 || yy >= h() || xx >= in_w) continue;
                  const int64_t channel = o / out_per_group * in_per_group + c;
                  sum += multiply(static_cast<size_t>(((n * in_channels() + channel) * h() + yy) * in_w + xx),
                                  static_cast<size_t>(((o * in_per_group + c) * kernel_h + i) * kernel_w + j));
                }
            sums.push_back(sum);
          }
    return sums;
  }

  // The output channel of an output element.
  size_t ChannelOf(size_t output) const {
    const size_t positions = static_cast<size_t>(out_h() * out_w());
    return output / positions % static_cast<size_t>(out_channels());
  }
};

// Convolutions of more than 2^20 products, which backends divide among threads: rows; rows of which some bands see only
// padding; images, with more of them than fit one step; channels of single-row outputs; groups.
inline std::vector<ConvCase> SlicedConvs() {
  return {
      {1, 1, 16, 16, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 20, 40, 23, 17, 3, 5, 2, 1, 1, 2, 0, 2, 3, 1},
      {1, 1, 40, 40, 6, 6, 3, 3, 1, 1, 1, 1, 20, 1, 20, 1}, {7, 1, 32, 24, 7, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
      {50, 1, 70, 70, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  {1, 1, 64, 200, 0, 40, 1, 9, 1, 1, 1, 1, 0, 4, 0, 4},
      {1, 64, 1, 1, 40, 40, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2},
  };
}

// Shapes that exercise every path of a convolution: tails of vectors and tiles, groups, depthwise, dilation, uneven
// pads, pads wider than the kernel, 1-D, single pixels.
inline std::vector<ConvCase> ConvVarieties() {
  std::vector<ConvCase> cases;
  const auto add = [&](int64_t n, int64_t g, int64_t c, int64_t o, int64_t h, int64_t w, int64_t kh, int64_t kw,
                       int64_t s, int64_t d, int64_t top, int64_t left, int64_t bottom, int64_t right) {
    cases.push_back({n, g, c, o, h, w, kh, kw, s, s, d, d, top, left, bottom, right});
  };
  add(1, 1, 3, 16, 12, 12, 3, 3, 1, 1, 1, 1, 1, 1);
  add(2, 1, 16, 17, 9, 7, 3, 2, 2, 1, 1, 0, 2, 1);
  add(1, 1, 1, 8, 14, 14, 5, 5, 1, 1, 2, 2, 2, 2);
  add(1, 1, 65, 70, 7, 7, 1, 1, 1, 1, 0, 0, 0, 0);
  add(2, 1, 20, 33, 5, 6, 1, 1, 2, 1, 0, 0, 0, 0);
  add(1, 1, 17, 33, 9, 7, 3, 3, 1, 2, 4, 0, 2, 5);
  add(1, 1, 5, 7, 5, 5, 3, 3, 1, 1, 4, 4, 4, 4);
  add(2, 32, 1, 1, 10, 13, 3, 3, 1, 1, 1, 1, 1, 1);
  add(1, 33, 1, 1, 10, 13, 3, 3, 2, 1, 0, 1, 1, 0);
  add(1, 9, 1, 2, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1);
  add(1, 4, 8, 8, 9, 9, 3, 3, 1, 1, 1, 1, 1, 1);
  add(2, 3, 5, 7, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1);
  add(1, 1, 64, 10, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
  add(1, 1, 1, 64, 49, 10, 10, 4, 2, 1, 4, 1, 5, 1);
  add(1, 1, 6, 7, 0, 50, 1, 9, 2, 1, 0, 4, 0, 4);
  add(2, 6, 1, 1, 0, 37, 1, 3, 1, 2, 0, 2, 0, 2);
  add(1, 1, 4, 20, 17, 19, 3, 3, 1, 1, 1, 1, 1, 1);
  return cases;
}

}  // namespace tally::testing

#endif  // TALLY_TESTS_BACKENDS_ONEDNN_NODE_HARNESS_H_
