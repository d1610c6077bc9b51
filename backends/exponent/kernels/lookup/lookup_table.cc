#include "backends/exponent/kernels/lookup/lookup_table.h"

#include <cstring>

namespace tally {

#define TALLY_LOOKUP_KERNEL(object, isa) extern const LookupKernel object;
#include "backends/exponent/kernels/lookup/kernels.inc"
#undef TALLY_LOOKUP_KERNEL

const IsaTable<LookupKernel>& LookupKernels() {
  static const IsaTable<LookupKernel> kernels = {
#define TALLY_LOOKUP_KERNEL(object, isa) {&object, isa},
#include "backends/exponent/kernels/lookup/kernels.inc"
#undef TALLY_LOOKUP_KERNEL
  };
  return kernels;
}

int DigitCount(const Codebook& book) { return book.grid == Grid::kQ14 ? 2 : 1; }

LookupTable MakeLookupTable(const Codebook& book, int digit, int signed_offset) {
  LookupTable table;
  table.bits = book.stored_bits();
  const std::vector<int32_t> mantissas = book.SignedMantissas();
  const int offset = book.is_signed ? signed_offset : 0;
  for (size_t c = 0; c < 256; ++c) {
    const int32_t m = mantissas[c % mantissas.size()];
    const int32_t magnitude = m < 0 ? -m : m;
    const int32_t d = digit == 0 ? magnitude & 127 : magnitude >> 7;
    table.digit[c] = static_cast<uint8_t>((m < 0 ? -d : d) + offset);
  }
  return table;
}

void PackStream(const uint8_t* codes, size_t units, int bits, uint8_t* stream) {
  std::memset(stream, 0, StreamBytes(units, bits));
  constexpr size_t kVector = kLookupUnit / kLookupUnitVectors;
  for (size_t u = 0; u < units; ++u, stream += StreamBytes(1, bits)) {
    for (size_t v = 0; v < kLookupUnitVectors; ++v, codes += kVector) {
      const LookupPieces pieces = PiecesOfVector(bits, static_cast<int>(v));
      for (int i = 0; i < pieces.count; ++i) {
        const LookupPiece& p = pieces.piece[i];
        for (size_t j = 0; j < kVector; ++j) {
          stream[kVector * p.row + j] |= static_cast<uint8_t>((codes[j] & p.mask) << p.shift);
        }
      }
    }
  }
}

}  // namespace tally
