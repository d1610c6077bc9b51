// Instruction sets: what the CPU has, what the user forces, what a kernel needs.
#ifndef TALLY_RUNTIME_CORE_CPU_H_
#define TALLY_RUNTIME_CORE_CPU_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "tally/types.h"

namespace tally {

// In order of preference within an architecture. The names are those of TALLY_FORCE_ISA.
enum class Isa : uint8_t {
  kScalar = 0,   // "scalar"
  kNeon = 1,     // "neon"     AArch64: Advanced SIMD and its dot product
  kAvx2 = 2,     // "avx2"     AVX2, FMA, BMI2
  kAvxVnni = 3,  // "avxvnni"  AVX2 and AVX-VNNI
  kAvx512 = 4,   // "avx512"   F, BW, DQ, VL, VBMI and VNNI
  kAmx = 5,      // "avx512_amx"  AVX-512 as above, AMX-TILE and AMX-INT8
};

inline constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kNeon, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAmx};

TALLY_API const char* IsaName(Isa isa);

// A set of instruction sets, one bit per Isa; scalar is always in it.
struct CpuFeatures {
  uint32_t isas = 1u << static_cast<int>(Isa::kScalar);

  bool Has(Isa isa) const { return (isas >> static_cast<int>(isa)) & 1; }
  void Add(Isa isa) { isas |= 1u << static_cast<int>(isa); }
  Isa best() const;
};

// What this CPU and operating system support; detected once. Asks Linux for the permission to use AMX.
TALLY_API const CpuFeatures& DetectCpu();

// The features that kernels may use: those of DetectCpu(), capped by TALLY_FORCE_ISA (empty or unset: no cap). A cap at
// avxvnni leaves {scalar, avx2, avxvnni}. Read anew at each call. Error: kMissingIsa.
TALLY_API absl::StatusOr<CpuFeatures> AllowedCpu();

// The same with the variable's value and the CPU given, for tests.
absl::StatusOr<CpuFeatures> AllowedCpu(const CpuFeatures& cpu, const std::string& forced);

// "AMD EPYC 9755 128-Core Processor"; from /proc/cpuinfo, "unknown" elsewhere.
std::string CpuModelName();

}  // namespace tally

#endif  // TALLY_RUNTIME_CORE_CPU_H_
