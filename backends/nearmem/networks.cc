// Networks of published shapes with codes that are made up.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/nearmem/network.h"
#include "format/error.h"

namespace tally::nearmem {
namespace {

constexpr int64_t kTokensOfBert = 128;
constexpr int64_t kTokensOfTransformer = 32;  // about a sentence of newstest
constexpr int64_t kVocabulary = 37000;

struct SyntheticLayer {
  std::string name, op;
  LayerShape shape;
  bool non_negative = false;  // activations, behind a ReLU
  bool residual = false;      // added to the result
  bool weights_move = false;  // the product of two activations
  // Operators on the host before this layer: elements to the host and back.
  int64_t to_host = 0, from_host = 0;
};

// Collects layers; `h` and `w` are the extents of the feature map that the next one reads.
class NetworkBuilder {
 public:
  NetworkBuilder(int64_t channels, int64_t extent) : channels_(channels), h_(extent), w_(extent) {}

  void Conv(const std::string& name, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad, int64_t groups = 1) {
    SyntheticLayer layer{name, "Conv", {}, !layers_.empty(), false, false, 0, 0};
    LayerShape& s = layer.shape;
    s.groups = groups;
    s.outputs = outputs / groups;
    s.channels = channels_ / groups;
    s.in_h = h_;
    s.in_w = w_;
    s.kernel_h = s.kernel_w = kernel;
    s.stride_h = s.stride_w = stride;
    s.pad_top = s.pad_left = pad;
    s.out_h = (h_ + 2 * pad - kernel) / stride + 1;
    s.out_w = (w_ + 2 * pad - kernel) / stride + 1;
    channels_ = outputs;
    h_ = s.out_h;
    w_ = s.out_w;
    Push(layer);
  }
  void Pool(int64_t extent) {
    to_host_ = channels_ * h_ * w_;
    from_host_ = channels_ * extent * extent;
    h_ = w_ = extent;
  }
  void Dense(const std::string& name, int64_t outputs) { Rows(name, 1, channels_ * h_ * w_, outputs, true); }
  // rows x k times k x outputs.
  void Rows(const std::string& name, int64_t rows, int64_t k, int64_t outputs, bool non_negative) {
    SyntheticLayer layer{name, "Gemm", {}, non_negative, false, false, 0, 0};
    layer.shape.channels = k;
    layer.shape.outputs = outputs;
    layer.shape.in_w = layer.shape.out_w = rows;
    channels_ = outputs;
    h_ = w_ = 1;
    Push(layer);
  }
  void MatMul(const std::string& name, int64_t matrices, int64_t rows, int64_t k, int64_t outputs, bool non_negative) {
    SyntheticLayer layer{name, "MatMul", {}, non_negative, false, true, 0, 0};
    layer.shape.groups = matrices;
    layer.shape.channels = k;
    layer.shape.outputs = outputs;
    layer.shape.in_w = layer.shape.out_w = rows;
    Push(layer);
  }
  // An operator on the host, before the next layer.
  void OnHost(int64_t elements) {
    to_host_ += elements;
    from_host_ += elements;
  }
  void Residual() { layers_.back().residual = true; }
  int64_t channels() const { return channels_; }
  // A branch that reads what (channels, extent) were.
  void Rewind(int64_t channels, int64_t extent) {
    channels_ = channels;
    h_ = w_ = extent;
  }
  int64_t extent() const { return h_; }
  std::vector<SyntheticLayer> Take() { return std::move(layers_); }

 private:
  void Push(SyntheticLayer layer) {
    layer.to_host = std::exchange(to_host_, 0);
    layer.from_host = std::exchange(from_host_, 0);
    layers_.push_back(std::move(layer));
  }

