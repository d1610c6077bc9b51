#include "backends/nearmem/sim/dram_trace.h"

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tally::nearmem {
namespace {

constexpr int kRandomRows = 16384;
constexpr int kFirstWrittenRow = 8192;

// Knuth's MMIX generator; the high bits are the good ones.
class Lcg {
 public:
  explicit Lcg(uint64_t seed) : state_(seed) {}
  int Below(int n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>((state_ >> 33) % static_cast<uint64_t>(n));
  }

 private:
  uint64_t state_;
};

// The `k`-th bank with bank groups counted first.
void SetBank(const DramGeometry& geometry, int64_t k, DramAddress* address) {
  address->bank_group = static_cast<int>(k % geometry.bank_groups);
  address->bank = static_cast<int>(k / geometry.bank_groups);
}

DramAddress StreamRow(const DramGeometry& geometry, int64_t i) {
  DramAddress a;
  a.column = static_cast<int>(i % geometry.bursts_per_row);
  SetBank(geometry, i / geometry.bursts_per_row % geometry.banks(), &a);
  a.row = static_cast<int>(i / geometry.bursts_per_row / geometry.banks());
  return a;
}

DramAddress StreamBankInt(const DramGeometry& geometry, int64_t i) {
  DramAddress a;
  SetBank(geometry, i % geometry.banks(), &a);
  a.column = static_cast<int>(i / geometry.banks() % geometry.bursts_per_row);
  a.row = static_cast<int>(i / geometry.banks() / geometry.bursts_per_row);
  return a;
}

DramAddress StreamBankGroup(const DramGeometry& geometry, int64_t i) {
  DramAddress a;
  a.bank_group = static_cast<int>(i % geometry.bank_groups);
  i /= geometry.bank_groups;
  a.column = static_cast<int>(i % geometry.bursts_per_row);
  i /= geometry.bursts_per_row;
  a.bank = static_cast<int>(i % geometry.banks_per_group);
  a.row = static_cast<int>(i / geometry.banks_per_group);
  return a;
}

DramAddress StreamOneBank(const DramGeometry& geometry, int64_t i) {
  DramAddress a;
  a.column = static_cast<int>(i % geometry.bursts_per_row);
  a.row = static_cast<int>(i / geometry.bursts_per_row);
  return a;
}

DramAddress Random(const DramGeometry& geometry, Lcg* random) {
  DramAddress a;
  a.bank_group = random->Below(geometry.bank_groups);
  a.bank = random->Below(geometry.banks_per_group);
  a.row = random->Below(kRandomRows);
  a.column = random->Below(geometry.bursts_per_row);
  return a;
}

DramAddress RandomOneBank(const DramGeometry& geometry, int previous_row, Lcg* random) {
  DramAddress a;
  do {
    a.row = random->Below(kRandomRows);
  } while (a.row == previous_row);
  a.column = random->Below(geometry.bursts_per_row);
  return a;
}

}  // namespace

std::string PatternName(Pattern pattern) {
  switch (pattern) {
    case Pattern::kStreamRow: return "stream_row";
    case Pattern::kStreamBankInt: return "stream_bankint";
    case Pattern::kStreamBankGroup: return "stream_bgint";
    case Pattern::kStreamOneBank: return "stream_1bank";
    case Pattern::kRandom: return "rand";
    case Pattern::kRandomOneBank: return "rand_1bank";
    case Pattern::kReadsAndWrites: return "rd7_wr1";
  }
  return "";
}

std::vector<DramRequest> GenerateTrace(Pattern pattern, const DramGeometry& geometry, int64_t requests, uint64_t seed) {
  std::vector<DramRequest> trace(static_cast<size_t>(requests));
  Lcg random(seed);
  int previous_row = -1;
  for (int64_t i = 0; i < requests; ++i) {
    DramRequest& r = trace[static_cast<size_t>(i)];
    r.id = i;
    switch (pattern) {
      case Pattern::kStreamRow: r.address = StreamRow(geometry, i); break;
      case Pattern::kStreamBankInt: r.address = StreamBankInt(geometry, i); break;
      case Pattern::kStreamBankGroup: r.address = StreamBankGroup(geometry, i); break;
      case Pattern::kStreamOneBank: r.address = StreamOneBank(geometry, i); break;
      case Pattern::kRandom: r.address = Random(geometry, &random); break;
      case Pattern::kRandomOneBank:
        r.address = RandomOneBank(geometry, previous_row, &random);
        previous_row = r.address.row;
        break;
      case Pattern::kReadsAndWrites:
        r.is_write = i % 8 == 7;
        r.address = StreamRow(geometry, r.is_write ? i / 8 : i - i / 8);
        if (r.is_write) r.address.row += kFirstWrittenRow;
        break;
    }
    r.address.row %= geometry.rows;
  }
  return trace;
}

absl::StatusOr<std::vector<DramRequest>> ParseTrace(const std::string& text, const DramGeometry& geometry, int bursts) {
  std::vector<DramRequest> trace;
  int64_t line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    const auto error = [&](const std::string& what) {
      return absl::InvalidArgumentError(absl::StrCat("line ", line_number, ": ", what));
    };
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (fields.empty() || fields[0][0] == '#') continue;
    if (fields.size() != 5) {
      return error(absl::StrCat("expected \"op bank_group bank row column\", found ", fields.size(), " fields"));
    }
    if (fields[0] != "R" && fields[0] != "W") {
      return error(absl::StrCat("expected op R or W, found \"", absl::CHexEscape(fields[0].substr(0, 32)), "\""));
    }
    DramRequest request;
    request.is_write = fields[0] == "W";
    const struct {
      const char* name;
      int* value;
      int limit;
    } numbers[] = {{"bank_group", &request.address.bank_group, geometry.bank_groups},
                   {"bank", &request.address.bank, geometry.banks_per_group},
                   {"row", &request.address.row, geometry.rows},
                   {"column", &request.address.column, geometry.bursts_per_row - (bursts - 1)}};
    for (size_t i = 0; i < 4; ++i) {
      const auto& number = numbers[i];
      if (!absl::SimpleAtoi(fields[i + 1], number.value) || *number.value < 0 || *number.value >= number.limit) {
        return error(absl::StrCat("expected ", number.name, " in 0..", number.limit - 1, ", found \"",
                                  absl::CHexEscape(fields[i + 1].substr(0, 32)), "\""));
      }
    }
    for (int b = 0; b < bursts; ++b, ++request.address.column) {
      if (static_cast<int64_t>(trace.size()) == kMaxTraceRequests) {
        return absl::ResourceExhaustedError(
            absl::StrCat("line ", line_number, ": expected at most ", kMaxTraceRequests, " bursts, found more"));
      }
      request.id = static_cast<int64_t>(trace.size());
      trace.push_back(request);
    }
  }
  return trace;
}

}  // namespace tally::nearmem
