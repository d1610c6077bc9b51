#include "backends/nearmem/sim/dram_closed_form.h"

#include <algorithm>

namespace tally::nearmem {

absl::StatusOr<double> ClosedFormCycles(const DramConfig& config, Regularity regularity, int64_t requests) {
  const DramTiming& t = config.timing;
  const DramController& q = config.controller;
  if (q.page_policy == PagePolicy::kClosedCap) return absl::UnimplementedError("closed form: page_policy closed_cap");
  if (q.refresh == RefreshMode::kPerBank) return absl::UnimplementedError("closed form: refresh per_bank");
  const bool open = q.page_policy == PagePolicy::kOpen;
  const bool one_bank = regularity == Regularity::kStreamOneBank || regularity == Regularity::kRandomOneBank;
  const bool stream = regularity == Regularity::kStream || regularity == Regularity::kStreamOneBank;
  // With one bank group every column command follows one of its own group.
  const double transfer = std::max(t.burst, config.geometry.bank_groups > 1 ? t.ccd_s : t.ccd_l);
  double per_request;
  if (stream && open && one_bank) {
    const int bursts = config.geometry.bursts_per_row;
    const int row = t.rcd_read + (bursts - 1) * std::max(t.burst, t.ccd_l) + t.rtp + t.rp;
    per_request = static_cast<double>(std::max(t.rc(), row)) / bursts;
  } else if (stream && open) {
    per_request = transfer;
  } else if (one_bank) {
    per_request = t.rc();
  } else {
    per_request = std::max({transfer, 1.0 * t.rrd_s, t.faw / 4.0, 1.0 * t.rc() / config.geometry.banks()});
  }
  double cycles = per_request * static_cast<double>(requests);
  if (q.refresh == RefreshMode::kAllBank) cycles /= 1 - static_cast<double>(t.rfc + t.rp + t.rcd_read) / t.refi;
  return cycles;
}

}  // namespace tally::nearmem
