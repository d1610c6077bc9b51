// The one geometry that fully connected layers, matrix products and convolutions of any kind are simulated in.
// A plain value.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_LAYER_SHAPE_H_
#define TALLY_BACKENDS_NEARMEM_SIM_LAYER_SHAPE_H_

#include <cstdint>

namespace tally::nearmem {

// Groups of `outputs` dot products of length k() at every position. A fully connected layer is a 1x1 convolution over a
// line of rows; the matrices of a batched product are groups.
struct LayerShape {
  int64_t groups = 1;
  int64_t outputs = 0;   // per group
  int64_t channels = 0;  // of the input, per group
  int64_t batch = 1;
  int64_t in_h = 1, in_w = 1;
  int64_t out_h = 1, out_w = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;

  int64_t k() const { return channels * kernel_h * kernel_w; }
  int64_t positions() const { return batch * out_h * out_w; }
  int64_t all_outputs() const { return groups * outputs; }
  int64_t macs() const { return all_outputs() * positions() * k(); }
  int64_t input_elements() const { return groups * channels * batch * in_h * in_w; }
  int64_t output_elements() const { return all_outputs() * positions(); }
};

// How wide its operands are. For kMac 7 exponent bits and a sign stand for INT8.
struct OperandBits {
  int activation_bits = 0, activation_exponent_bits = 0;
  int weight_bits = 0, weight_exponent_bits = 0;
  bool non_negative = false;  // activations behind a ReLU, of which many are zero
};

// Bits that a layer moves besides activations and weights, per element of its output.
struct OutputTraffic {
  int written_bits = 0;    // to DRAM: codes for quantized consumers, float32 for residuals
  int residual_bits = 0;   // read from DRAM
  bool quantized = false;  // passes through the quantizer
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_LAYER_SHAPE_H_
