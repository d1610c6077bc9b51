#include "backends/nearmem/sim/dram_device.h"

#include <algorithm>

namespace tally::nearmem {
namespace {

void Raise(Cycle* to, Cycle at_least) { *to = std::max(*to, at_least); }

}  // namespace

const char* CommandName(DramCommand command) {
  constexpr const char* kNames[] = {"ACT", "PRE", "RD", "WR", "RDA", "WRA", "PREA", "REF", "REFB"};
  return kNames[static_cast<int>(command)];
}

DramDevice::DramDevice(const DramConfig& config)
    : timing_(config.timing),
      banks_per_group_(config.geometry.banks_per_group),
      act_delay_(config.timing.act_cycles - 1),
      banks_(config.geometry.banks()),
      groups_(config.geometry.bank_groups) {
  last_activates_.fill(-timing_.faw);
}

Cycle DramDevice::ReadyAt(DramCommand command, int bank) const {
  if (command == DramCommand::kPrechargeAll) return PrechargeAllReadyAt();
  if (command == DramCommand::kRefreshAll) return RefreshAllReadyAt();
  const Bank& b = banks_[bank];
  const Shared& group = groups_[bank / banks_per_group_];
  switch (command) {
    case DramCommand::kActivate:
      return std::max(
          {b.activate, group.activate, channel_.activate, row_bus_, last_activates_[oldest_activate_] + timing_.faw});
    case DramCommand::kPrecharge: return std::max(b.precharge, row_bus_);
    case DramCommand::kRead:
    case DramCommand::kReadAuto: return std::max({b.read, group.read, channel_.read});
    case DramCommand::kWrite:
    case DramCommand::kWriteAuto: return std::max({b.write, group.write, channel_.write});
    case DramCommand::kRefreshBank: return std::max({b.refresh, channel_.refresh_bank, row_bus_});
    default: return kNever;  // to all banks, above
  }
}

Cycle DramDevice::PrechargeAllReadyAt() const {
  Cycle ready = row_bus_;
  for (const Bank& b : banks_) Raise(&ready, b.precharge);
  return ready;
}

Cycle DramDevice::RefreshAllReadyAt() const {
  Cycle ready = row_bus_;
  for (const Bank& b : banks_) Raise(&ready, b.refresh);
  return ready;
}

void DramDevice::Activate(int bank, int row, Cycle now) {
  Bank& b = banks_[bank];
  b.row = row;
  b.accesses = 0;
  const Cycle last = now + act_delay_;
  Raise(&b.activate, now + timing_.rc());
  Raise(&b.read, last + timing_.rcd_read);
  Raise(&b.write, last + timing_.rcd_write);
  Raise(&b.precharge, last + timing_.ras);
  Raise(&b.refresh, last + timing_.rc());
  Raise(&groups_[bank / banks_per_group_].activate, now + timing_.rrd_l);
  Raise(&channel_.activate, now + timing_.rrd_s);
  Raise(&channel_.refresh_bank, last + timing_.rrd_s);
  row_bus_ = now + timing_.act_cycles;
  last_activates_[oldest_activate_] = now;
  oldest_activate_ = (oldest_activate_ + 1) % static_cast<int>(last_activates_.size());
  if (open_banks_++ == 0) open_since_ = now;
  ++counts_.activates;
  ++(b.closed_for_conflict ? counts_.row_conflicts : counts_.row_misses);
  Report(now, DramCommand::kActivate, bank);
}

void DramDevice::Close(int bank, Cycle now) {
  Bank& b = banks_[bank];
  if (b.row == kClosed) return;
  if (b.accesses == 0) ++counts_.unused_activates;
  b.row = kClosed;
  b.accesses = 0;
  b.closed_for_conflict = false;
  if (--open_banks_ == 0) counts_.active_cycles += now - open_since_;
}

void DramDevice::Precharge(int bank, Cycle now, bool for_conflict) {
  Report(now, DramCommand::kPrecharge, bank);
  Close(bank, now);
  Bank& b = banks_[bank];
  b.closed_for_conflict = for_conflict;
  Raise(&b.activate, now + timing_.rp - act_delay_);
  Raise(&b.refresh, now + timing_.rp);
  row_bus_ = now + 1;
  ++counts_.precharges;
}

void DramDevice::PrechargeAll(Cycle now) {
  Report(now, DramCommand::kPrechargeAll, kAllBanks);
  for (int bank = 0; bank < banks(); ++bank) {
    Close(bank, now);
    Raise(&banks_[bank].activate, now + timing_.rp - act_delay_);
    Raise(&banks_[bank].refresh, now + timing_.rp);
  }
  row_bus_ = now + 1;
  ++counts_.precharges;
}

void DramDevice::Column(DramCommand command, int bank, int64_t request, Cycle now) {
  Report(now, command, bank, request);
  Bank& b = banks_[bank];
  Shared& group = groups_[bank / banks_per_group_];
  if (b.accesses++ > 0) ++counts_.row_hits;
  Cycle precharge;  // the row may close from here on
  if (IsWrite(command)) {
    ++counts_.writes;
    const Cycle data_end = now + timing_.cwl + timing_.burst;
    precharge = data_end + timing_.wr;
    Raise(&group.write, now + std::max(timing_.burst, timing_.ccd_l));
    Raise(&channel_.write, now + std::max(timing_.burst, timing_.ccd_s));
    Raise(&group.read, data_end + timing_.wtr_l);
    Raise(&channel_.read, data_end + timing_.wtr_s);
  } else {
    ++counts_.reads;
    precharge = now + (command == DramCommand::kReadAuto ? timing_.rtp_auto : timing_.rtp);
    Raise(&group.read, now + std::max(timing_.burst, timing_.ccd_l));
    Raise(&channel_.read, now + std::max(timing_.burst, timing_.ccd_s));
    Raise(&channel_.write, now + timing_.cl + timing_.burst + timing_.turnaround - timing_.cwl);
  }
  if (command == DramCommand::kReadAuto || command == DramCommand::kWriteAuto) {
    Close(bank, now);
    Raise(&b.activate, precharge + timing_.rp - act_delay_);
    Raise(&b.refresh, precharge + timing_.rp);
  } else {
    Raise(&b.precharge, precharge);
  }
}

void DramDevice::RefreshAll(Cycle now) {
  Report(now, DramCommand::kRefreshAll, kAllBanks);
  for (Bank& b : banks_) {
    Raise(&b.activate, now + timing_.rfc - act_delay_);
    Raise(&b.precharge, now + timing_.rfc);
    Raise(&b.refresh, now + timing_.rfc);
  }
  row_bus_ = now + 1;
  ++counts_.refreshes;
}

void DramDevice::RefreshBank(int bank, Cycle now) {
  Report(now, DramCommand::kRefreshBank, bank);
  Raise(&banks_[bank].activate, now + timing_.rfc_bank - act_delay_);
  Raise(&banks_[bank].refresh, now + timing_.rfc_bank);
  Raise(&channel_.activate, now + timing_.rrefd - act_delay_);
  row_bus_ = now + 1;
  ++counts_.refreshes;
}

void DramDevice::OccupyRowBus(Cycle now) { row_bus_ = now + 1; }

DramCounts DramDevice::CountsAt(Cycle now) const {
  DramCounts counts = counts_;
  if (open_banks_ > 0) counts.active_cycles += now - open_since_;
  return counts;
}

}  // namespace tally::nearmem
