// What the machine can do at most: bytes that it can stream, and 8-bit products that it can sum.
#ifndef TALLY_BENCH_LAYERS_ROOF_H_
#define TALLY_BENCH_LAYERS_ROOF_H_

#include <cstddef>
#include <cstdint>

#include "runtime/core/aligned_buffer.h"
#include "runtime/core/cpu.h"
#include "runtime/core/thread_pool.h"

namespace tally::bench {

// Reads `bytes` of memory, a share per thread, with the widest loads of `cpu`.
void StreamRead(const uint8_t* data, size_t bytes, const CpuFeatures& cpu, ThreadPool* pool);

// Products of an unsigned and a signed byte, summed in int32 without leaving the registers, per second, on all threads
// of the pool: the best of a few trials.
double PeakMacsPerSecond(const CpuFeatures& cpu, ThreadPool* pool);

}  // namespace tally::bench

#endif  // TALLY_BENCH_LAYERS_ROOF_H_
