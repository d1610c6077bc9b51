#include "bench/layers/roof.h"

#include <algorithm>
#include <chrono>

#include "backends/exponent/kernels/lookup/lookup_table.h"

#if defined(__x86_64__)
#include "runtime/core/x86_intrinsics.h"
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace tally::bench {
namespace {

constexpr size_t kLine = 64;
constexpr int kTrials = 7;
constexpr int64_t kRounds = 200000;
// Independent sums, so that none waits for its own last addition.
constexpr int kSums = 12;
// One product of tiles stands for so many rounds.
constexpr int kAmxRounds = 16;

// The result of a loop that must not be left out.
volatile int32_t sink = 0;

int32_t ReadPlain(const uint8_t* data, size_t lines) {
  uint64_t sum[8] = {};
  for (size_t i = 0; i < lines; ++i, data += kLine) {
    for (size_t j = 0; j < 8; ++j) {
      uint64_t word;
      __builtin_memcpy(&word, data + 8 * j, 8);
      sum[j] ^= word;
    }
  }
  return static_cast<int32_t>(sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7]);
}

// Multiplies and adds one pair at a time, as compiled for the baseline.
int32_t MultiplyPlain(int64_t rounds) {
  int32_t sums[kSums] = {};
  volatile int32_t one = 1;
  const int32_t a = one;
  for (int64_t i = 0; i < rounds; ++i) {
    for (int s = 0; s < kSums; ++s) {
      sums[s] += a * (s + static_cast<int32_t>(i));
      asm volatile("" : "+r"(sums[s]));
    }
  }
  int32_t sum = 0;
  for (int32_t s : sums) sum ^= s;
  return sum;
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) int32_t ReadAvx2(const uint8_t* data, size_t lines) {
  __m256i sum[4] = {};
  for (; lines >= 2; lines -= 2, data += 2 * kLine) {
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data) + j));
    }
  }
  return _mm256_extract_epi32(_mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3])), 0);
}

__attribute__((target("avx512f"))) int32_t ReadAvx512(const uint8_t* data, size_t lines) {
  __m512i sum[4] = {};
  for (; lines >= 4; lines -= 4, data += 4 * kLine) {
    for (int j = 0; j < 4; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(data + kLine * j));
  }
  return _mm512_reduce_add_epi32(_mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3])));
}

__attribute__((target("avx2"))) int32_t MultiplyAvx2(int64_t rounds) {
  __m256i sums[kSums] = {};
  __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(1);
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
    for (int s = 0; s < kSums; ++s) {
      // The product is made anew for every sum.
      __m256i pairs = _mm256_maddubs_epi16(a, b);
      asm volatile("" : "+x"(pairs));
      sums[s] = _mm256_add_epi32(sums[s], _mm256_madd_epi16(pairs, ones));
    }
  }
  __m256i sum = sums[0];
  for (int s = 1; s < kSums; ++s) sum = _mm256_add_epi32(sum, sums[s]);
  return _mm256_extract_epi32(sum, 0);
}

__attribute__((target("avx512f,avx512vnni"))) int32_t MultiplyAvx512(int64_t rounds) {
  __m512i sums[kSums] = {};
  __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(1);
  for (__m512i& sum : sums) asm volatile("" : "+v"(sum));  // equal sums would be computed once
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
    for (int s = 0; s < kSums; ++s) sums[s] = _mm512_dpbusd_epi32(sums[s], a, b);
  }
  __m512i sum = sums[0];
  for (int s = 1; s < kSums; ++s) sum = _mm512_add_epi32(sum, sums[s]);
  return _mm512_reduce_add_epi32(sum);
}

// Tile registers 0..5: sums; 6 and 7: factors.
int32_t MultiplyAmx(int64_t rounds) {
  const LookupScope scope(ChooseKernel(LookupKernels(), DetectCpu()).kernel);
  for (int64_t i = 0; i < rounds; i += kAmxRounds) {
    asm volatile(
        "tdpbusd %tmm6, %tmm7, %tmm0\n\ttdpbusd %tmm6, %tmm7, %tmm1\n\ttdpbusd %tmm6, %tmm7, %tmm2\n\t"
        "tdpbusd %tmm6, %tmm7, %tmm3\n\ttdpbusd %tmm6, %tmm7, %tmm4\n\ttdpbusd %tmm6, %tmm7, %tmm5\n\t"
        "tdpbusd %tmm6, %tmm7, %tmm0\n\ttdpbusd %tmm6, %tmm7, %tmm1\n\ttdpbusd %tmm6, %tmm7, %tmm2\n\t"
        "tdpbusd %tmm6, %tmm7, %tmm3\n\ttdpbusd %tmm6, %tmm7, %tmm4\n\ttdpbusd %tmm6, %tmm7, %tmm5");
  }
  return 0;
}