  int64_t channels_, h_, w_;
  int64_t to_host_ = 0, from_host_ = 0;
  std::vector<SyntheticLayer> layers_;
};

std::vector<SyntheticLayer> AlexNet() {
  NetworkBuilder net(3, 227);
  net.Conv("conv1", 96, 11, 4, 0);
  net.Pool(27);
  net.Conv("conv2", 256, 5, 1, 2, 2);
  net.Pool(13);
  net.Conv("conv3", 384, 3, 1, 1);
  net.Conv("conv4", 384, 3, 1, 1, 2);
  net.Conv("conv5", 256, 3, 1, 1, 2);
  net.Pool(6);
  net.Dense("fc6", 4096);
  net.Dense("fc7", 4096);
  net.Dense("fc8", 1000);
  return net.Take();
}

std::vector<SyntheticLayer> Vgg16() {
  NetworkBuilder net(3, 224);
  const int64_t channels[] = {64, 128, 256, 512, 512};
  const int convs[] = {2, 2, 3, 3, 3};
  for (int block = 0; block < 5; ++block) {
    for (int i = 0; i < convs[block]; ++i)
      net.Conv(absl::StrCat("conv", block + 1, "_", i + 1), channels[block], 3, 1, 1);
    net.Pool(net.extent() / 2);
  }
  net.Dense("fc6", 4096);
  net.Dense("fc7", 4096);
  net.Dense("fc8", 1000);
  return net.Take();
}

// With the stride in the 3x3 convolution.
std::vector<SyntheticLayer> ResNet50() {
  NetworkBuilder net(3, 224);
  net.Conv("conv1", 64, 7, 2, 3);
  net.Pool(56);
  const int blocks[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage) {
    const int64_t width = int64_t{64} << stage;
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::string name = absl::StrCat("layer", stage + 1, ".", block);
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      const int64_t in = net.channels(), extent = net.extent();
      if (block == 0) {
        net.Conv(name + ".downsample", 4 * width, 1, stride, 0);
        net.Rewind(in, extent);
      }
      net.Conv(name + ".conv1", width, 1, 1, 0);
      net.Conv(name + ".conv2", width, 3, stride, 1);
      net.Conv(name + ".conv3", 4 * width, 1, 1, 0);
      net.Residual();
    }
  }
  net.Pool(1);
  net.Dense("fc", 1000);
  return net.Take();
}

struct TransformerSize {
  int64_t width, hidden, heads, tokens;
};

// `name`.q, .k, .v, .scores, .context, .out, each behind what the host does before it.
void Attention(const std::string& name, const TransformerSize& s, NetworkBuilder* net) {
  for (const char* projection : {".q", ".k", ".v"}) net->Rows(name + projection, s.tokens, s.width, s.width, false);
  const int64_t k = s.width / s.heads;
  net->MatMul(name + ".scores", s.heads, s.tokens, k, s.tokens, false);
  net->OnHost(s.heads * s.tokens * s.tokens);  // softmax
  net->MatMul(name + ".context", s.heads, s.tokens, s.tokens, k, true);
  net->Rows(name + ".out", s.tokens, s.width, s.width, false);
  net->Residual();
  net->OnHost(s.tokens * s.width);  // layer norm
}

void FeedForward(const std::string& name, const TransformerSize& s, bool relu, NetworkBuilder* net) {
  net->Rows(name + ".ffn1", s.tokens, s.width, s.hidden, false);
  if (!relu) net->OnHost(s.tokens * s.hidden);  // GELU
  net->Rows(name + ".ffn2", s.tokens, s.hidden, s.width, relu);
  net->Residual();
  net->OnHost(s.tokens * s.width);
}

std::vector<SyntheticLayer> BertBase() {
  const TransformerSize size{768, 3072, 12, kTokensOfBert};
  NetworkBuilder net(0, 0);
  for (int i = 0; i < 12; ++i) {
    Attention(absl::StrCat("layer", i), size, &net);
    FeedForward(absl::StrCat("layer", i), size, false, &net);
  }
  return net.Take();
}

std::vector<SyntheticLayer> TransformerBase() {
  const TransformerSize size{512, 2048, 8, kTokensOfTransformer};
  NetworkBuilder net(0, 0);
  for (int i = 0; i < 6; ++i) {
    Attention(absl::StrCat("encoder", i), size, &net);
    FeedForward(absl::StrCat("encoder", i), size, true, &net);
  }
  for (int i = 0; i < 6; ++i) {
    Attention(absl::StrCat("decoder", i, ".self"), size, &net);
    Attention(absl::StrCat("decoder", i, ".cross"), size, &net);
    FeedForward(absl::StrCat("decoder", i), size, true, &net);
  }
  net.Rows("projection", size.tokens, size.width, kVocabulary, false);
  return net.Take();
}

struct Network {
  const char* name;
  std::vector<SyntheticLayer> (*layers)();
};
constexpr Network kNetworks[] = {{"alexnet", AlexNet},
                                 {"vgg16", Vgg16},
                                 {"resnet50", ResNet50},
                                 {"transformer-base", TransformerBase},
                                 {"bert-base", BertBase}};

const Network* FindNetwork(const std::string& name) {
  for (const Network& n : kNetworks) {
    if (name == n.name) return &n;
  }
  return nullptr;
}

// Stored bits of each layer's weights: whole numbers whose mean over the elements comes as near to `mean` as layers
// allow.
std::vector<int> BitsOfLayers(const std::vector<SyntheticLayer>& layers, double mean) {
  std::vector<int> bits;
  double wanted = 0, given = 0;
  for (const SyntheticLayer& layer : layers) {
    const double elements = static_cast<double>(layer.shape.all_outputs() * layer.shape.k());
    wanted += elements * mean;
    const double low = std::floor(mean), high = std::ceil(mean);
    bits.push_back(static_cast<int>(
        std::fabs(given + elements * high - wanted) < std::fabs(given + elements * low - wanted) ? high : low));
    given += elements * bits.back();
  }
  return bits;
}

OperandBits OperandsOf(const SyntheticLayer& layer, int weight_bits) {
  const int exponents = weight_bits - 1;
  return {exponents + (layer.non_negative ? 0 : 1), exponents, weight_bits, exponents, layer.non_negative};
}

// Knuth's MMIX generator; the high bits are the good ones.
class CodeMaker {
 public:
  explicit CodeMaker(uint64_t seed) : state_(seed) {}

