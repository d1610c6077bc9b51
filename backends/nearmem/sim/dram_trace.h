// Request traces: the patterns that DRAM models are compared on, generated, and the text form.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_TRACE_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

enum class Pattern {
  kStreamRow,        // row after row, bank after bank
  kStreamBankInt,    // neighbouring bursts in neighbouring banks, bank groups first
  kStreamBankGroup,  // neighbouring bursts in the banks of one index of all groups
  kStreamOneBank,    // row after row of one bank
  kRandom,           // any burst of any bank
  kRandomOneBank,    // any burst of one bank
  kReadsAndWrites    // kStreamRow, seven reads to one write, the writes in rows of their own
};

inline constexpr Pattern kAllPatterns[] = {Pattern::kStreamRow,     Pattern::kStreamBankInt, Pattern::kStreamBankGroup,
                                           Pattern::kStreamOneBank, Pattern::kRandom,        Pattern::kRandomOneBank,
                                           Pattern::kReadsAndWrites};

// "stream_row", "stream_bankint", "stream_bgint", "stream_1bank", "rand", "rand_1bank", "rd7_wr1".
std::string PatternName(Pattern pattern);

// `requests` bursts; ids count from 0. The same arguments always give the same trace: random ones come from a linear
// congruential generator. Uses rows up to 16,383 modulo the geometry's.
std::vector<DramRequest> GenerateTrace(Pattern pattern, const DramGeometry& geometry, int64_t requests, uint64_t seed);

// Reads lines "op bank_group bank row column": op R or W, then integers within `geometry`, separated by spaces or tabs.
// Empty lines and lines that begin with '#' are skipped. A line stands for `bursts` bursts at successive columns.
// Errors: InvalidArgument, the message begins with "line N: "; ResourceExhausted beyond kMaxTraceRequests.
absl::StatusOr<std::vector<DramRequest>> ParseTrace(const std::string& text, const DramGeometry& geometry, int bursts);

inline constexpr int64_t kMaxTraceRequests = int64_t{1} << 24;

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_TRACE_H_
