// What benchmarks of kernels share: operands, and the kernels of this CPU.
#ifndef TALLY_BENCH_MICRO_OPERANDS_H_
#define TALLY_BENCH_MICRO_OPERANDS_H_

#include <cstdint>
#include <string>

#include "runtime/core/aligned_buffer.h"
#include "runtime/core/cpu.h"
#include "runtime/core/isa_table.h"

namespace tally::bench {

// Bytes in 0 .. most, the same in every run.
inline AlignedBuffer SmallBytes(size_t count, uint32_t most) {
  AlignedBuffer bytes(count);
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    bytes.data()[i] = static_cast<uint8_t>((state >> 16) % (most + 1));
  }
  return bytes;
}

// Calls f(name of the instruction set, kernel) for every kernel of a table that this CPU runs.
template <typename Kernel, typename F>
bool ForEachKernel(const IsaTable<Kernel>& table, const F& f) {
  for (const IsaEntry<Kernel>& entry : table) {
    if (DetectCpu().Has(entry.isa)) f(IsaName(entry.isa), *entry.kernel);
  }
  return true;
}

}  // namespace tally::bench

#endif  // TALLY_BENCH_MICRO_OPERANDS_H_