__attribute__((target("avx2,avxvnni"))) int32_t MultiplyAvxVnni(int64_t rounds) {
  __m256i sums[kSums] = {};
  __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(1);
  for (__m256i& sum : sums) asm volatile("" : "+x"(sum));
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
    for (int s = 0; s < kSums; ++s) sums[s] = _mm256_dpbusd_avx_epi32(sums[s], a, b);
  }
  __m256i sum = sums[0];
  for (int s = 1; s < kSums; ++s) sum = _mm256_add_epi32(sum, sums[s]);
  return _mm256_extract_epi32(sum, 0);
}

#elif defined(__aarch64__)

int32_t ReadNeon(const uint8_t* data, size_t lines) {
  uint8x16_t sum[4] = {};
  for (size_t i = 0; i < lines; ++i, data += kLine) {
    for (int j = 0; j < 4; ++j) sum[j] = veorq_u8(sum[j], vld1q_u8(data + 16 * j));
  }
  const uint8x16_t all = veorq_u8(veorq_u8(sum[0], sum[1]), veorq_u8(sum[2], sum[3]));
  return vaddvq_s32(vreinterpretq_s32_u8(all));
}

__attribute__((target("arch=armv8.2-a+dotprod"))) int32_t MultiplyNeon(int64_t rounds) {
  int32x4_t sums[kSums] = {};
  int8x16_t a = vdupq_n_s8(1), b = vdupq_n_s8(1);
  for (int32x4_t& sum : sums) asm volatile("" : "+w"(sum));  // equal sums would be computed once
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+w"(a), "+w"(b));
    for (int s = 0; s < kSums; ++s) sums[s] = vdotq_s32(sums[s], a, b);
  }
  int32x4_t sum = sums[0];
  for (int s = 1; s < kSums; ++s) sum = vaddq_s32(sum, sums[s]);
  return vaddvq_s32(sum);
}

#endif

using ReadFn = int32_t (*)(const uint8_t*, size_t);

ReadFn ChooseRead(const CpuFeatures& cpu) {
#if defined(__x86_64__)
  if (cpu.Has(Isa::kAvx512)) return ReadAvx512;
  if (cpu.Has(Isa::kAvx2)) return ReadAvx2;
#elif defined(__aarch64__)
  if (cpu.Has(Isa::kNeon)) return ReadNeon;
#endif
  return ReadPlain;
}

struct Multiply {
  int32_t (*run)(int64_t rounds);
  int macs;  // per sum and round
};

Multiply ChooseMultiply(const CpuFeatures& cpu) {
#if defined(__x86_64__)
  if (cpu.Has(Isa::kAmx)) return {MultiplyAmx, 16 * 16 * 64 / kAmxRounds};
  if (cpu.Has(Isa::kAvx512)) return {MultiplyAvx512, 64};
  if (cpu.Has(Isa::kAvxVnni)) return {MultiplyAvxVnni, 32};
  if (cpu.Has(Isa::kAvx2)) return {MultiplyAvx2, 32};
#elif defined(__aarch64__)
  if (cpu.Has(Isa::kNeon)) return {MultiplyNeon, 16};
#endif
  return {MultiplyPlain, 1};
}

}  // namespace

void StreamRead(const uint8_t* data, size_t bytes, const CpuFeatures& cpu, ThreadPool* pool) {
  const ReadFn read = ChooseRead(cpu);
  const size_t lines = bytes / kLine, threads = static_cast<size_t>(pool->num_threads());
  pool->ParallelFor(threads, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      const size_t first = lines * t / threads;
      sink = read(data + first * kLine, lines * (t + 1) / threads - first);
    }
  });
}

double PeakMacsPerSecond(const CpuFeatures& cpu, ThreadPool* pool) {
  const Multiply multiply = ChooseMultiply(cpu);
  const size_t threads = static_cast<size_t>(pool->num_threads());
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    pool->ParallelFor(threads, 1, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) sink = multiply.run(kRounds);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(threads * kRounds * kSums) * multiply.macs / seconds);
  }
  return best;
}

}  // namespace tally::bench
