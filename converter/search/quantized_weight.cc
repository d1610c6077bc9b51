#include "converter/search/quantized_weight.h"

#include "format/bit_packing.h"

namespace tally {

std::vector<float> Decode(const QuantizedWeight& weight) {
  const std::vector<double> values = weight.fit.codebook.Values();
  const std::vector<float>& scales = weight.fit.channel_scales;
  const size_t per_channel = scales.empty() ? 0 : weight.codes.size() / scales.size();
  std::vector<float> decoded(weight.codes.size());
  for (size_t i = 0; i < decoded.size(); ++i) {
    const double scale = scales.empty() ? 1 : static_cast<double>(scales[i / per_channel]);
    decoded[i] = static_cast<float>(values[weight.codes[i]] * scale);
  }
  return decoded;
}

CodeForm MakeCodeForm(const QuantizedWeight& weight) {
  CodeForm form;
  form.codebook = weight.fit.codebook;
  form.channel_scales = weight.fit.channel_scales;
  form.bias = weight.bias;
  const int bits = form.codebook.stored_bits();
  uint8_t* packed = nullptr;
  form.packed = Blob::Allocate(PackedBytes(weight.codes.size(), bits), &packed);
  PackBits(weight.codes.data(), weight.codes.size(), bits, packed);
  return form;
}

}  // namespace tally