  std::vector<uint8_t> Make(int64_t count, int exponent_bits, bool is_signed, uint32_t zeros_of_256) {
    const uint32_t magnitudes = (1u << exponent_bits) - 1;
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    for (uint8_t& code : codes) {
      const uint32_t r = Next();
      if ((r & 255) < zeros_of_256) continue;
      // The mean of two dice lies about the middle.
      const uint32_t exponent = ((r >> 8 & 1023) * magnitudes / 1024 + (r >> 18 & 1023) * magnitudes / 1024 + 1) / 2;
      code = static_cast<uint8_t>(1 + std::min(exponent, magnitudes - 1));
      if (is_signed && (r >> 28 & 1) != 0) code = static_cast<uint8_t>(code | 1u << exponent_bits);
    }
    return codes;
  }

 private:
  uint32_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  uint64_t state_;
};

LayerOperands OperandsIn(const LayerShape& s) {
  LayerOperands operands;
  for (int64_t g = 0; g < s.groups; ++g) {
    operands.activation_groups.push_back(g * s.channels * s.in_h * s.in_w);
    operands.weight_groups.push_back(g * s.outputs * s.k());
  }
  operands.column = 1;
  operands.row = s.in_w;
  operands.channel = s.in_h * s.in_w;
  operands.image = s.groups * s.channels * operands.channel;
  operands.weight_output = s.k();
  operands.weight_k = 1;
  return operands;
}

Layer MakeLayer(const SyntheticLayer& synthetic, const OperandBits& bits, bool int8) {
  Layer layer;
  layer.shape = synthetic.shape;
  layer.bits = bits;
  if (int8) layer.bits.activation_bits = layer.bits.weight_bits = 8;
  layer.output.quantized = true;
  layer.output.written_bits = layer.bits.activation_bits;
  layer.output.residual_bits = synthetic.residual ? 32 : 0;
  layer.weights_move = synthetic.weights_move;
  // Time depends on which codes there are, not on what they stand for.
  layer.mantissas.activation.assign((size_t{1} << bits.activation_exponent_bits) - 1, 1);
  layer.mantissas.weight.assign((size_t{1} << bits.weight_exponent_bits) - 1, 1);
  return layer;
}

void AddTransfer(const std::string& name, const std::string& op, int64_t float_elements, int64_t coded_elements,
                 int code_bits, const std::vector<SimulatedMachine>& machines, std::vector<LayerRecord>* records) {
  if (float_elements + coded_elements == 0) return;
  std::vector<int64_t> bytes;
  for (const SimulatedMachine& machine : machines) {
    bytes.push_back(4 * float_elements + (coded_elements * (machine.int8 ? 8 : code_bits) + 7) / 8);
  }
  records->push_back(TransferRecord(name, op, bytes, machines));
}

}  // namespace

