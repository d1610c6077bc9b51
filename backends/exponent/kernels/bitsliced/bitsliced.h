// The bit-sliced kernels: exponents are counted, not multiplied, for 512 outputs at a time.
//
// A *row* holds what one input meets: the codes of 512 outputs as n + 1 bit planes of 64 bytes (sign, then exponent bit
// 0, 1, ...). All rows whose activation has the same code form a *bucket*. Of a bucket, per output, the sum of
// (-1)^s M[e] over its rows is wanted. With G the Walsh-Hadamard transform of the 2^n mantissas,
//
//   2^n (-1)^s M[e] = sum over masks u of G[u] (-1)^(s + parity(e & u)),
//   G[u]            = sum over e of M[e] (-1)^parity(e & u)
//
// and because M[0] = 0, the sum over the rows is -2 sum over u of G[u] P[u] / 2^n, P[u] the number of rows whose
// s + parity(e & u) is odd. Walking u in Gray-code order, each plane of parities costs one exclusive or; the planes are
// counted with carry-save adders (Harley-Seal), two operations per full adder where the CPU has a three-input one. The
// counts of all buckets are multiplied by the activations' mantissas and by G, and added up, as planes too, shifted by
// each bit, so that only the planes of the sums become integers.
// Rows whose activation is zero are in no bucket: they are never read.
//
// This header is included by files compiled for one instruction set, so it must stay free of anything that could emit
// code: no std or absl.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_H_

#include <stddef.h>
#include <stdint.h>

namespace tally {

inline constexpr size_t kBitslicedOutputs = 512;
inline constexpr size_t kBitslicedPlane = kBitslicedOutputs / 8;  // bytes
inline constexpr int kBitslicedMinBits = 2;                       // exponent bits n
inline constexpr int kBitslicedMaxBits = 4;
// Planes of a counter: enough for 2^20 rows.
inline constexpr size_t kBitslicedLevels = 21;
// The first levels are summed at once; each further one has a plane for a carry that waits for a second.
inline constexpr size_t kBitslicedFirstLevels = 6;
inline constexpr size_t kBitslicedCounter = 2 * kBitslicedLevels - kBitslicedFirstLevels;  // planes
// Rows that are added at once.
inline constexpr size_t kBitslicedGroup = 8;
// Rows that memory is asked for before they are counted.
inline constexpr size_t kBitslicedAhead = 128;

// The counters of one bucket, in bytes: [2^n masks][kBitslicedCounter][64].
inline constexpr size_t BitslicedCounterBytes(int n) { return (size_t{1} << n) * kBitslicedCounter * kBitslicedPlane; }

// Bits of the sums: 2^20 rows of 14-bit activations, times 2^4 transforms below 2^11.
inline constexpr size_t kBitslicedSumBits = 50;
inline constexpr size_t kBitslicedMagnitudeBits = 14;  // of the activations

// Working memory of a call, in bytes: the counters, and the planes of their weighted sums.
inline constexpr size_t BitslicedScratchBytes(int n, size_t buckets) {
  return buckets * BitslicedCounterBytes(n) + (kBitslicedSumBits + 1) * kBitslicedPlane;
}

// acc[o] = sum over buckets of magnitude * sum over the bucket's rows of (-1)^s M[e], o < 512.
struct BitslicedCall {
  int n = 0;
  const uint8_t* planes = nullptr;  // [row][n + 1][64]
  // Where the rows begin, in bytes from `planes`, at most 2^20 of them bucket by bucket; a bucket is filled up with
  // rows of zeros, which count nothing, to a multiple of kBitslicedGroup. Those of bucket b end at ends[b] and begin
  // where the ones before end. kBitslicedAhead more follow, which are not counted, nor even read, but brought near.
  const uint32_t* rows = nullptr;
  const uint32_t* ends = nullptr;
  size_t buckets = 0;
  const int32_t* magnitudes = nullptr;  // per bucket, with the sign
  const int32_t* transform = nullptr;   // G, 2^n entries
  uint8_t* counters = nullptr;          // BitslicedScratchBytes, any content, 64-byte aligned
  int32_t* narrow = nullptr;            // the sums, where 2^n times as much fits int32; 64-byte aligned; or null, then:
  int64_t* wide = nullptr;
};

struct BitslicedKernel {
  void (*count)(const BitslicedCall& call);
};

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_H_
