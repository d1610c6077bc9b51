#include "runtime/core/cpu.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

#if defined(__x86_64__)
struct Cpuid {
  unsigned eax, ebx, ecx, edx;
};
// Of "structured extended feature flags"; subleaf 0 gives the highest subleaf in eax.
Cpuid CpuidLeaf7(unsigned subleaf) {
  Cpuid r;
  __asm__("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(7), "c"(subleaf));
  return r;
}

bool HasAmx() {
  const unsigned edx = CpuidLeaf7(0).edx;
  const bool tile = (edx >> 24) & 1, int8 = (edx >> 25) & 1;
  if (!tile || !int8) return false;
#if defined(__linux__)
  // The kernel makes room for tile registers only in processes that ask: Documentation/arch/x86/xstate.rst of Linux.
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

CpuFeatures Detect() {
  CpuFeatures cpu;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (avx2) cpu.Add(Isa::kAvx2);
  // GCC 12 has no names for AVX-VNNI and AMX. The operating system's support for ymm registers is part of the avx2
  // answer.
  if (avx2 && CpuidLeaf7(0).eax >= 1 && ((CpuidLeaf7(1).eax >> 4) & 1) != 0) cpu.Add(Isa::kAvxVnni);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni")) {
    cpu.Add(Isa::kAvx512);
    if (HasAmx()) cpu.Add(Isa::kAmx);
  }
#elif defined(__aarch64__)
  const unsigned long capabilities = getauxval(AT_HWCAP);
  if ((capabilities & HWCAP_ASIMD) != 0 && (capabilities & HWCAP_ASIMDDP) != 0) cpu.Add(Isa::kNeon);
#endif
  return cpu;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kNeon: return "neon";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvxVnni: return "avxvnni";
    case Isa::kAvx512: return "avx512";
    case Isa::kAmx: return "avx512_amx";
  }
  return "unknown";
}

Isa CpuFeatures::best() const {
  Isa best = Isa::kScalar;
  for (Isa isa : kAllIsas) {
    if (Has(isa)) best = isa;
  }
  return best;
}

const CpuFeatures& DetectCpu() {
  static const CpuFeatures cpu = Detect();
  return cpu;
}

absl::StatusOr<CpuFeatures> AllowedCpu(const CpuFeatures& cpu, const std::string& forced) {
  if (forced.empty()) return cpu;
  CpuFeatures allowed;
  for (Isa isa : kAllIsas) {
    if (cpu.Has(isa)) allowed.Add(isa);
    if (forced != IsaName(isa)) continue;
    if (!cpu.Has(isa)) break;
    return allowed;
  }
  std::string have;
  for (Isa isa : kAllIsas) {
    if (cpu.Has(isa)) absl::StrAppend(&have, have.empty() ? "" : ", ", IsaName(isa));
  }
  return MakeError(ErrorId::kMissingIsa,
                   absl::StrCat("TALLY_FORCE_ISA is ", Quoted(forced), ", but this CPU and build have ", have));
}

absl::StatusOr<CpuFeatures> AllowedCpu() {
  const char* forced = std::getenv("TALLY_FORCE_ISA");
  return AllowedCpu(DetectCpu(), forced == nullptr ? "" : forced);
}

std::string CpuModelName() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace tally