std::vector<std::string> NetworkNames() {
  std::vector<std::string> names;
  for (const Network& n : kNetworks) names.emplace_back(n.name);
  return names;
}

NetworkBits BitsOf(const std::string& network, const SyntheticOptions& options) {
  const std::vector<SyntheticLayer> layers = FindNetwork(network)->layers();
  const std::vector<int> bits = BitsOfLayers(layers, options.weight_bits);
  NetworkBits all;
  double elements = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    all.activation_exponent_bits = all.weight_exponent_bits = std::max(all.weight_exponent_bits, bits[i] - 1);
    if (layers[i].weights_move) continue;
    const double count = static_cast<double>(layers[i].shape.all_outputs() * layers[i].shape.k());
    all.weight_bits_mean += count * bits[i];
    elements += count;
  }
  all.weight_bits_mean /= elements;
  return all;
}

absl::StatusOr<std::vector<LayerRecord>> SimulateNetwork(const std::string& network, const SyntheticOptions& options,
                                                         const std::vector<SimulatedMachine>& machines,
                                                         ThreadPool* pool, bool spans,
                                                         const std::function<void(double)>& progress) {
  const Network* known = FindNetwork(network);
  if (known == nullptr) {
    return MakeError(ErrorId::kUsage, absl::StrCat("--network: expected one of ", absl::StrJoin(NetworkNames(), ", "),
                                                   ", found ", Quoted(network)));
  }
  const std::vector<SyntheticLayer> layers = known->layers();
  const std::vector<int> bits_of = BitsOfLayers(layers, options.weight_bits);
  double all = 0, done = 0;
  for (const SyntheticLayer& layer : layers) all += static_cast<double>(layer.shape.macs());
  std::vector<LayerRecord> records;
  CodeMaker maker(options.seed);
  for (size_t i = 0; i < layers.size(); ++i) {
    const SyntheticLayer& synthetic = layers[i];
    const OperandBits bits = OperandsOf(synthetic, bits_of[i]);
    if (i == 0) {
      AddTransfer("input", "Input", 0, synthetic.shape.input_elements(), bits.activation_bits, machines, &records);
    }
    AddTransfer(synthetic.name + ":before", "Host", synthetic.to_host, synthetic.from_host, bits.activation_bits,
                machines, &records);
    const std::vector<uint8_t> activations = maker.Make(synthetic.shape.input_elements(), bits.activation_exponent_bits,
                                                        !synthetic.non_negative, synthetic.non_negative ? 128 : 4);
    const std::vector<uint8_t> weights =
        maker.Make(synthetic.shape.all_outputs() * synthetic.shape.k(), bits.weight_exponent_bits, true, 16);
    LayerOperands operands = OperandsIn(synthetic.shape);
    operands.activations = activations.data();
    operands.weights = weights.data();
    LayerRecord record{synthetic.name, synthetic.op, synthetic.shape, {}, {}};
    for (size_t m = 0; m < machines.size(); ++m) {
      const SimulatedMachine& machine = machines[m];
      const Accelerator accelerator{machine.int8 ? LaneProgram::kMac : options.program, machine.config, machine.dram,
                                    machine.dram_mode};
      const LayerSimulator simulator(accelerator, MakeLayer(synthetic, bits, machine.int8));
      TALLY_ASSIGN_OR_RETURN(LayerResult result, simulator.Run(operands, simulator.PackWeights(operands), pool, nullptr,
                                                               m == 0 && spans ? &record.spans : nullptr));
      record.machines.push_back({accelerator.program, simulator.layer().bits, std::move(result), simulator.mappings()});
    }
    records.push_back(std::move(record));
    done += static_cast<double>(synthetic.shape.macs());
    if (progress) progress(done / all);
  }
  AddTransfer("output", "Output", layers.back().shape.output_elements(), 0, 0, machines, &records);
  return records;
}

}  // namespace tally::nearmem
