#include "converter/search/quantized_weight.h"

#include "format/bit_packing.h"

namespace tally {

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
